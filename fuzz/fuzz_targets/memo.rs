//! Feeds arbitrary bytes to the decoder of kept results, and derives paths from messages.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::dispatch::memo(data));
