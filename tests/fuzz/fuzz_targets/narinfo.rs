//! What a binary cache says of a store path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_store::narinfo::NarInfo;

fuzz_target!(|bytes: &[u8]| {
    let _ = NarInfo::parse(bytes);
});
