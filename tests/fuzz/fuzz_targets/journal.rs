//! The agent's journal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_core::journal::Journal;

fuzz_target!(|bytes: &[u8]| {
    let _ = Journal::parse(bytes);
});
