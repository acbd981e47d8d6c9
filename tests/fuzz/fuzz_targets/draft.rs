//! A new root that came from somewhere to be signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_trust::editor::Draft;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(draft) = Draft::parse(bytes) {
        let _ = draft.check();
        let _ = draft.describe();
    }
});
