//! A Unix socket that zlink reads and writes, with bounds.
//!
//! Not zlink's own: that one takes in messages of up to 100 MB and every file descriptor that a
//! client cares to send. Here a message has [`MAX_CALL_BYTES`], and descriptors are dropped by the
//! kernel because nobody asks for them.

use super::{roles::Caller, server::WRITE};
use serde::Serialize;
use std::{io, os::fd::AsFd};
use surefoot_api::MAX_CALL_BYTES;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};
use zlink::connection::{
    PassedCredentials, ReadConnection,
    socket::{self, FetchPeerCredentials, ReadResult, UnixSocket},
};

/// Who is at the other end.
///
/// # Errors
/// Whatever `getsockopt(2)` says.
pub(super) async fn caller(stream: &UnixStream) -> io::Result<Caller> {
    struct Peer<'a>(&'a UnixStream);
    impl AsFd for Peer<'_> {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    impl UnixSocket for Peer<'_> {}

    let peer = Peer(stream).fetch_peer_credentials().await?;
    let groups = peer.unix_supplementary_group_ids();
    Ok(Caller {
        uid: peer.unix_user_id().as_raw(),
        pid: peer.process_id().as_raw_nonzero().get(),
        groups: std::iter::once(&peer.unix_primary_group_id())
            .chain(groups)
            .map(|gid| gid.as_raw())
            .collect(),
    })
}

/// What bytes come in by, and go out by.
#[derive(Debug)]
pub(super) struct Wire<R, W>(pub(super) R, pub(super) W);

/// What `zlink` asks of either half.
pub(super) trait Half: Unpin + std::fmt::Debug {}
impl<T: Unpin + std::fmt::Debug> Half for T {}

impl<R: AsyncRead + Half, W: AsyncWrite + Half> Wire<R, W> {
    /// Takes it apart: what says the calls, and what hears the answers.
    pub(super) fn open(self) -> (ReadConnection<Reader<R>>, Writer<W>) {
        let (read, write) = zlink::Connection::new(self).split();
        (read, write.into_write_half())
    }
}

impl<R: AsyncRead + Half, W: AsyncWrite + Half> socket::Socket for Wire<R, W> {
    type ReadHalf = Reader<R>;
    type WriteHalf = Writer<W>;

    fn split(self) -> (Reader<R>, Writer<W>) {
        let reader = Reader {
            half: self.0,
            message: 0,
        };
        (reader, Writer(self.1))
    }
}

/// What the client says.
#[derive(Debug)]
pub(super) struct Reader<R> {
    half: R,
    /// Bytes since the last message ended.
    message: usize,
}

impl<R: AsyncRead + Half> socket::ReadHalf for Reader<R> {
    async fn read(&mut self, buffer: &mut [u8]) -> zlink::Result<ReadResult> {
        let count = self.half.read(buffer).await?;
        let read = buffer.get(..count).unwrap_or_default();
        self.message = match read.iter().rposition(|byte| *byte == 0) {
            Some(end) => count - end - 1,
            None => self.message + count,
        };
        if self.message > MAX_CALL_BYTES {
            return Err(zlink::Error::BufferOverflow);
        }
        Ok(ReadResult::new(count))
    }
}

/// What the client hears.
#[derive(Debug)]
pub(super) struct Writer<W>(W);

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Sends one message.
    ///
    /// Not through zlink's own writer: that one grows its buffer by a few bytes and starts the
    /// message over each time, so a long status would take seconds.
    ///
    /// # Errors
    /// That the client is gone, or does not listen.
    pub(super) async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(message)?;
        bytes.push(0);
        self.write_in_time(&bytes).await
    }

    async fn write_in_time(&mut self, bytes: &[u8]) -> io::Result<()> {
        // One that does not listen is not waited for.
        timeout(WRITE, self.0.write_all(bytes))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<W: AsyncWrite + Half> socket::WriteHalf for Writer<W> {
    async fn write(
        &mut self,
        bytes: &[u8],
        _: &[impl AsFd],
        _: Option<&PassedCredentials>,
    ) -> zlink::Result<()> {
        Ok(self.write_in_time(bytes).await?)
    }
}
