//! Damaged paths of the store, brought anew.
//!
//! Nix removes a path that is valid before it writes it anew (`LocalStore::addToStore`, Nix
//! `src/libstore/local-store.cc`). What anything that runs uses is therefore left alone.

use crate::blocking::blocking;
use crate::{
    cache::Cache,
    error::Result,
    fetch::{Until, download_and_import},
    import::scheduler::Scheduler,
    moved,
    nix_daemon::{Connection, ValidPath},
    plan::FetchPlan,
    progress::{Meter, Reporter, Spent},
    request::FetchRequest,
    staging::sync_file_system,
    verify,
};
use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    sync::Arc,
};
use surefoot_core::{
    StorePath,
    closure::{ClosureIndex, PathInfo, SPEC},
};
use surefoot_http::Http;

/// What became of a damaged path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was written anew, and is what was signed.
    Repaired,
    /// Something that runs uses it, and nothing was done.
    InUse,
    /// No cache has it, and nothing was done.
    Nowhere,
    /// There was something else to do before it was brought, and nothing was done.
    Stopped,
}

/// What a repair did.
#[derive(Debug)]
pub struct Repair {
    /// What became of the path.
    ///
    /// An error: it could not be brought, as [`fetch::run`](crate::fetch::run) says. Bytes were moved all the same.
    pub outcome: Result<Outcome>,
    /// Bytes that were moved for it.
    pub wire_bytes: u64,
    /// Bytes of them that were thrown away.
    pub wasted_bytes: u64,
}

/// What is used now: these links to systems, and what processes have open, with all that they refer to.
///
/// # Errors
/// The Nix daemon's.
pub async fn in_use(running: &[PathBuf], daemon: &mut Connection) -> Result<BTreeSet<StorePath>> {
    let links = running.iter().filter_map(|link| verify::link(link));
    let roots = daemon.roots().await?.into_iter();
    // Of processes. All else keeps paths that nothing need use now.
    let processes = roots.filter(|(name, _)| name.starts_with('{') || name.starts_with("/proc/"));
    let used = links.chain(processes.map(|(_, path)| path));
    let used = verify::closure(used.collect::<Vec<_>>(), daemon).await?;
    Ok(used.into_keys().collect())
}

/// Brings a damaged path anew from the caches of a request, whose index and root do not count, and has
/// the Nix daemon write it in its place. `known` is what the store knows of it; its digest judges the bytes.
/// `running`: links to systems that run.
///
/// Once `stop` ends, no more is begun; what is being written is written to its end.
///
/// # Errors
/// As [`fetch::run`](crate::fetch::run). Where the agent or the power goes while the path is being written,
/// files of it may be missing afterwards; who calls writes down before that it is damaged.
pub async fn run(
    request: &FetchRequest,
    (path, known): (&StorePath, &ValidPath),
    running: &[PathBuf],
    stop: impl Future<Output = ()>,
) -> Result<Repair> {
    let nothing = |outcome| Repair {
        outcome: Ok(outcome),
        wire_bytes: 0,
        wasted_bytes: 0,
    };
    let mut daemon = Connection::open(&request.daemon_socket, request.daemon_patience).await?;
    if in_use(running, &mut daemon).await?.contains(path) {
        return Ok(nothing(Outcome::InUse));
    }
    let caches = request.caches.iter().map(|url| Cache::new(url));
    let caches = caches.collect::<Result<Vec<_>>>()?;
    let http = Http::new(request.http.clone());
    let nar = (known.nar_hash, known.nar_size);
    let Some(download) = moved::place(&http, &caches, path, nar).await else {
        return Ok(nothing(Outcome::Nowhere));
    };
    let info = PathInfo {
        path: path.clone(),
        nar_hash: known.nar_hash,
        nar_size: known.nar_size,
        references: known.references.clone(),
        deriver: known.deriver.clone(),
        signatures: known.signatures.clone(),
        ca: known.ca.clone(),
        download,
        deltas: Vec::new(),
    };
    let request = &FetchRequest {
        index: Arc::new(ClosureIndex {
            spec: SPEC,
            toplevel: path.clone(),
            caches: Vec::new(),
            paths: vec![info],
        }),
        ..request.clone()
    };
    let plan = FetchPlan::new(&request.index, &HashSet::new(), &request.staging);
    let store = request.store_dir.clone();
    plan.check_space(&request.staging, &store, request.reserve)?;
    let meter = Meter::new(&plan, Spent::default());
    let reporter = Reporter {
        meter: &meter,
        progress: &(),
    };
    let bring = |until| {
        download_and_import(
            request,
            caches.clone(),
            HashSet::from([path.clone()]),
            Scheduler::new(&request.index, &HashSet::new()),
            reporter,
            until,
        )
    };
    let mut stop = std::pin::pin!(stop);
    let work = async {
        // A download may take hours, and somebody may have begun to use the path meanwhile.
        let staged = tokio::select! {
            done = bring(Until::Staged) => done,
            () = &mut stop => return Ok(Outcome::Stopped),
        };
        staged?;
        let used = tokio::select! {
            biased;
            () = &mut stop => return Ok(Outcome::Stopped),
            used = in_use(running, &mut daemon) => used?,
        };
        if used.contains(path) {
            return Ok(Outcome::InUse);
        }
        // Nobody may collect it while it is not there. Not before: this root counts as use, too.
        daemon.add_temp_roots(&[path]).await?;
        bring(Until::Imported).await?;
        if request.sync {
            blocking(move || sync_file_system(&store)).await?;
        }
        Ok(Outcome::Repaired)
    };
    let outcome = work.await;
    let status = meter.status();
    Ok(Repair {
        outcome,
        wire_bytes: status.wire_bytes,
        wasted_bytes: status.wasted,
    })
}
