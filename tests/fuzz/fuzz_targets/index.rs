//! The closure index, packed and unpacked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_core::closure::ClosureIndex;

fuzz_target!(|bytes: &[u8]| {
    let _ = surefoot_store::index::unpack(bytes);
    if let Ok(mut index) = ClosureIndex::parse(bytes) {
        index.check().expect("what was read is whole");
        index.sort().expect("what is whole can be sorted");
        index.check().expect("what was sorted is whole");
    }
});
