//! Targets that are signed by people in different places: a draft travels as a file and collects signatures.

use super::{
    content::{described, stamp},
    repository::{Editor, Files, Versions},
};
use crate::{
    Error, Keyring, canonical_json, digest, file_names,
    metadata::{Envelope, Key, KeyId, RoleKeys, Targets},
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
    /// As the repository had them when it was drafted. What counts is what it has at the end.
    keys: BTreeMap<KeyId, Key>,
    speaking: RoleKeys,
    next: (Targets, Envelope),
    /// The new targets, by name.
    files: BTreeMap<String, Vec<u8>>,
}

impl TargetsDraft {
    /// Whether a file is a draft of targets, and not one of a root.
    #[must_use]
    pub fn is_one(bytes: &[u8]) -> bool {
        canonical_json::parse(bytes).is_ok_and(|value| value.get("files").is_some())
    }

    /// Reads a draft: `{"role": …, "keys": …, "speaking": …, "next": …, "files": …}`, whose files are in
    /// base 64.
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
            keys: part(&value, "keys")?,
            speaking: part(&value, "speaking")?,
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
            "keys": self.keys,
            "speaking": self.speaking,
            "next": self.next.1,
            "files": files,
        });
        let mut bytes =
            serde_json::to_vec_pretty(&value).map_err(|e| Error::malformed("the draft", e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Signs with every key at hand that has a say and has not signed yet; gives how many signatures came
    /// in.
    ///
    /// # Errors
    /// [`Error::Key`] if a key cannot sign; [`Error::Mismatch`] if a file is not what would be signed.
    pub fn sign(&mut self, keys: &Keyring) -> Result<usize, Error> {
        for (name, bytes) in &self.files {
            let info = self.next.0.targets.get(name);
            let info = info
                .ok_or_else(|| Error::malformed("the draft", format!("it does not list {name}")))?;
            digest::check(name, bytes, info.length, &info.hashes)?;
        }
        let before = self.next.1.signatures.len();
        keys.add_signatures(&mut self.next.1, &self.keys, &self.speaking)?;
        Ok(self.next.1.signatures.len() - before)
    }

    /// Whether enough keys have signed.
    ///
    /// # Errors
    /// [`Error::Threshold`] saying how many are missing.
    pub fn check(&self) -> Result<(), Error> {
        verify::threshold(&self.name(), &self.next.1, &self.keys, &self.speaking, "")
    }

    /// The new targets, by name: for whoever is asked to sign them.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// What it changes, a line each.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let common = &self.next.0.common;
        let mut lines = vec![format!("{}, valid until {}", self.name(), common.expires.0)];
        for (name, bytes) in &self.files {
            lines.push(format!("new {name}, {} bytes", bytes.len()));
        }
        lines
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
        let (keys, speaking) = next.authority(&name).ok_or_else(unknown)?;
        stamp(&mut role, now)?;
        let envelope = Envelope::wrap(&role)?;
        let new = self.staged.iter();
        let mut draft = TargetsDraft {
            role: name,
            keys: keys.clone(),
            speaking: speaking.clone(),
            next: (envelope.read("the draft")?, envelope),
            files: new
                .filter_map(|(name, bytes)| Some((name.clone(), bytes.clone()?)))
                .collect(),
        };
        draft.sign(&self.keys)?;
        Ok(draft)
    }

    /// Puts a draft into force that enough keys have signed.
    ///
    /// # Errors
    /// [`Error::Usage`] if the repository has moved on since; [`Error::Threshold`] if signatures of the keys
    /// that it has now are missing; [`Error::Mismatch`] if a file is not what was signed;
    /// [`Error::MissingKeys`] for the snapshot and the timestamp.
    pub fn finish_targets(&mut self, draft: &TargetsDraft, now: Time) -> Result<Versions, Error> {
        let (name, (role, envelope)) = (&draft.role, &draft.next);
        let unknown = || Error::Usage(format!("nobody delegates to a role '{name}'"));
        let current = self.now.targets.get(name).ok_or_else(unknown)?;
        let (ours, theirs) = (current.common.version, role.common.version);
        if ours.checked_add(1) != Some(theirs) || current.delegations != role.delegations {
            return Err(Error::Usage(format!(
                "the draft is version {theirs} of '{name}', and the repository has version {ours} and has moved on; draft it anew"
            )));
        }
        let (keys, speaking) = self.now.authority(name).ok_or_else(unknown)?;
        verify::threshold(&draft.name(), envelope, keys, speaking, "")?;
        let mut written = Files::new();
        for (target, info) in &role.targets {
            if current.targets.get(target) == Some(info) {
                continue;
            }
            file_names::check_target(target)?;
            let bytes = draft.files.get(target).ok_or_else(|| Error::NotFound {
                url: target.clone(),
            })?;
            digest::check(target, bytes, info.length, &info.hashes)?;
            file_names::check_digest(target, bytes)?;
            written.push((self.target_path(target, info)?, bytes.clone()));
        }
        let mut next = self.now.clone();
        let bytes = envelope.to_bytes()?;
        written.push((self.path(&next, name, theirs), bytes.clone()));
        (next.snapshot.meta).insert(format!("{name}.json"), described(theirs, &bytes));
        next.targets.insert(name.clone(), role.clone());
        written.extend(self.sign(&mut next, &["snapshot".to_owned()].into(), now)?);
        self.commit(next, &written)?;
        Ok(self.versions())
    }
}
