//! New roots: who may sign what from now on.
//!
//! A new root must be signed by a quorum of the old root keys and by one of the new (§5.3.4). The
//! keys need not be in one place: a [`Draft`] travels as a file and collects signatures.

use super::{
    content::{Content, load, stamp},
    init::reachable,
    names::{key_names, name_keys},
    repository::{Editor, Files},
};
use crate::{
    Error, Keyring, canonical_json, file_names, files,
    keys::key_id,
    limits::Limits,
    metadata::{Envelope, Key, KeyId, Root, TOP_LEVEL},
    verify,
};
use jiff::Timestamp as Time;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What is to become different about one role.
#[derive(Debug, Clone, Default)]
pub struct RoleChange {
    /// Keys that speak for it from now on.
    pub add: Vec<Key>,
    /// Keys that do not any more.
    pub remove: Vec<KeyId>,
    /// How many must sign.
    pub threshold: Option<u64>,
}

/// A new root that is being signed.
#[derive(Debug, Clone)]
pub struct Draft {
    previous: (Root, Envelope),
    next: (Root, Envelope),
}

impl Draft {
    /// Reads a draft: `{"previous": …, "next": …}`, two whole roots.
    ///
    /// # Errors
    /// [`Error::Malformed`]; [`Error::Threshold`] if the previous root is none;
    /// [`Error::WrongVersion`] if the new one does not follow it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let value = canonical_json::parse(bytes).map_err(|e| Error::malformed("the draft", e))?;
        let part = |name: &str| -> Result<(Root, Envelope), Error> {
            let part = value.get(name).unwrap_or(&Value::Null);
            let envelope = Envelope::parse("the draft", &canonical_json::canonical(part))?;
            Ok((envelope.read("the draft")?, envelope))
        };
        let draft = Self {
            previous: part("previous")?,
            next: part("next")?,
        };
        let (root, envelope) = &draft.previous;
        let speaking = &root.roles["root"];
        verify::threshold(
            "the previous root",
            envelope,
            &root.keys,
            speaking,
            "its own keys",
        )?;
        let expected = root.common.version.saturating_add(1);
        let found = draft.next.0.common.version;
        if found != expected {
            return Err(Error::WrongVersion {
                file: "the new root".to_owned(),
                found,
                expected,
            });
        }
        Ok(draft)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Error::Malformed`], which no draft that was made or read here gives.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let value = json!({ "previous": self.previous.1, "next": self.next.1 });
        let mut bytes =
            serde_json::to_vec_pretty(&value).map_err(|e| Error::malformed("the draft", e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Says who holds which key, for people; an empty name takes one away. Signatures that the draft has
    /// got are gone then.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is too long.
    pub fn name_keys(&mut self, names: &BTreeMap<KeyId, String>) -> Result<(), Error> {
        if !names.is_empty() {
            name_keys(&mut self.next.0, names)?;
            self.next.1 = Envelope::wrap(&self.next.0)?;
        }
        Ok(())
    }

    /// Signs with every key at hand that has a say and has not signed yet; gives how many
    /// signatures came in.
    ///
    /// # Errors
    /// [`Error::Key`] if a key cannot sign.
    pub fn sign(&mut self, keys: &Keyring) -> Result<usize, Error> {
        let before = self.next.1.signatures.len();
        let (previous, next) = (&self.previous.0, &self.next.0);
        for root in [previous, next] {
            keys.add_signatures(&mut self.next.1, &root.keys, &root.roles["root"])?;
        }
        Ok(self.next.1.signatures.len() - before)
    }

    /// Whether both quorums have signed.
    ///
    /// # Errors
    /// [`Error::Threshold`] saying whose signatures are missing.
    pub fn check(&self) -> Result<(), Error> {
        let (previous, (next, file)) = (&self.previous.0, &self.next);
        let name = format!("root {}", next.common.version);
        let note = format!("the keys of root {}", previous.common.version);
        verify::threshold(&name, file, &previous.keys, &previous.roles["root"], &note)?;
        verify::threshold(&name, file, &next.keys, &next.roles["root"], "its own keys")
    }

    /// What it changes, a line each, for whoever is asked to sign it.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let (previous, next) = (&self.previous.0, &self.next.0);
        let mut lines = vec![format!(
            "root {}, valid until {}",
            next.common.version, next.common.expires.0
        )];
        for role in TOP_LEVEL {
            let (old, new) = (&previous.roles[role], &next.roles[role]);
            let keys = |root: &Root, ids: &[KeyId]| -> BTreeMap<KeyId, Key> {
                ids.iter()
                    .filter_map(|id| Some((id.clone(), root.keys.get(id)?.clone())))
                    .collect()
            };
            let (before, after) = (keys(previous, &old.keyids), keys(next, &new.keyids));
            for id in before.keys().filter(|id| !after.contains_key(*id)) {
                lines.push(format!("{role}: takes away key {id}"));
            }
            for (id, key) in after.iter().filter(|(id, _)| !before.contains_key(*id)) {
                lines.push(format!("{role}: adds key {id} ({})", key.scheme));
            }
            for id in after
                .keys()
                .filter(|id| before.get(*id).is_some_and(|k| *k != after[*id]))
            {
                lines.push(format!("{role}: CHANGES key {id} under its old name"));
            }
            if old.threshold != new.threshold {
                lines.push(format!(
                    "{role}: {} instead of {} must sign",
                    new.threshold, old.threshold
                ));
            }
        }
        let (before, after) = (key_names(previous), key_names(next));
        for (id, name) in after
            .iter()
            .filter(|(id, name)| before.get(*id) != Some(name))
        {
            lines.push(format!("key {id} is named '{name}'"));
        }
        lines
    }
}

impl Editor {
    /// Drafts the next root, not signed yet. Without changes it is only valid for longer.
    ///
    /// # Errors
    /// [`Error::Usage`] for a role, a key or a threshold that cannot be.
    pub fn draft_root(
        &self,
        changes: &BTreeMap<String, RoleChange>,
        now: Time,
    ) -> Result<Draft, Error> {
        let mut root = self.now.root.clone();
        for (name, change) in changes {
            let role = root
                .roles
                .get_mut(name)
                .ok_or_else(|| Error::Usage(format!("root.json knows no role '{name}'")))?;
            for id in &change.remove {
                let at = role.keyids.iter().position(|known| known == id);
                let at = at.ok_or_else(|| Error::Usage(format!("'{name}' has no key {id}")))?;
                role.keyids.remove(at);
            }
            for key in &change.add {
                role.keyids.push(key_id(key));
                root.keys.insert(key_id(key), key.clone());
            }
            role.threshold = change.threshold.unwrap_or(role.threshold);
            reachable(name, role.threshold, &role.keyids)?;
        }
        let used: BTreeSet<&KeyId> = root.roles.values().flat_map(|r| &r.keyids).collect();
        root.keys.retain(|id, _| used.contains(id));
        stamp(&mut root, now)?;
        let envelope = Envelope::wrap(&root)?;
        // As a reader sees it, so that drafts compare alike.
        let root = envelope.read("the new root")?;
        Ok(Draft {
            previous: (self.now.root.clone(), self.now.root_file.clone()),
            next: (root, envelope),
        })
    }

    /// Puts a root into force that both quorums have signed, and signs again what its keys must
    /// sign from now on.
    ///
    /// Where the old keys are at hand as well, robots on either side of the new root believe every
    /// file at every moment; else they see an error between two writes, and try again.
    ///
    /// # Errors
    /// [`Error::Usage`] if the repository has moved on since the draft; [`Error::Threshold`] if
    /// signatures are missing; [`Error::MissingKeys`] if the new keys of the other roles are not
    /// at hand.
    pub fn change_root(&mut self, draft: &Draft, now: Time) -> Result<(), Error> {
        let (next, files) = self.prepare_root(draft, now)?;
        self.commit(next, &files)
    }

    /// What [`Self::change_root`] writes, in order.
    pub(super) fn prepare_root(&self, draft: &Draft, now: Time) -> Result<(Content, Files), Error> {
        let current = (&self.now.root_file.signed, &draft.previous.1.signed);
        if current.0 != current.1 {
            return Err(Error::Usage(format!(
                "the draft follows another root {} than this repository has now ({}); draft it anew",
                draft.previous.0.common.version, self.now.root.common.version
            )));
        }
        draft.check()?;
        let (root, root_file) = draft.next.clone();
        let mut next = Content {
            previous: Some(self.now.root.clone()),
            root,
            root_file,
            ..self.now.clone()
        };
        let differs = |role: &str| {
            let keys = |root: &Root| -> (Vec<Option<Key>>, u64) {
                let role = &root.roles[role];
                let keys = role.keyids.iter().map(|id| root.keys.get(id).cloned());
                (keys.collect(), role.threshold)
            };
            keys(&self.now.root) != keys(&next.root)
        };
        let due: BTreeSet<String> = ["targets", "snapshot"]
            .into_iter()
            .filter(|role| differs(role))
            .map(str::to_owned)
            .collect();
        let mut files = self.sign(&mut next, &due, now)?;
        let version = next.root.common.version;
        let path = self
            .dir
            .join("metadata")
            .join(file_names::metadata("root", Some(version)));
        let root = (path, next.root_file.to_bytes()?);
        if self.old_keys_signed(&files)? {
            files.push(root);
        } else {
            files.insert(files.len().saturating_sub(1), root);
        }
        Ok((next, files))
    }

    /// Whether robots that do not know the new root yet believe these files too.
    fn old_keys_signed(&self, files: &Files) -> Result<bool, Error> {
        for (_, bytes) in files {
            if !believes(&self.now.root, bytes)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether robots believe the timestamp, the snapshot and the top-level targets in force by each root
    /// from this version on. Where they do, the newer roots may come to them last.
    ///
    /// # Errors
    /// A file of the repository cannot be read.
    pub fn is_believed_since(&self, root: u64) -> Result<bool, Error> {
        let (metadata, limits) = (self.dir.join("metadata"), Limits::default());
        let read = |file: &str, limit: u64| -> Result<Vec<u8>, Error> {
            let path = metadata.join(file);
            files::read(&path, limit)?.ok_or_else(|| Error::NotFound {
                url: path.display().to_string(),
            })
        };
        let consistent = self.now.root.consistent_snapshot;
        let versions = self.versions();
        let name =
            |role: &str, version: u64| file_names::metadata(role, consistent.then_some(version));
        let in_force = [
            read("timestamp.json", limits.timestamp)?,
            read(&name("snapshot", versions.snapshot), limits.snapshot)?,
            read(&name("targets", versions.targets), limits.targets)?,
        ];
        for version in root..versions.root {
            let file = file_names::metadata("root", Some(version));
            let (older, _): (Root, _) = load(&metadata, &file, limits.root)?;
            for bytes in &in_force {
                if !believes(&older, bytes)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Whether a root's keys signed a file of one of its roles.
fn believes(root: &Root, bytes: &[u8]) -> Result<bool, Error> {
    let envelope = Envelope::parse("a file", bytes)?;
    let kind = envelope.signed.get("_type").and_then(Value::as_str);
    let speaking = kind.and_then(|kind| root.roles.get(kind));
    Ok(speaking
        .is_some_and(|speaking| verify::threshold("", &envelope, &root.keys, speaking, "").is_ok()))
}
