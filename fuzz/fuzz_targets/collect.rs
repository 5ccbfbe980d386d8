//! Feeds messages in pieces, several at once, to what bounds them while they arrive.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::net::collect(data));
