//! See `surefoot_fuzz::access`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surefoot_fuzz::access(bytes));
