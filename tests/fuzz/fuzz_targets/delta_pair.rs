//! See `surefoot_fuzz::delta_pair`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surefoot_fuzz::delta_pair(bytes));
