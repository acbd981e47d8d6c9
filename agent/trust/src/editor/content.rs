//! What a repository's metadata says, and how it goes on from version to version.

use crate::{
    Error, file_names, files,
    keys::sha256_hex,
    limits::Limits,
    metadata::{
        Envelope, Expires, ISSUED, Key, KeyId, LIFETIME, MetaFile, Role, RoleKeys, Root, Snapshot,
        Targets, Timestamp, whole_seconds,
    },
    pattern, verify,
};
use jiff::{SignedDuration, Timestamp as Time};
use serde_json::Map;
use std::{collections::BTreeMap, fs, path::Path};

/// Seconds of a day.
pub const DAY: u64 = 86_400;

/// What the metadata says.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) root: Root,
    /// The newest root's file.
    pub(super) root_file: Envelope,
    /// The root before, while files may still be signed by its keys.
    pub(super) previous: Option<Root>,
    pub(super) snapshot: Snapshot,
    pub(super) timestamp: Timestamp,
    /// `targets` and the delegated roles.
    pub(super) targets: BTreeMap<String, Targets>,
}

impl Content {
    /// Reads and verifies the metadata of a repository.
    pub(super) fn load(metadata: &Path) -> Result<Self, Error> {
        let limits = Limits::default();
        let version = newest_root(metadata)?;
        let root_at = |version| -> Result<(Root, Envelope), Error> {
            let file = file_names::metadata("root", Some(version));
            let (root, envelope): (Root, _) = load(metadata, &file, limits.root)?;
            verify::threshold(
                &file,
                &envelope,
                &root.keys,
                &root.roles["root"],
                "its own keys",
            )?;
            Ok((root, envelope))
        };
        let (root, root_file) = root_at(version)?;
        // A crash may have left files that only the keys of the root before signed.
        let before = version.checked_sub(1).and_then(|v| root_at(v).ok());
        let mut previous = None;
        let mut check = |file: &str, role: &str, envelope: &Envelope| {
            let result = verify::threshold(file, envelope, &root.keys, &root.roles[role], "");
            if result.is_err()
                && let Some((old, _)) = &before
                && verify::threshold(file, envelope, &old.keys, &old.roles[role], "").is_ok()
            {
                previous = Some(old.clone());
                return Ok(());
            }
            result
        };
        let (timestamp, envelope): (Timestamp, _) =
            load(metadata, "timestamp.json", limits.timestamp)?;
        check("timestamp.json", "timestamp", &envelope)?;
        let file = |role: &str, version| {
            file_names::metadata(role, root.consistent_snapshot.then_some(version))
        };
        let name = file("snapshot", timestamp.snapshot()?.version);
        let (snapshot, envelope): (Snapshot, _) = load(metadata, &name, limits.snapshot)?;
        check(&name, "snapshot", &envelope)?;
        let listed = |role: &str| {
            let listed = snapshot.meta.get(&format!("{role}.json"));
            listed.ok_or_else(|| {
                Error::malformed("snapshot.json", format!("it does not list {role}.json"))
            })
        };
        let name = file("targets", listed("targets")?.version);
        let (top, envelope): (Targets, _) = load(metadata, &name, limits.targets)?;
        check(&name, "targets", &envelope)?;
        let mut targets = BTreeMap::new();
        let mut waiting = vec![("targets".to_owned(), top)];
        while let Some((name, role)) = waiting.pop() {
            if let Some(delegations) = &role.delegations {
                for delegation in &delegations.roles {
                    let child = &delegation.name;
                    if targets.contains_key(child) || waiting.iter().any(|(w, _)| w == child) {
                        continue;
                    }
                    let file = file(child, listed(child)?.version);
                    let (role, envelope) = load(metadata, &file, limits.delegated)?;
                    verify::threshold(&file, &envelope, &delegations.keys, &delegation.keys, "")?;
                    waiting.push((child.clone(), role));
                }
            }
            targets.insert(name, role);
        }
        Ok(Self {
            root,
            root_file,
            previous,
            snapshot,
            timestamp,
            targets,
        })
    }

    /// The keys that speak for a role.
    pub(super) fn authority(&self, role: &str) -> Option<(&BTreeMap<KeyId, Key>, &RoleKeys)> {
        if let Some(speaking) = self.root.roles.get(role) {
            return Some((&self.root.keys, speaking));
        }
        self.targets
            .values()
            .filter_map(|parent| parent.delegations.as_ref())
            .find_map(|d| {
                let delegation = d.roles.iter().find(|r| r.name == role)?;
                Some((&d.keys, &delegation.keys))
            })
    }

    /// The roles that a client asks for a target, in its order: `targets` first.
    pub(super) fn asked(&self, name: &str) -> Vec<String> {
        let mut asked: Vec<String> = Vec::new();
        let mut waiting = vec!["targets".to_owned()];
        while let Some(role) = waiting.pop() {
            if asked.contains(&role) {
                continue;
            }
            let delegations = self.targets.get(&role).and_then(|r| r.delegations.as_ref());
            let covering: Vec<_> = delegations
                .iter()
                .flat_map(|d| &d.roles)
                .filter(|d| pattern::covers(d, name))
                .collect();
            if let Some(end) = covering.iter().position(|d| d.terminating) {
                waiting.clear();
                waiting.extend(covering[..=end].iter().rev().map(|d| d.name.clone()));
            } else {
                waiting.extend(covering.iter().rev().map(|d| d.name.clone()));
            }
            asked.push(role);
        }
        asked
    }
}

/// The next version, with a new expiry.
pub(super) fn stamp<R: Role>(role: &mut R, now: Time) -> Result<(), Error> {
    let now = whole_seconds(now);
    let seconds = i64::try_from(lifetime(role)).unwrap_or(i64::MAX);
    let expires = now
        .checked_add(SignedDuration::from_secs(seconds))
        .map_err(|_| {
            Error::Usage(format!(
                "{} cannot be valid for {seconds} s: no calendar reaches that far",
                R::TYPE
            ))
        })?;
    let (common, extra) = role.common_mut();
    common.version = common.version.checked_add(1).ok_or_else(|| {
        Error::Usage(format!(
            "{} has the highest version there is; replace its keys to begin anew",
            R::TYPE
        ))
    })?;
    common.expires = Expires(expires);
    extra.insert(ISSUED.into(), now.to_string().into());
    Ok(())
}

/// Whether less than half of the lifetime is left.
pub(super) fn is_old<R: Role>(role: &R, now: Time) -> bool {
    let left = role
        .common()
        .expires
        .0
        .as_second()
        .saturating_sub(now.as_second());
    left < i64::try_from(lifetime(role) / 2).unwrap_or(i64::MAX)
}

/// How long a role is valid when it is signed again, seconds; 30 days if the metadata does not say.
pub(crate) fn lifetime<R: Role>(role: &R) -> u64 {
    role.extra()
        .get(LIFETIME)
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(30 * DAY)
}

pub(super) fn described(version: u64, bytes: &[u8]) -> MetaFile {
    MetaFile {
        version,
        length: Some(bytes.len() as u64),
        hashes: Some(BTreeMap::from([("sha256".to_owned(), sha256_hex(bytes))])),
        extra: Map::new(),
    }
}

/// Reads a file of metadata.
pub(super) fn load<R: Role>(dir: &Path, file: &str, limit: u64) -> Result<(R, Envelope), Error> {
    let path = dir.join(file);
    let bytes = files::read(&path, limit)?.ok_or_else(|| Error::NotFound {
        url: path.display().to_string(),
    })?;
    let envelope = Envelope::parse(file, &bytes)?;
    Ok((envelope.read(file)?, envelope))
}

/// The highest N of `N.root.json`.
fn newest_root(metadata: &Path) -> Result<u64, Error> {
    fs::read_dir(metadata)
        .map_err(Error::io(metadata))?
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .to_str()?
                .strip_suffix(".root.json")?
                .parse()
                .ok()
        })
        .max()
        .ok_or_else(|| Error::NotFound {
            url: metadata.join("1.root.json").display().to_string(),
        })
}
