//! Feeds arbitrary bytes to the decoder of module descriptors.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::modules::descriptor(data));
