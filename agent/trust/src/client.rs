//! The robot's side: keeps a trusted set up to date and brings targets.

use crate::{
    Error,
    clock::{Clock, Now},
    digest, file_names, files,
    keys::sha256_hex,
    limits::Limits,
    metadata::{Role as _, TargetFile},
    source::{Base, Name, Reader},
    storage::{self, Found, Slots, TargetCache, TrustedState},
    trusted_set::TrustedSet,
    workflow::{Refreshing, Search, SearchStep},
};
use jiff::Timestamp as Time;
use nix::fcntl::Flock;
use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};
use surefoot_base::slots::{Disk, RealDisk};
use surefoot_http::{Options, document::Document, headers::Validators, pace::LeastPace};

/// After this many polls that were answered "not modified" the whole workflow runs again, new
/// roots included. They come with a new timestamp, so this is only a second net.
const POLLS_BETWEEN_FULL: u32 = 24;

/// What a client needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where `metadata/` and `targets/` lie: `https://…`, `http://…` or `file:///…`.
    pub repository_url: String,
    /// Where targets lie, if not in `targets/` there.
    pub targets_url: Option<String>,
    /// Where metadata lies, if not in `metadata/` there.
    pub metadata_url: Option<String>,
    /// The trust anchor: a `root.json` that came with the robot.
    pub anchor: Vec<u8>,
    /// A directory of its own for what is trusted; made if it is missing.
    pub state_dir: PathBuf,
    /// What is too large.
    pub limits: Limits,
    /// How to speak HTTP.
    pub http: Options,
    /// The slowest that a web server may be.
    pub pace: LeastPace,
}

impl Config {
    /// With everything else as usual.
    #[must_use]
    pub fn new(repository_url: &str, anchor: Vec<u8>, state_dir: PathBuf) -> Self {
        Self {
            repository_url: repository_url.to_owned(),
            targets_url: None,
            metadata_url: None,
            anchor,
            state_dir,
            limits: Limits::default(),
            http: Options::default(),
            pace: LeastPace::default(),
        }
    }
}

/// Versions of the believed files; 0 for those that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// Of the root.
    pub root: u64,
    /// Of `timestamp.json`.
    pub timestamp: u64,
    /// Of the snapshot.
    pub snapshot: u64,
    /// Of the top-level targets.
    pub targets: u64,
}

/// What a refresh brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// Whether what is offered may have changed. A timestamp that was only signed again is no
    /// change.
    pub changed: bool,
    /// Bytes of bodies that were received, headers not counted.
    pub bytes_received: u64,
    /// The versions now.
    pub versions: Versions,
    /// When the first of the four files expires, if nobody signs them again.
    pub expires: Time,
    /// When the newest of them was signed, if the signer says so: how fresh the knowledge is.
    pub issued: Option<Time>,
    /// When the timestamp was signed, if its signer says so, and whether it was not believed before this
    /// refresh.
    pub timestamp: (Option<Time>, bool),
    /// The time that expiry was judged by.
    pub now: Time,
    /// What the clock was worth.
    pub clock: Clock,
}

/// A client of one repository. Only one at a time can use a state directory.
#[derive(Debug)]
pub struct Client {
    metadata: Base,
    targets: Base,
    limits: Limits,
    reader: Reader,
    slots: Slots<RealDisk>,
    cache: TargetCache,
    state: TrustedState,
    set: TrustedSet,
    /// The time of the last refresh that succeeded in this process.
    refreshed: Option<Time>,
    idle_polls: u32,
    damage: Option<String>,
    address: String,
    state_dir: PathBuf,
    lock: Arc<Flock<File>>,
}

impl Client {
    /// Opens the state directory; asks nothing of the network.
    ///
    /// An anchor that the stored roots descend from changes nothing; a newer one of the same
    /// repository is taken up; one of another repository begins anew.
    ///
    /// A stored set that is damaged is not an error: the copy before it stands in, or else the anchor.
    /// [`Self::damage`] says so.
    ///
    /// # Errors
    /// [`Error::Url`]; [`Error::Malformed`] and [`Error::Threshold`] for the anchor;
    /// [`Error::Io`]; [`Error::Locked`] if another process uses the directory.
    pub fn new(config: Config) -> Result<Self, Error> {
        files::make_dir(&config.state_dir)?;
        let lock = Arc::new(files::lock(&config.state_dir)?);
        Self::with_lock(config, lock)
    }

    /// Goes on by another configuration, with what is trusted in its state directory; the same
    /// one may stay locked. After an error the client is as it was.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn reconfigure(&mut self, config: Config) -> Result<(), Error> {
        if config.state_dir != self.state_dir {
            *self = Self::new(config)?;
            return Ok(());
        }
        *self = Self::with_lock(config, Arc::clone(&self.lock))?;
        Ok(())
    }

    fn with_lock(config: Config, lock: Arc<Flock<File>>) -> Result<Self, Error> {
        let base = |own: Option<String>, below: &str| {
            Base::new(&own.unwrap_or_else(|| {
                format!("{}/{below}", config.repository_url.trim_end_matches('/'))
            }))
        };
        let metadata = base(config.metadata_url.clone(), "metadata")?;
        let targets = base(config.targets_url.clone(), "targets")?;
        let anchor = TrustedSet::bootstrap(&config.anchor)?;
        let opened = open(storage::disk(&config.state_dir), anchor, &config.anchor)?;
        let (slots, state, set, damage) = opened;
        Ok(Self {
            address: metadata.locate(Name::Encoded("timestamp.json")),
            metadata,
            targets,
            limits: config.limits,
            reader: Reader::new(config.http, config.pace),
            slots,
            cache: TargetCache::new(&config.state_dir),
            state,
            set,
            refreshed: None,
            idle_polls: 0,
            damage,
            state_dir: config.state_dir,
            lock,
        })
    }

    /// What was damaged on disk when the client was made, in words; worth a warning.
    #[must_use]
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Brings the trusted set up to date.
    ///
    /// What was accepted before an error stays accepted and is stored, so that nothing older is
    /// ever believed again (§5.4.5, §5.5.7).
    ///
    /// # Errors
    /// Whatever makes the repository unbelievable or unreachable. The set that was believed before
    /// is still there.
    pub async fn refresh(&mut self, now: impl Into<Now>) -> Result<Refresh, Error> {
        let now = now.into();
        let before = self.versions();
        let received = self.reader.received;
        let mut working = Refreshing::new(self.set.clone(), now, self.state.seen, self.limits);
        let (known, clock) = working.clock();
        self.reader
            .know_time((clock != Clock::Trusted).then_some(known));
        let (mut early, idle) = self.ask_for_news(&working).await?;
        let mut validators = self.state.validators.clone();
        let result = if idle {
            self.idle_polls += 1;
            Ok(())
        } else {
            self.idle_polls = 0;
            self.work(&mut working, &mut early, &mut validators).await
        };
        let (judged, clock) = working.clock();
        self.store(working.into_set(), now, clock, validators, result.is_ok())?;
        result?;
        self.refreshed = Some(judged);
        let versions = self.versions();
        Ok(Refresh {
            changed: Versions {
                timestamp: 0,
                ..versions
            } != Versions {
                timestamp: 0,
                ..before
            },
            bytes_received: self.reader.received - received,
            versions,
            expires: self.set.expires().ok_or(Error::NotRefreshed)?,
            issued: self.set.issued(),
            timestamp: (
                self.set.timestamp().and_then(|t| t.role.issued()),
                versions.timestamp != before.timestamp,
            ),
            now: judged,
            clock,
        })
    }

    /// Asks whether `timestamp.json` has changed at all, if that can end the matter: everything is
    /// there and valid, and the server can tell. Gives the new one if there is one.
    ///
    /// Who could answer a false "not modified" could as well withhold new roots, so asking for
    /// those first would not be safer; the expiry of the timestamp bounds either.
    async fn ask_for_news(
        &mut self,
        working: &Refreshing,
    ) -> Result<(Option<(Vec<u8>, Validators)>, bool), Error> {
        let now = working.clock().0;
        let possible = !self.state.validators.is_empty()
            && self.state.url == self.address
            && self.set.is_complete()
            && self.set.expires().is_some_and(|expires| expires > now)
            && self.idle_polls < POLLS_BETWEEN_FULL;
        if !possible {
            return Ok((None, false));
        }
        let validators = Some(&self.state.validators);
        let name = Name::Encoded("timestamp.json");
        let limit = self.limits.timestamp;
        Ok(
            match self
                .reader
                .get(&self.metadata, name, limit, validators)
                .await?
            {
                Document::NotModified => (None, true),
                Document::Bytes(bytes, validators) => (Some((bytes, validators)), false),
                // The workflow asks for it again, and says what is wrong.
                Document::Absent(_) => (None, false),
            },
        )
    }

    async fn work(
        &mut self,
        working: &mut Refreshing,
        early: &mut Option<(Vec<u8>, Validators)>,
        validators: &mut Validators,
    ) -> Result<(), Error> {
        while let Some(request) = working.wanted()? {
            let name = Name::Encoded(&request.file);
            let answer = match early.take_if(|_| request.timestamp) {
                Some(early) => Some(early),
                None => {
                    let (limit, optional) = (request.limit, request.optional);
                    self.reader
                        .find(&self.metadata, name, limit, optional)
                        .await?
                }
            };
            match answer {
                Some((bytes, new)) => {
                    working.answer(Some(&bytes))?;
                    if request.timestamp {
                        *validators = new;
                    }
                }
                None => {
                    let url = self.metadata.locate(name);
                    working.answer(None).map_err(|e| at(e, url))?;
                }
            }
        }
        Ok(())
    }

    /// Makes what was accepted the truth, on disk first.
    fn store(
        &mut self,
        set: TrustedSet,
        now: Now,
        clock: Clock,
        validators: Validators,
        whole: bool,
    ) -> Result<(), Error> {
        let stored = set.to_stored();
        // "Not modified" must only ever mean "as it was when all was well".
        let validators = if whole {
            validators
        } else {
            Validators::default()
        };
        let mut seen = self.state.seen;
        if clock == Clock::Trusted {
            seen = Some(now.reading);
        }
        let same_day = |a: Option<Time>, b: Option<Time>| match (a, b) {
            (Some(a), Some(b)) => (a.as_second() - b.as_second()).abs() < 86_400,
            (a, b) => a == b,
        };
        if stored == self.state.stored
            && validators == self.state.validators
            && self.address == self.state.url
            && same_day(seen, self.state.seen)
        {
            // An idle poll writes nothing: flash memory wears out.
            return Ok(());
        }
        let mut state = TrustedState {
            stored,
            lineage: self.state.lineage.clone(),
            validators,
            url: self.address.clone(),
            seen,
            foreign: self.state.foreign.clone(),
        };
        let root = set.root();
        state
            .lineage
            .insert(root.role.common.version, sha256_hex(&root.bytes));
        self.slots.save(&state)?;
        self.state = state;
        self.set = set;
        Ok(())
    }

    /// The versions that are believed.
    #[must_use]
    pub fn versions(&self) -> Versions {
        Versions {
            root: self.set.root().role.common.version,
            timestamp: self.set.timestamp().map_or(0, |t| t.role.common.version),
            snapshot: self.set.snapshot().map_or(0, |t| t.role.common.version),
            targets: self.set.targets().map_or(0, |t| t.role.common.version),
        }
    }

    /// The set that is believed.
    #[must_use]
    pub fn trusted(&self) -> &TrustedSet {
        &self.set
    }

    /// Finds what is signed about a target, asking delegated roles if need be.
    ///
    /// # Errors
    /// [`Error::NotRefreshed`] before the first refresh that succeeded in this process;
    /// [`Error::NoSuchTarget`]; whatever makes a delegated role unbelievable.
    pub async fn target_info(&mut self, name: &str) -> Result<TargetFile, Error> {
        let now = self.refreshed.ok_or(Error::NotRefreshed)?;
        let mut set = self.set.clone();
        let (mut search, mut step) = Search::new(&set, name, now, self.limits)?;
        let mut fetched = false;
        let result = loop {
            match step {
                SearchStep::Found(info) => break Ok(info),
                SearchStep::Nowhere => {
                    break Err(Error::NoSuchTarget {
                        name: name.escape_debug().to_string(),
                    });
                }
                SearchStep::Want(request) => {
                    let file = Name::Encoded(&request.file);
                    let answer = self
                        .reader
                        .find(&self.metadata, file, request.limit, false)
                        .await?;
                    let bytes = answer.as_ref().map(|(bytes, _)| bytes.as_slice());
                    fetched |= bytes.is_some();
                    let next = search
                        .answer(&mut set, bytes)
                        .map_err(|e| at(e, self.metadata.locate(file)));
                    match next {
                        Ok(next) => step = next,
                        Err(error) => break Err(error),
                    }
                }
            }
        };
        if fetched {
            let mut state = self.state.clone();
            state.stored = set.to_stored();
            if state != self.state {
                self.slots.save(&state)?;
                self.state = state;
            }
            self.set = set;
        }
        result
    }

    /// Brings a target of at most `max_len` bytes: from the small cache beside the trusted set if
    /// it is there, else from the repository. Length and digests are verified either way, and below
    /// [`file_names::BY_DIGEST`] that the content is what the name says.
    ///
    /// # Errors
    /// As [`Self::target_info`]; [`Error::TooLarge`]; [`Error::Mismatch`]; [`Error::NotFound`];
    /// [`Error::Transport`].
    pub async fn target(&mut self, name: &str, max_len: u64) -> Result<Vec<u8>, Error> {
        let info = self.target_info(name).await?;
        if info.length > max_len {
            return Err(Error::TooLarge {
                file: name.to_owned(),
                limit: max_len,
            });
        }
        let hash = file_names::naming_hash(&info).map(str::to_ascii_lowercase);
        if let Some(bytes) = hash
            .as_deref()
            .and_then(|hash| self.cache.read(hash, info.length))
            && digest::check(name, &bytes, info.length, &info.hashes).is_ok()
        {
            file_names::check_digest(name, &bytes)?;
            return Ok(bytes);
        }
        let file = {
            let prefix =
                file_names::naming_hash(&info).filter(|_| self.set.root().role.consistent_snapshot);
            file_names::target(name, prefix)?
        };
        let file = Name::Plain(&file);
        let answer = self
            .reader
            .find(&self.targets, file, info.length, false)
            .await?;
        let Some((bytes, _)) = answer else {
            return Err(Error::NotFound {
                url: self.targets.locate(file),
            });
        };
        digest::check(name, &bytes, info.length, &info.hashes)?;
        file_names::check_digest(name, &bytes)?;
        if let Some(hash) = hash {
            self.cache.keep(&hash, &bytes);
        }
        Ok(bytes)
    }

    /// Sets how long all that is asked of the repository may take, together, from now until
    /// [`Self::close`]. What came in time stays: the next refresh goes on from there.
    pub fn limit(&mut self, all: Duration) {
        self.reader.limit(all);
    }

    /// Closes connections and lets go of the HTTP client's memory until it is needed again.
    pub fn close(&mut self) {
        self.reader.close();
    }
}

/// What is believed at the start, given the anchor and what lies on a disk; and what is damaged
/// there.
fn open<D: Disk>(
    disk: D,
    anchor: TrustedSet,
    bytes: &[u8],
) -> Result<(Slots<D>, TrustedState, TrustedSet, Option<String>), Error> {
    let (
        slots,
        Found {
            content,
            mut damage,
            ..
        },
    ) = Slots::open(disk)?;
    let restored = content.and_then(|state| match TrustedSet::restore(&state.stored) {
        Ok(set) => Some((state, set)),
        Err(error) => {
            damage = Some(format!("{}: {error}", slots.path("trusted").display()));
            None
        }
    });
    let (state, set) = under_anchor(anchor, bytes, restored)?;
    Ok((slots, state, set, damage))
}

/// What is believed of a body in one of the slots, under a checksum that fits: for tests/fuzz.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(body: &[u8], anchor: TrustedSet, bytes: &[u8]) -> Result<TrustedSet, Error> {
    Ok(open(crate::storage::OneSlot::holding(body), anchor, bytes)?.2)
}

/// What is believed at the start, given the anchor and what was stored.
fn under_anchor(
    anchor: TrustedSet,
    bytes: &[u8],
    restored: Option<(TrustedState, TrustedSet)>,
) -> Result<(TrustedState, TrustedSet), Error> {
    let version = anchor.root().role.common.version;
    let hash = sha256_hex(bytes);
    let fresh = |anchor: TrustedSet| {
        let state = TrustedState {
            stored: anchor.to_stored(),
            lineage: [(version, hash.clone())].into(),
            ..TrustedState::default()
        };
        (state, anchor)
    };
    let Some((state, set)) = restored else {
        return Ok(fresh(anchor));
    };
    if state.lineage.get(&version) == Some(&hash) {
        return Ok((state, set));
    }
    if version <= set.root().role.common.version {
        tracing::warn!(
            "the trust anchor is of another repository than the stored set: starting anew"
        );
        let (mut new, set) = fresh(anchor);
        new.seen = state.seen;
        return Ok((new, set));
    }
    // A newer root came with a new system: keep what it still speaks for, as a floor.
    let mut newer = anchor;
    newer.adopt(&state.stored)?;
    let mut state = TrustedState {
        stored: newer.to_stored(),
        ..state
    };
    state.validators = Validators::default();
    state.lineage.insert(version, hash);
    Ok((state, newer))
}

/// Says where a missing file was looked for.
fn at(error: Error, url: String) -> Error {
    match error {
        Error::NotFound { .. } => Error::NotFound { url },
        other => other,
    }
}
