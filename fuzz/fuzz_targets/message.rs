//! Feeds arbitrary bytes to the decoder of messages.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::promises::message(data));
