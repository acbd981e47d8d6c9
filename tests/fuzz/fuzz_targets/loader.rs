//! See `surefoot_fuzz::loader`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surefoot_fuzz::loader(bytes));
