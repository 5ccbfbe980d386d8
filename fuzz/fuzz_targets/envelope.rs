//! Feeds arbitrary bytes to the decoder of both forms of the envelope.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::promises::envelope(data));
