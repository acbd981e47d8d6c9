//! Looks at a whole repository as a client would, and at every file that it offers.

use crate::{
    Error, digest, file_names, files,
    limits::Limits,
    metadata::Targets,
    trusted_set::{TrustedSet, delegations},
    workflow::{self, Refreshing},
};
use jiff::Timestamp as Time;
use std::{collections::BTreeSet, path::Path};

/// What was found.
#[derive(Debug)]
pub struct Audit {
    /// What a client believes.
    pub set: TrustedSet,
    /// Delegated roles, in the order in which they were found.
    pub delegated: Vec<String>,
    /// Targets that are whole.
    pub targets: u64,
    /// Their size, bytes.
    pub bytes: u64,
    /// Targets that are missing or are not what was signed, and delegated roles that cannot be
    /// believed.
    pub problems: Vec<Error>,
}

/// Walks a repository in a directory from an anchor on, at some time.
///
/// # Errors
/// Whatever makes the top-level roles unbelievable. What is wrong below them is listed.
pub fn audit(dir: &Path, anchor: &[u8], now: Time) -> Result<Audit, Error> {
    let metadata = dir.join("metadata");
    let limits = Limits {
        roots: u32::MAX,
        ..Limits::default()
    };
    let mut working = Refreshing::new(TrustedSet::bootstrap(anchor)?, now.into(), None, limits);
    while let Some(request) = working.wanted()? {
        let path = metadata.join(&request.file);
        let bytes = files::read(&path, request.limit)?;
        working.answer(bytes.as_deref()).map_err(|e| match e {
            Error::NotFound { .. } => Error::NotFound {
                url: path.display().to_string(),
            },
            other => other,
        })?;
    }
    let mut audit = Audit {
        set: working.into_set(),
        delegated: Vec::new(),
        targets: 0,
        bytes: 0,
        problems: Vec::new(),
    };
    let mut seen = BTreeSet::new();
    let mut waiting = Vec::new();
    if let Some(top) = audit.set.targets_arc() {
        waiting.push(top);
    }
    while let Some(role) = waiting.pop() {
        audit.check_targets(dir, &role.role);
        let Some(delegations) = delegations(&role.role) else {
            continue;
        };
        for delegation in &delegations.roles {
            if !seen.insert(delegation.name.clone()) {
                continue;
            }
            let read = |set: &mut TrustedSet| {
                let wanted = set.listed(&delegation.name)?.clone();
                let request = workflow::request(set, &delegation.name, &wanted, limits.delegated);
                let path = metadata.join(&request.file);
                let bytes = files::read(&path, request.limit)?.ok_or_else(|| Error::NotFound {
                    url: path.display().to_string(),
                })?;
                set.accept_delegated(delegation, &delegations.keys, &bytes, now)
            };
            match read(&mut audit.set) {
                Ok(role) => {
                    audit.delegated.push(delegation.name.clone());
                    waiting.push(role);
                }
                Err(error) => audit.problems.push(error),
            }
        }
    }
    Ok(audit)
}

impl Audit {
    fn check_targets(&mut self, dir: &Path, role: &Targets) {
        let consistent = self.set.root().role.consistent_snapshot;
        for (name, info) in &role.targets {
            let check = || {
                let hash = file_names::naming_hash(info).filter(|_| consistent);
                let path = dir.join("targets").join(file_names::target(name, hash)?);
                let bytes = files::read(&path, info.length)
                    .map_err(|e| match e {
                        Error::TooLarge { .. } => Error::Mismatch {
                            file: name.clone(),
                            why: format!("more than {} bytes", info.length),
                        },
                        other => other,
                    })?
                    .ok_or_else(|| Error::NotFound {
                        url: path.display().to_string(),
                    })?;
                digest::check(name, &bytes, info.length, &info.hashes)?;
                file_names::check_digest(name, &bytes)
            };
            match check() {
                Ok(()) => {
                    self.targets += 1;
                    self.bytes += info.length;
                }
                Err(error) => self.problems.push(error),
            }
        }
    }
}
