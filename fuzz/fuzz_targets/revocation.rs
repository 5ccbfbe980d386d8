//! Feeds arbitrary bytes to the decoder of revocations.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::statements::revocation(data));
