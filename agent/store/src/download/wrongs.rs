//! The memory of files that came wrong, beyond one fetch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use surefoot_core::{
    distrust::{Distrust, Verdict},
    time,
};
use tokio::time::Instant;

/// Which files of which caches came wrong. Clones share it: whoever fetches again hands it on.
#[derive(Debug, Clone)]
pub struct Wrongs(Arc<(Instant, Mutex<Distrust>)>);

impl Default for Wrongs {
    fn default() -> Self {
        Self(Arc::new((Instant::now(), Mutex::default())))
    }
}

impl Wrongs {
    fn distrust(&self) -> MutexGuard<'_, Distrust> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> time::Instant {
        time::Instant::default() + self.0.0.elapsed()
    }

    /// Whether a file is worth asking for.
    pub(crate) fn verdict(&self, url: &str) -> Verdict {
        self.distrust().verdict(url, self.now())
    }

    /// It came wrong, in this version.
    pub(crate) fn wrong(&self, url: &str, validator: Option<&str>) {
        self.distrust().wrong(url, validator, self.now());
    }

    /// It came as it should.
    pub(crate) fn right(&self, url: &str) {
        self.distrust().right(url);
    }
}
