//! Brings a closure into the Nix store: plan, download, import, root.
//!
//! Downloads run several at a time, references before referrers, and what is complete goes into
//! the store at once. Until a GC root exists, the paths are held by temporary roots, on a
//! connection that stays open.

use crate::{
    blocking::blocking,
    cache::Cache,
    collect,
    deltas::{self, Chosen, Remembered},
    download::{
        Downloader, Substituter,
        budget::MemoryBudget,
        order::{DownloadOrder, NextDownload},
        transfer::Transfers,
    },
    error::{Error, Result},
    gc_root,
    import::{Importer, concurrency::MAX_IMPORTERS, scheduler::Scheduler},
    locks, moved, nar,
    nix_daemon::Connection,
    plan::FetchPlan,
    progress::{Meter, Progress, Reporter, Spent, Status},
    request::{FetchRequest, Verification},
    staging::{Staging, StagingKey, sync_file_system},
    verify::{self, Reader, Verified},
};
use futures_util::{StreamExt, future::try_join_all, stream::FuturesUnordered};
use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use surefoot_core::{
    StorePath,
    closure::{ClosureIndex, PathInfo},
    deltas::MAX_BAD,
};
use surefoot_http::{Http, pace::Limiter};
use tokio::time::{Instant, sleep};

/// How often what was staged is brought to the disk: what a power cut may cost.
const SYNC_EVERY: Duration = Duration::from_secs(5);
/// How often it is told how much was read.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// How long to wait for a fetch that was just cancelled to let go of the staging area.
const STAGING_PATIENCE: Duration = Duration::from_secs(2);

/// What a fetch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchReport {
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
pub async fn plan(request: &FetchRequest) -> Result<FetchPlan> {
    request.index.check()?;
    let mut daemon = Connection::open(&request.daemon_socket, request.daemon_patience).await?;
    let valid = daemon.valid_paths(&all_paths(&request.index)).await?;
    let given_up = Remembered::load(&request.staging).given_up;
    let bases = deltas::bases(request, &valid, &given_up);
    let bases = daemon.valid_paths(&bases).await?;
    make_plan(
        request,
        &Chosen::new(request, &valid, &bases, &given_up),
        &valid,
    )
}

/// Fetches the closure. When it returns, all of it is valid in the store and the GC root holds it.
///
/// Dropping the future stops it at any point: nothing is half done, and what was downloaded is
/// taken up by the next fetch of the same paths.
///
/// # Errors
/// [`Error::is_retryable`] says whether the same call may succeed later.
pub async fn run(request: &FetchRequest, progress: &dyn Progress) -> Result<FetchReport> {
    let remembered = Remembered::load(&request.staging);
    let prepared = match begin(request, Some(progress), remembered).await {
        Err(error) => return Err(explained(error, request).await),
        Ok(prepared) => prepared,
    };
    prepared.run(progress).await
}

/// A fetch that has not moved a byte yet.
#[derive(Debug)]
pub struct PreparedFetch<'a> {
    request: &'a FetchRequest,
    caches: Vec<Cache>,
    /// What the fetch will cost.
    pub plan: FetchPlan,
    valid: HashSet<StorePath>,
    chosen: Chosen,
    /// What deltas may be applied to.
    bases: HashSet<StorePath>,
    remembered: Remembered,
    /// Holds temporary roots until the end.
    daemon: Connection,
    start: Instant,
}

/// Begins a fetch as [`run`] does, up to the point where its cost is known. Nothing is removed for it.
///
/// # Errors
/// As [`plan`].
pub async fn prepare(request: &FetchRequest) -> Result<PreparedFetch<'_>> {
    match begin(request, None, Remembered::load(&request.staging)).await {
        Err(error) => Err(explained(error, request).await),
        begun => begun,
    }
}

async fn begin<'a>(
    request: &'a FetchRequest,
    collects: Option<&dyn Progress>,
    remembered: Remembered,
) -> Result<PreparedFetch<'a>> {
    let start = Instant::now();
    let index = &request.index;
    index.check()?;
    let caches = request
        .caches
        .iter()
        .map(|url| Cache::new(url))
        .collect::<Result<Vec<_>>>()?;
    let mut daemon = Connection::open(&request.daemon_socket, request.daemon_patience).await?;
    let valid = daemon.valid_paths(&all_paths(index)).await?;
    // What is still valid once it has a root cannot be collected any more.
    let present: Vec<&StorePath> = valid.iter().collect();
    daemon.add_temp_roots(&present).await?;
    let valid = daemon.valid_paths(&present).await?;
    let bases = deltas::bases(request, &valid, &remembered.given_up);
    daemon.add_temp_roots(&bases).await?;
    let bases = daemon.valid_paths(&bases).await?;
    let chosen = Chosen::new(request, &valid, &bases, &remembered.given_up);
    let plan = match (make_plan(request, &chosen, &valid), collects) {
        (Err(error), Some(progress)) if request.collect => {
            let Some(bytes) = collect::lacking(&error, &request.store_dir) else {
                return Err(error);
            };
            // What is there of the closure stays: it has temporary roots by now.
            if let Err(why) = collect::make_room(request, bytes, progress).await {
                tracing::warn!("no room could be made: {why}");
            }
            make_plan(request, &chosen, &valid)?
        }
        (plan, _) => plan?,
    };
    Ok(PreparedFetch {
        request,
        caches,
        plan,
        valid,
        chosen,
        bases,
        remembered,
        daemon,
        start,
    })
}

impl PreparedFetch<'_> {
    /// Goes on, as [`run`].
    ///
    /// # Errors
    /// As there.
    pub async fn run(self, progress: &dyn Progress) -> Result<FetchReport> {
        let request = self.request;
        match self.without_bad_deltas(progress).await {
            Err(error) => Err(explained(error, request).await),
            done => done,
        }
    }

    /// Goes on with the NAR where a delta does not do. What else was fetched until then stays.
    async fn without_bad_deltas(mut self, progress: &dyn Progress) -> Result<FetchReport> {
        let (request, start) = (self.request, self.start);
        let (mut spent, mut bad) = (Spent::default(), 0);
        loop {
            let mut remembered = self.remembered.clone();
            let moved = self.moving(progress, &mut spent).await;
            let Err(Error::Delta { path, sha256, why }) = moved else {
                return moved.map(|report| FetchReport {
                    elapsed: start.elapsed(),
                    ..report
                });
            };
            if let Error::Unpack { .. } = *why {
                let index = request.index.paths.iter().flat_map(|info| &info.deltas);
                let size = index
                    .filter(|delta| delta.sha256 == sha256)
                    .map(|delta| delta.size);
                spent.wasted += size.max().unwrap_or(0);
            }
            let given_up = &mut remembered.given_up;
            if deltas::is_passing(&why) {
                given_up.failed(sha256);
            } else {
                given_up.give_up(sha256);
                bad += 1;
            }
            if bad >= MAX_BAD {
                given_up.give_up_system(request.index.toplevel.clone());
            }
            let left_alone = given_up.has(&sha256);
            remembered = blocking(move || {
                remembered.save();
                Ok(remembered)
            })
            .await?;
            if !left_alone {
                return Err(*why);
            }
            tracing::warn!("{path} cannot come as a delta, and its NAR is fetched: {why}");
            progress.delta_failed(&path, &why);
            self = begin(request, None, remembered).await?;
        }
    }

    async fn moving(self, progress: &dyn Progress, spent: &mut Spent) -> Result<FetchReport> {
        let (request, remembered) = (self.request, self.remembered.clone());
        let error = match self.once(progress, spent).await {
            Err(error @ (Error::Missing { .. } | Error::Compression { .. })) => error,
            done => return done,
        };
        let Some(index) = moved::find(request).await? else {
            return Err(error);
        };
        tracing::info!("{error}; the caches name other files for what is missing: fetching these");
        let request = FetchRequest {
            index: Arc::new(index),
            ..request.clone()
        };
        let again = begin(&request, None, remembered).await?;
        again.once(progress, spent).await
    }

    async fn once(self, progress: &dyn Progress, spent: &mut Spent) -> Result<FetchReport> {
        let Self {
            request,
            caches,
            mut plan,
            mut valid,
            mut chosen,
            mut bases,
            remembered,
            mut daemon,
            start,
        } = self;
        let index = &request.index;
        let repair = match &request.verify {
            Some(verify) => {
                let known = (&plan, *spent, &valid);
                damaged(request, verify, known, &mut daemon, progress).await?
            }
            None => HashSet::new(),
        };
        if !repair.is_empty() {
            valid.retain(|path| !repair.contains(path));
            // What is damaged is no base.
            bases.retain(|base| !repair.contains(base));
            chosen = Chosen::new(request, &valid, &bases, &remembered.given_up);
            plan = make_plan(request, &chosen, &valid)?;
        }
        let meter = &Meter::new(&plan, *spent);
        let reporter = Reporter { meter, progress };
        reporter.report();
        // Before a byte is moved.
        let mut missing = index
            .paths
            .iter()
            .filter(|info| !valid.contains(&info.path));
        missing.try_for_each(|info| nar::compression(info).map(drop))?;
        if !plan.missing.is_empty() {
            // While a path is imported, the daemon's process that does it holds a root of its own.
            let missing: Vec<&StorePath> = plan.missing.iter().collect();
            let request = &FetchRequest {
                index: Arc::clone(&chosen.index),
                ..request.clone()
            };
            let done = tokio::try_join!(
                download_and_import(
                    request,
                    caches,
                    repair.clone(),
                    Scheduler::new(&chosen.index, &valid),
                    reporter,
                    Until::Imported
                ),
                daemon.add_temp_roots(&missing),
            );
            // What was thrown away last is to be known, too.
            reporter.report();
            *spent = meter.spent();
            done?;
            if !repair.is_empty() {
                progress.repaired(&repair);
            }
        }
        let store = request.store_dir.clone();
        if request.sync && store.is_dir() {
            // What is booted into next must not be a file of zeros after a power cut.
            blocking(move || sync_file_system(&store)).await?;
        }
        gc_root::set(&request.gc_root, &index.toplevel, &mut daemon).await?;
        if let Some(verify) = &request.verify {
            let all = index.paths.iter().map(|info| info.path.clone());
            all.for_each(|path| verify.verified.add(path));
            remember(&verify.verified).await;
        }
        let status = meter.status();
        Ok(FetchReport {
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

/// Reads what is valid already, and was not read in this boot. Gives what is damaged and has to come anew.
///
/// # Errors
/// [`Error::Damaged`] if what runs now uses some of it; the Nix daemon's.
async fn damaged(
    request: &FetchRequest,
    verify: &Verification,
    (plan, before, valid): (&FetchPlan, Spent, &HashSet<StorePath>),
    daemon: &mut Connection,
    progress: &dyn Progress,
) -> Result<HashSet<StorePath>> {
    let unread = |info: &&PathInfo| valid.contains(&info.path) && !verify.verified.has(&info.path);
    let unread: Vec<&PathInfo> = request.index.paths.iter().filter(unread).collect();
    let bytes = unread.iter().map(|info| info.nar_size).sum();
    let read = Arc::new(AtomicU64::new(0));
    let look = async {
        let reader = Reader::new(request.store_dir.clone(), verify.pace.clone());
        let mut damaged = Vec::new();
        for info in unread {
            let read = Arc::clone(&read);
            let count = move |bytes| {
                let _ = read.fetch_add(bytes, Relaxed);
            };
            let signed = Some(info.nar_hash);
            match reader.damage(&info.path, signed, daemon, count).await? {
                Some(damage) => damaged.push(damage),
                None => verify.verified.add(info.path.clone()),
            }
        }
        if !damaged.is_empty() {
            damaged
                .iter()
                .for_each(|damage| tracing::error!("{damage}"));
            progress.damaged(&damaged);
            let running = verify.running.iter().filter_map(|at| verify::link(at));
            let used = verify::closure(running, daemon).await?;
            if let Some(damage) = damaged
                .iter()
                .find(|damage| used.contains_key(&damage.path))
            {
                return Err(Error::Damaged(damage.clone()));
            }
        }
        Ok(damaged.into_iter().map(|damage| damage.path).collect())
    };
    let tell = async {
        loop {
            progress.update(&Status {
                verify_bytes: bytes,
                verified: read.load(Relaxed),
                ..Meter::new(plan, before).status()
            });
            sleep(TELL_EVERY).await;
        }
    };
    let damaged = tokio::select! {
        biased;
        damaged = look => damaged,
        never = tell => never,
    };
    remember(&verify.verified).await;
    damaged
}

/// What cannot be remembered is read again.
async fn remember(verified: &Verified) {
    let verified = verified.clone();
    let saved = blocking(move || Ok(verified.save())).await;
    if let Ok(Err(error)) = saved {
        tracing::warn!("cannot remember what was verified: {error}");
    }
}

/// The error with the locks that a silent daemon may have waited for.
async fn explained(error: Error, request: &FetchRequest) -> Error {
    let Error::DaemonSilent { socket, time, .. } = error else {
        return error;
    };
    let (store, index) = (request.store_dir.clone(), Arc::clone(&request.index));
    // The process of the daemon that waited has gone with its connection.
    let locks = blocking(move || {
        let paths = index.paths.iter().map(|info| &info.path);
        Ok(locks::held(&store, paths))
    });
    let locks = locks.await;
    let locks = locks.unwrap_or_default();
    Error::DaemonSilent {
        socket,
        time,
        locks,
    }
}

fn all_paths(index: &ClosureIndex) -> Vec<&StorePath> {
    index.paths.iter().map(|info| &info.path).collect()
}

fn make_plan(
    request: &FetchRequest,
    chosen: &Chosen,
    valid: &HashSet<StorePath>,
) -> Result<FetchPlan> {
    let plan = FetchPlan {
        deltas: chosen.deltas,
        saved_bytes: chosen.saved_bytes,
        ..FetchPlan::new(&chosen.index, valid, &request.staging)
    };
    let store = if request.store_dir.is_dir() {
        &request.store_dir
    } else {
        &request.staging
    };
    plan.check_space(&request.staging, store, request.reserve)?;
    Ok(plan)
}

/// How far a fetch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// All that is wanted lies in staging, and is what the index says.
    Staged,
    /// All that is wanted is in the store.
    Imported,
}

/// Downloads and imports what is missing.
pub(crate) async fn download_and_import(
    request: &FetchRequest,
    caches: Vec<Cache>,
    repair: HashSet<StorePath>,
    scheduler: Scheduler,
    reporter: Reporter<'_>,
    until: Until,
) -> Result<()> {
    let index = &request.index;
    let wanted = scheduler.wanted();
    let staging = Arc::new(open_staging(&request.staging).await?);
    let keys: HashSet<StagingKey> = wanted
        .iter()
        .map(|&at| StagingKey::of(&index.paths[at]))
        .collect();
    let cleaned = Arc::clone(&staging);
    let (freed, found) = blocking(move || cleaned.keep_only(&keys)).await?;
    if freed > 0 {
        tracing::info!(
            bytes = freed,
            "removed what earlier fetches had left in staging"
        );
    }
    let memory = MemoryBudget::new(request.memory);
    let work = Work {
        wanted,
        connections: request.connections.clamp(1, 64),
        downloader: Downloader {
            substituters: caches.into_iter().map(Substituter::new).collect(),
            retry: request.retry,
            wrongs: request.wrongs.clone(),
            transfers: Transfers {
                http: Http::new(request.http.clone()),
                limiter: Limiter::new(request.bandwidth.clone()),
                staging: Arc::clone(&staging),
                memory: memory.clone(),
                found,
                index: Arc::clone(index),
                reporter,
            },
        },
        importer: Importer::new(
            request,
            repair,
            scheduler,
            Arc::clone(&staging),
            memory,
            reporter,
        ),
    };
    let all = async {
        if until == Until::Staged {
            return work.downloads().await;
        }
        let imports = (0..MAX_IMPORTERS).map(|_| work.importer.run());
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
        let (index, budget) = (&*self.importer.index, &self.importer.budget);
        let mut order = DownloadOrder::new(index, &self.wanted, self.connections);
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.connections {
                let Some(next) = order.next(index, budget) else {
                    break;
                };
                running.push(self.download(next));
            }
            match running.next().await {
                Some(done) => order.done(done?),
                None => return Ok(()),
            }
        }
    }

    async fn download(&self, next: NextDownload) -> Result<usize> {
        let at = match next {
            NextDownload::InOrder(at) => {
                let info = &self.importer.index.paths[at];
                self.importer.budget.take(info).await;
                at
            }
            NextDownload::Ahead(at) => at,
        };
        self.downloader.download(at).await?;
        self.importer.staged(at);
        self.importer.reporter.report();
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
        let request = FetchRequest::new(index, vec![], "/x".into(), "/y".into());
        send(&run(&request, &()));
        send(&plan(&request));
    }
}
