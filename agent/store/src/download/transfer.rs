//! The bytes of one file from one cache into staging, checked while they stream.

use super::budget::MemoryBudget;
use crate::{
    blocking::{blocking, written},
    cache::{Cache, Resume},
    error::{Error, Kind, Result},
    nar,
    progress::Reporter,
    staging::{Partial, SMALL, Staging, StagingKey},
};
use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use surefoot_core::closure::{ClosureIndex, Download, PathInfo};
use surefoot_http::{Http, pace::Limiter};
use tokio::task::JoinHandle;

/// Bytes are written to staging, and hashed, in runs of at least this size.
const RUN: usize = 256 << 10;

/// What all transfers of a fetch share.
pub(crate) struct Transfers<'a> {
    pub(crate) http: Http,
    pub(crate) limiter: Limiter,
    pub(crate) staging: Arc<Staging>,
    pub(crate) memory: MemoryBudget,
    /// What lay in staging at the start, whole or in part.
    pub(crate) found: HashSet<StagingKey>,
    pub(crate) index: Arc<ClosureIndex>,
    pub(crate) reporter: Reporter<'a>,
}

/// One file under way.
pub(super) struct Transfer<'a> {
    /// Its place in the index.
    at: usize,
    pub(super) info: &'a PathInfo,
    /// The file, shared with whoever writes to it on a blocking thread.
    partial: Arc<Mutex<Partial>>,
    /// Bytes of it that were there at the start.
    resumed: u64,
    /// Whether all of its bytes come from one place and in one go: then nobody else is to blame if
    /// they are wrong.
    pub(super) pure: bool,
}

impl Transfer<'_> {
    /// Bytes that are there.
    pub(super) fn len(&self) -> u64 {
        self.partial().len()
    }

    /// The version under which the last bytes came from this URL, if that is known.
    pub(super) fn version(&self, url: &str) -> Option<String> {
        let partial = self.partial();
        let (origin, version) = partial.origin()?;
        (origin == url).then(|| version.to_owned())
    }

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

impl Transfers<'_> {
    /// Takes up a path's file where it was left. `None` if it is in staging, and what the index says.
    pub(super) async fn begin(&self, at: usize) -> Result<Option<Transfer<'_>>> {
        let info = &self.index.paths[at];
        let key = StagingKey::of(info);
        let found = self.found.contains(&key);
        if found && self.is_staged(at, &key).await? {
            return Ok(None);
        }
        let small = |&size: &u64| size <= SMALL && info.download.file_hash.is_some();
        let partial = if !found && info.download.file_size.as_ref().is_some_and(small) {
            self.staging.small(&key)
        } else {
            let staging = Arc::clone(&self.staging);
            blocking(move || staging.partial(&key)).await?
        };
        let transfer = Transfer {
            at,
            info,
            resumed: partial.len(),
            pure: partial.is_empty(),
            partial: Arc::new(Mutex::new(partial)),
        };
        self.reporter.meter.resumed(transfer.resumed);
        Ok(Some(transfer))
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
        self.reporter.meter.resumed(len);
        if !good {
            self.reporter.meter.wasted(len, len);
        }
        Ok(good)
    }

    /// Tries to complete the file from one cache, unless the file there is still of this version.
    pub(super) async fn attempt(
        &self,
        transfer: &mut Transfer<'_>,
        cache: &Cache,
        unless: Option<String>,
    ) -> Result<()> {
        let size = transfer.info.download.file_size;
        let len = transfer.len();
        if size.is_some_and(|size| len > size) {
            self.restart(transfer).await?;
        }
        // Everything may be there, but for the last step.
        if size.is_none_or(|size| len != size) {
            self.receive(transfer, cache, unless).await?;
        }
        if let Err(error) = self.finish(transfer, cache).await {
            if error.kind() == Kind::Wrong {
                let pure = transfer.pure;
                self.restart(transfer).await?;
                transfer.pure = pure;
            }
            return Err(error);
        }
        Ok(())
    }

    async fn receive(
        &self,
        transfer: &mut Transfer<'_>,
        cache: &Cache,
        unless: Option<String>,
    ) -> Result<()> {
        let Download { url, file_size, .. } = &transfer.info.download;
        let limit = longest(transfer.info);
        let resume = Resume {
            unless,
            ..self.resume(transfer, cache)
        };
        if resume.offset == 0 && !transfer.partial().is_empty() {
            self.restart(transfer).await?;
        }
        let Some(mut body) = cache.open(&self.http, url, &resume).await? else {
            return Err(missing(transfer.info, cache.to_string()));
        };
        if body.start != transfer.len() {
            self.restart(transfer).await?;
        }
        let too_long = |url: &str| Error::TooLong {
            url: url.to_owned(),
            expected: limit,
        };
        if body.total.is_some_and(|total| total > limit) {
            if body.start == 0 {
                transfer.pure = true;
            }
            return Err(too_long(&body.url));
        }
        transfer.pure = body.start == 0;
        let mut len = body.start;
        let (origin, validator) = (cache.shown(url), body.validator.clone());
        let size = body.total.unwrap_or(limit);
        let mut writing =
            transfer.write(move |partial| partial.set_origin(&origin, validator.as_deref(), size));
        let mut run: Vec<u8> = Vec::new();
        let outcome = loop {
            let piece = match body.piece().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            len += piece.len() as u64;
            self.reporter.meter.received(piece.len() as u64);
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
                writing = transfer.write(move |partial| partial.write(&full));
                self.reporter.report();
            }
        };
        writing.end().await?;
        transfer
            .write(move |partial| partial.write(&run))
            .end()
            .await?;
        self.reporter.report();
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
    fn resume(&self, transfer: &Transfer<'_>, cache: &Cache) -> Resume {
        let partial = transfer.partial();
        let url = cache.shown(&transfer.info.download.url);
        let validator = partial
            .origin()
            .filter(|(origin, _)| *origin == url)
            .map(|(_, validator)| validator.to_owned());
        if validator.is_some() || transfer.info.download.file_hash.is_some() {
            Resume {
                offset: partial.len(),
                validator,
                unless: None,
            }
        } else {
            Resume::default()
        }
    }

    /// Checks the complete file and gives it its name.
    async fn finish(&self, transfer: &Transfer<'_>, cache: &Cache) -> Result<()> {
        let at = transfer.at;
        let (index, url) = (
            Arc::clone(&self.index),
            cache.shown(&transfer.info.download.url),
        );
        let memory = self.memory.clone();
        let work = transfer.spawn(move |partial| {
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
    async fn restart(&self, transfer: &mut Transfer<'_>) -> Result<()> {
        let len = transfer.len();
        self.reporter.meter.wasted(len, transfer.resumed);
        transfer.resumed = 0;
        transfer.pure = true;
        transfer.write(Partial::reset).end().await
    }
}

/// No cache of these has the file.
pub(crate) fn missing(info: &PathInfo, caches: String) -> Error {
    Error::Missing {
        what: format!("{} of {}", info.download.url, info.path),
        caches,
    }
}

/// Checks the NAR in a file.
fn verify(info: &PathInfo, path: &Path, memory: &MemoryBudget) -> Result<()> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut file = BufReader::with_capacity(nar::PIECE, file);
    let _held = memory.take(info, file.fill_buf().map_err(Error::io("read", path))?);
    nar::check(info, file)
}
/// Bytes that the file of a NAR has at most. Where the cache does not say its size: compression may make a
/// file that cannot be compressed a little larger.
pub(crate) fn longest(info: &PathInfo) -> u64 {
    let (size, nar_size) = (info.download.file_size, info.nar_size);
    size.unwrap_or(nar_size.saturating_add(nar_size / 50 + (64 << 10)))
}
