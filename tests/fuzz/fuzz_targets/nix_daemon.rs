//! See `surefoot_fuzz::nix_daemon`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surefoot_fuzz::nix_daemon(bytes));
