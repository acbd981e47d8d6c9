//! The client workflow (§5) as a machine without I/O: it says which file it wants next, and takes
//! the bytes or "there is none". HTTP, `file://` and tests all drive the same machine.

use crate::{
    Error,
    clock::{Clock, Now, judge},
    file_names,
    limits::Limits,
    metadata::{DelegatedRole, Key, KeyId, MetaFile, TargetFile, Targets},
    pattern,
    trusted_set::{Trusted, TrustedSet, delegations},
};
use jiff::Timestamp as Time;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A file of metadata that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRequest {
    /// Relative to `metadata/`, percent-encoded.
    pub file: String,
    /// More bytes than this must not be read.
    pub limit: u64,
    /// Whether it is `timestamp.json`, the one file whose content changes under its name.
    pub timestamp: bool,
    /// Whether there need not be one: the next root.
    pub optional: bool,
}

/// One refresh of the four top-level roles.
#[derive(Debug, Clone)]
pub struct Refreshing {
    set: TrustedSet,
    now: Now,
    seen: Option<Time>,
    limits: Limits,
    stage: Stage,
    roots: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Root,
    Timestamp,
    Snapshot,
    Targets,
    Done,
}

impl Refreshing {
    /// Begins. `seen` is the last reading of a trusted clock.
    #[must_use]
    pub fn new(set: TrustedSet, now: Now, seen: Option<Time>, limits: Limits) -> Self {
        Self {
            set,
            now,
            seen,
            limits,
            stage: Stage::Root,
            roots: 0,
        }
    }

    /// What is believed so far. After an error too: everything in it was accepted.
    #[must_use]
    pub fn set(&self) -> &TrustedSet {
        &self.set
    }

    /// Ends.
    #[must_use]
    pub fn into_set(self) -> TrustedSet {
        self.set
    }

    /// The time that expiry is judged by, and what the clock is worth.
    #[must_use]
    pub fn clock(&self) -> (Time, Clock) {
        judge(self.now, self.seen, self.set.issued())
    }

    /// The next file that is wanted; `None` when the refresh has succeeded.
    ///
    /// # Errors
    /// Whatever makes the repository unbelievable.
    pub fn wanted(&mut self) -> Result<Option<FileRequest>, Error> {
        let now = self.clock().0;
        loop {
            match self.stage {
                Stage::Root => {
                    if self.roots < self.limits.roots
                        && let Some(version) = self.set.root().role.common.version.checked_add(1)
                    {
                        return Ok(Some(FileRequest {
                            file: file_names::metadata("root", Some(version)),
                            limit: self.limits.root,
                            timestamp: false,
                            optional: true,
                        }));
                    }
                    self.roots_done()?;
                }
                Stage::Timestamp => {
                    return Ok(Some(FileRequest {
                        file: file_names::metadata("timestamp", None),
                        limit: self.limits.timestamp,
                        timestamp: true,
                        optional: false,
                    }));
                }
                Stage::Snapshot => match self.set.wanted_snapshot(now)? {
                    Some(wanted) => {
                        return Ok(Some(self.request("snapshot", wanted, self.limits.snapshot)));
                    }
                    None => self.stage = Stage::Targets,
                },
                Stage::Targets => match self.set.wanted_targets(now)? {
                    Some(wanted) => {
                        return Ok(Some(self.request("targets", wanted, self.limits.targets)));
                    }
                    None => self.stage = Stage::Done,
                },
                Stage::Done => return Ok(None),
            }
        }
    }

    /// Takes the file that was wanted, or `None` if the repository has none.
    ///
    /// # Errors
    /// Whatever makes it unbelievable. [`Error::NotFound`] names the file alone.
    pub fn answer(&mut self, bytes: Option<&[u8]>) -> Result<(), Error> {
        let now = self.clock().0;
        match (self.stage, bytes) {
            (Stage::Root, Some(bytes)) => {
                self.set.accept_root(bytes)?;
                self.roots += 1;
            }
            (Stage::Root, None) => self.roots_done()?,
            (Stage::Timestamp, Some(bytes)) => {
                self.set.accept_timestamp(bytes, now)?;
                self.stage = Stage::Snapshot;
            }
            (Stage::Snapshot, Some(bytes)) => {
                self.set.accept_snapshot(bytes, now)?;
                self.stage = Stage::Targets;
            }
            (Stage::Targets, Some(bytes)) => {
                self.set.accept_targets(bytes, now)?;
                self.stage = Stage::Done;
            }
            (Stage::Done, _) => {}
            (_, None) => {
                let url = self.wanted()?.map(|r| r.file).unwrap_or_default();
                return Err(Error::NotFound { url });
            }
        }
        Ok(())
    }

    fn roots_done(&mut self) -> Result<(), Error> {
        self.set.settle();
        // Judged anew: the times of what was just dropped do not count any more.
        self.set.check_root(self.clock().0)?;
        self.stage = Stage::Timestamp;
        Ok(())
    }

    fn request(&self, role: &str, wanted: &MetaFile, limit: u64) -> FileRequest {
        request(&self.set, role, wanted, limit)
    }
}

/// The file of a role that the snapshot or the timestamp lists.
pub(crate) fn request(set: &TrustedSet, role: &str, wanted: &MetaFile, limit: u64) -> FileRequest {
    let version = set
        .root()
        .role
        .consistent_snapshot
        .then_some(wanted.version);
    FileRequest {
        file: file_names::metadata(role, version),
        limit: wanted.length.unwrap_or(limit).min(limit),
        timestamp: false,
        optional: false,
    }
}

/// The search for a target through the delegations (§5.6.7): depth first, in order of preference.
#[derive(Debug)]
pub struct Search {
    target: String,
    now: Time,
    limits: Limits,
    /// Roles that are still to be asked, the next one last.
    waiting: Vec<Asked>,
    visited: BTreeSet<String>,
    /// The first role that was passed over because it has expired.
    expired: Option<Error>,
}

/// A role that is to be asked, and who speaks for it.
#[derive(Debug, Clone)]
struct Asked {
    delegation: DelegatedRole,
    keys: Arc<BTreeMap<KeyId, Key>>,
}

/// Where a search stands.
#[derive(Debug)]
pub enum SearchStep {
    /// This file is wanted first.
    Want(FileRequest),
    /// The target.
    Found(TargetFile),
    /// Nobody who may offers it.
    Nowhere,
}

impl Search {
    /// Begins at the top-level targets.
    ///
    /// # Errors
    /// [`Error::NotRefreshed`] without any; [`Error::Expired`]; [`Error::TargetName`].
    pub fn new(
        set: &TrustedSet,
        target: &str,
        now: Time,
        limits: Limits,
    ) -> Result<(Self, SearchStep), Error> {
        file_names::check_target(target)?;
        let top = set
            .targets_arc()
            .filter(|_| set.is_complete())
            .ok_or(Error::NotRefreshed)?;
        let mut search = Self {
            target: target.to_owned(),
            now,
            limits,
            waiting: Vec::new(),
            visited: BTreeSet::new(),
            expired: None,
        };
        if let Some(found) = search.visit(&top) {
            return Ok((search, SearchStep::Found(found)));
        }
        let step = search.go_on(set)?;
        Ok((search, step))
    }

    /// Takes the file that was wanted, or `None` if the repository has none.
    ///
    /// # Errors
    /// Whatever makes it unbelievable.
    pub fn answer(
        &mut self,
        set: &mut TrustedSet,
        bytes: Option<&[u8]>,
    ) -> Result<SearchStep, Error> {
        if let Some(asked) = self.waiting.pop() {
            let Some(bytes) = bytes else {
                return Err(Error::NotFound {
                    url: format!("{}.json", asked.delegation.name.escape_debug()),
                });
            };
            match set.accept_delegated(&asked.delegation, &asked.keys, bytes, self.now) {
                Ok(role) => {
                    if let Some(found) = self.ask(&asked, &role) {
                        return Ok(SearchStep::Found(found));
                    }
                }
                Err(error) => self.pass_over(&asked.delegation, error)?,
            }
        }
        self.go_on(set)
    }

    fn go_on(&mut self, set: &TrustedSet) -> Result<SearchStep, Error> {
        while let Some(asked) = self.waiting.last().cloned() {
            let name = &asked.delegation.name;
            if self.visited.contains(name) {
                self.waiting.pop();
                continue;
            }
            if self.visited.len() >= self.limits.delegations as usize {
                return Err(Error::malformed(
                    "targets.json",
                    format!(
                        "more than {} roles would have to be asked for '{}'",
                        self.limits.delegations, self.target
                    ),
                ));
            }
            match set.delegated(&asked.delegation, &asked.keys, self.now) {
                Err(error) => {
                    self.waiting.pop();
                    self.pass_over(&asked.delegation, error)?;
                }
                Ok(Some(role)) => {
                    self.waiting.pop();
                    if let Some(found) = self.ask(&asked, &role) {
                        return Ok(SearchStep::Found(found));
                    }
                }
                Ok(None) => {
                    let wanted = set.listed(name)?;
                    let others = set.delegated_bytes_without(name);
                    let room = self.limits.all_delegated.saturating_sub(others);
                    let limit = self.limits.delegated.min(room);
                    return Ok(SearchStep::Want(request(set, name, wanted, limit)));
                }
            }
        }
        self.expired.take().map_or(Ok(SearchStep::Nowhere), Err)
    }

    /// A role that has expired is out of force, and the others are not, where it does not matter who lists
    /// the target: its name says its content. Everywhere else what a role with precedence would have said is
    /// not for those after it to say.
    fn pass_over(&mut self, delegation: &DelegatedRole, error: Error) -> Result<(), Error> {
        let alone = self.target.starts_with(file_names::BY_DIGEST) && !delegation.terminating;
        if !alone || !matches!(error, Error::Expired { .. }) {
            return Err(error);
        }
        self.visited.insert(delegation.name.clone());
        self.expired.get_or_insert(error);
        Ok(())
    }

    fn ask(&mut self, asked: &Asked, role: &Trusted<Targets>) -> Option<TargetFile> {
        self.visited.insert(asked.delegation.name.clone());
        if asked.delegation.terminating {
            // Only its own delegations are asked from here on.
            self.waiting.clear();
        }
        self.visit(role)
    }

    /// Looks into a role, and queues whom it delegates the target to.
    fn visit(&mut self, role: &Trusted<Targets>) -> Option<TargetFile> {
        if let Some(found) = role.role.targets.get(&self.target) {
            return Some(found.clone());
        }
        let delegations = delegations(&role.role)?;
        let keys = Arc::new(delegations.keys.clone());
        let mut matching: Vec<Asked> = Vec::new();
        for delegation in &delegations.roles {
            if pattern::covers(delegation, &self.target) {
                matching.push(Asked {
                    delegation: delegation.clone(),
                    keys: Arc::clone(&keys),
                });
                if delegation.terminating {
                    break;
                }
            }
        }
        self.waiting.extend(matching.into_iter().rev());
        None
    }
}
