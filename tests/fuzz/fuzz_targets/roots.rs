//! See `surefoot_fuzz::roots`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surefoot_fuzz::roots(bytes));
