//! See `surefoot_fuzz::delegations`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surefoot_fuzz::delegations(bytes));
