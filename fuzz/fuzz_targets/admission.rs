//! Feeds arbitrary bytes to the decoder of chains of admissions, grants and uses.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::statements::admission(data));
