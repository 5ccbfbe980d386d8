//! Feeds arbitrary bytes to the decoder of acts.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::statements::act(data));
