//! Feeds arbitrary bytes to the decoder of frames of the control socket and of executables.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grid_fuzz::program::frame(data));
