//! Feeds arbitrary bytes to the decoders of manifests and progress, and objects in pieces.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::modules::manifest(data));
