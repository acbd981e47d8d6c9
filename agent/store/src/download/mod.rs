//! One NAR from a cache into staging: resumed, retried, checked while it streams.

pub(crate) mod budget;
pub(crate) mod order;

use crate::{
    blocking::{blocking, written},
    cache::{
        Cache, Resume,
        backoff::{Backoff, Retry},
    },
    error::{Error, Kind, Result},
    nar,
    progress::Teller,
    staging::{Partial, SMALL, Staging, StagingKey},
};
use budget::MemoryBudget;
use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use surefoot_core::closure::{ClosureIndex, Download, PathInfo};
use surefoot_http::{Http, pace::Limiter};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// Bytes are written to staging, and hashed, in runs of at least this size.
const RUN: usize = 256 << 10;

/// What all downloads of a fetch share.
pub(crate) struct Downloader<'a> {
    pub(crate) http: Http,
    /// In order of preference.
    pub(crate) substituters: Vec<Substituter>,
    pub(crate) limiter: Limiter,
    pub(crate) staging: Arc<Staging>,
    pub(crate) memory: MemoryBudget,
    /// What lay in staging at the start, whole or in part.
    pub(crate) found: HashSet<StagingKey>,
    pub(crate) index: Arc<ClosureIndex>,
    pub(crate) retry: Retry,
    pub(crate) teller: Teller<'a>,
}

/// A cache to download from.
pub(crate) struct Substituter {
    cache: Cache,
    backoff: Backoff,
}

impl Substituter {
    pub(crate) fn new(cache: Cache) -> Self {
        Self {
            cache,
            backoff: Backoff::default(),
        }
    }
}

/// One download under way.
struct Job<'a> {
    /// Its place in the index.
    at: usize,
    info: &'a PathInfo,
    /// The file, shared with whoever writes to it on a blocking thread.
    partial: Arc<Mutex<Partial>>,
    /// Bytes of it that were there at the start.
    resumed: u64,
    /// Where all of its bytes come from, if from one place and in one go.
    pure: bool,
}

impl Job<'_> {
    fn partial(&self) -> MutexGuard<'_, Partial> {
        // A panic elsewhere left a file that is still checked before it is used.
        self.partial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the file, on a thread that may block.
    fn spawn(
        &self,
        work: impl FnOnce(&mut Partial) -> Result<()> + Send + 'static,
    ) -> JoinHandle<Result<()>> {
        let partial = Arc::clone(&self.partial);
        tokio::task::spawn_blocking(move || {
            work(&mut partial.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// Begins to write: at once what stays in memory, else on a thread that may block.
    fn write(&self, work: impl FnOnce(&mut Partial) -> Result<()> + Send + 'static) -> Writing {
        let mut partial = self.partial();
        if partial.is_small() {
            return Writing::Ended(work(&mut partial));
        }
        drop(partial);
        Writing::Running(self.spawn(work))
    }
}

/// Something that is being written.
enum Writing {
    Ended(Result<()>),
    Running(JoinHandle<Result<()>>),
}

impl Writing {
    async fn end(self) -> Result<()> {
        match self {
            Self::Ended(result) => result,
            Self::Running(work) => written(work).await,
        }
    }
}

impl Downloader<'_> {
    /// Brings one path into staging. When it returns, [`Staging::path`] holds a file that is what
    /// the index says.
    pub(crate) async fn download(&self, at: usize) -> Result<()> {
        let info = &self.index.paths[at];
        let key = StagingKey::of(info);
        let found = self.found.contains(&key);
        if found && self.is_staged(at, &key).await? {
            return Ok(());
        }
        let small = |&size: &u64| size <= SMALL && info.download.file_hash.is_some();
        let partial = if !found && info.download.file_size.as_ref().is_some_and(small) {
            self.staging.small(&key)
        } else {
            let staging = Arc::clone(&self.staging);
            blocking(move || staging.partial(&key)).await?
        };
        let mut job = Job {
            at,
            info,
            resumed: partial.len(),
            pure: partial.is_empty(),
            partial: Arc::new(Mutex::new(partial)),
        };
        self.teller.meter.resumed(job.resumed);
        let mut best = job.resumed;
        let mut out = vec![false; self.substituters.len()];
        let mut failures = 0;
        let mut worst: Option<Error> = None;
        while let Some(at) = self.choose(&out).await {
            let Substituter { cache, backoff } = &self.substituters[at];
            let Err(error) = self.attempt(&mut job, cache).await else {
                backoff.succeeded();
                return Ok(());
            };
            tracing::debug!(path = %info.path, %cache, %error, "a download failed");
            match error.kind() {
                Kind::Disk => return Err(error),
                Kind::Missing | Kind::Usage => out[at] = true,
                // Unless the fault may lie in what was there before.
                Kind::Wrong => out[at] = job.pure,
                Kind::Network | Kind::Server | Kind::Daemon => backoff.failed(&error, &self.retry),
            }
            let len = job.partial().len();
            if len > best {
                best = len;
                failures = 0;
            }
            if worst
                .as_ref()
                .is_none_or(|worst| weight(worst) <= weight(&error))
            {
                worst = Some(error);
            }
            failures += 1;
            if failures >= self.retry.tries {
                break;
            }
        }
        Err(match worst {
            Some(error) if error.kind() != Kind::Missing => error,
            _ if out.contains(&false) => Error::Resting(self.names()),
            _ => self.missing(info),
        })
    }

    /// The first cache, in order of preference, that is neither out nor left alone just now; waits
    /// for one if need be. `None` if all are out, or for longer than is worth waiting.
    async fn choose(&self, out: &[bool]) -> Option<usize> {
        loop {
            let mut soonest: Option<Instant> = None;
            for (at, substituter) in self.substituters.iter().enumerate() {
                match substituter.backoff.rests_until() {
                    _ if out[at] => {}
                    None => return Some(at),
                    Some(until) => soonest = Some(soonest.map_or(until, |soon| soon.min(until))),
                }
            }
            let soonest = soonest?;
            if soonest > Instant::now() + self.retry.patience {
                return None;
            }
            sleep_until(soonest).await;
        }
    }

    /// Whether the file lies in staging already, and is still what the index says.
    async fn is_staged(&self, at: usize, key: &StagingKey) -> Result<bool> {
        let (staging, index, key) = (
            Arc::clone(&self.staging),
            Arc::clone(&self.index),
            key.clone(),
        );
        let memory = self.memory.clone();
        let (len, good) = blocking(move || {
            let Some((digest, len)) = staging.recheck(&key)? else {
                return Ok((0, false));
            };
            let info = &index.paths[at];
            let good = match info.download.file_hash {
                Some(expected) => digest == expected,
                None => verify(info, &staging.path(&key), &memory).is_ok(),
            };
            if !good {
                staging.forget(&key)?;
            }
            Ok((len, good))
        })
        .await?;
        self.teller.meter.resumed(len);
        if !good {
            self.teller.meter.wasted(len, len);
        }
        Ok(good)
    }

    /// Tries to complete the file from one cache.
    async fn attempt(&self, job: &mut Job<'_>, cache: &Cache) -> Result<()> {
        let size = job.info.download.file_size;
        let len = job.partial().len();
        if size.is_some_and(|size| len > size) {
            self.restart(job).await?;
        }
        // Everything may be there, but for the last step.
        if size.is_none_or(|size| len != size) {
            self.transfer(job, cache).await?;
        }
        if let Err(error) = self.finish(job, cache).await {
            if error.kind() == Kind::Wrong {
                let pure = job.pure;
                self.restart(job).await?;
                job.pure = pure;
            }
            return Err(error);
        }
        Ok(())
    }

    async fn transfer(&self, job: &mut Job<'_>, cache: &Cache) -> Result<()> {
        let Download { url, file_size, .. } = &job.info.download;
        // Compression may make a file that cannot be compressed a little larger.
        let nar_size = job.info.nar_size;
        let limit = file_size.unwrap_or(nar_size + nar_size / 50 + (64 << 10));
        let resume = self.resume(job, cache);
        if resume.offset == 0 && !job.partial().is_empty() {
            self.restart(job).await?;
        }
        let Some(mut body) = cache.open(&self.http, url, &resume).await? else {
            return Err(self.missing(job.info));
        };
        if body.start != job.partial().len() {
            self.restart(job).await?;
        }
        let too_long = |url: &str| Error::TooLong {
            url: url.to_owned(),
            expected: limit,
        };
        if body.total.is_some_and(|total| total > limit) {
            if body.start == 0 {
                job.pure = true;
            }
            return Err(too_long(&body.url));
        }
        job.pure = body.start == 0;
        let mut len = body.start;
        let (origin, validator) = (cache.shown(url), body.validator.clone());
        let size = body.total.unwrap_or(limit);
        let mut writing =
            job.write(move |partial| partial.set_origin(&origin, validator.as_deref(), size));
        let mut run: Vec<u8> = Vec::new();
        let outcome = loop {
            let piece = match body.piece().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            len += piece.len() as u64;
            self.teller.meter.received(piece.len() as u64);
            self.limiter.spend(piece.len() as u64).await;
            if len > limit {
                break Err(too_long(&body.url));
            }
            if run.capacity() == 0 {
                let left = usize::try_from(limit - (len - piece.len() as u64)).unwrap_or(RUN);
                run.reserve_exact(left.min(RUN + piece.len()));
            }
            run.extend_from_slice(&piece);
            if run.len() >= RUN {
                // The next run comes while this one is written.
                writing.end().await?;
                let full = std::mem::take(&mut run);
                writing = job.write(move |partial| partial.write(&full));
                self.teller.tell();
            }
        };
        writing.end().await?;
        job.write(move |partial| partial.write(&run)).end().await?;
        self.teller.tell();
        outcome?;
        match (*file_size).or(body.total) {
            Some(expected) if len < expected => Err(Error::Truncated {
                url: body.url,
                expected,
                got: len,
            }),
            _ => Ok(()),
        }
    }

    /// Where to go on: only where the following bytes are sure to fit, or the digest will tell.
    fn resume(&self, job: &Job<'_>, cache: &Cache) -> Resume {
        let partial = job.partial();
        let url = cache.shown(&job.info.download.url);
        let validator = partial
            .origin()
            .filter(|(origin, _)| *origin == url)
            .map(|(_, validator)| validator.to_owned());
        if validator.is_some() || job.info.download.file_hash.is_some() {
            Resume {
                offset: partial.len(),
                validator,
            }
        } else {
            Resume::default()
        }
    }

    /// Checks the complete file and gives it its name.
    async fn finish(&self, job: &Job<'_>, cache: &Cache) -> Result<()> {
        let at = job.at;
        let (index, url) = (Arc::clone(&self.index), cache.shown(&job.info.download.url));
        let memory = self.memory.clone();
        let work = job.spawn(move |partial| {
            let info = &index.paths[at];
            match info.download.file_hash {
                Some(expected) if partial.digest() != expected => Err(Error::FileHash {
                    url,
                    expected,
                    found: partial.digest(),
                }),
                Some(_) => partial.complete(),
                None => {
                    verify(info, partial.path(), &memory)?;
                    partial.complete()
                }
            }
        });
        written(work).await
    }

    /// Throws away what is there.
    async fn restart(&self, job: &mut Job<'_>) -> Result<()> {
        let len = job.partial().len();
        self.teller.meter.wasted(len, job.resumed);
        job.resumed = 0;
        job.pure = true;
        job.write(Partial::reset).end().await
    }

    fn missing(&self, info: &PathInfo) -> Error {
        Error::Missing {
            what: format!("{} of {}", info.download.url, info.path),
            caches: self.names(),
        }
    }

    fn names(&self) -> String {
        let names = self.substituters.iter().map(|one| one.cache.to_string());
        names.collect::<Vec<_>>().join(", ")
    }
}

/// Which of several errors to show: a reason to wait, then a reason to doubt, then an absence.
fn weight(error: &Error) -> u8 {
    match error.kind() {
        Kind::Missing | Kind::Usage => 0,
        Kind::Wrong => 1,
        _ => 2,
    }
}

/// Checks the NAR in a file.
fn verify(info: &PathInfo, path: &Path, memory: &MemoryBudget) -> Result<()> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut file = BufReader::with_capacity(nar::PIECE, file);
    let _held = memory.take(info, file.fill_buf().map_err(Error::io("read", path))?);
    nar::check(info, file)
}
