//! What tests compare.

use surefoot_core::closure::ClosureIndex;

/// A closure of paths, each with a letter that its hash consists of, its name and its size; the last is the
/// system.
pub(crate) fn index(paths: &[(char, &str, u64)]) -> ClosureIndex {
    let paths: Vec<serde_json::Value> = (paths.iter())
        .map(|(c, name, size)| {
            serde_json::json!({
                "path": format!("/nix/store/{}-{name}", c.to_string().repeat(32)),
                "narHash": format!("sha256:{}", "0".repeat(52)),
                "narSize": size,
                "download": { "url": format!("nar/{c}.nar"), "compression": "none" },
            })
        })
        .collect();
    let toplevel = paths.last().unwrap()["path"].clone();
    let index = serde_json::json!({ "spec": 1, "toplevel": toplevel, "paths": paths });
    ClosureIndex::parse(index.to_string().as_bytes()).unwrap()
}
