//! Feeds arbitrary bytes to the decoder of requests of WireGuard's configuration protocol.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::wg::wg_uapi(data));
