//! See `surefoot_fuzz::nar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surefoot_fuzz::nar(bytes));
