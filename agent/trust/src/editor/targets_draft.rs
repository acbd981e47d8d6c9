//! Targets that are signed by people in different places: a draft travels as a file and collects signatures.

use super::{
    content::{described, stamp},
    repository::{Editor, Files, Versions},
};
use crate::{
    Error, Keyring,
    audit::InForce,
    canonical_json, digest, file_names, files,
    metadata::{Envelope, ISSUED, Role as _, TargetFile, Targets},
    verify,
};
use data_encoding::BASE64;
use jiff::Timestamp as Time;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Drafts above this size are not read, bytes: a manifest and the closure indexes of some models.
pub const MAX_DRAFT_BYTES: u64 = 256 << 20;

/// A change of targets that is being signed.
#[derive(Debug, Clone)]
pub struct TargetsDraft {
    role: String,
    next: (Targets, Envelope),
    /// The new targets, by name.
    files: BTreeMap<String, Vec<u8>>,
}

/// What becomes of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetChange {
    /// The role did not list it.
    New,
    /// The role listed other bytes under its name.
    Changed,
    /// The role lists it no more.
    Removed,
}

impl TargetsDraft {
    /// Whether a file is a draft of targets, and not one of a root.
    #[must_use]
    pub fn is_one(bytes: &[u8]) -> bool {
        canonical_json::parse(bytes).is_ok_and(|value| value.get("files").is_some())
    }

    /// Reads a draft: `{"role": …, "next": …, "files": …}`, whose files are in base 64. Nothing of it is
    /// believed.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        fn part<T: DeserializeOwned>(value: &Value, name: &str) -> Result<T, Error> {
            let part = value.get(name).unwrap_or(&Value::Null);
            T::deserialize(part).map_err(|e| Error::malformed("the draft", e))
        }
        let value = canonical_json::parse(bytes).map_err(|e| Error::malformed("the draft", e))?;
        let next = value.get("next").unwrap_or(&Value::Null);
        let next = Envelope::parse("the draft", &canonical_json::canonical(next))?;
        let mut files = BTreeMap::new();
        for (name, text) in part::<BTreeMap<String, String>>(&value, "files")? {
            let bytes = BASE64.decode(text.as_bytes());
            files.insert(name, bytes.map_err(|e| Error::malformed("the draft", e))?);
        }
        Ok(Self {
            role: part(&value, "role")?,
            next: (next.read("the draft")?, next),
            files,
        })
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Error::Malformed`], which no draft that was made or read here gives.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let files: BTreeMap<&String, String> = (self.files.iter())
            .map(|(name, bytes)| (name, BASE64.encode(bytes)))
            .collect();
        let value = json!({
            "role": self.role,
            "next": self.next.1,
            "files": files,
        });
        let mut bytes =
            serde_json::to_vec_pretty(&value).map_err(|e| Error::malformed("the draft", e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Signs with every key at hand that has a say and has not signed yet, as the role in force says; gives
    /// how many signatures came in.
    ///
    /// # Errors
    /// As [`Self::changes`]; [`Error::Key`] if a key cannot sign.
    pub fn sign(&mut self, keys: &Keyring, now: &InForce) -> Result<usize, Error> {
        self.changes(&now.targets)?;
        let before = self.next.1.signatures.len();
        keys.add_signatures(&mut self.next.1, &now.keys, &now.speaking)?;
        Ok(self.next.1.signatures.len() - before)
    }

    /// Whether enough keys have signed that speak for the role in force.
    ///
    /// # Errors
    /// [`Error::Threshold`] saying how many are missing.
    pub fn check(&self, now: &InForce) -> Result<(), Error> {
        verify::threshold(&self.name(), &self.next.1, &now.keys, &now.speaking, "")
    }

    /// What it changes in the role that is in force, by target: all that its signature would mean.
    ///
    /// # Errors
    /// [`Error::Usage`] if it does not come right after what is in force, or changes anything but targets:
    /// whom the role delegates to, say. [`Error::NotFound`] if it does not carry the bytes of a target that
    /// it changes, [`Error::Mismatch`] if those are not what it lists.
    pub fn changes(&self, now: &Targets) -> Result<BTreeMap<String, TargetChange>, Error> {
        let (name, next) = (&self.role, &self.next.0);
        let (ours, theirs) = (now.common.version, next.common.version);
        if ours.checked_add(1) != Some(theirs) {
            return Err(Error::Usage(format!(
                "the draft is version {theirs} of '{name}', and the repository has version {ours}: it has moved on; draft it anew"
            )));
        }
        let mut with_targets = now.clone();
        with_targets.targets.clone_from(&next.targets);
        with_targets.common.version = theirs;
        with_targets.common.expires.clone_from(&next.common.expires);
        match next.extra.get(ISSUED) {
            Some(issued) => with_targets.extra.insert(ISSUED.into(), issued.clone()),
            None => with_targets.extra.remove(ISSUED),
        };
        if with_targets != *next {
            return Err(Error::Usage(format!(
                "the draft changes more of '{name}' than its targets, such as whom it delegates to; draft it anew"
            )));
        }
        let mut changes = BTreeMap::new();
        for (target, info) in &next.targets {
            let change = match now.targets.get(target) {
                Some(before) if before == info => continue,
                Some(_) => TargetChange::Changed,
                None => TargetChange::New,
            };
            file_names::check_target(target)?;
            let bytes = self.files.get(target).ok_or_else(|| Error::NotFound {
                url: format!("{} in the draft", target.escape_debug()),
            })?;
            digest::check(target, bytes, info.length, &info.hashes)?;
            file_names::check_digest(target, bytes)?;
            changes.insert(target.clone(), change);
        }
        let gone = now.targets.keys();
        let gone = gone.filter(|target| !next.targets.contains_key(*target));
        changes.extend(gone.map(|target| (target.clone(), TargetChange::Removed)));
        Ok(changes)
    }

    /// The role that it is of. It says so itself.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// When it was drafted, if it says so.
    #[must_use]
    pub fn drafted(&self) -> Option<Time> {
        self.next.0.issued()
    }

    /// The version, and until when it will be valid: for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let drafted = self.drafted();
        let drafted = drafted.map_or_else(String::new, |at| format!("drafted at {at}, "));
        let expires = self.next.0.common.expires.0;
        format!("{}, {drafted}valid until {expires}", self.name())
    }

    /// The new targets, by name: for whoever is asked to sign them.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    fn name(&self) -> String {
        format!("{} {}", self.role, self.next.0.common.version)
    }
}

impl Editor {
    /// Drafts what is staged, signed by the keys of its role that are at hand. Nothing is written.
    ///
    /// # Errors
    /// [`Error::Usage`] if nothing is staged, or several roles would have to sign it.
    pub fn draft_targets(&self, now: Time) -> Result<TargetsDraft, Error> {
        let (next, due, _) = self.with_staged()?;
        let names: Vec<String> = due.into_iter().collect();
        let name = match names.as_slice() {
            [name] => name.clone(),
            [] => {
                return Err(Error::Usage(
                    "nothing changes, so there is nothing to draft".into(),
                ));
            }
            several => {
                return Err(Error::Usage(format!(
                    "a draft has to be of one role, and this change is signed by {}",
                    several.join(" and ")
                )));
            }
        };
        let unknown = || Error::Usage(format!("nobody delegates to a role '{name}'"));
        let mut role = next.targets.get(&name).cloned().ok_or_else(unknown)?;
        let now_in_force = self.in_force(&name).ok_or_else(unknown)?;
        stamp(&mut role, now)?;
        let envelope = Envelope::wrap(&role)?;
        let new = self.staged.iter();
        let mut draft = TargetsDraft {
            role: name,
            next: (envelope.read("the draft")?, envelope),
            files: new
                .filter_map(|(name, bytes)| Some((name.clone(), bytes.clone()?)))
                .collect(),
        };
        draft.sign(&self.keys, &now_in_force)?;
        Ok(draft)
    }

    /// The role that a draft is of as it is in force, and those targets that it lists of the ones that the
    /// draft carries.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such role; as [`Self::read_target`].
    pub fn drafted_from(
        &self,
        draft: &TargetsDraft,
    ) -> Result<(Targets, BTreeMap<String, Vec<u8>>), Error> {
        let unknown = || Error::Usage(format!("nobody delegates to a role '{}'", draft.role));
        let role = self.now.targets.get(&draft.role).ok_or_else(unknown)?;
        let mut files = BTreeMap::new();
        for (name, info) in &role.targets {
            if draft.files.contains_key(name) {
                files.insert(name.clone(), self.read_listed(name, info)?);
            }
        }
        Ok((role.clone(), files))
    }

    /// Puts a draft into force that enough keys have signed.
    ///
    /// # Errors
    /// As [`TargetsDraft::changes`]; [`Error::Threshold`] if signatures of the keys that the repository has
    /// now are missing;
    /// [`Error::MissingKeys`] for the snapshot and the timestamp.
    pub fn finish_targets(&mut self, draft: &TargetsDraft, now: Time) -> Result<Versions, Error> {
        let (name, (role, envelope)) = (&draft.role, &draft.next);
        let unknown = || Error::Usage(format!("nobody delegates to a role '{name}'"));
        let in_force = self.in_force(name).ok_or_else(unknown)?;
        let changes = draft.changes(&in_force.targets)?;
        draft.check(&in_force)?;
        let mut written = Files::new();
        for target in changes.keys() {
            // One that is removed has no bytes: its file stays for those who read it.
            if let (Some(info), Some(bytes)) = (role.targets.get(target), draft.files.get(target)) {
                written.push((self.target_path(target, info)?, bytes.clone()));
            }
        }
        let mut next = self.now.clone();
        let bytes = envelope.to_bytes()?;
        let version = role.common.version;
        written.push((self.path(&next, name, version), bytes.clone()));
        (next.snapshot.meta).insert(format!("{name}.json"), described(version, &bytes));
        next.targets.insert(name.clone(), role.clone());
        written.extend(self.sign(&mut next, &["snapshot".to_owned()].into(), now)?);
        self.commit(next, &written)?;
        Ok(self.versions())
    }

    /// Reads a target as a role lists it.
    pub(super) fn read_listed(&self, name: &str, info: &TargetFile) -> Result<Vec<u8>, Error> {
        let path = self.target_path(name, info)?;
        let bytes = files::read(&path, info.length)?.ok_or_else(|| Error::NotFound {
            url: path.display().to_string(),
        })?;
        digest::check(name, &bytes, info.length, &info.hashes)?;
        Ok(bytes)
    }

    /// A role of targets as it is in force here.
    pub(super) fn in_force(&self, role: &str) -> Option<InForce> {
        let (keys, speaking) = self.now.authority(role)?;
        Some(InForce {
            targets: self.now.targets.get(role)?.clone(),
            keys: keys.clone(),
            speaking: speaking.clone(),
        })
    }
}
