//! What is believed, and the rules by which that changes: bytes in, decisions out.
//!
//! The rules are those of the specification's client workflow, section 5. Nothing here reads a
//! file, a socket or a clock.

use crate::{
    Error, digest,
    metadata::{
        DelegatedRole, Delegations, Envelope, KeyId, MetaFile, Role, Root, Snapshot, Targets,
        Timestamp,
    },
    metadata::{Key, RoleKeys},
    verify,
};
use jiff::Timestamp as Time;
use std::{collections::BTreeMap, sync::Arc};

/// One believed file: what it says, and its bytes as they were signed.
#[derive(Debug)]
pub struct Trusted<R> {
    /// What it says.
    pub role: R,
    /// Its bytes, unchanged. Signatures are read from them again when they are asked about again:
    /// a tree of JSON takes many times the memory.
    pub bytes: Vec<u8>,
}

/// The metadata that is believed.
#[derive(Debug, Clone)]
pub struct TrustedSet {
    root: Arc<Trusted<Root>>,
    timestamp: Option<Arc<Trusted<Timestamp>>>,
    snapshot: Option<Arc<Trusted<Snapshot>>>,
    targets: Option<Arc<Trusted<Targets>>>,
    delegated: BTreeMap<String, Arc<Trusted<Targets>>>,
}

/// The bytes of a set, to store it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The newest root.
    pub root: Vec<u8>,
    /// `timestamp.json`.
    pub timestamp: Option<Vec<u8>>,
    /// The snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// The top-level targets.
    pub targets: Option<Vec<u8>>,
    /// Delegated targets by role.
    pub delegated: BTreeMap<String, Vec<u8>>,
}

impl TrustedSet {
    /// Begins with a root that is trusted because it came with the robot. It may have expired; it
    /// must be signed by its own keys (§5.2).
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Threshold`].
    pub fn bootstrap(anchor: &[u8]) -> Result<Self, Error> {
        let (root, envelope): (Trusted<Root>, _) = read("root.json", anchor)?;
        by_root(&root.role, "root", "root.json", &envelope, "its own keys")?;
        Ok(Self {
            root: Arc::new(root),
            timestamp: None,
            snapshot: None,
            targets: None,
            delegated: BTreeMap::new(),
        })
    }

    /// Takes up a stored set. What its root does not speak for any more is left behind.
    ///
    /// # Errors
    /// As [`Self::bootstrap`], and [`Error::Malformed`] for the other files.
    pub fn restore(stored: &Stored) -> Result<Self, Error> {
        let mut set = Self::bootstrap(&stored.root)?;
        set.adopt(stored)?;
        Ok(set)
    }

    /// Takes timestamp, snapshot and targets of a stored set, as far as this root speaks for them.
    pub(crate) fn adopt(&mut self, stored: &Stored) -> Result<(), Error> {
        fn some<R: Role>(
            file: &str,
            bytes: Option<&Vec<u8>>,
        ) -> Result<Option<Arc<Trusted<R>>>, Error> {
            bytes.map(|b| Ok(Arc::new(read(file, b)?.0))).transpose()
        }
        self.timestamp = some("timestamp.json", stored.timestamp.as_ref())?;
        self.snapshot = some("snapshot.json", stored.snapshot.as_ref())?;
        self.targets = some("targets.json", stored.targets.as_ref())?;
        for (name, bytes) in &stored.delegated {
            // Verified against its delegator each time it is used.
            self.delegated
                .insert(name.clone(), Arc::new(read(name, bytes)?.0));
        }
        self.settle();
        Ok(())
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_stored(&self) -> Stored {
        let listed = |name: &String| {
            let file = self
                .snapshot
                .as_ref()?
                .role
                .meta
                .get(&format!("{name}.json"))?;
            Some(file.version)
        };
        Stored {
            root: self.root.bytes.clone(),
            timestamp: self.timestamp.as_ref().map(|t| t.bytes.clone()),
            snapshot: self.snapshot.as_ref().map(|t| t.bytes.clone()),
            targets: self.targets.as_ref().map(|t| t.bytes.clone()),
            delegated: self
                .delegated
                .iter()
                .filter(|(name, role)| listed(name) == Some(role.role.common.version))
                .map(|(name, role)| (name.clone(), role.bytes.clone()))
                .collect(),
        }
    }

    /// The root that is believed.
    #[must_use]
    pub fn root(&self) -> &Trusted<Root> {
        &self.root
    }

    /// The timestamp that is believed.
    #[must_use]
    pub fn timestamp(&self) -> Option<&Trusted<Timestamp>> {
        self.timestamp.as_deref()
    }

    /// The snapshot that is believed; may be older than the timestamp says.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Trusted<Snapshot>> {
        self.snapshot.as_deref()
    }

    /// The top-level targets that are believed; may be older than the snapshot says.
    #[must_use]
    pub fn targets(&self) -> Option<&Trusted<Targets>> {
        self.targets.as_deref()
    }

    /// When the newest of the believed files was signed, as far as the signers say so.
    #[must_use]
    pub fn issued(&self) -> Option<Time> {
        let root = self.root.role.issued();
        let timestamp = self.timestamp.as_ref().and_then(|t| t.role.issued());
        let snapshot = self.snapshot.as_ref().and_then(|t| t.role.issued());
        let targets = self.targets.as_ref().and_then(|t| t.role.issued());
        root.max(timestamp).max(snapshot).max(targets)
    }

    /// When the first of the four files expires; `None` while some are missing.
    #[must_use]
    pub fn expires(&self) -> Option<Time> {
        let timestamp = self.timestamp.as_ref()?.role.common.expires;
        let snapshot = self.snapshot.as_ref()?.role.common.expires;
        let targets = self.targets.as_ref()?.role.common.expires;
        let root = self.root.role.common.expires;
        Some(root.min(timestamp).min(snapshot).min(targets).0)
    }

    /// Whether all four files are there and belong together.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let whole = || {
            let timestamp = self.timestamp.as_ref()?;
            let snapshot = self.snapshot.as_ref()?;
            let targets = self.targets.as_ref()?;
            let listed = snapshot.role.meta.get("targets.json")?;
            Some(
                timestamp.role.snapshot().ok()?.version == snapshot.role.common.version
                    && listed.version == targets.role.common.version
                    && described("targets.json", &targets.bytes, listed).is_ok(),
            )
        };
        whole() == Some(true)
    }

    /// The next root (§5.3.3 to §5.3.8): the next version, signed by the old keys and by its own.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Threshold`], [`Error::WrongVersion`], [`Error::Rollback`].
    pub fn accept_root(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let current = self.root.role.common.version;
        let file = format!("{}.root.json", current.saturating_add(1));
        let (new, envelope): (Trusted<Root>, _) = read(&file, bytes)?;
        by_root(
            &self.root.role,
            "root",
            &file,
            &envelope,
            &format!("the keys of root {current}"),
        )?;
        by_root(&new.role, "root", &file, &envelope, "its own keys")?;
        let found = new.role.common.version;
        if Some(found) != current.checked_add(1) {
            return Err(Error::WrongVersion {
                file,
                found,
                expected: current.saturating_add(1),
            });
        }
        self.root = Arc::new(new);
        Ok(())
    }

    /// Drops what the present root does not speak for (§5.3.11): after its keys were replaced, an
    /// attacker's far too high versions must not stay in the way.
    pub fn settle(&mut self) {
        let root = &self.root.role;
        let kept = |role: &str, bytes: &[u8]| {
            let envelope = Envelope::parse(role, bytes);
            envelope.is_ok_and(|envelope| by_root(root, role, role, &envelope, "").is_ok())
        };
        self.timestamp = self
            .timestamp
            .take()
            .filter(|t| kept("timestamp", &t.bytes));
        self.snapshot = self.snapshot.take().filter(|t| kept("snapshot", &t.bytes));
        self.targets = self.targets.take().filter(|t| kept("targets", &t.bytes));
    }

    /// Whether the root is still valid (§5.3.10).
    ///
    /// # Errors
    /// [`Error::Expired`].
    pub fn check_root(&self, now: Time) -> Result<(), Error> {
        fresh("root.json", &self.root.role, now)
    }

    /// A timestamp (§5.4). One of the same version as before changes nothing.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Threshold`], [`Error::Rollback`], [`Error::Expired`].
    pub fn accept_timestamp(&mut self, bytes: &[u8], now: Time) -> Result<(), Error> {
        const FILE: &str = "timestamp.json";
        let (new, envelope): (Trusted<Timestamp>, _) = read(FILE, bytes)?;
        by_root(&self.root.role, "timestamp", FILE, &envelope, "")?;
        if let Some(old) = &self.timestamp {
            not_older(FILE, new.role.common.version, old.role.common.version)?;
            if new.role.common.version == old.role.common.version {
                return fresh(FILE, &old.role, now);
            }
            not_older(
                "the snapshot in timestamp.json",
                new.role.snapshot()?.version,
                old.role.snapshot()?.version,
            )?;
        }
        fresh(FILE, &new.role, now)?;
        self.timestamp = Some(Arc::new(new));
        Ok(())
    }

    /// What the timestamp says about the snapshot, if the one at hand is not that one.
    ///
    /// # Errors
    /// [`Error::NotRefreshed`] without a timestamp.
    pub fn wanted_snapshot(&self, now: Time) -> Result<Option<&MetaFile>, Error> {
        let timestamp = self.timestamp.as_ref().ok_or(Error::NotRefreshed)?;
        let wanted = timestamp.role.snapshot()?;
        let there = self.snapshot.as_ref().is_some_and(|s| {
            s.role.common.version == wanted.version && s.role.common.expires.0 > now
        });
        Ok((!there).then_some(wanted))
    }

    /// A snapshot (§5.5).
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Malformed`], [`Error::Threshold`], [`Error::WrongVersion`],
    /// [`Error::Rollback`], [`Error::RoleRemoved`], [`Error::Expired`].
    pub fn accept_snapshot(&mut self, bytes: &[u8], now: Time) -> Result<(), Error> {
        const FILE: &str = "snapshot.json";
        let timestamp = self.timestamp.as_ref().ok_or(Error::NotRefreshed)?;
        let wanted = timestamp.role.snapshot()?;
        described(FILE, bytes, wanted)?;
        let (new, envelope): (Trusted<Snapshot>, _) = read(FILE, bytes)?;
        by_root(&self.root.role, "snapshot", FILE, &envelope, "")?;
        same_version(FILE, new.role.common.version, wanted.version)?;
        if let Some(old) = &self.snapshot {
            for (name, before) in &old.role.meta {
                let Some(now_listed) = new.role.meta.get(name) else {
                    return Err(Error::RoleRemoved { file: name.clone() });
                };
                not_older(
                    &format!("{name} in snapshot.json"),
                    now_listed.version,
                    before.version,
                )?;
            }
        }
        fresh(FILE, &new.role, now)?;
        // What it does not list in this version will never be asked for again.
        self.delegated.retain(|name, role| {
            let listed = new.role.meta.get(&format!("{name}.json"));
            listed.is_some_and(|listed| listed.version == role.role.common.version)
        });
        self.snapshot = Some(Arc::new(new));
        Ok(())
    }

    /// What the snapshot says about the top-level targets, if those at hand are not those.
    ///
    /// # Errors
    /// [`Error::NotRefreshed`] without a snapshot, [`Error::Malformed`] if it does not list them.
    pub fn wanted_targets(&self, now: Time) -> Result<Option<&MetaFile>, Error> {
        let wanted = self.listed("targets")?;
        let there = self.targets.as_ref().is_some_and(|t| {
            t.role.common.version == wanted.version
                && t.role.common.expires.0 > now
                && described("targets.json", &t.bytes, wanted).is_ok()
        });
        Ok((!there).then_some(wanted))
    }

    /// The top-level targets (§5.6).
    ///
    /// # Errors
    /// As [`Self::accept_snapshot`].
    pub fn accept_targets(&mut self, bytes: &[u8], now: Time) -> Result<(), Error> {
        const FILE: &str = "targets.json";
        let wanted = self.listed("targets")?;
        described(FILE, bytes, wanted)?;
        let (new, envelope): (Trusted<Targets>, _) = read(FILE, bytes)?;
        by_root(&self.root.role, "targets", FILE, &envelope, "")?;
        same_version(FILE, new.role.common.version, wanted.version)?;
        fresh(FILE, &new.role, now)?;
        self.targets = Some(Arc::new(new));
        Ok(())
    }

    /// What the snapshot says about a delegated role.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it does not list the role.
    pub fn listed(&self, role: &str) -> Result<&MetaFile, Error> {
        let snapshot = self.snapshot.as_ref().ok_or(Error::NotRefreshed)?;
        let file = format!("{role}.json");
        snapshot.role.meta.get(&file).ok_or_else(|| {
            Error::malformed(
                "snapshot.json",
                format!("it does not list {}", file.escape_debug()),
            )
        })
    }

    /// Delegated targets that are at hand, in the version that the snapshot lists; verified
    /// against this delegator, whoever asked for them before (§5.6.7).
    ///
    /// # Errors
    /// [`Error::Threshold`], [`Error::Expired`] as if they came from the repository.
    pub(crate) fn delegated(
        &self,
        delegation: &DelegatedRole,
        keys: &BTreeMap<KeyId, Key>,
        now: Time,
    ) -> Result<Option<Arc<Trusted<Targets>>>, Error> {
        let wanted = self.listed(&delegation.name)?;
        let Some(role) = self.delegated.get(&delegation.name).filter(|role| {
            role.role.common.version == wanted.version
                && described(&delegation.name, &role.bytes, wanted).is_ok()
        }) else {
            return Ok(None);
        };
        let envelope = Envelope::parse(&delegation.name, &role.bytes)?;
        check_delegated(delegation, keys, role, &envelope, now)?;
        Ok(Some(Arc::clone(role)))
    }

    /// Size of all delegated targets at hand but one, bytes.
    pub(crate) fn delegated_bytes_without(&self, role: &str) -> u64 {
        let others = self.delegated.iter().filter(|(name, _)| *name != role);
        others.map(|(_, role)| role.bytes.len() as u64).sum()
    }

    /// Delegated targets from the repository (§5.6.1 to §5.6.6).
    ///
    /// # Errors
    /// As [`Self::accept_snapshot`].
    pub(crate) fn accept_delegated(
        &mut self,
        delegation: &DelegatedRole,
        keys: &BTreeMap<KeyId, Key>,
        bytes: &[u8],
        now: Time,
    ) -> Result<Arc<Trusted<Targets>>, Error> {
        let wanted = self.listed(&delegation.name)?;
        let file = format!("{}.json", delegation.name.escape_debug());
        described(&file, bytes, wanted)?;
        let (new, envelope): (Trusted<Targets>, _) = read(&file, bytes)?;
        same_version(&file, new.role.common.version, wanted.version)?;
        check_delegated(delegation, keys, &new, &envelope, now)?;
        let new = Arc::new(new);
        self.delegated
            .insert(delegation.name.clone(), Arc::clone(&new));
        Ok(new)
    }

    /// The top-level targets, ready to search.
    pub(crate) fn targets_arc(&self) -> Option<Arc<Trusted<Targets>>> {
        self.targets.clone()
    }
}

/// The roles that targets delegate to, with their keys.
pub(crate) fn delegations(targets: &Targets) -> Option<&Delegations> {
    targets.delegations.as_ref()
}

fn check_delegated(
    delegation: &DelegatedRole,
    keys: &BTreeMap<KeyId, Key>,
    role: &Trusted<Targets>,
    envelope: &Envelope,
    now: Time,
) -> Result<(), Error> {
    let file = format!("{}.json", delegation.name.escape_debug());
    verify::threshold(&file, envelope, keys, &delegation.keys, "")?;
    fresh(&file, &role.role, now)
}

fn read<R: Role>(file: &str, bytes: &[u8]) -> Result<(Trusted<R>, Envelope), Error> {
    let envelope = Envelope::parse(file, bytes)?;
    let trusted = Trusted {
        role: envelope.read(file)?,
        bytes: bytes.to_vec(),
    };
    Ok((trusted, envelope))
}

fn by_root(
    root: &Root,
    role: &str,
    file: &str,
    envelope: &Envelope,
    note: &str,
) -> Result<(), Error> {
    let none = RoleKeys {
        keyids: Vec::new(),
        threshold: 1,
        extra: Default::default(),
    };
    let keys = root.roles.get(role).unwrap_or(&none);
    verify::threshold(file, envelope, &root.keys, keys, note)
}

fn fresh<R: Role>(file: &str, role: &R, now: Time) -> Result<(), Error> {
    let expires = role.common().expires.0;
    if expires > now {
        return Ok(());
    }
    Err(Error::Expired {
        file: file.to_owned(),
        expires,
        now: crate::metadata::whole_seconds(now),
    })
}

fn not_older(file: &str, found: u64, trusted: u64) -> Result<(), Error> {
    if found >= trusted {
        return Ok(());
    }
    Err(Error::Rollback {
        file: file.to_owned(),
        found,
        trusted,
    })
}

fn same_version(file: &str, found: u64, expected: u64) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::WrongVersion {
        file: file.to_owned(),
        found,
        expected,
    })
}

/// Length and digests, where the listing gives them (§5.5.2, §5.6.2).
fn described(file: &str, bytes: &[u8], listed: &MetaFile) -> Result<(), Error> {
    if let Some(hashes) = &listed.hashes {
        let length = listed.length.unwrap_or(bytes.len() as u64);
        return digest::check(file, bytes, length, hashes);
    }
    match listed.length {
        Some(length) if length != bytes.len() as u64 => Err(Error::Mismatch {
            file: file.to_owned(),
            why: format!("{} bytes instead of {length}", bytes.len()),
        }),
        _ => Ok(()),
    }
}
