//! Feeds arbitrary bytes to the reader of a file of statements.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::program::log(data));
