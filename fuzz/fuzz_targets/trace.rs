//! Feeds arbitrary bytes to the decoder of traces.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::statements::trace(data));
