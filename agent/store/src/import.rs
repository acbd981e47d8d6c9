//! Staged NARs into the store, through the Nix daemon.

use crate::{
    board::{Board, Next},
    download::blocking,
    error::{Error, Result},
    nar,
    nix_daemon::{CheckSignatures, Connection, Payload},
    progress::Teller,
    room::Room,
    staging::{Key, Staging},
};
use std::{
    fs::File,
    io::BufReader,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use surefoot_core::closure::ClosureIndex;
use tokio::sync::{Notify, mpsc};

/// Frames between the thread that unpacks and the socket.
const FRAMES: usize = 4;

/// What all importers of a fetch share.
pub(crate) struct Importer<'a> {
    pub(crate) socket: PathBuf,
    pub(crate) check: CheckSignatures,
    pub(crate) index: Arc<ClosureIndex>,
    pub(crate) staging: Arc<Staging>,
    pub(crate) teller: Teller<'a>,
    /// KiB of staging that are free; the downloads take from it.
    pub(crate) room: Room,
    board: Mutex<Board>,
    changed: Notify,
}

impl<'a> Importer<'a> {
    pub(crate) fn new(
        board: Board,
        socket: PathBuf,
        check: CheckSignatures,
        index: Arc<ClosureIndex>,
        staging: Arc<Staging>,
        teller: Teller<'a>,
        room: Room,
    ) -> Self {
        Self {
            socket,
            check,
            index,
            staging,
            teller,
            room,
            board: Mutex::new(board),
            changed: Notify::new(),
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path is in staging, verified.
    pub(crate) fn staged(&self, at: usize) {
        self.board().staged(at);
        self.changed.notify_waiters();
    }

    /// Imports until every path is valid, or something fails. Several may run at once, each with a
    /// connection of its own; with `min`, one that only cares for paths of so many bytes or more.
    pub(crate) async fn run(&self, min: u64) -> Result<()> {
        let mut connection = None;
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let next = self.board().take(min);
            let batch: Arc<[usize]> = match next {
                Next::Done => return Ok(()),
                Next::Wait => {
                    changed.await;
                    continue;
                }
                Next::Batch(batch) => batch.into(),
            };
            let connection = match &mut connection {
                Some(connection) => connection,
                none => none.insert(Connection::open(&self.socket).await?),
            };
            self.import(connection, Arc::clone(&batch)).await?;
            self.forget(Arc::clone(&batch)).await?;
            self.board().imported(&batch);
            self.changed.notify_waiters();
            for &at in &*batch {
                let info = &self.index.paths[at];
                self.room.give(info);
                self.teller.meter.imported(info.nar_size);
            }
            self.teller.tell();
        }
    }

    /// What is in the store need not be in staging.
    async fn forget(&self, batch: Arc<[usize]>) -> Result<()> {
        let (index, staging) = (Arc::clone(&self.index), Arc::clone(&self.staging));
        blocking(move || {
            batch
                .iter()
                .try_for_each(|&at| staging.forget(&Key::of(&index.paths[at])))
        })
        .await
    }

    async fn import(&self, connection: &mut Connection, batch: Arc<[usize]>) -> Result<()> {
        let (frames, mut payload) = mpsc::channel(FRAMES);
        let (index, staging) = (Arc::clone(&self.index), Arc::clone(&self.staging));
        let unpacking = tokio::task::spawn_blocking(move || {
            if let Err(error) = unpack(&index, &staging, &batch, &frames) {
                // If nobody listens any more, the import has failed already.
                let _ = frames.blocking_send(Err(error));
            }
        });
        let outcome = connection.add_multiple(self.check, &mut payload).await;
        drop(payload);
        // It ends by itself, now that nobody listens; and only then may the files be removed.
        let _ = unpacking.await;
        outcome
    }
}

/// Unpacks and checks a batch, in frames of at most about [`nar::PIECE`] bytes.
fn unpack(
    index: &ClosureIndex,
    staging: &Staging,
    batch: &[usize],
    frames: &mpsc::Sender<Result<Vec<u8>>>,
) -> Result<()> {
    let mut frame = Payload::start(batch.len());
    let send = |frame: &mut Vec<u8>| {
        let full = std::mem::replace(frame, Vec::with_capacity(nar::PIECE));
        frames.blocking_send(Ok(full)).map_err(|_| Error::Cancelled)
    };
    for &at in batch {
        let info = &index.paths[at];
        let path = staging.path(&Key::of(info));
        let file = File::open(&path).map_err(Error::io("open", path))?;
        Payload::path(info, &mut frame);
        nar::verified(info, BufReader::with_capacity(nar::PIECE, file), |piece| {
            if frame.len() + piece.len() > nar::PIECE {
                send(&mut frame)?;
            }
            frame.extend_from_slice(piece);
            Ok(())
        })?;
    }
    send(&mut frame)
}
