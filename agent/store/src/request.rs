//! What is to be fetched, from where, and how.

use crate::{
    cache::backoff::Retry,
    download::wrongs::Wrongs,
    nix_daemon::{PATIENCE, default_socket},
    verify::Verified,
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use surefoot_core::{
    closure::{ClosureIndex, SignaturePolicy},
    store_path::STORE_DIR,
};
use surefoot_http::{Options, pace::Bandwidth};

/// Memory for decompressors where nothing else is said, bytes: that of `fetch.memory`.
pub const USUAL_MEMORY: u64 = 24 << 20;

/// How what is valid already is read again.
#[derive(Debug, Clone)]
pub struct Verification {
    /// What need not be read, and what was read.
    pub verified: Verified,
    /// Bytes a second to read.
    pub pace: Bandwidth,
    /// Links to systems that run: `/run/current-system`. What they use is not replaced.
    pub running: Vec<PathBuf>,
}

/// What to fetch, from where and how.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The closure. Its bytes are trusted.
    pub index: Arc<ClosureIndex>,
    /// Base URLs of binary caches, in order of preference; [`ClosureIndex::caches`] is not added.
    pub caches: Vec<String>,
    /// The staging directory; made if it is not there. One fetch at a time may use it.
    pub staging: PathBuf,
    /// Downloads at a time, 1 to 64. Others are taken as the nearest of these.
    pub connections: usize,
    /// Bytes a second; may be changed while the fetch runs.
    pub bandwidth: Bandwidth,
    /// Compressed bytes that may lie in staging at a time; at least one path always may.
    pub staging_limit: u64,
    /// Bytes of memory for decompressors, all together. One that needs more works while no other
    /// does, and then this is exceeded: `xz -9` takes 65 MiB, `xz -6` and `zstd -19` 9 MiB.
    pub memory: u64,
    /// Whether paths come as [deltas](surefoot_core::deltas) where the index has some that this robot can
    /// use.
    pub deltas: bool,
    /// Bytes to leave free on the file systems of staging and store.
    pub reserve: u64,
    /// Whether paths that nothing keeps are removed where the store has no room, as many as are needed
    /// ([`collect`](crate::collect)).
    pub collect: bool,
    /// Whose word makes a path good.
    pub signatures: SignaturePolicy,
    /// The symlink that will keep the closure in the store.
    pub gc_root: PathBuf,
    /// The Nix daemon's socket.
    pub daemon_socket: PathBuf,
    /// How long the Nix daemon may owe an answer.
    pub daemon_patience: Duration,
    /// Where the store's files lie, for the check of free space and the final sync. Skipped if it
    /// is not there.
    pub store_dir: PathBuf,
    /// Whether the store's file system is synced before the fetch counts as done. Nix registers a
    /// path before its files are on the disk, unless `fsync-store-paths` is set.
    pub sync: bool,
    /// How often to try again.
    pub retry: Retry,
    /// How to speak HTTP.
    pub http: Options,
    /// How what is valid already is read again, before it counts as part of the closure. `None`: it is
    /// believed.
    pub verify: Option<Verification>,
    /// What came wrong in this fetch and in those before. Clones share it.
    pub wrongs: Wrongs,
}

impl FetchRequest {
    /// A request with everything else as usual: 24 connections (Nix takes up to 25), all of the bandwidth,
    /// 256 MiB of staging, 24 MiB for decompressors, deltas where they can be used, no reserve, Nix signatures checked, the usual daemon and store.
    #[must_use]
    pub fn new(
        index: Arc<ClosureIndex>,
        caches: Vec<String>,
        staging: PathBuf,
        gc_root: PathBuf,
    ) -> Self {
        Self {
            index,
            caches,
            staging,
            connections: 24,
            bandwidth: Bandwidth::default(),
            staging_limit: 256 << 20,
            memory: USUAL_MEMORY,
            deltas: true,
            reserve: 0,
            collect: false,
            signatures: SignaturePolicy::Nix,
            gc_root,
            daemon_socket: default_socket(),
            daemon_patience: PATIENCE,
            store_dir: STORE_DIR.into(),
            sync: true,
            retry: Retry::default(),
            http: Options::default(),
            verify: None,
            wrongs: Wrongs::default(),
        }
    }
}
