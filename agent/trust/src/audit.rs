//! Looks at a whole repository as a client would, and at every file that it offers.

use crate::{
    Error, digest,
    editor::{Expiry, lifetime},
    file_names,
    limits::Limits,
    metadata::{Role, TargetFile, Targets},
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

struct Walk {
    metadata: Base,
    targets: Base,
    reader: Reader,
}

impl Walk {
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

    async fn run(mut self, anchor: &[u8], now: Time, names: Names) -> Result<Audit, Error> {
        let limits = Limits::default();
        let mut audit = Audit {
            set: self.top(TrustedSet::bootstrap(anchor)?, now).await?,
            delegated: Vec::new(),
            targets: 0,
            bytes: 0,
            problems: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        let mut waiting = Vec::new();
        let mut links = Links::default();
        if let Some(top) = audit.set.targets_arc() {
            waiting.push((top, None));
        }
        while let Some((role, by)) = waiting.pop() {
            // What a role may not list, no robot finds there.
            let may = |name: &str| by.as_ref().is_none_or(|by| pattern::covers(by, name));
            let targets = role.role.targets.keys();
            links
                .listed
                .extend(targets.filter(|name| may(name)).cloned());
            self.check_targets(&mut audit, &role.role, names, &mut links)
                .await;
            let Some(delegations) = delegations(&role.role) else {
                continue;
            };
            for delegation in &delegations.roles {
                if !seen.insert(delegation.name.clone()) {
                    continue;
                }
                let read = async {
                    let set = &mut audit.set;
                    let wanted = set.listed(&delegation.name)?.clone();
                    let request =
                        workflow::request(set, &delegation.name, &wanted, limits.delegated);
                    let bytes = self.metadata(&request.file, request.limit).await?;
                    set.accept_delegated(delegation, &delegations.keys, &bytes, now)
                };
                match read.await {
                    Ok(role) => {
                        audit.delegated.push(delegation.name.clone());
                        waiting.push((role, Some(delegation.clone())));
                    }
                    Err(error) => audit.problems.push(error),
                }
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
        let files = files(&self.set).into_iter();
        files.map(|(role, version, _)| (role, version)).collect()
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
