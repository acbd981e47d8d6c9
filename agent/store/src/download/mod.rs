//! One NAR into staging: from which cache, and how often it is tried again.

pub(crate) mod budget;
pub(crate) mod order;
pub(crate) mod transfer;
pub(crate) mod wrongs;

use crate::{
    cache::{
        Cache,
        backoff::{Backoff, Retry},
    },
    deltas,
    error::{Error, Kind, Result},
};
use std::time::Duration;
use surefoot_core::distrust::Verdict;
use tokio::time::{Instant, sleep_until};
use transfer::{Transfers, missing};
use wrongs::Wrongs;

/// What all downloads of a fetch share.
pub(crate) struct Downloader<'a> {
    /// In order of preference.
    pub(crate) substituters: Vec<Substituter>,
    pub(crate) retry: Retry,
    pub(crate) transfers: Transfers<'a>,
    pub(crate) wrongs: Wrongs,
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

impl Downloader<'_> {
    /// Brings one path into staging. When it returns, [`path`](crate::staging::Staging::path) holds a file that is what
    /// the index says.
    pub(crate) async fn download(&self, at: usize) -> Result<()> {
        let brought = self.bring(at).await;
        brought.map_err(|error| deltas::blamed(&self.transfers.index.paths[at], error))
    }

    async fn bring(&self, at: usize) -> Result<()> {
        let Some(mut transfer) = self.transfers.begin(at).await? else {
            return Ok(());
        };
        let info = transfer.info;
        let mut best = transfer.len();
        let mut out = vec![false; self.substituters.len()];
        let mut failures = 0;
        let mut worst: Option<Error> = None;
        while let Some(at) = self.choose(&out).await {
            let Substituter { cache, backoff } = &self.substituters[at];
            let url = cache.shown(&info.download.url);
            let attempt = match self.wrongs.verdict(&url) {
                Verdict::Leave => Err(Error::StillWrong { url: url.clone() }),
                verdict => {
                    let unless = match verdict {
                        Verdict::IfChanged(version) => Some(version),
                        _ => None,
                    };
                    self.transfers.attempt(&mut transfer, cache, unless).await
                }
            };
            let Err(error) = attempt else {
                backoff.succeeded();
                self.wrongs.right(&url);
                return Ok(());
            };
            tracing::debug!(path = %info.path, %cache, %error, "a download failed");
            match error.kind() {
                Kind::Disk => return Err(error),
                Kind::Missing | Kind::Usage => out[at] = true,
                // Unless the fault may lie in what was there before.
                Kind::Wrong => {
                    let still = matches!(error, Error::StillWrong { .. });
                    out[at] = transfer.pure || still;
                    if transfer.pure && !still {
                        self.wrongs.wrong(&url, transfer.version(&url).as_deref());
                    }
                }
                Kind::Network | Kind::Server | Kind::Daemon => backoff.failed(&error, &self.retry),
            }
            let len = transfer.len();
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
            _ if out.contains(&false) => Error::Resting {
                caches: self.names(),
                after: self.rest(&out),
            },
            _ => missing(info, self.names()),
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

    /// How long the caches that may still have it are left alone.
    fn rest(&self, out: &[bool]) -> Duration {
        let asked = self.substituters.iter().zip(out).filter(|(_, out)| !**out);
        let until = asked.filter_map(|(one, _)| one.backoff.rests_until()).min();
        until.map_or(Duration::ZERO, |until| until - Instant::now())
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
