//! Channels in the hands of others: roles that the top-level targets delegate to.

use super::{
    content::Content,
    init::{RolePlan, unsigned},
    repository::Editor,
};
use crate::{
    Error, file_names,
    keys::key_id,
    metadata::{DelegatedRole, Delegations, TOP_LEVEL, TargetFile, Targets},
    pattern,
};
use jiff::Timestamp as Time;
use std::collections::{BTreeMap, BTreeSet};

/// A role that others sign.
#[derive(Debug, Clone)]
pub struct Delegation {
    /// Its name: 1 to 100 characters from `A-Za-z0-9._+-`, starting with a letter or digit.
    pub name: String,
    /// Its keys, and how long what they sign is valid.
    pub role: RolePlan,
    /// The target paths that it is trusted with, as patterns.
    pub paths: Vec<String>,
}

/// Whether a target is found by its digest, so that it does not matter who lists it.
fn by_digest(target: &str) -> bool {
    target.starts_with(file_names::BY_DIGEST)
}

/// Lists targets in the top-level targets that are not there yet.
fn list_at_top(next: &mut Content, targets: impl Iterator<Item = (String, TargetFile)>) {
    if let Some(top) = next.targets.get_mut("targets") {
        for (target, info) in targets {
            top.targets.entry(target).or_insert(info);
        }
    }
}

impl Editor {
    /// Delegates targets to a role with keys of its own, or gives an existing one other keys and
    /// paths. From then on the targets that it covers are signed by its keys; those that the
    /// top-level targets list now move over. What is named by its digest stays: other channels name it, too.
    ///
    /// # Errors
    /// [`Error::MissingKeys`] if the keys of the role, the targets, the snapshot and the timestamp
    /// are not all at hand; [`Error::Usage`] for a name that is taken or of no use, and for paths
    /// that another role has already.
    pub fn delegate(&mut self, delegation: &Delegation, now: Time) -> Result<(), Error> {
        let name = &delegation.name;
        self.check_delegation(delegation)?;
        let keys = delegation.role.role_keys(name)?;
        let mut next = self.now.clone();
        let due = BTreeSet::from(["targets".to_owned(), name.clone()]);
        let Some(top) = next.targets.get_mut("targets") else {
            return Err(Error::NotRefreshed);
        };
        let delegations = top.delegations.get_or_insert_with(Delegations::default);
        let entry = DelegatedRole {
            name: name.clone(),
            keys,
            terminating: false,
            paths: Some(delegation.paths.clone()),
            path_hash_prefixes: None,
        };
        match delegations.roles.iter_mut().find(|r| r.name == *name) {
            Some(known) => *known = entry.clone(),
            None => delegations.roles.push(entry.clone()),
        }
        let new_keys = &delegation.role.keys;
        delegations
            .keys
            .extend(new_keys.iter().map(|key| (key_id(key), key.clone())));
        let used: BTreeSet<_> = delegations
            .roles
            .iter()
            .flat_map(|r| r.keys.keyids.clone())
            .collect();
        delegations.keys.retain(|id, _| used.contains(id));
        let (moved, kept) = std::mem::take(&mut top.targets)
            .into_iter()
            .partition(|(target, _)| !by_digest(target) && pattern::covers(&entry, target));
        top.targets = kept;
        let role = next.targets.entry(name.clone()).or_insert_with(|| Targets {
            common: unsigned(now),
            targets: BTreeMap::new(),
            delegations: None,
            extra: delegation.role.extra(),
        });
        let moved: BTreeMap<_, _> = moved;
        for (target, info) in moved {
            role.targets.entry(target).or_insert(info);
        }
        let (covered, lost): (BTreeMap<_, _>, _) = std::mem::take(&mut role.targets)
            .into_iter()
            .partition(|(target, _)| pattern::covers(&entry, target));
        role.targets = covered;
        // A role that was there before may have left a floor behind.
        if let Some(listed) = next.snapshot.meta.get(&format!("{name}.json")) {
            role.common.version = role.common.version.max(listed.version);
        }
        // Other channels may name it, whoever listed it.
        let lost: BTreeMap<String, TargetFile> = lost;
        let lost = lost.into_iter().filter(|(target, _)| by_digest(target));
        list_at_top(&mut next, lost);
        let files = self.sign(&mut next, &due, now)?;
        self.commit(next, &files)
    }

    /// Takes a delegation back. What the role listed is not offered any more; its last version
    /// stays in the snapshot, which may not forget a role. What others still name stays offered: the
    /// top-level targets list it from now on, where `keep` says so of a target that is named by its digest.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such role; [`Error::MissingKeys`].
    pub fn revoke(
        &mut self,
        name: &str,
        keep: impl Fn(&str) -> bool,
        now: Time,
    ) -> Result<(), Error> {
        let mut next = self.now.clone();
        let top = next.targets.get_mut("targets");
        let delegations = top.and_then(|top| top.delegations.as_mut());
        let known = delegations.is_some_and(|d| {
            let before = d.roles.len();
            d.roles.retain(|role| role.name != name);
            let used: BTreeSet<_> = d.roles.iter().flat_map(|r| r.keys.keyids.clone()).collect();
            d.keys.retain(|id, _| used.contains(id));
            d.roles.len() < before
        });
        if !known {
            return Err(Error::Usage(format!("there is no delegated role '{name}'")));
        }
        let theirs = next.targets.remove(name).into_iter();
        let theirs = theirs.flat_map(|role| role.targets);
        let kept = theirs.filter(|(target, _)| by_digest(target) && keep(target));
        list_at_top(&mut next, kept);
        let files = self.sign(&mut next, &["targets".to_owned()].into(), now)?;
        self.commit(next, &files)
    }

    fn check_delegation(&self, delegation: &Delegation) -> Result<(), Error> {
        let name = &delegation.name;
        let good = (1..=100).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b));
        if !good || TOP_LEVEL.contains(&name.as_str()) {
            return Err(Error::Usage(format!(
                "'{}' is not a name for a delegated role; use 1 to 100 characters from A-Z a-z 0-9 . _ + - and start with a letter or digit",
                name.escape_debug()
            )));
        }
        if delegation.paths.is_empty() {
            return Err(Error::Usage(format!(
                "'{name}' would be trusted with nothing; name a channel or a path"
            )));
        }
        let others = self
            .now
            .targets
            .get("targets")
            .and_then(|top| top.delegations.as_ref());
        for other in others
            .iter()
            .flat_map(|d| &d.roles)
            .filter(|r| r.name != *name)
        {
            for path in &delegation.paths {
                let taken = other.paths.iter().flatten().any(|theirs| {
                    theirs == path
                        || pattern::matches(theirs, path)
                        || pattern::matches(path, theirs)
                });
                if taken && !path.starts_with(file_names::BY_DIGEST) {
                    return Err(Error::Usage(format!(
                        "'{path}' is already in the hands of '{}'; revoke that first",
                        other.name
                    )));
                }
            }
        }
        Ok(())
    }
}
