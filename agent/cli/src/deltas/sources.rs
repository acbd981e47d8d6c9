//! What a delta is made from: paths in a Nix store here, or NARs in the caches.

use crate::web_servers;
use anyhow::Context as _;
use std::path::Path;
use surefoot_core::closure::PathInfo;
use surefoot_delta::{ReadAt, Tree};
use surefoot_http::{Http, Options};
use surefoot_store::{cache::Cache, index};

/// Where paths are read.
pub(super) struct Sources {
    /// The caches that may have them.
    pub(super) caches: Vec<Cache>,
    pub(super) http: Options,
    /// Whether this machine's store may be read.
    pub(super) store: bool,
}

impl Sources {
    /// A path as its NAR. Whoever uses it compares the digest.
    ///
    /// # Errors
    /// It is neither here nor in a cache, or cannot be read.
    pub(super) fn open(&self, info: &PathInfo) -> anyhow::Result<Box<dyn ReadAt>> {
        let place = info.path.to_string();
        let place = Path::new(&place);
        if self.store
            && place.symlink_metadata().is_ok()
            && let Ok(tree) = Tree::new(place)
            && surefoot_delta::digest(&tree).is_ok_and(|digest| digest == info.nar_hash.0)
        {
            return Ok(Box::new(tree));
        }
        // Connections last as long as the runtime that they were made in.
        let http = Http::new(self.http.clone());
        let nar = web_servers::wait(async {
            Ok(index::bring(info, &self.caches, &http, tempfile::tempfile).await?)
        });
        Ok(Box::new(nar.with_context(|| info.path.to_string())?))
    }
}
