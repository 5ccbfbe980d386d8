//! Feeds arbitrary text to the decoder of carried admissions.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::statements::carried(data));
