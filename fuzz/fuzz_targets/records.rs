//! Feeds arbitrary bytes to the decoders of a judge's records and judgement.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::judging::records(data));
