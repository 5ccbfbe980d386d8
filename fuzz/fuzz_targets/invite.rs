//! Feeds arbitrary text to the decoder of invites.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::statements::invite(data));
