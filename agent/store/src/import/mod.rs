//! Staged NARs into the store, through the Nix daemon.

mod cleanup;
pub(crate) mod concurrency;
pub(crate) mod scheduler;

use crate::{
    blocking::blocking,
    deltas,
    download::budget::{MemoryBudget, StagingBudget},
    error::{Error, Result},
    nar,
    nix_daemon::{Connection, Payload},
    progress::Reporter,
    request::FetchRequest,
    staging::{Staging, StagingKey},
};
use cleanup::Cleanup;
use concurrency::Concurrency;
use scheduler::{Next, Scheduler};
use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use surefoot_core::{
    StorePath,
    closure::{ClosureIndex, PathInfo, SignaturePolicy},
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

/// Frames between the thread that unpacks and the socket.
const FRAMES: usize = 4;

/// What all importers of a fetch share.
pub(crate) struct Importer<'a> {
    pub(crate) socket: PathBuf,
    /// How long the daemon may owe an answer.
    pub(crate) patience: Duration,
    pub(crate) signatures: SignaturePolicy,
    /// Where the store's files lie: what deltas are applied to.
    store_dir: PathBuf,
    /// Paths that are valid, and are damaged.
    pub(crate) repair: HashSet<StorePath>,
    pub(crate) index: Arc<ClosureIndex>,
    pub(crate) staging: Arc<Staging>,
    pub(crate) reporter: Reporter<'a>,
    /// KiB of staging that are free; the downloads take from it.
    pub(crate) budget: StagingBudget,
    pub(crate) memory: MemoryBudget,
    /// Held by who decodes a delta: one processor of a robot at work is enough.
    decoder: Arc<Mutex<()>>,
    cleanup: Cleanup,
    scheduler: Mutex<Scheduler>,
    changed: Notify,
    concurrency: Concurrency,
    /// Connections that nobody uses. No more are opened than paths are imported at once: each is a
    /// process of the daemon's, with a cache of its own that has to be filled.
    idle: Mutex<Vec<Connection>>,
}

impl<'a> Importer<'a> {
    pub(crate) fn new(
        request: &FetchRequest,
        repair: HashSet<StorePath>,
        scheduler: Scheduler,
        staging: Arc<Staging>,
        memory: MemoryBudget,
        reporter: Reporter<'a>,
    ) -> Self {
        let cleanup = Cleanup::new(Arc::clone(&staging), request.staging_limit / 8);
        Self {
            socket: request.daemon_socket.clone(),
            patience: request.daemon_patience,
            signatures: request.signatures,
            store_dir: request.store_dir.clone(),
            repair,
            index: Arc::clone(&request.index),
            staging,
            reporter,
            budget: StagingBudget::new(request.staging_limit),
            memory,
            decoder: Arc::default(),
            cleanup,
            scheduler: Mutex::new(scheduler),
            changed: Notify::new(),
            concurrency: Concurrency::new(),
            idle: Mutex::default(),
        }
    }

    fn scheduler(&self) -> MutexGuard<'_, Scheduler> {
        self.scheduler
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path is in staging, verified.
    pub(crate) fn staged(&self, at: usize) {
        self.scheduler().staged(at);
        self.changed.notify_waiters();
    }

    /// Imports until every path is valid, or something fails. Several run at once.
    pub(crate) async fn run(&self) -> Result<()> {
        loop {
            let permit = self.concurrency.importer().await;
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let next = self.scheduler().take();
            let at = match next {
                Next::Done => return Ok(()),
                Next::Wait => {
                    drop(permit);
                    changed.await;
                    continue;
                }
                Next::Import(at) => at,
            };
            // Others may begin now what refers to it.
            self.changed.notify_waiters();
            let idle = self.idle().pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => Connection::open(&self.socket, self.patience).await?,
            };
            self.import(&mut connection, at).await?;
            self.idle().push(connection);
            self.scheduler().imported(at);
            self.changed.notify_waiters();
            self.reporter.meter.imported(self.index.paths[at].nar_size);
            self.reporter.report();
            self.forget(at).await?;
        }
    }

    /// Waits until a path's references are valid.
    async fn ready(&self, at: usize) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.scheduler().is_ready(at) {
                return;
            }
            changed.await;
        }
    }

    /// What is in the store need not be in staging.
    async fn forget(&self, at: usize) -> Result<()> {
        let info = &self.index.paths[at];
        let size = info.download.size(info.nar_size);
        self.cleanup.imported(StagingKey::of(info), size).await?;
        self.budget.give(at, info);
        Ok(())
    }

    /// Removes what still lies around, at the end.
    pub(crate) async fn clean(&self) -> Result<()> {
        self.cleanup.end().await
    }

    /// Imports a path; its end is held back until its references are valid, and nobody else is
    /// giving an end.
    async fn import(&self, connection: &mut Connection, at: usize) -> Result<()> {
        let (frames, mut payload) = mpsc::channel(FRAMES);
        let (index, unpacked) = (Arc::clone(&self.index), frames.clone());
        let from = From {
            staging: Arc::clone(&self.staging),
            store: self.store_dir.clone(),
            memory: self.memory.clone(),
            decoder: Arc::clone(&self.decoder),
        };
        let unpacking = blocking(move || unpack(&index.paths[at], &from, &unpacked));
        let feed = async {
            let mut permit = None;
            let last = match unpacking.await {
                Ok(mut last) => {
                    let end = Payload::split_end(&mut last);
                    // If nobody listens any more, the import has failed already.
                    let _ = frames.send(Ok(last)).await;
                    let ready = async {
                        self.ready(at).await;
                        permit = Some((self.concurrency.registration().await, Instant::now()));
                    };
                    tokio::select! {
                        () = ready => {}
                        () = frames.closed() => {}
                    }
                    Ok(end)
                }
                Err(error) => Err(error),
            };
            let _ = frames.send(last).await;
            drop(frames);
            permit
        };
        let add = async {
            let repair = self.repair.contains(&self.index.paths[at].path);
            let added = connection.add_multiple(self.signatures, repair, &mut payload);
            let outcome = added.await;
            drop(payload);
            outcome
        };
        // The unpacking ends by itself once nobody listens; and only then may the file be removed.
        let (outcome, permit) = tokio::join!(add, feed);
        if let Some((_permit, since)) = permit {
            let size = self.index.paths[at].nar_size;
            self.concurrency.registered(size, since.elapsed());
        }
        outcome
    }
}

/// What a path is unpacked from, and what that may take.
struct From {
    staging: Arc<Staging>,
    /// Where the store's files lie.
    store: PathBuf,
    memory: MemoryBudget,
    decoder: Arc<Mutex<()>>,
}

/// Unpacks and checks a path, in frames of at most about [`nar::PIECE`] bytes. Gives the last of
/// them: with it, the path is complete.
fn unpack(info: &PathInfo, from: &From, frames: &mpsc::Sender<Result<Vec<u8>>>) -> Result<Vec<u8>> {
    let mut frame = Payload::start(1);
    let path = from.staging.path(&StagingKey::of(info));
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    Payload::path(info, &mut frame);
    let full = |frame: &mut Vec<u8>| {
        let full = std::mem::replace(frame, Payload::frame(nar::PIECE));
        frames.blocking_send(Ok(full)).map_err(|_| Error::Cancelled)
    };
    if let Some(delta) = deltas::of(info) {
        // It waits for nobody but its own process of the daemon, so nobody waits for it for ever.
        let _alone = from.decoder.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = from.memory.take_bytes(info, delta.memory);
        let made = deltas::verified(info, delta, &file, &from.store, &mut frame, full);
        made.map_err(|error| match error {
            Error::Cancelled => error,
            error => deltas::blamed(info, error),
        })?;
        return Ok(frame);
    }
    let mut file = BufReader::with_capacity(nar::PIECE, file);
    let beginning = file.fill_buf().map_err(Error::io("read", path))?;
    let _held = from.memory.take(info, beginning);
    nar::verified(info, file, &mut frame, full)?;
    Ok(frame)
}
