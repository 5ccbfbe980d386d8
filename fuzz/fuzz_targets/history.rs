//! Feeds arbitrary bytes to the reader of the history of decisions.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::judging::history(data));
