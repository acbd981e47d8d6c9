//! The manifest of a channel.
#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_core::release::{Manifest, Name};

fuzz_target!(|bytes: &[u8]| {
    let name: Name = "stable".parse().expect("a name");
    if let Ok(manifest) = Manifest::parse(bytes, &name) {
        let again = serde_json::to_vec(&manifest).expect("it can be written");
        assert_eq!(
            Manifest::parse(&again, &name).expect("it can be read"),
            manifest
        );
        let _ = manifest.target(&name);
    }
});
