//! Brings a closure into the Nix store: plan, download, import, root.
//!
//! Downloads run several at a time, references before referrers, and what is complete goes into
//! the store at once. Until a GC root exists, the paths are held by temporary roots, on a
//! connection that stays open.

use crate::{
    bandwidth::{Bandwidth, Limiter},
    board::Board,
    cache::Cache,
    download::{Downloader, blocking},
    error::{Error, Result},
    gc_root,
    http::{self, Http},
    import::Importer,
    memory::Memory,
    mirror::{Mirror, Retry},
    nix_daemon::{Connection, default_socket},
    plan::Plan,
    progress::{Meter, Progress, Teller},
    queue::{Queue, Turn},
    staging::{Key, Staging, sync_file_system},
    turns::MANY,
};
use futures_util::{StreamExt, future::try_join_all, stream::FuturesUnordered};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use surefoot_core::{StorePath, closure::ClosureIndex, store_path::STORE_DIR};
use tokio::time::{Instant, sleep};

/// How often what was staged is brought to the disk: what a power cut may cost.
const SYNC_EVERY: Duration = Duration::from_secs(5);
/// How long to wait for a fetch that was just cancelled to let go of the staging area.
const STAGING_PATIENCE: Duration = Duration::from_secs(2);

/// Whose word makes a path good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignaturePolicy {
    /// The index pins every byte, and the Nix daemon checks its own signatures besides, against
    /// its `trusted-public-keys`.
    #[default]
    Nix,
    /// The signed index alone. The daemon allows it to trusted users only.
    Manifest,
}

/// What to fetch, from where and how.
#[derive(Debug, Clone)]
pub struct Request {
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
    /// Bytes to leave free on the file systems of staging and store.
    pub reserve: u64,
    /// Whose word makes a path good.
    pub signatures: SignaturePolicy,
    /// The symlink that will keep the closure in the store.
    pub gc_root: PathBuf,
    /// The Nix daemon's socket.
    pub daemon_socket: PathBuf,
    /// Where the store's files lie, for the check of free space and the final sync. Skipped if it
    /// is not there.
    pub store_dir: PathBuf,
    /// Whether the store's file system is synced before the fetch counts as done. Nix registers a
    /// path before its files are on the disk, unless `fsync-store-paths` is set.
    pub sync: bool,
    /// How often to try again.
    pub retry: Retry,
    /// How to speak HTTP.
    pub http: http::Options,
}

impl Request {
    /// A request with everything else as usual: 24 connections (Nix takes up to 25), all of the bandwidth,
    /// 256 MiB of staging, 24 MiB for decompressors, no reserve, Nix signatures checked, the usual daemon and store.
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
            memory: 24 << 20,
            reserve: 0,
            signatures: SignaturePolicy::Nix,
            gc_root,
            daemon_socket: default_socket(),
            store_dir: STORE_DIR.into(),
            sync: true,
            retry: Retry::default(),
            http: http::Options::default(),
        }
    }
}

/// What a fetch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Paths of the closure.
    pub paths: u64,
    /// Paths that were missing and are valid now.
    pub fetched: u64,
    /// Paths that were valid before.
    pub already_present: u64,
    /// Bytes of the fetched paths' compressed files.
    pub download_bytes: u64,
    /// Bytes that were moved for it.
    pub wire_bytes: u64,
    /// Bytes that an earlier try had left in staging.
    pub resumed_bytes: u64,
    /// Bytes that were moved, now or earlier, and thrown away.
    pub wasted_bytes: u64,
    /// Bytes that the fetched paths take in the store.
    pub nar_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Says what a fetch would cost, without moving a byte.
///
/// # Errors
/// The index is bad, the daemon is gone, or there is no room: see [`Error`].
pub async fn plan(request: &Request) -> Result<Plan> {
    request.index.check()?;
    let mut daemon = Connection::open(&request.daemon_socket).await?;
    let valid = daemon.valid_paths(&all_paths(&request.index)).await?;
    look(request, &valid).await
}

/// Fetches the closure. When it returns, all of it is valid in the store and the GC root holds it.
///
/// Dropping the future stops it at any point: nothing is half done, and what was downloaded is
/// taken up by the next fetch of the same paths.
///
/// # Errors
/// [`Error::is_retryable`] says whether the same call may succeed later.
pub async fn run(request: &Request, progress: &dyn Progress) -> Result<Report> {
    prepare(request).await?.run(progress).await
}

/// A fetch that has not moved a byte yet.
#[derive(Debug)]
pub struct Prepared<'a> {
    request: &'a Request,
    caches: Vec<Cache>,
    /// What the fetch will cost.
    pub plan: Plan,
    valid: HashSet<StorePath>,
    /// Holds temporary roots until the end.
    daemon: Connection,
    start: Instant,
}

/// Begins a fetch as [`run`] does, up to the point where its cost is known.
///
/// # Errors
/// As [`plan`].
pub async fn prepare(request: &Request) -> Result<Prepared<'_>> {
    let start = Instant::now();
    let index = &request.index;
    index.check()?;
    let caches = request
        .caches
        .iter()
        .map(|url| Cache::new(url))
        .collect::<Result<Vec<_>>>()?;
    let mut daemon = Connection::open(&request.daemon_socket).await?;
    let valid = daemon.valid_paths(&all_paths(index)).await?;
    // What is still valid once it has a root cannot be collected any more.
    let present: Vec<&StorePath> = valid.iter().collect();
    daemon.add_temp_roots(&present).await?;
    let valid = daemon.valid_paths(&present).await?;
    Ok(Prepared {
        request,
        caches,
        plan: look(request, &valid).await?,
        valid,
        daemon,
        start,
    })
}

impl Prepared<'_> {
    /// Goes on, as [`run`].
    ///
    /// # Errors
    /// As there.
    pub async fn run(self, progress: &dyn Progress) -> Result<Report> {
        let Self {
            request,
            caches,
            plan,
            valid,
            mut daemon,
            start,
        } = self;
        let index = &request.index;
        let meter = &Meter::new(&plan);
        let teller = Teller { meter, progress };
        teller.tell();
        if !plan.missing.is_empty() {
            // While a path is imported, the daemon's process that does it holds a root of its own.
            let missing: Vec<&StorePath> = plan.missing.iter().collect();
            tokio::try_join!(
                bring(request, caches, Board::new(index, &valid), teller),
                daemon.add_temp_roots(&missing),
            )?;
        }
        let store = request.store_dir.clone();
        if request.sync && store.is_dir() {
            // What is booted into next must not be a file of zeros after a power cut.
            blocking(move || sync_file_system(&store)).await?;
        }
        gc_root::set(&request.gc_root, &index.toplevel, &mut daemon).await?;
        let status = meter.status();
        Ok(Report {
            paths: index.paths.len() as u64,
            fetched: status.paths_done,
            already_present: plan.already_present,
            download_bytes: plan.download_bytes,
            wire_bytes: status.wire_bytes,
            resumed_bytes: status.resumed,
            wasted_bytes: status.wasted,
            nar_bytes: plan.nar_bytes,
            elapsed: start.elapsed(),
        })
    }
}

fn all_paths(index: &ClosureIndex) -> Vec<&StorePath> {
    index.paths.iter().map(|info| &info.path).collect()
}

async fn look(request: &Request, valid: &HashSet<StorePath>) -> Result<Plan> {
    let plan = Plan::new(&request.index, valid, &request.staging);
    let store = if request.store_dir.is_dir() {
        &request.store_dir
    } else {
        &request.staging
    };
    plan.check_space(&request.staging, store, request.reserve)?;
    Ok(plan)
}

/// Downloads and imports what is missing.
async fn bring(
    request: &Request,
    caches: Vec<Cache>,
    board: Board,
    teller: Teller<'_>,
) -> Result<()> {
    let index = &request.index;
    let wanted = board.wanted();
    let staging = Arc::new(open_staging(&request.staging).await?);
    let keys: HashSet<Key> = wanted.iter().map(|&at| Key::of(&index.paths[at])).collect();
    let cleaned = Arc::clone(&staging);
    let (freed, found) = blocking(move || cleaned.keep_only(&keys)).await?;
    if freed > 0 {
        tracing::info!(
            bytes = freed,
            "removed what earlier fetches had left in staging"
        );
    }
    let memory = Memory::new(request.memory);
    let work = Work {
        wanted,
        connections: request.connections.clamp(1, 64),
        downloader: Downloader {
            http: Http::new(request.http.clone()),
            mirrors: caches.into_iter().map(Mirror::new).collect(),
            limiter: Limiter::new(request.bandwidth.clone()),
            staging: Arc::clone(&staging),
            memory: memory.clone(),
            found,
            index: Arc::clone(index),
            retry: request.retry,
            teller,
        },
        importer: Importer::new(request, board, Arc::clone(&staging), memory, teller),
    };
    let all = async {
        let imports = (0..MANY).map(|_| work.importer.run());
        tokio::try_join!(work.downloads(), try_join_all(imports))?;
        work.importer.clean().await
    };
    tokio::select! {
        done = all => done,
        error = sync_often(&staging) => Err(error),
    }
}

struct Work<'a> {
    /// Places in the index, references before referrers.
    wanted: Vec<usize>,
    connections: usize,
    downloader: Downloader<'a>,
    importer: Importer<'a>,
}

impl Work<'_> {
    async fn downloads(&self) -> Result<()> {
        let (index, room) = (&*self.downloader.index, &self.importer.room);
        let mut queue = Queue::new(index, &self.wanted, self.connections);
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.connections {
                let Some(turn) = queue.next(index, room) else {
                    break;
                };
                running.push(self.download(turn));
            }
            match running.next().await {
                Some(done) => queue.done(done?),
                None => return Ok(()),
            }
        }
    }

    async fn download(&self, turn: Turn) -> Result<usize> {
        let at = match turn {
            Turn::Now(at) => {
                let info = &self.downloader.index.paths[at];
                self.importer.room.take(info).await;
                at
            }
            Turn::Ahead(at) => at,
        };
        self.downloader.download(at).await?;
        self.importer.staged(at);
        self.downloader.teller.tell();
        Ok(at)
    }
}

/// Ends only with an error.
async fn sync_often(staging: &Arc<Staging>) -> Error {
    loop {
        sleep(SYNC_EVERY).await;
        let staging = Arc::clone(staging);
        if let Err(error) = blocking(move || staging.sync()).await {
            return error;
        }
    }
}

async fn open_staging(dir: &Path) -> Result<Staging> {
    let deadline = Instant::now() + STAGING_PATIENCE;
    loop {
        let at = dir.to_owned();
        match blocking(move || Staging::open(&at)).await {
            Err(Error::StagingBusy(_)) if Instant::now() < deadline => {
                sleep(Duration::from_millis(50)).await;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The daemon runs it as a task.
    #[test]
    fn it_can_move_between_threads() {
        fn send<T: Send>(_: &T) {}
        let index = Arc::new(ClosureIndex {
            spec: 1,
            toplevel: StorePath::from_base_name(&format!("{}-x", "0".repeat(32))).unwrap(),
            caches: vec![],
            paths: vec![],
        });
        let request = Request::new(index, vec![], "/x".into(), "/y".into());
        send(&run(&request, &()));
        send(&plan(&request));
    }
}
