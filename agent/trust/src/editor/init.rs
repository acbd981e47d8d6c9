//! A new repository.

use super::{
    content::{Content, stamp},
    names::name_keys,
    repository::Editor,
};
use crate::{
    Error, Keyring, files,
    keys::key_id,
    metadata::{
        Common, Envelope, Expires, Extra, Key, KeyId, LIFETIME, RoleKeys, Root, SPEC_VERSION,
        Snapshot, Targets, Timestamp,
    },
};
use jiff::Timestamp as Time;
use serde_json::Map;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

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

impl RolePlan {
    pub(super) fn role_keys(&self, name: &str) -> Result<RoleKeys, Error> {
        let keyids: Vec<_> = self.keys.iter().map(key_id).collect();
        reachable(name, self.threshold, &keyids)?;
        Ok(RoleKeys {
            keyids,
            threshold: self.threshold,
            extra: Map::new(),
        })
    }

    pub(super) fn extra(&self) -> Extra {
        let mut extra = Map::new();
        extra.insert(LIFETIME.into(), self.lifetime.into());
        extra
    }
}

/// Whether a threshold makes sense for these keys.
pub(super) fn reachable(name: &str, threshold: u64, keyids: &[String]) -> Result<(), Error> {
    let distinct: BTreeSet<&String> = keyids.iter().collect();
    if distinct.len() != keyids.len() {
        return Err(Error::Usage(format!("'{name}' would have a key twice")));
    }
    if threshold == 0 || threshold > keyids.len() as u64 {
        return Err(Error::Usage(format!(
            "'{name}' cannot need {threshold} signatures: it has {} keys",
            keyids.len()
        )));
    }
    Ok(())
}

/// The roles of a new repository.
#[derive(Debug, Clone)]
pub struct RepositoryPlan {
    /// Says who may sign what; kept offline.
    pub root: RolePlan,
    /// Says which files there are.
    pub targets: RolePlan,
    /// Says which versions belong together.
    pub snapshot: RolePlan,
    /// Says that the news is new.
    pub timestamp: RolePlan,
    /// Who holds which key, for people.
    pub names: BTreeMap<KeyId, String>,
}

/// What every new role has before it is stamped.
pub(super) fn unsigned(now: Time) -> Common {
    Common {
        spec_version: SPEC_VERSION.to_owned(),
        version: 0,
        expires: Expires(now),
    }
}

impl Editor {
    /// Makes a new repository: version 1 of everything, no targets.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is one already; [`Error::MissingKeys`] if the keys at hand
    /// cannot sign for all roles; [`Error::Usage`] if a threshold cannot be reached.
    pub fn init(
        dir: &Path,
        plan: &RepositoryPlan,
        keys: Keyring,
        now: Time,
    ) -> Result<Self, Error> {
        let metadata = dir.join("metadata");
        files::make_dir(&metadata)?;
        let lock = files::lock(dir)?;
        let mut entries = fs::read_dir(&metadata).map_err(Error::io(&metadata))?;
        if entries.next().is_some() {
            return Err(Error::Exists(dir.to_owned()));
        }
        let roles = [
            ("root", &plan.root),
            ("targets", &plan.targets),
            ("snapshot", &plan.snapshot),
            ("timestamp", &plan.timestamp),
        ];
        let mut root = Root {
            common: unsigned(now),
            consistent_snapshot: true,
            keys: BTreeMap::new(),
            roles: BTreeMap::new(),
            extra: plan.root.extra(),
        };
        for (name, role) in roles {
            root.keys
                .extend(role.keys.iter().map(|key| (key_id(key), key.clone())));
            root.roles.insert(name.to_owned(), role.role_keys(name)?);
        }
        name_keys(&mut root, &plan.names)?;
        stamp(&mut root, now)?;
        let root_file = keys.sign("root", &root, &root.keys, &root.roles["root"])?;
        let targets = Targets {
            common: unsigned(now),
            targets: BTreeMap::new(),
            delegations: None,
            extra: plan.targets.extra(),
        };
        let mut editor = Self {
            now: Content {
                root,
                root_file,
                previous: None,
                snapshot: Snapshot {
                    common: unsigned(now),
                    meta: BTreeMap::new(),
                    extra: plan.snapshot.extra(),
                },
                timestamp: Timestamp {
                    common: unsigned(now),
                    meta: BTreeMap::new(),
                    extra: plan.timestamp.extra(),
                },
                targets: [("targets".to_owned(), targets)].into(),
            },
            dir: dir.to_owned(),
            keys,
            staged: BTreeMap::new(),
            _lock: Some(lock),
        };
        files::make_dir(&dir.join("targets"))?;
        let mut next = editor.now.clone();
        let mut written = editor.sign(&mut next, &["targets".to_owned()].into(), now)?;
        let bytes = Envelope::to_bytes(&editor.now.root_file)?;
        written.insert(0, (metadata.join("1.root.json"), bytes));
        editor.commit(next, &written)?;
        Ok(editor)
    }
}
