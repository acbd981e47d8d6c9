//! A repository that is being changed: its targets, and what is signed anew.

use super::{
    content::{Content, described, is_old, lifetime, stamp},
    names::key_names,
};
use crate::{
    Error, Keyring, file_names, files,
    keys::{Signer, sha256_hex},
    metadata::{Key, KeyId, Role, RoleKeys, Root, TargetFile},
};
use jiff::Timestamp as Time;
use nix::fcntl::Flock;
use serde_json::Map;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Targets above this size are refused, bytes.
const MAX_TARGET_BYTES: u64 = 256 << 20;

/// The versions after a change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Versions {
    /// Of the root.
    pub root: u64,
    /// Of `timestamp.json`.
    pub timestamp: u64,
    /// Of the snapshot.
    pub snapshot: u64,
    /// Of the top-level targets.
    pub targets: u64,
    /// Of delegated targets, by role.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub delegated: BTreeMap<String, u64>,
}

/// When a role is not believed any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The role.
    pub role: String,
    /// When it expires.
    pub expires: Time,
    /// For how long it is valid when it is signed, seconds.
    pub lifetime: u64,
}

/// Who speaks for a role.
#[derive(Debug, Clone)]
pub struct RoleInfo {
    /// Its name.
    pub name: String,
    /// How many keys must sign.
    pub threshold: u64,
    /// Its keys, by name.
    pub keys: Vec<(KeyId, Key)>,
    /// The target paths that it was delegated, as patterns; empty for the roles of the root.
    pub paths: Vec<String>,
}

/// A repository that is being changed. Nobody else can change it meanwhile.
#[derive(Debug)]
pub struct Editor {
    pub(super) dir: PathBuf,
    pub(super) keys: Keyring,
    /// What is in force.
    pub(super) now: Content,
    /// Targets that the next [`Editor::publish`] puts or, where there are no bytes, removes.
    pub(super) staged: BTreeMap<String, Option<Vec<u8>>>,
    /// `None` for whoever only looks.
    pub(super) _lock: Option<Flock<File>>,
}

/// Files that are to be written, in this order.
pub(super) type Files = Vec<(PathBuf, Vec<u8>)>;

impl Editor {
    /// Opens a repository to change it.
    ///
    /// # Errors
    /// Whatever makes the repository unbelievable, expiry aside: one that has expired can be
    /// signed again. [`Error::Locked`] if somebody else has it open.
    pub fn open(dir: &Path, keys: Keyring) -> Result<Self, Error> {
        let lock = files::lock(dir)?;
        Ok(Self {
            now: Content::load(&dir.join("metadata"))?,
            dir: dir.to_owned(),
            keys,
            staged: BTreeMap::new(),
            _lock: Some(lock),
        })
    }

    /// Opens a repository to look at it: without keys, so that nothing can be signed, and whoever
    /// changes it meanwhile.
    ///
    /// # Errors
    /// As [`Self::open`], but for [`Error::Locked`].
    pub fn look(dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            now: Content::load(&dir.join("metadata"))?,
            dir: dir.to_owned(),
            keys: Keyring::new(),
            staged: BTreeMap::new(),
            _lock: None,
        })
    }

    /// When the timestamp in force was signed, if its signer says so.
    #[must_use]
    pub fn signed(&self) -> Option<Time> {
        self.now.timestamp.issued()
    }

    /// The keys at hand.
    #[must_use]
    pub fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// Adds a key to those at hand.
    pub fn add_key(&mut self, signer: Arc<dyn Signer>) {
        self.keys.add(signer);
    }

    /// Reads a target as it will be after [`Self::publish`]; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the file is not what was signed; [`Error::Io`].
    pub fn read_target(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        if let Some(staged) = self.staged.get(name) {
            return Ok(staged.clone());
        }
        let offers = |role: &String| self.now.targets.get(role)?.targets.get(name);
        let Some(info) = self.now.asked(name).iter().find_map(offers) else {
            return Ok(None);
        };
        self.read_listed(name, info).map(Some)
    }

    /// Adds a target, or replaces it, at the next [`Self::publish`]. The role that it was
    /// delegated to must sign it.
    ///
    /// # Errors
    /// [`Error::TargetName`], [`Error::TooLarge`]; [`Error::Mismatch`] for a target below
    /// [`file_names::BY_DIGEST`] that is not what its name says.
    pub fn put_target(&mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Result<(), Error> {
        file_names::check_target(name)?;
        let bytes = bytes.into();
        if bytes.len() as u64 > MAX_TARGET_BYTES {
            return Err(Error::TooLarge {
                file: name.to_owned(),
                limit: MAX_TARGET_BYTES,
            });
        }
        file_names::check_digest(name, &bytes)?;
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

    /// Lists a target below [`file_names::BY_DIGEST`] where what names it is signed, at the next
    /// [`Self::publish`], unless the top-level targets or that role list it already. Gives `false` if the
    /// repository does not have it.
    ///
    /// # Errors
    /// As [`Self::read_target`] and [`Self::put_target`].
    pub fn keep_listed(&mut self, name: &str, named_by: &str) -> Result<bool, Error> {
        let signer = self.signer_of(named_by, &BTreeSet::new());
        let lists = |role: &str| {
            let role = self.now.targets.get(role);
            role.is_some_and(|role| role.targets.contains_key(name))
        };
        let staged = self.staged.get(name).is_some_and(Option::is_some);
        if staged || lists(&signer) || lists("targets") {
            return Ok(true);
        }
        let found = match self.read_target(name)? {
            None => self.unlisted(name)?,
            listed => listed,
        };
        match found {
            Some(bytes) => self.put_target(name, bytes).map(|()| true),
            None => Ok(false),
        }
    }

    /// The file of a target that nobody lists and whose name is its digest.
    fn unlisted(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let digest = name.strip_prefix(file_names::BY_DIGEST);
        let Some(digest) = digest.and_then(|base| base.split('.').next()) else {
            return Ok(None);
        };
        let info = TargetFile {
            length: MAX_TARGET_BYTES,
            hashes: BTreeMap::from([("sha256".to_owned(), digest.to_owned())]),
            extra: Map::new(),
        };
        files::read(&self.target_path(name, &info)?, MAX_TARGET_BYTES)
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
        let mut names: BTreeSet<&String> = self
            .now
            .targets
            .values()
            .flat_map(|role| role.targets.keys())
            .collect();
        for (name, staged) in &self.staged {
            if staged.is_some() {
                names.insert(name);
            } else {
                names.remove(name);
            }
        }
        names.into_iter().cloned().collect()
    }

    /// The names of the targets that a delegated role lists.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such role.
    pub fn targets_of(&self, role: &str) -> Result<BTreeSet<String>, Error> {
        match self.now.targets.get(role) {
            Some(targets) if role != "targets" => Ok(targets.targets.keys().cloned().collect()),
            _ => Err(Error::Usage(format!("there is no delegated role '{role}'"))),
        }
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
        let (mut next, due, mut written) = self.with_staged()?;
        written.extend(self.sign(&mut next, &due, now)?);
        self.commit(next, &written)?;
        self.staged.clear();
        Ok(self.versions())
    }

    /// What is in force with what is staged, not signed yet: the roles that have to sign it, and the files of
    /// new targets.
    pub(super) fn with_staged(&self) -> Result<(Content, BTreeSet<String>, Files), Error> {
        let mut next = self.now.clone();
        let mut due = BTreeSet::new();
        let mut written = Files::new();
        // What names others comes first: its role signs them, too.
        let by_digest = |name: &str| name.starts_with(file_names::BY_DIGEST);
        let (found, named): (Vec<_>, Vec<_>) =
            (self.staged.iter()).partition(|(name, _)| by_digest(name));
        for (name, staged) in named.into_iter().chain(found) {
            let Some(bytes) = staged else {
                for (role, targets) in &mut next.targets {
                    if targets.targets.remove(name).is_some() {
                        due.insert(role.clone());
                    }
                }
                continue;
            };
            let info = TargetFile {
                length: bytes.len() as u64,
                hashes: BTreeMap::from([("sha256".to_owned(), sha256_hex(bytes))]),
                extra: Map::new(),
            };
            written.push((self.target_path(name, &info)?, bytes.clone()));
            let role = self.signer_of(name, &due);
            if let Some(targets) = next.targets.get_mut(&role) {
                targets.targets.insert(name.clone(), info);
            }
            due.insert(role);
        }
        Ok((next, due, written))
    }

    /// Signs again what lives short: always the timestamp, the others once less than half of their
    /// lifetime is left.
    ///
    /// # Errors
    /// As [`Self::publish`]. Targets whose keys are not at hand are only an error once they have
    /// expired.
    pub fn refresh(&mut self, now: Time) -> Result<Versions, Error> {
        let mut due = BTreeSet::new();
        for (name, role) in &self.now.targets {
            let expired = role.common.expires.0 <= now;
            if is_old(role, now) && (expired || self.can_sign(name)) {
                due.insert(name.clone());
            }
        }
        if is_old(&self.now.snapshot, now) {
            due.insert("snapshot".to_owned());
        }
        if self.now.previous.is_some() {
            // A crash in the midst of new keys: sign with them.
            due.extend(["targets".to_owned(), "snapshot".to_owned()]);
        }
        let mut next = self.now.clone();
        let files = self.sign(&mut next, &due, now)?;
        self.commit(next, &files)?;
        Ok(self.versions())
    }

    /// The versions in force.
    #[must_use]
    pub fn versions(&self) -> Versions {
        let mut delegated: BTreeMap<String, u64> = self
            .now
            .targets
            .iter()
            .map(|(name, role)| (name.clone(), role.common.version))
            .collect();
        Versions {
            root: self.now.root.common.version,
            timestamp: self.now.timestamp.common.version,
            snapshot: self.now.snapshot.common.version,
            targets: delegated.remove("targets").unwrap_or_default(),
            delegated,
        }
    }

    /// When each role expires.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        fn of<R: Role>(name: &str, role: &R) -> Expiry {
            Expiry {
                role: name.to_owned(),
                expires: role.common().expires.0,
                lifetime: lifetime(role),
            }
        }
        let now = &self.now;
        let mut list = vec![of("root", &now.root)];
        list.extend(now.targets.iter().map(|(name, role)| of(name, role)));
        list.push(of("snapshot", &now.snapshot));
        list.push(of("timestamp", &now.timestamp));
        list
    }

    /// All roles and their keys: those of the root, then delegated ones.
    #[must_use]
    pub fn roles(&self) -> Vec<RoleInfo> {
        let info = |name: &str, keys: &BTreeMap<KeyId, Key>, speaking: &RoleKeys| RoleInfo {
            name: name.to_owned(),
            threshold: speaking.threshold,
            keys: speaking
                .keyids
                .iter()
                .filter_map(|id| Some((id.clone(), keys.get(id)?.clone())))
                .collect(),
            paths: Vec::new(),
        };
        let root = &self.now.root;
        let mut roles: Vec<_> = root
            .roles
            .iter()
            .map(|(name, speaking)| info(name, &root.keys, speaking))
            .collect();
        for delegations in self
            .now
            .targets
            .values()
            .filter_map(|t| t.delegations.as_ref())
        {
            for role in &delegations.roles {
                let mut info = info(&role.name, &delegations.keys, &role.keys);
                info.paths = role.paths.clone().unwrap_or_default();
                roles.push(info);
            }
        }
        roles
    }

    /// Who holds which key, for people; of keys that have a name.
    #[must_use]
    pub fn key_names(&self) -> BTreeMap<KeyId, String> {
        key_names(&self.now.root)
    }

    /// The root in force.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.now.root
    }

    pub(super) fn target_path(&self, name: &str, info: &TargetFile) -> Result<PathBuf, Error> {
        let hash = self
            .now
            .root
            .consistent_snapshot
            .then(|| file_names::naming_hash(info))
            .flatten();
        Ok(self
            .dir
            .join("targets")
            .join(file_names::target(name, hash)?))
    }

    /// Whether enough keys of a role are at hand.
    fn can_sign(&self, role: &str) -> bool {
        self.now
            .authority(role)
            .is_some_and(|(keys, role)| self.keys.count(keys, role) >= role.threshold)
    }

    /// The role that must sign a target: the first that it is delegated to, or the top-level targets.
    ///
    /// What is named by its digest goes where what names it is signed: into a role that is due already, of
    /// those that may list it. So it stays offered as long as what names it. Where none is due it goes into
    /// the first role whose keys are at hand.
    fn signer_of(&self, name: &str, due: &BTreeSet<String>) -> String {
        let asked = self.now.asked(name);
        let (top, delegated) = match asked.split_first() {
            Some((top, delegated)) => (top.clone(), delegated),
            None => ("targets".to_owned(), &[] as &[String]),
        };
        let role = if name.starts_with(file_names::BY_DIGEST) {
            (asked.iter().find(|role| due.contains(*role)))
                .or_else(|| delegated.iter().find(|role| self.can_sign(role)))
        } else {
            delegated.first()
        };
        role.cloned().unwrap_or(top)
    }

    /// Signs the roles that are due and all that lists them, the timestamp in any case. Gives the
    /// files to write, `timestamp.json` last.
    pub(super) fn sign(
        &self,
        next: &mut Content,
        due: &BTreeSet<String>,
        now: Time,
    ) -> Result<Files, Error> {
        let mut files = Files::new();
        let mut snapshot_due = due.contains("snapshot");
        for name in due.iter().filter(|name| *name != "snapshot") {
            let Some(mut role) = next.targets.get(name).cloned() else {
                continue;
            };
            stamp(&mut role, now)?;
            let bytes = self.sign_one(next, name, &role)?;
            let version = role.common.version;
            files.push((self.path(next, name, version), bytes.clone()));
            next.snapshot
                .meta
                .insert(format!("{name}.json"), described(version, &bytes));
            next.targets.insert(name.clone(), role);
            snapshot_due = true;
        }
        if snapshot_due {
            let mut snapshot = next.snapshot.clone();
            stamp(&mut snapshot, now)?;
            let bytes = self.sign_one(next, "snapshot", &snapshot)?;
            let version = snapshot.common.version;
            files.push((self.path(next, "snapshot", version), bytes.clone()));
            next.timestamp
                .meta
                .insert("snapshot.json".to_owned(), described(version, &bytes));
            next.snapshot = snapshot;
        }
        let mut timestamp = next.timestamp.clone();
        stamp(&mut timestamp, now)?;
        let bytes = self.sign_one(next, "timestamp", &timestamp)?;
        files.push((self.dir.join("metadata").join("timestamp.json"), bytes));
        next.timestamp = timestamp;
        Ok(files)
    }

    /// Signs one role; by the keys that are about to go as well, so that robots on either side of
    /// a new root believe it.
    fn sign_one<R: Role>(&self, next: &Content, name: &str, role: &R) -> Result<Vec<u8>, Error> {
        let (keys, speaking) = next
            .authority(name)
            .ok_or_else(|| Error::Usage(format!("nobody delegates to a role '{name}'")))?;
        let mut envelope = self.keys.sign(name, role, keys, speaking)?;
        if let Some(previous) = &next.previous
            && let Some(speaking) = previous.roles.get(name)
        {
            self.keys
                .add_signatures(&mut envelope, &previous.keys, speaking)?;
        }
        envelope.to_bytes()
    }

    pub(super) fn path(&self, content: &Content, role: &str, version: u64) -> PathBuf {
        let version = content.root.consistent_snapshot.then_some(version);
        self.dir
            .join("metadata")
            .join(file_names::metadata(role, version))
    }

    /// Writes the files in order; only then they are what is.
    pub(super) fn commit(&mut self, next: Content, written: &Files) -> Result<(), Error> {
        for (path, bytes) in written {
            files::write(path, bytes, 0o644)?;
        }
        self.now = next;
        self.now.previous = None;
        Ok(())
    }
}
