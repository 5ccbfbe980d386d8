//! Feeds arbitrary bytes to the checks of deterministic CBOR.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::promises::cbor_check(data));
