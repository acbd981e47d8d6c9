//! How far a fetch is: values, for whoever shows them.

use crate::{damage::Damage, error::Error, plan::FetchPlan};
use std::{
    collections::HashSet,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use surefoot_core::StorePath;

/// Paths of the store that nothing keeps, or that were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dead {
    /// How many.
    pub paths: u64,
    /// What they take, bytes: the size of their NARs; or what their removal has freed.
    pub bytes: u64,
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Paths that were missing at the start.
    pub paths: u64,
    /// Paths that were there already.
    pub already_present: u64,
    /// Paths that are valid in the store by now.
    pub paths_done: u64,
    /// Bytes of their compressed files.
    pub download_bytes: u64,
    /// Bytes of them that are staged or imported by now.
    pub downloaded: u64,
    /// Bytes of them that were found in staging, from an earlier try.
    pub resumed: u64,
    /// Bytes that were moved, also those that turned out worthless.
    pub wire_bytes: u64,
    /// Bytes that were moved, now or in an earlier try, and thrown away.
    pub wasted: u64,
    /// Bytes of their NARs.
    pub nar_bytes: u64,
    /// Bytes of the NARs that are valid in the store by now.
    pub nar_done: u64,
    /// Bytes of what was valid before that have to be read again, while that is done.
    pub verify_bytes: u64,
    /// Bytes of them that were read.
    pub verified: u64,
    /// Bytes that were freed before, so that there is room.
    pub freed: u64,
}

/// Somebody who wants to know. Called often, a few times per path or quarter megabyte: return soon.
pub trait Progress: Send + Sync {
    /// Something moved.
    fn update(&self, status: &Status);

    /// Paths that nothing kept were removed so that there is room.
    fn collected(&self, _: Dead) {}

    /// Paths that were valid are damaged.
    fn damaged(&self, _: &[Damage]) {}

    /// A path could not come as a delta; its NAR is fetched instead.
    fn delta_failed(&self, _: &StorePath, _: &Error) {}

    /// Paths that were valid and damaged have come anew.
    fn repaired(&self, _: &HashSet<StorePath>) {}
}

/// Nobody.
impl Progress for () {
    fn update(&self, _: &Status) {}
}

/// Whoever looks at the channel sees the latest.
impl Progress for tokio::sync::watch::Sender<Status> {
    fn update(&self, status: &Status) {
        self.send_replace(*status);
    }
}

/// Bytes that were moved, and those of them that were thrown away.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) wire: u64,
    pub(crate) wasted: u64,
}

/// The counters behind [`Status`].
#[derive(Debug, Default)]
pub(crate) struct Meter {
    total: Status,
    paths_done: AtomicU64,
    downloaded: AtomicU64,
    resumed: AtomicU64,
    wire: AtomicU64,
    wasted: AtomicU64,
    nar_done: AtomicU64,
}

impl Meter {
    /// Nothing has come yet of this, but so much was spent on it before.
    pub(crate) fn new(plan: &FetchPlan, before: Spent) -> Self {
        Self {
            wire: before.wire.into(),
            wasted: before.wasted.into(),
            total: Status {
                paths: plan.missing.len() as u64,
                already_present: plan.already_present,
                download_bytes: plan.download_bytes,
                nar_bytes: plan.nar_bytes,
                ..Status::default()
            },
            ..Self::default()
        }
    }

    pub(crate) fn spent(&self) -> Spent {
        Spent {
            wire: self.wire.load(Relaxed),
            wasted: self.wasted.load(Relaxed),
        }
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            paths_done: self.paths_done.load(Relaxed),
            downloaded: self.downloaded.load(Relaxed),
            resumed: self.resumed.load(Relaxed),
            wire_bytes: self.wire.load(Relaxed),
            wasted: self.wasted.load(Relaxed),
            nar_done: self.nar_done.load(Relaxed),
            ..self.total
        }
    }

    /// Bytes came from a cache.
    pub(crate) fn received(&self, bytes: u64) {
        self.wire.fetch_add(bytes, Relaxed);
        self.downloaded.fetch_add(bytes, Relaxed);
    }

    /// Bytes were found in staging.
    pub(crate) fn resumed(&self, bytes: u64) {
        self.resumed.fetch_add(bytes, Relaxed);
        self.downloaded.fetch_add(bytes, Relaxed);
    }

    /// Bytes that were counted above are thrown away. If they had come from staging, they do not
    /// count as resumed any more: `resumed` says how many of them did.
    pub(crate) fn wasted(&self, bytes: u64, resumed: u64) {
        self.wasted.fetch_add(bytes, Relaxed);
        self.downloaded.fetch_sub(bytes, Relaxed);
        self.resumed.fetch_sub(resumed, Relaxed);
    }

    /// A path is valid.
    pub(crate) fn imported(&self, nar_bytes: u64) {
        self.paths_done.fetch_add(1, Relaxed);
        self.nar_done.fetch_add(nar_bytes, Relaxed);
    }
}

/// The counters of a fetch, and who wants to know.
#[derive(Clone, Copy)]
pub(crate) struct Reporter<'a> {
    pub(crate) meter: &'a Meter,
    pub(crate) progress: &'a dyn Progress,
}

impl Reporter<'_> {
    pub(crate) fn report(&self) {
        self.progress.update(&self.meter.status());
    }
}
