//! See `surefoot_fuzz::draft`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surefoot_fuzz::draft(bytes));
