//! Feeds arbitrary bytes to the decoder of receipts.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::statements::receipt(data));
