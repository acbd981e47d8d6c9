//! One connection to the daemon, and the operations that are asked for over it.

use super::{
    failure::{Failure, Outcome},
    payload::HEAD,
    stderr::drain,
    wire::{self, Writer, broken},
};
#[cfg(any(doc, test))]
use crate::error::Error;
use crate::error::Result;
use bytes::Buf;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Duration,
};
use surefoot_core::{Sha256, StorePath, closure::SignaturePolicy};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::timeout,
};

/// How long the daemon may owe something, where nothing else is said: as long as a garbage collection
/// that it waits for, or the bytes of a large path on their way to a slow disk, may take.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Where the daemon listens if nothing else is said.
pub const DEFAULT_SOCKET: &str = "/nix/var/nix/daemon-socket/socket";

const CLIENT_MAGIC: u64 = 0x6e69_7863;
const DAEMON_MAGIC: u64 = 0x6478_696f;
/// Major and minor in a byte each.
const PROTOCOL: u64 = 1 << 8 | 35;

/// Operations (`WorkerProto::Op`).
mod op {
    pub(super) const ADD_TEMP_ROOT: u64 = 11;
    pub(super) const ADD_INDIRECT_ROOT: u64 = 12;
    pub(super) const FIND_ROOTS: u64 = 14;
    pub(super) const COLLECT_GARBAGE: u64 = 20;
    pub(super) const QUERY_PATH_INFO: u64 = 26;
    pub(super) const QUERY_VALID_PATHS: u64 = 31;
    pub(super) const ADD_MULTIPLE_TO_STORE: u64 = 44;
}

/// The socket to use: `NIX_DAEMON_SOCKET_PATH` if it is set, [`DEFAULT_SOCKET`] otherwise.
#[must_use]
pub fn default_socket() -> PathBuf {
    std::env::var_os("NIX_DAEMON_SOCKET_PATH")
        .filter(|path| !path.is_empty())
        .map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from)
}

/// What the local store knows of a valid path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidPath {
    /// Digest of its NAR.
    pub nar_hash: Sha256,
    /// Size of its NAR, bytes.
    pub nar_size: u64,
    /// What it refers to, sorted; may include itself.
    pub references: Vec<StorePath>,
    /// The derivation it was built by.
    pub deriver: Option<StorePath>,
    /// Nix signatures.
    pub signatures: Vec<String>,
    /// Content address.
    pub ca: Option<String>,
}

/// One connection: one operation at a time.
///
/// Whatever the daemon owes, an answer or that it takes what is written, it owes within the connection's
/// patience; otherwise the operation fails with [`Error::DaemonSilent`]. Time in which it waits for us does
/// not count.
#[derive(Debug)]
pub struct Connection<R = OwnedReadHalf, W = OwnedWriteHalf> {
    reader: BufReader<R>,
    writer: W,
    socket: PathBuf,
    patience: Duration,
    /// An operation is under way, or was left half-way.
    busy: bool,
}

impl Connection {
    /// Connects and agrees on the protocol. `patience` is how long the daemon may owe something.
    ///
    /// # Errors
    /// [`Error::DaemonGone`] if nobody listens, [`Error::DaemonSilent`] if nobody answers,
    /// [`Error::DaemonProtocol`] if it is not a Nix daemon or too old.
    pub async fn open(socket: &Path, patience: Duration) -> Result<Self> {
        let stream = within(patience, async { Ok(UnixStream::connect(socket).await?) }).await;
        let (reader, writer) = stream.map_err(|why| why.on(socket))?.into_split();
        Self::over(reader, writer, socket, patience).await
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    /// Agrees on the protocol over what leads to a daemon; errors name the socket.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub async fn over(reader: R, writer: W, socket: &Path, patience: Duration) -> Result<Self> {
        let mut connection = Self {
            reader: BufReader::with_capacity(16 << 10, reader),
            writer,
            socket: socket.into(),
            patience,
            busy: false,
        };
        let outcome = within(patience, connection.handshake()).await;
        connection.explain(outcome)?;
        Ok(connection)
    }

    async fn handshake(&mut self) -> Outcome<()> {
        let mut hello = Writer::default();
        // The two zeros are an obsolete CPU affinity and an obsolete reserve of space.
        hello
            .number(CLIENT_MAGIC)
            .number(PROTOCOL)
            .number(0)
            .number(0);
        self.writer.write_all(&hello.0).await?;
        let magic = wire::number(&mut self.reader).await?;
        if magic != DAEMON_MAGIC {
            return Err(broken(format!("its greeting is {magic:#x}")).into());
        }
        let version = wire::number(&mut self.reader).await?;
        if version >> 8 != PROTOCOL >> 8 || version < PROTOCOL {
            let why = format!(
                "it speaks protocol {}.{}, 1.35 or later is needed (Nix 2.15)",
                version >> 8,
                version & 0xff
            );
            return Err(broken(why).into());
        }
        // What the daemon calls itself.
        wire::text(&mut self.reader).await?;
        // Whether it trusts us. It decides by itself, so there is nothing to do with it.
        wire::number(&mut self.reader).await?;
        self.drain().await
    }

    /// Which of the paths are valid in the store. Nothing is substituted.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn valid_paths(&mut self, paths: &[&StorePath]) -> Result<HashSet<StorePath>> {
        let mut request = Writer::default();
        request
            .number(op::QUERY_VALID_PATHS)
            .texts(paths.iter())
            .flag(false);
        let outcome = within(self.patience, async {
            self.start(&request).await?;
            self.drain().await?;
            wire::texts(&mut self.reader)
                .await?
                .iter()
                .map(|text| store_path(text))
                .collect()
        })
        .await;
        self.finish(outcome)
    }

    /// What the store knows of a path; `None` if it is not valid there.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn path_info(&mut self, path: &StorePath) -> Result<Option<ValidPath>> {
        let mut request = Writer::default();
        request.number(op::QUERY_PATH_INFO).path(path);
        let outcome = within(self.patience, async {
            self.start(&request).await?;
            self.drain().await?;
            match wire::number(&mut self.reader).await? {
                0 => Ok(None),
                _ => Ok(Some(self.read_path_info().await?)),
            }
        })
        .await;
        self.finish(outcome)
    }

    async fn read_path_info(&mut self) -> Outcome<ValidPath> {
        let from = &mut self.reader;
        let some = |text: String| (!text.is_empty()).then_some(text);
        let deriver = some(wire::text(from).await?)
            .map(|text| store_path(&text))
            .transpose()?;
        let hash = wire::text(from).await?;
        let nar_hash = Sha256::from_hex(hash.strip_prefix("sha256:").unwrap_or(&hash))
            .map_err(|why| broken(why.to_string()))?;
        let mut references: Vec<StorePath> = wire::texts(from)
            .await?
            .iter()
            .map(|text| store_path(text))
            .collect::<Outcome<_>>()?;
        references.sort_unstable();
        let _registered = wire::number(from).await?;
        let nar_size = wire::number(from).await?;
        let _ultimate = wire::number(from).await?;
        Ok(ValidPath {
            nar_hash,
            nar_size,
            references,
            deriver,
            signatures: wire::texts(from).await?,
            ca: some(wire::text(from).await?),
        })
    }

    /// Keeps the paths from garbage collection for as long as this connection is open, whether
    /// they are valid yet or not.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn add_temp_roots(&mut self, paths: &[&StorePath]) -> Result<()> {
        // Several requests at a time, but few enough for all answers to fit into the socket's
        // buffer: the daemon must never wait for us while we wait for it.
        for some in paths.chunks(64) {
            let mut request = Writer::default();
            for path in some {
                request.number(op::ADD_TEMP_ROOT).path(path);
            }
            let outcome = within(self.patience, async {
                self.start(&request).await?;
                for _ in some {
                    self.drain().await?;
                    wire::number(&mut self.reader).await?;
                }
                Ok(())
            })
            .await;
            self.finish(outcome)?;
        }
        Ok(())
    }

    /// Makes the store respect a symlink, anywhere on the daemon's file system, as a GC root.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn add_indirect_root(&mut self, link: &Path) -> Result<()> {
        let mut request = Writer::default();
        request
            .number(op::ADD_INDIRECT_ROOT)
            .text(&link.to_string_lossy());
        let outcome = within(self.patience, async {
            self.start(&request).await?;
            self.drain().await?;
            wire::number(&mut self.reader).await?;
            Ok(())
        })
        .await;
        self.finish(outcome)
    }

    /// The paths of the store that nothing keeps: what a collection may remove. Nothing is removed.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn dead_paths(&mut self) -> Result<Vec<StorePath>> {
        /// `GCAction::gcReturnDead` (Nix `src/libstore/gc-store.hh`).
        const RETURN_DEAD: u64 = 1;
        let (paths, _) = self.collect(RETURN_DEAD, u64::MAX).await?;
        // What lies there beside, a lock or what was left half-way, is no store path.
        Ok(paths.iter().filter_map(|path| path.parse().ok()).collect())
    }

    /// Removes paths that nothing keeps, one after the other, until more than so many bytes are freed. Gives
    /// how many were removed, and the bytes that this has freed.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn delete_dead(&mut self, bytes: u64) -> Result<(u64, u64)> {
        /// `GCAction::gcDeleteDead`.
        const DELETE_DEAD: u64 = 2;
        let (paths, freed) = self.collect(DELETE_DEAD, bytes).await?;
        Ok((paths.len() as u64, freed))
    }

    async fn collect(&mut self, action: u64, max_freed: u64) -> Result<(Vec<String>, u64)> {
        let mut request = Writer::default();
        request
            .number(op::COLLECT_GARBAGE)
            .number(action)
            // Of all paths, and only what nothing keeps.
            .texts(std::iter::empty::<String>())
            .flag(false)
            .number(max_freed);
        // Obsolete.
        request.number(0).number(0).number(0);
        let outcome = within(self.patience, async {
            self.start(&request).await?;
            self.drain().await?;
            let paths = wire::texts(&mut self.reader).await?;
            let freed = wire::number(&mut self.reader).await?;
            let _obsolete = wire::number(&mut self.reader).await?;
            Ok((paths, freed))
        })
        .await;
        self.finish(outcome)
    }

    /// What keeps paths of the store: links and what running processes use, each with its path. One is
    /// named by its file, or in braces by what uses it (Nix `src/libstore/gc.cc`, `findRuntimeRoots`); the
    /// daemon says `{censored}` to those whom it does not trust.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn roots(&mut self) -> Result<Vec<(String, StorePath)>> {
        let mut request = Writer::default();
        request.number(op::FIND_ROOTS);
        let outcome = within(self.patience, async {
            self.start(&request).await?;
            self.drain().await?;
            let mut roots = Vec::new();
            for _ in 0..wire::count(&mut self.reader).await? {
                let name = wire::text(&mut self.reader).await?;
                roots.push((name, store_path(&wire::text(&mut self.reader).await?)?));
            }
            Ok(roots)
        })
        .await;
        self.finish(outcome)
    }

    /// Adds several paths, references before referrers. Each is valid as soon as the daemon has
    /// read it whole.
    ///
    /// `payload` brings what [`Payload`](super::Payload) writes, in frames of any size that each began with
    /// [`start`](super::Payload::start) or [`frame`](super::Payload::frame); an error that comes through it aborts the
    /// operation, and the connection with it.
    ///
    /// With `repair` what is valid already is removed and written anew: until that is done, it is not there.
    ///
    /// # Errors
    /// The daemon's, or the one that came through `payload`.
    pub async fn add_multiple(
        &mut self,
        signatures: SignaturePolicy,
        repair: bool,
        payload: &mut mpsc::Receiver<Result<Vec<u8>>>,
    ) -> Result<()> {
        let mut request = Writer::default();
        request
            .number(op::ADD_MULTIPLE_TO_STORE)
            .flag(repair)
            .flag(signatures == SignaturePolicy::Manifest); // dontCheckSigs
        let outcome = async {
            self.begin()?;
            let patience = self.patience;
            // The daemon may log while it reads: both directions must move at once.
            let Self { reader, writer, .. } = self;
            let send = async {
                // In one go with the first frame.
                let mut request = &request.0[..];
                while let Some(piece) = payload.recv().await {
                    let mut frame = piece?;
                    // An empty frame would end the operation.
                    let len = match frame.len().checked_sub(HEAD) {
                        None | Some(0) => continue,
                        Some(len) => len as u64,
                    };
                    frame[..HEAD].copy_from_slice(&len.to_le_bytes());
                    within(patience, write(writer, request.chain(&frame[..]))).await?;
                    request = &[];
                }
                let end = 0u64.to_le_bytes();
                within(patience, write(writer, request.chain(&end[..]))).await
            };
            let mut answer = std::pin::pin!(drain(reader));
            let mut send = std::pin::pin!(send);
            tokio::select! {
                // As long as we owe something it owes no answer, and may take its time. An answer before
                // the end can only be an error; or the daemon is gone.
                early = &mut answer => {
                    early?;
                    Err(broken("it answered before it had everything".into()).into())
                }
                sent = &mut send => match sent {
                    Ok(()) => within(patience, answer).await,
                    // It closed the socket: what it said last is worth more than a broken pipe.
                    Err(Failure::Io(why)) => match within(patience, answer).await {
                        Err(Failure::Daemon(message)) => Err(Failure::Daemon(message)),
                        _ => Err(Failure::Io(why)),
                    },
                    Err(other) => Err(other),
                },
            }
        }
        .await;
        // After an error there may be frames that the daemon has not read.
        self.busy = outcome.is_err();
        self.explain(outcome)
    }

    async fn start(&mut self, request: &Writer) -> Outcome<()> {
        self.begin()?;
        self.writer.write_all(&request.0).await?;
        Ok(())
    }

    fn begin(&mut self) -> Outcome<()> {
        if self.busy {
            return Err(
                broken("an earlier operation on this connection was not finished".into()).into(),
            );
        }
        self.busy = true;
        Ok(())
    }

    async fn drain(&mut self) -> Outcome<()> {
        drain(&mut self.reader).await
    }

    /// After an answer, even the daemon's error, the connection is good for the next operation.
    fn finish<T>(&mut self, outcome: Outcome<T>) -> Result<T> {
        if matches!(outcome, Ok(_) | Err(Failure::Daemon(_))) {
            self.busy = false;
        }
        self.explain(outcome)
    }

    fn explain<T>(&self, outcome: Outcome<T>) -> Result<T> {
        outcome.map_err(|failure| failure.on(&self.socket))
    }
}

/// What the daemon owes.
async fn within<T>(patience: Duration, owed: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let done = timeout(patience, owed).await;
    done.unwrap_or(Err(Failure::Silent(patience)))
}

async fn write(to: &mut (impl AsyncWrite + Unpin), mut bytes: impl Buf) -> Outcome<()> {
    Ok(to.write_all_buf(&mut bytes).await?)
}

fn store_path(text: &str) -> Outcome<StorePath> {
    text.parse()
        .map_err(|why: surefoot_core::store_path::StorePathError| broken(why.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::{super::Payload, *};
    use tokio::io::{AsyncReadExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

    type Fake = Connection<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A connection to what greets as a daemon does, and the daemon's side of it.
    async fn greeted() -> (Fake, DuplexStream) {
        let (ours, mut theirs) = duplex(64);
        let socket = Path::new("/socket");
        let (reader, writer) = split(ours);
        let greeting = async {
            let mut hello = Writer::default();
            hello.number(DAEMON_MAGIC).number(PROTOCOL).text("2.15");
            hello.number(1).number(0x616c_7473);
            theirs.write_all(&hello.0).await.unwrap();
            theirs.read_exact(&mut [0; 32]).await.unwrap();
        };
        let opened = Connection::over(reader, writer, socket, Duration::from_secs(10));
        let (connection, ()) = tokio::join!(opened, greeting);
        (connection.unwrap(), theirs)
    }

    /// Adds what comes in two frames, the second an hour after the first, to a daemon that reads so many
    /// bytes of it and then answers, or not.
    async fn add(reads: usize, answers: bool) -> Result<()> {
        let (mut connection, mut theirs) = greeted().await;
        let (frames, mut payload) = mpsc::channel(1);
        let feed = async move {
            for pause in [Duration::ZERO, HOUR] {
                tokio::time::sleep(pause).await;
                let mut frame = Payload::frame(100);
                frame.extend([7; 100]);
                let _ = frames.send(Ok(frame)).await;
            }
        };
        let daemon = async move {
            theirs.read_exact(&mut vec![0; reads]).await.unwrap();
            if answers {
                theirs.write_u64_le(0x616c_7473).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let add = connection.add_multiple(SignaturePolicy::Nix, false, &mut payload);
        let moved = async { tokio::join!(add, feed).0 };
        tokio::select! {
            done = moved => done,
            () = daemon => unreachable!(),
        }
    }

    /// The request, two frames of 100 bytes with their lengths, and the end.
    const ALL: usize = 3 * 8 + 2 * 108 + 8;

    #[tokio::test(start_paused = true)]
    async fn only_the_daemon_can_owe_something() {
        add(ALL, true).await.unwrap();
        for (reads, what) in [(ALL, "an answer"), (10, "to read on")] {
            let error = add(reads, false).await.unwrap_err();
            assert!(
                matches!(error, Error::DaemonSilent { .. }),
                "{what}: {error}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_question_goes_without_an_answer_for_ever() {
        let (mut connection, _theirs) = greeted().await;
        let error = connection.valid_paths(&[]).await.unwrap_err();
        let said = error.to_string();
        assert_eq!(said, "the Nix daemon at /socket has been silent for 10s");
        let (ours, _silent) = duplex(64);
        let (reader, writer) = split(ours);
        let opened = Connection::over(reader, writer, Path::new("/socket"), HOUR).await;
        assert!(matches!(opened, Err(Error::DaemonSilent { .. })));
    }
}
