//! Patterns of target paths, and target paths.
#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_trust::{names, pattern};

fuzz_target!(|texts: (&str, &str)| {
    let (pattern, path) = texts;
    let matched = pattern::matches(pattern, path);
    if !pattern.contains(['*', '?', '[']) {
        assert_eq!(matched, pattern == path);
    }
    if let Ok(file) = names::target(path, Some("00")) {
        assert!(!file.starts_with('/') && !file.split('/').any(|part| part == ".."));
    }
    assert!(!names::metadata(path, Some(1)).contains('/'));
});
