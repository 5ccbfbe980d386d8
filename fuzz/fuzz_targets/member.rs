//! Feeds arbitrary bytes to the decoder of member promises.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::statements::member(data));
