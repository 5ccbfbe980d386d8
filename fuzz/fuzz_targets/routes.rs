//! Feeds arbitrary bytes to the stored form of the routing tree, and events to the tree.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::dispatch::routes(data));
