//! The publisher's side: a repository is a directory of static files, `metadata/` and `targets/`.
//!
//! New files are written beside the old ones, `timestamp.json` last and by rename: whoever reads
//! the directory in between, or after a power cut, sees the old repository or the new one.

use crate::{
    Error, Keyring, files,
    keys::{key_id, sha256_hex},
    metadata::{
        Common, Envelope, Expires, ISSUED, Key, LIFETIME, MetaFile, Role, RoleKeys, Root,
        SPEC_VERSION, Snapshot, TOP_LEVEL, TargetFile, Targets, Timestamp, whole_seconds,
    },
    names::{self, Limits},
    verify,
};
use jiff::{SignedDuration, Timestamp as Time};
use nix::fcntl::Flock;
use serde_json::Map;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Targets above this size are refused, bytes.
const MAX_TARGET_BYTES: u64 = 256 << 20;

/// Seconds of a day.
pub const DAY: u64 = 86_400;

/// The keys of a new role.
#[derive(Debug, Clone)]
pub struct RolePlan {
    /// Public keys.
    pub keys: Vec<Key>,
    /// How many of them must sign.
    pub threshold: u64,
    /// How long what they sign is valid, seconds.
    pub lifetime: u64,
}

/// The roles of a new repository.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Says who may sign what; kept offline.
    pub root: RolePlan,
    /// Says which files there are.
    pub targets: RolePlan,
    /// Says which versions belong together.
    pub snapshot: RolePlan,
    /// Says that the news is new.
    pub timestamp: RolePlan,
}

impl Plan {
    fn roles(&self) -> [(&'static str, &RolePlan); 4] {
        [
            ("root", &self.root),
            ("targets", &self.targets),
            ("snapshot", &self.snapshot),
            ("timestamp", &self.timestamp),
        ]
    }
}

/// The versions after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Versions {
    /// Of the root.
    pub root: u64,
    /// Of `timestamp.json`.
    pub timestamp: u64,
    /// Of the snapshot.
    pub snapshot: u64,
    /// Of the top-level targets.
    pub targets: u64,
}

/// A repository that is being changed. Nobody else can change it meanwhile.
#[derive(Debug)]
pub struct Editor {
    dir: PathBuf,
    keys: Keyring,
    root: Root,
    targets: Targets,
    snapshot: Snapshot,
    timestamp: Timestamp,
    staged: BTreeMap<String, Option<Vec<u8>>>,
    _lock: Flock<File>,
}

impl Editor {
    /// Makes a new repository: version 1 of everything, no targets.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is one already; [`Error::MissingKeys`] if the keys at hand
    /// cannot sign for all roles; [`Error::Usage`] if a threshold cannot be reached.
    pub fn init(dir: &Path, plan: &Plan, keys: Keyring, now: Time) -> Result<Self, Error> {
        files::make_dir(&dir.join("targets"))?;
        let metadata = dir.join("metadata");
        files::make_dir(&metadata)?;
        let lock = files::lock(dir)?;
        if fs::read_dir(&metadata)
            .map_err(Error::io(&metadata))?
            .next()
            .is_some()
        {
            return Err(Error::Exists(dir.to_owned()));
        }
        let mut all_keys = BTreeMap::new();
        let mut roles = BTreeMap::new();
        for (name, role) in plan.roles() {
            if role.threshold == 0 || role.threshold > role.keys.len() as u64 {
                return Err(Error::Usage(format!(
                    "'{name}' cannot need {} signatures: it has {} keys",
                    role.threshold,
                    role.keys.len()
                )));
            }
            let keyids = role.keys.iter().map(key_id).collect();
            all_keys.extend(role.keys.iter().map(|key| (key_id(key), key.clone())));
            roles.insert(
                name.to_owned(),
                RoleKeys {
                    keyids,
                    threshold: role.threshold,
                    extra: Map::new(),
                },
            );
        }
        let common = || Common {
            spec_version: SPEC_VERSION.to_owned(),
            version: 0,
            expires: Expires(now),
        };
        let extra = |role: &RolePlan| {
            let mut extra = Map::new();
            extra.insert(LIFETIME.into(), role.lifetime.into());
            extra
        };
        let meta = |name: &str| {
            let file = MetaFile {
                version: 1,
                length: None,
                hashes: None,
                extra: Map::new(),
            };
            BTreeMap::from([(name.to_owned(), file)])
        };
        let mut editor = Self {
            root: Root {
                common: common(),
                consistent_snapshot: true,
                keys: all_keys,
                roles,
                extra: extra(&plan.root),
            },
            targets: Targets {
                common: common(),
                targets: BTreeMap::new(),
                delegations: None,
                extra: extra(&plan.targets),
            },
            snapshot: Snapshot {
                common: common(),
                meta: meta("targets.json"),
                extra: extra(&plan.snapshot),
            },
            timestamp: Timestamp {
                common: common(),
                meta: meta("snapshot.json"),
                extra: extra(&plan.timestamp),
            },
            dir: dir.to_owned(),
            keys,
            staged: BTreeMap::new(),
            _lock: lock,
        };
        editor.check_keys(&TOP_LEVEL)?;
        stamp(&mut editor.root, now)?;
        let bytes = editor.sign("root", &editor.root)?;
        files::write(&metadata.join("1.root.json"), &bytes, 0o644)?;
        editor.write_from_targets(now)?;
        Ok(editor)
    }

    /// Opens a repository to change it.
    ///
    /// # Errors
    /// Whatever makes the repository unbelievable, expiry aside: one that has expired can be
    /// signed again. [`Error::Locked`] if somebody else has it open.
    pub fn open(dir: &Path, keys: Keyring) -> Result<Self, Error> {
        let metadata = dir.join("metadata");
        let lock = files::lock(dir)?;
        let limits = Limits::default();
        let version = newest_root(&metadata)?;
        let (root, envelope): (Root, _) = load(
            &metadata,
            &names::metadata("root", Some(version)),
            limits.root,
        )?;
        let check = |file: &str, role: &str, envelope: &Envelope| {
            verify::threshold(file, envelope, &root.keys, &root.roles[role], "")
        };
        check("root.json", "root", &envelope)?;
        let (timestamp, envelope): (Timestamp, _) =
            load(&metadata, "timestamp.json", limits.timestamp)?;
        check("timestamp.json", "timestamp", &envelope)?;
        let file = |role: &str, version| {
            names::metadata(role, root.consistent_snapshot.then_some(version))
        };
        let name = file("snapshot", timestamp.snapshot()?.version);
        let (snapshot, envelope): (Snapshot, _) = load(&metadata, &name, limits.snapshot)?;
        check(&name, "snapshot", &envelope)?;
        let listed = snapshot
            .meta
            .get("targets.json")
            .ok_or_else(|| Error::malformed(&name, "it does not list targets.json"))?;
        let name = file("targets", listed.version);
        let (targets, envelope): (Targets, _) = load(&metadata, &name, limits.targets)?;
        check(&name, "targets", &envelope)?;
        Ok(Self {
            dir: dir.to_owned(),
            keys,
            root,
            targets,
            snapshot,
            timestamp,
            staged: BTreeMap::new(),
            _lock: lock,
        })
    }

    /// Reads a target as it will be after [`Self::publish`]; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the file is not what was signed; [`Error::Io`].
    pub fn read_target(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        if let Some(staged) = self.staged.get(name) {
            return Ok(staged.clone());
        }
        let Some(info) = self.targets.targets.get(name) else {
            return Ok(None);
        };
        let path = self.target_path(name, info)?;
        let bytes = files::read(&path, info.length)?.ok_or_else(|| Error::NotFound {
            url: path.display().to_string(),
        })?;
        crate::digest::check(name, &bytes, info.length, &info.hashes)?;
        Ok(Some(bytes))
    }

    /// Adds a target, or replaces it, at the next [`Self::publish`].
    ///
    /// # Errors
    /// [`Error::TargetName`], [`Error::TooLarge`].
    pub fn put_target(&mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Result<(), Error> {
        names::check_target(name)?;
        let bytes = bytes.into();
        if bytes.len() as u64 > MAX_TARGET_BYTES {
            return Err(Error::TooLarge {
                file: name.to_owned(),
                limit: MAX_TARGET_BYTES,
            });
        }
        self.staged.insert(name.to_owned(), Some(bytes));
        Ok(())
    }

    /// Adds or replaces several targets at the next [`Self::publish`].
    ///
    /// # Errors
    /// As [`Self::put_target`].
    pub fn add_targets(&mut self, targets: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        for (name, bytes) in targets {
            self.put_target(&name, bytes)?;
        }
        Ok(())
    }

    /// Takes targets away at the next [`Self::publish`]. Their files stay: somebody may be reading
    /// them.
    pub fn remove_targets<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            self.staged.insert(name.to_owned(), None);
        }
    }

    /// The names of all targets, as they will be after [`Self::publish`].
    #[must_use]
    pub fn target_names(&self) -> Vec<String> {
        let mut names: BTreeMap<&str, bool> = self
            .targets
            .targets
            .keys()
            .map(|name| (name.as_str(), true))
            .collect();
        for (name, staged) in &self.staged {
            names.insert(name, staged.is_some());
        }
        names
            .into_iter()
            .filter(|(_, there)| *there)
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// Signs and writes what was changed. Without changes nothing is written.
    ///
    /// # Errors
    /// [`Error::MissingKeys`] before anything is written; [`Error::Io`] with the old repository
    /// still in force.
    pub fn publish(&mut self, now: Time) -> Result<Versions, Error> {
        if self.staged.is_empty() {
            return Ok(self.versions());
        }
        self.check_keys(&["targets", "snapshot", "timestamp"])?;
        let mut targets = self.targets.clone();
        for (name, staged) in &self.staged {
            let Some(bytes) = staged else {
                targets.targets.remove(name);
                continue;
            };
            let info = TargetFile {
                length: bytes.len() as u64,
                hashes: BTreeMap::from([("sha256".to_owned(), sha256_hex(bytes))]),
                extra: Map::new(),
            };
            files::write(&self.target_path(name, &info)?, bytes, 0o644)?;
            targets.targets.insert(name.clone(), info);
        }
        let before = std::mem::replace(&mut self.targets, targets);
        if let Err(error) = self.write_from_targets(now) {
            self.targets = before;
            return Err(error);
        }
        self.staged.clear();
        Ok(self.versions())
    }

    /// Signs again what lives short: always the timestamp, the snapshot and the targets once less
    /// than half of their lifetime is left.
    ///
    /// # Errors
    /// As [`Self::publish`]. Targets whose keys are not at hand are only an error once they have
    /// expired.
    pub fn refresh(&mut self, now: Time) -> Result<Versions, Error> {
        let old = |role: &dyn Fn() -> (u64, Time)| {
            let (lifetime, expires) = role();
            seconds_from(now, expires) < i64::try_from(lifetime / 2).unwrap_or(i64::MAX)
        };
        let targets_old = old(&|| (lifetime(&self.targets), self.targets.common.expires.0));
        let have = self
            .keys
            .count(&self.root.keys, &self.root.roles["targets"]);
        if targets_old
            && (have >= self.root.roles["targets"].threshold
                || self.targets.common.expires.0 <= now)
        {
            self.check_keys(&["targets", "snapshot", "timestamp"])?;
            self.write_from_targets(now)?;
        } else if old(&|| (lifetime(&self.snapshot), self.snapshot.common.expires.0)) {
            self.check_keys(&["snapshot", "timestamp"])?;
            self.write_from_snapshot(now)?;
        } else {
            self.check_keys(&["timestamp"])?;
            self.write_timestamp(now)?;
        }
        Ok(self.versions())
    }

    /// The versions in force.
    #[must_use]
    pub fn versions(&self) -> Versions {
        Versions {
            root: self.root.common.version,
            timestamp: self.timestamp.common.version,
            snapshot: self.snapshot.common.version,
            targets: self.targets.common.version,
        }
    }

    /// When each role expires.
    #[must_use]
    pub fn expiries(&self) -> [(&'static str, Time); 4] {
        [
            ("root", self.root.common.expires.0),
            ("targets", self.targets.common.expires.0),
            ("snapshot", self.snapshot.common.expires.0),
            ("timestamp", self.timestamp.common.expires.0),
        ]
    }

    fn target_path(&self, name: &str, info: &TargetFile) -> Result<PathBuf, Error> {
        let hash = self
            .root
            .consistent_snapshot
            .then(|| names::naming_hash(info))
            .flatten();
        Ok(self.dir.join("targets").join(names::target(name, hash)?))
    }

    fn check_keys(&self, roles: &[&str]) -> Result<(), Error> {
        for name in roles {
            let role = &self.root.roles[*name];
            let have = self.keys.count(&self.root.keys, role);
            if have < role.threshold {
                return Err(Error::MissingKeys {
                    role: (*name).to_owned(),
                    have,
                    need: role.threshold,
                });
            }
        }
        Ok(())
    }

    fn sign<R: Role>(&self, name: &str, role: &R) -> Result<Vec<u8>, Error> {
        self.keys
            .sign(name, role, &self.root.keys, &self.root.roles[name])
    }

    fn path(&self, role: &str, version: u64) -> PathBuf {
        let version = self.root.consistent_snapshot.then_some(version);
        self.dir
            .join("metadata")
            .join(names::metadata(role, version))
    }

    fn write_from_targets(&mut self, now: Time) -> Result<(), Error> {
        let mut targets = self.targets.clone();
        stamp(&mut targets, now)?;
        let bytes = self.sign("targets", &targets)?;
        files::write(&self.path("targets", targets.common.version), &bytes, 0o644)?;
        let before = self.snapshot.clone();
        self.snapshot.meta.insert(
            "targets.json".to_owned(),
            described(targets.common.version, &bytes),
        );
        if let Err(error) = self.write_from_snapshot(now) {
            self.snapshot = before;
            return Err(error);
        }
        self.targets = targets;
        Ok(())
    }

    fn write_from_snapshot(&mut self, now: Time) -> Result<(), Error> {
        let mut snapshot = self.snapshot.clone();
        stamp(&mut snapshot, now)?;
        let bytes = self.sign("snapshot", &snapshot)?;
        files::write(
            &self.path("snapshot", snapshot.common.version),
            &bytes,
            0o644,
        )?;
        let before = self.timestamp.clone();
        self.timestamp.meta.insert(
            "snapshot.json".to_owned(),
            described(snapshot.common.version, &bytes),
        );
        if let Err(error) = self.write_timestamp(now) {
            self.timestamp = before;
            return Err(error);
        }
        self.snapshot = snapshot;
        Ok(())
    }

    fn write_timestamp(&mut self, now: Time) -> Result<(), Error> {
        let mut timestamp = self.timestamp.clone();
        stamp(&mut timestamp, now)?;
        let bytes = self.sign("timestamp", &timestamp)?;
        let path = self.dir.join("metadata").join("timestamp.json");
        files::write(&path, &bytes, 0o644)?;
        self.timestamp = timestamp;
        Ok(())
    }
}

/// The next version, with a new expiry.
fn stamp<R: Role>(role: &mut R, now: Time) -> Result<(), Error> {
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
    common.version += 1;
    common.expires = Expires(expires);
    extra.insert(ISSUED.into(), now.to_string().into());
    Ok(())
}

/// How long a role is valid when it is signed again, seconds; 30 days if the metadata does not say.
fn lifetime<R: Role>(role: &R) -> u64 {
    role.extra()
        .get(LIFETIME)
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(30 * DAY)
}

fn seconds_from(now: Time, then: Time) -> i64 {
    then.as_second().saturating_sub(now.as_second())
}

fn described(version: u64, bytes: &[u8]) -> MetaFile {
    MetaFile {
        version,
        length: Some(bytes.len() as u64),
        hashes: Some(BTreeMap::from([("sha256".to_owned(), sha256_hex(bytes))])),
        extra: Map::new(),
    }
}

fn load<R: Role>(dir: &Path, file: &str, limit: u64) -> Result<(R, Envelope), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{PrivateKey, Scheme, Signer as _};
    use std::sync::Arc;

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    fn plan(ring: &mut Keyring) -> Plan {
        let mut role = |threshold: u64, lifetime| {
            let keys = (0..threshold)
                .map(|_| {
                    let key = PrivateKey::generate(Scheme::Ed25519).unwrap();
                    let public = key.public().clone();
                    ring.add(Arc::new(key));
                    public
                })
                .collect();
            RolePlan {
                keys,
                threshold,
                lifetime,
            }
        };
        Plan {
            root: role(2, 365 * DAY),
            targets: role(1, 100 * DAY),
            snapshot: role(1, 30 * DAY),
            timestamp: role(1, 7 * DAY),
        }
    }

    #[test]
    fn a_repository_is_made_changed_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Keyring::new();
        let plan = plan(&mut ring);
        let now = time("2030-01-01T00:00:00Z");
        let mut editor = Editor::init(dir.path(), &plan, ring.clone(), now).unwrap();
        assert!(matches!(
            Editor::open(dir.path(), ring.clone()),
            Err(Error::Locked(_))
        ));
        editor.put_target("channels/stable.json", *b"one").unwrap();
        assert_eq!(
            editor.read_target("channels/stable.json").unwrap().unwrap(),
            b"one"
        );
        let versions = editor.publish(now).unwrap();
        assert_eq!(
            (versions.timestamp, versions.snapshot, versions.targets),
            (2, 2, 2)
        );
        // Nothing changed, nothing written.
        assert_eq!(editor.publish(now).unwrap(), versions);
        drop(editor);
        assert!(matches!(
            Editor::init(dir.path(), &plan, ring.clone(), now),
            Err(Error::Exists(_))
        ));

        let mut editor = Editor::open(dir.path(), ring).unwrap();
        assert_eq!(editor.versions(), versions);
        assert_eq!(
            editor.read_target("channels/stable.json").unwrap().unwrap(),
            b"one"
        );
        assert_eq!(editor.read_target("none").unwrap(), None);
        assert!(editor.put_target("../x", *b"").is_err());
        editor.put_target("b", *b"two").unwrap();
        editor.remove_targets(["channels/stable.json"]);
        assert_eq!(editor.target_names(), ["b"]);
        editor.publish(now).unwrap();
        assert_eq!(editor.target_names(), ["b"]);
    }

    #[test]
    fn refresh_signs_what_is_due_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Keyring::new();
        let plan = plan(&mut ring);
        let mut editor =
            Editor::init(dir.path(), &plan, ring, time("2030-01-01T00:00:00Z")).unwrap();
        let mut at = |text: &str| {
            let v = editor.refresh(time(text)).unwrap();
            (v.timestamp, v.snapshot, v.targets)
        };
        assert_eq!(at("2030-01-02T00:00:00Z"), (2, 1, 1));
        assert_eq!(at("2030-01-20T00:00:00Z"), (3, 2, 1));
        assert_eq!(at("2030-03-20T00:00:00Z"), (4, 3, 2));
    }

    #[test]
    fn without_its_keys_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Keyring::new();
        let plan = plan(&mut ring);
        let now = time("2030-01-01T00:00:00Z");
        drop(Editor::init(dir.path(), &plan, ring, now).unwrap());
        let mut editor = Editor::open(dir.path(), Keyring::new()).unwrap();
        editor.put_target("a", *b"x").unwrap();
        let error = editor.publish(now).unwrap_err().to_string();
        assert!(
            error.starts_with("0 of the 1 keys that must sign 'targets'"),
            "{error}"
        );
        assert!(!dir.path().join("targets").read_dir().unwrap().any(|_| true));
    }

    #[test]
    fn what_was_bent_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Keyring::new();
        let plan = plan(&mut ring);
        let now = time("2030-01-01T00:00:00Z");
        let mut editor = Editor::init(dir.path(), &plan, ring.clone(), now).unwrap();
        editor.put_target("a", *b"one").unwrap();
        editor.publish(now).unwrap();
        let file = dir
            .path()
            .join("targets")
            .join(format!("{}.a", sha256_hex(b"one")));
        fs::write(file, "two").unwrap();
        assert!(matches!(
            editor.read_target("a"),
            Err(Error::Mismatch { .. })
        ));
        drop(editor);
        let file = dir.path().join("metadata/2.targets.json");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("\"length\": 3", "\"length\": 4")).unwrap();
        let error = Editor::open(dir.path(), ring).unwrap_err().to_string();
        assert_eq!(
            error,
            "2.targets.json: 0 of 1 required signatures are valid (threshold not reached)"
        );
    }
}
