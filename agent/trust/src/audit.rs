//! Looks at a whole repository as a client would, and at every file that it offers.

use crate::{
    Error, digest,
    editor::{Expiry, lifetime},
    file_names,
    limits::Limits,
    metadata::{DelegatedRole, Key, KeyId, Role, RoleKeys, TargetFile, Targets},
    pattern,
    source::{Base, Name, Reader},
    trusted_set::{Trusted, TrustedSet, delegations},
    workflow::{self, Refreshing},
};
use jiff::Timestamp as Time;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    pin::pin,
    task::{Context, Poll, Waker},
};
use surefoot_http::{Options, pace::LeastPace};

/// The targets that a target names, given its name and its bytes: they have to be offered, too.
pub type Names = fn(&str, &[u8]) -> Vec<String>;

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
    /// Targets that are missing or are not what was signed, delegated roles that cannot be
    /// believed, and targets that others name and nobody lists who may.
    pub problems: Vec<Error>,
}

/// Walks a repository in a directory from an anchor on, at some time; `names` says which targets each names.
///
/// # Errors
/// Whatever makes the top-level roles unbelievable. What is wrong below them is listed.
pub fn audit(dir: &Path, anchor: &[u8], now: Time, names: Names) -> Result<Audit, Error> {
    at_once(Walk::in_dir(dir).run(anchor, now, names))
}

/// Runs what waits for nothing: a directory answers at once.
fn at_once<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut work = pin!(work);
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(found) => found,
        Poll::Pending => Err(Error::NotRefreshed),
    }
}

/// Walks a repository at an address (`https://…`, `file://…`), as robots reach it.
///
/// # Errors
/// As [`audit`]; [`Error::Url`], and what the server says.
pub async fn audit_at(
    address: &str,
    options: Options,
    anchor: &[u8],
    now: Time,
    names: Names,
) -> Result<Audit, Error> {
    Walk::at(address, options)?.run(anchor, now, names).await
}

/// What a robot with this anchor believes of a repository, a directory or an address. Only metadata is read.
///
/// # Errors
/// As [`audit_at`].
pub async fn seen(
    place: &str,
    options: Options,
    anchor: &[u8],
    now: Time,
) -> Result<TrustedSet, Error> {
    Ok(Walk::new(place, options)?.roles(anchor, now).await?.set)
}

/// The first root that lies at an address: an anchor for who has no other, and no more worth than the
/// address.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Url`], and what the server says.
pub async fn first_root(address: &str, options: Options) -> Result<Vec<u8>, Error> {
    let mut walk = Walk::at(address, options)?;
    let file = file_names::metadata("root", Some(1));
    walk.metadata(&file, Limits::default().root).await
}

/// Which targets name which.
#[derive(Debug, Default)]
struct Links {
    /// Targets that a role lists that may.
    listed: BTreeSet<String>,
    /// Targets that another one names, and that other one.
    named: BTreeMap<String, String>,
}

/// A role of targets as it is in force, and who speaks for it.
#[derive(Debug, Clone)]
pub struct InForce {
    /// What it lists.
    pub targets: Targets,
    /// Keys of its delegator, by id; not all of them speak for it.
    pub keys: BTreeMap<KeyId, Key>,
    /// Which of them do, and how many have to.
    pub speaking: RoleKeys,
}

/// Reads one role of targets in a repository, a directory or an address, as a robot with this anchor would
/// believe it; and, of these targets, those that it lists.
///
/// # Errors
/// As [`audit_at`]; [`Error::Usage`] if no such role is believed; [`Error::Mismatch`] and
/// [`Error::NotFound`] for a target.
pub async fn in_force(
    place: &str,
    options: Options,
    anchor: &[u8],
    now: Time,
    role: &str,
    wanted: impl IntoIterator<Item = &String>,
) -> Result<(InForce, BTreeMap<String, Vec<u8>>), Error> {
    let mut walk = Walk::new(place, options)?;
    let mut roles = walk.roles(anchor, now).await?;
    let consistent = roles.set.root().role.consistent_snapshot;
    let found = (roles.believed.into_iter()).find(|(name, ..)| name == role);
    let Some((_, role, _)) = found else {
        return Err(roles.problems.pop().unwrap_or_else(|| {
            Error::Usage(format!("{place} has no role '{}'", role.escape_debug()))
        }));
    };
    let mut files = BTreeMap::new();
    for name in wanted {
        if let Some(info) = role.targets.targets.get(name) {
            files.insert(
                name.clone(),
                walk.check_target(name, info, consistent).await?,
            );
        }
    }
    Ok((role, files))
}

/// Reads the targets of a repository, a directory or an address, whose names are wanted: as a robot with this
/// anchor would believe them.
///
/// # Errors
/// As [`audit_at`]; [`Error::Mismatch`] and [`Error::NotFound`] for a target.
pub async fn targets(
    place: &str,
    options: Options,
    anchor: &[u8],
    now: Time,
    wanted: fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut walk = Walk::new(place, options)?;
    let roles = walk.roles(anchor, now).await?;
    let consistent = roles.set.root().role.consistent_snapshot;
    let mut files = BTreeMap::new();
    for (_, role, by) in &roles.believed {
        let may = |name: &str| by.as_ref().is_none_or(|by| pattern::covers(by, name));
        for (name, info) in &role.targets.targets {
            if wanted(name) && may(name) {
                let bytes = walk.check_target(name, info, consistent).await?;
                files.insert(name.clone(), bytes);
            }
        }
    }
    Ok(files)
}

/// What robots believe of a repository.
struct Roles {
    set: TrustedSet,
    /// By name; with its delegation, unless it is the top-level one.
    believed: Vec<(String, InForce, Option<DelegatedRole>)>,
    problems: Vec<Error>,
}

struct Walk {
    metadata: Base,
    targets: Base,
    reader: Reader,
}

impl Walk {
    fn new(place: &str, options: Options) -> Result<Self, Error> {
        if place.contains("://") {
            Self::at(place, options)
        } else {
            Ok(Self::in_dir(Path::new(place)))
        }
    }

    fn in_dir(dir: &Path) -> Self {
        Self {
            metadata: Base::Dir(dir.join("metadata")),
            targets: Base::Dir(dir.join("targets")),
            reader: Reader::new(Options::default(), LeastPace::default()),
        }
    }

    fn at(address: &str, options: Options) -> Result<Self, Error> {
        let below = |part: &str| Base::new(&format!("{}/{part}", address.trim_end_matches('/')));
        Ok(Self {
            metadata: below("metadata")?,
            targets: below("targets")?,
            reader: Reader::new(options, LeastPace::default()),
        })
    }

    /// A file of metadata that has to be there.
    async fn metadata(&mut self, file: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let name = Name::Encoded(file);
        let found = (self.reader.find(&self.metadata, name, limit, false)).await?;
        let (bytes, _) = found.ok_or_else(|| Error::NotFound {
            url: self.metadata.locate(name),
        })?;
        Ok(bytes)
    }

    /// Goes the way of a robot that believes this, up to the top-level targets.
    async fn top(&mut self, believed: TrustedSet, now: Time) -> Result<TrustedSet, Error> {
        let limits = Limits {
            roots: u32::MAX,
            ..Limits::default()
        };
        let mut working = Refreshing::new(believed, now.into(), None, limits);
        while let Some(request) = working.wanted()? {
            let name = Name::Encoded(&request.file);
            let found = self
                .reader
                .find(&self.metadata, name, request.limit, request.optional);
            let bytes = found.await?.map(|(bytes, _)| bytes);
            working.answer(bytes.as_deref()).map_err(|e| match e {
                Error::NotFound { .. } => Error::NotFound {
                    url: self.metadata.locate(name),
                },
                other => other,
            })?;
        }
        Ok(working.into_set())
    }

    /// All roles of targets with who speaks for them, the top-level one first; what makes a delegated one
    /// unbelievable is listed.
    async fn roles(&mut self, anchor: &[u8], now: Time) -> Result<Roles, Error> {
        let limits = Limits::default();
        let mut roles = Roles {
            set: self.top(TrustedSet::bootstrap(anchor)?, now).await?,
            believed: Vec::new(),
            problems: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        let mut waiting = Vec::new();
        if let Some(top) = roles.set.targets_arc() {
            let root = &roles.set.root().role;
            let speaking = root.roles["targets"].clone();
            waiting.push(("targets".to_owned(), top, root.keys.clone(), speaking, None));
        }
        while let Some((name, role, keys, speaking, by)) = waiting.pop() {
            if let Some(delegations) = delegations(&role.role) {
                for delegation in &delegations.roles {
                    if !seen.insert(delegation.name.clone()) {
                        continue;
                    }
                    let read = async {
                        let set = &mut roles.set;
                        let wanted = set.listed(&delegation.name)?.clone();
                        let request =
                            workflow::request(set, &delegation.name, &wanted, limits.delegated);
                        let bytes = self.metadata(&request.file, request.limit).await?;
                        set.accept_delegated(delegation, &delegations.keys, &bytes, now)
                    };
                    match read.await {
                        Ok(role) => waiting.push((
                            delegation.name.clone(),
                            role,
                            delegations.keys.clone(),
                            delegation.keys.clone(),
                            Some(delegation.clone()),
                        )),
                        Err(error) => roles.problems.push(error),
                    }
                }
            }
            let in_force = InForce {
                targets: role.role.clone(),
                keys,
                speaking,
            };
            roles.believed.push((name, in_force, by));
        }
        Ok(roles)
    }

    async fn run(mut self, anchor: &[u8], now: Time, names: Names) -> Result<Audit, Error> {
        let roles = self.roles(anchor, now).await?;
        let mut audit = Audit {
            set: roles.set,
            delegated: Vec::new(),
            targets: 0,
            bytes: 0,
            problems: roles.problems,
        };
        let mut links = Links::default();
        for (name, role, by) in roles.believed {
            // What a role may not list, no robot finds there.
            let may = |name: &str| by.as_ref().is_none_or(|by| pattern::covers(by, name));
            let targets = role.targets.targets.keys();
            links
                .listed
                .extend(targets.filter(|name| may(name)).cloned());
            self.check_targets(&mut audit, &role.targets, names, &mut links)
                .await;
            if name != "targets" {
                audit.delegated.push(name);
            }
        }
        for (name, by) in links.named {
            if !links.listed.contains(&name) {
                let why = format!("it names {name}, which nobody lists who may");
                audit.problems.push(Error::malformed(&by, why));
            }
        }
        Ok(audit)
    }

    async fn check_targets(
        &mut self,
        audit: &mut Audit,
        role: &Targets,
        names: Names,
        links: &mut Links,
    ) {
        let consistent = audit.set.root().role.consistent_snapshot;
        for (name, info) in &role.targets {
            match self.check_target(name, info, consistent).await {
                Ok(bytes) => {
                    audit.targets += 1;
                    audit.bytes += info.length;
                    let named = names(name, &bytes).into_iter();
                    links.named.extend(named.map(|named| (named, name.clone())));
                }
                Err(error) => audit.problems.push(error),
            }
        }
    }

    async fn check_target(
        &mut self,
        name: &str,
        info: &TargetFile,
        consistent: bool,
    ) -> Result<Vec<u8>, Error> {
        let hash = file_names::naming_hash(info).filter(|_| consistent);
        let file = file_names::target(name, hash)?;
        let at = Name::Plain(&file);
        let found = self
            .reader
            .find(&self.targets, at, info.length, false)
            .await;
        let found = found.map_err(|e| match e {
            Error::TooLarge { .. } => Error::Mismatch {
                file: name.to_owned(),
                why: format!("more than {} bytes", info.length),
            },
            other => other,
        })?;
        let (bytes, _) = found.ok_or_else(|| Error::NotFound {
            url: self.targets.locate(at),
        })?;
        digest::check(name, &bytes, info.length, &info.hashes)?;
        file_names::check_digest(name, &bytes)?;
        Ok(bytes)
    }
}

impl Audit {
    /// The versions of the top-level roles, by name.
    #[must_use]
    pub fn versions(&self) -> Vec<(&'static str, u64)> {
        versions(&self.set)
    }

    /// When each top-level role expires.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        fn of<R: Role>(name: &str, file: &Trusted<R>) -> Expiry {
            Expiry {
                role: name.to_owned(),
                expires: file.role.common().expires.0,
                lifetime: lifetime(&file.role),
            }
        }
        let mut list = vec![of("root", self.set.root())];
        list.extend(self.set.targets().map(|file| of("targets", file)));
        list.extend(self.set.snapshot().map(|file| of("snapshot", file)));
        list.extend(self.set.timestamp().map(|file| of("timestamp", file)));
        list
    }
}

/// What a robot believes of a repository in a directory that believes this already: whatever it has seen
/// elsewhere, or before.
///
/// # Errors
/// What the robot would refuse it for.
pub fn follow(dir: &Path, seen: TrustedSet, now: Time) -> Result<TrustedSet, Error> {
    at_once(async { Walk::in_dir(dir).top(seen, now).await })
}

/// The versions of the top-level roles of a set, by name.
#[must_use]
pub fn versions(set: &TrustedSet) -> Vec<(&'static str, u64)> {
    let files = files(set).into_iter();
    files.map(|(role, version, _)| (role, version)).collect()
}

/// The top-level roles that are other files in one set than in another, with their versions in the first.
#[must_use]
pub fn differing(one: &TrustedSet, other: &TrustedSet) -> Vec<(&'static str, u64)> {
    let pairs = files(one).into_iter().zip(files(other));
    let differ = pairs.filter(|((_, _, bytes), (_, _, others))| bytes != others);
    differ
        .map(|((role, version, _), _)| (role, version))
        .collect()
}

/// The top-level roles of a set: their names, versions, and bytes as they were signed.
fn files(set: &TrustedSet) -> Vec<(&'static str, u64, &[u8])> {
    fn of<'a, R: Role>(name: &'static str, file: &'a Trusted<R>) -> (&'static str, u64, &'a [u8]) {
        (name, file.role.common().version, &file.bytes)
    }
    let mut files = vec![of("root", set.root())];
    files.extend(set.targets().map(|file| of("targets", file)));
    files.extend(set.snapshot().map(|file| of("snapshot", file)));
    files.extend(set.timestamp().map(|file| of("timestamp", file)));
    files
}
