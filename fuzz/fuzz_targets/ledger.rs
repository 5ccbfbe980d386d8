//! Tells two ledgers statements in any order, altered and truncated, over weeks.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::statements::ledger(data));
