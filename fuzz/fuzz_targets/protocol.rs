//! Feeds arbitrary bytes to the decoders of requests and answers between nodes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::statements::protocol(data));
