//! Feeds arbitrary bytes to the decoders of content ids, binary and text.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::promises::content_id(data));
