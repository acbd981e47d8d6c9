//! Keys in metadata, in PEM and encrypted; no signature counts that nobody made.
#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_trust::{
    keys::{PrivateKey, PublicKey, public_key},
    metadata::Key,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = serde_json::from_slice::<Key>(bytes)
        && let Some(key) = PublicKey::of(&key)
    {
        let _ = key.verifies(b"message", bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = PrivateKey::from_pem("x", text);
    if let Ok(key) = public_key("x", text) {
        let key = PublicKey::of(&key).expect("what was read is ready");
        assert!(!key.verifies(b"message", b"signature"));
    }
});
