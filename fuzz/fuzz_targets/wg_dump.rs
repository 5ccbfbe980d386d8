//! Feeds arbitrary bytes to the reader of the kernel's description of a WireGuard device.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::wg::wg_dump(data));
