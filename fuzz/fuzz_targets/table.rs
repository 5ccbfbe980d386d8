//! Feeds arbitrary bytes to the decoder of symbol tables, and runs scripts of changes on them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::modules::table(data));
