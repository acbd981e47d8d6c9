//! See `surefoot_fuzz::pattern`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surefoot_fuzz::pattern(bytes));
