//! See `surefoot_fuzz::metadata`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surefoot_fuzz::metadata(bytes));
