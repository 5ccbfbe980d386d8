//! Feeds arbitrary bytes to the reader of what a WebAssembly module says about itself.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::code::sections(data));
