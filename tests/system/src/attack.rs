//! What somebody does who has got hold of a server, a cache, or some of the keys.

use crate::Fleet;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::PathBuf;
use surefoot_trust::{
    Keyring,
    metadata::{Envelope, Root},
};

/// Flips one bit in the middle of the NAR that the cache has of a store path. Its narinfo stays.
///
/// # Errors
/// When the cache does not have it.
pub fn tamper(fleet: &Fleet, path: &str) -> Result<()> {
    let file = nar(fleet, path)?;
    let mut bytes = std::fs::read(&file)?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).context("an empty NAR")? ^= 1;
    std::fs::write(file, bytes)?;
    Ok(())
}

/// The file in which the cache has the NAR of a store path.
///
/// # Errors
/// When the cache does not have it.
pub fn nar(fleet: &Fleet, path: &str) -> Result<PathBuf> {
    let hash = path
        .strip_prefix("/nix/store/")
        .and_then(|name| name.get(..32));
    let hash = hash.with_context(|| format!("no store path: {path}"))?;
    let narinfo = std::fs::read_to_string(fleet.cache().join(format!("{hash}.narinfo")))?;
    let url = narinfo.lines().find_map(|line| line.strip_prefix("URL: "));
    Ok(fleet.cache().join(url.context("a narinfo without URL")?))
}

/// The repository as it is now, to be served again when it has moved on.
///
/// # Errors
/// When it cannot be read.
pub fn record(fleet: &Fleet) -> Result<Vec<u8>> {
    Ok(std::fs::read(
        fleet.repository().join("metadata/timestamp.json"),
    )?)
}

/// Serves an old timestamp, and gives back the one that it took away.
///
/// # Errors
/// When it cannot be written.
pub fn replay(fleet: &Fleet, old: &[u8]) -> Result<Vec<u8>> {
    let present = record(fleet)?;
    std::fs::write(fleet.repository().join("metadata/timestamp.json"), old)?;
    Ok(present)
}

/// Signs new targets metadata as somebody who has the online keys, but only one of the keys that
/// sign releases. It is in order in every other respect. Gives the timestamp that it replaced.
///
/// # Errors
/// When the repository or its keys cannot be read.
pub fn undersign(fleet: &Fleet) -> Result<Vec<u8>> {
    let metadata = fleet.repository().join("metadata");
    let read = |name: &str| -> Result<Envelope> {
        Ok(Envelope::parse(name, &std::fs::read(metadata.join(name))?)?)
    };
    let root: Root = read("1.root.json")?.read("root.json")?;
    let mut keys = Keyring::new();
    for key in [
        "targets/targets-1.pem",
        "online/snapshot-1.pem",
        "online/timestamp-1.pem",
    ] {
        let pem = std::fs::read_to_string(fleet.keys().join(key))?;
        keys.add(std::sync::Arc::new(
            surefoot_trust::keys::PrivateKey::from_pem(key, &pem)?,
        ));
    }
    let sign = |role: &str, signed: Value, name: &str| -> Result<()> {
        let mut envelope = Envelope {
            signatures: Vec::new(),
            signed,
        };
        let role = root
            .roles
            .get(role)
            .with_context(|| format!("no role {role}"))?;
        keys.add_signatures(&mut envelope, &root.keys, role)?;
        Ok(std::fs::write(metadata.join(name), envelope.to_bytes()?)?)
    };
    let next = |signed: &Value| signed["version"].as_u64().map_or(1, |version| version + 1);

    let before = record(fleet)?;
    let mut timestamp = Envelope::parse("timestamp.json", &before)?.signed;
    let old_snapshot = timestamp["meta"]["snapshot.json"]["version"].clone();
    let mut snapshot = read(&format!("{old_snapshot}.snapshot.json"))?.signed;
    let old_targets = snapshot["meta"]["targets.json"]["version"].clone();
    let mut targets = read(&format!("{old_targets}.targets.json"))?.signed;

    let version = next(&targets);
    targets["version"] = version.into();
    sign("targets", targets, &format!("{version}.targets.json"))?;
    snapshot["meta"]["targets.json"] = json!({ "version": version });
    let version = next(&snapshot);
    snapshot["version"] = version.into();
    sign("snapshot", snapshot, &format!("{version}.snapshot.json"))?;
    timestamp["meta"]["snapshot.json"] = json!({ "version": version });
    timestamp["version"] = next(&timestamp).into();
    sign("timestamp", timestamp, "timestamp.json")?;
    Ok(before)
}
