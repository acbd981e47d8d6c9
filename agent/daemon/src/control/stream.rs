//! Messages in and out of a connection, with bounds.
//!
//! Own framing, rather than a Varlink server's: zlink takes in messages of up to 100 MB and every
//! file descriptor that a client cares to send, and its writer grows a buffer by a few bytes and
//! starts the message over each time, so that a long status would take seconds. What would be left
//! of it is a search for a zero byte. Here a message has [`MAX_CALL_BYTES`], whoever does not
//! listen is not waited for, and descriptors are dropped by the kernel because nobody asks for
//! them. zlink's client and its reader of interfaces stay in the tests, as somebody else who has to
//! understand what is said here.

use super::limits::WRITE;
use std::io;
use surefoot_api::{
    MAX_CALL_BYTES,
    message::{Inbox, IncomingCall},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// Bytes that are read at once.
const CHUNK: usize = 4 << 10;

/// What the client says.
#[derive(Debug)]
pub(super) struct CallReader<R> {
    half: R,
    inbox: Inbox,
}

impl<R: AsyncRead + Unpin> CallReader<R> {
    /// Reads calls from here.
    pub(super) fn new(half: R) -> Self {
        Self {
            half,
            inbox: Inbox::new(MAX_CALL_BYTES),
        }
    }

    /// Whether more was read than was taken.
    pub(super) const fn has_more(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// The next call; `None` once the client has gone. Nothing is lost if it is not waited for.
    ///
    /// # Errors
    /// The connection is broken, or what comes is not a call or an endless one: nothing that follows
    /// can be believed.
    pub(super) async fn next(&mut self) -> io::Result<Option<IncomingCall>> {
        let mut chunk = [0; CHUNK];
        loop {
            if let Some(message) = self.inbox.take().map_err(io::Error::other)? {
                return Ok(Some(IncomingCall::parse(&message)?));
            }
            let count = self.half.read(&mut chunk).await?;
            if count == 0 {
                return Ok(None);
            }
            self.inbox.put(chunk.get(..count).unwrap_or_default());
        }
    }
}

/// What the client hears.
#[derive(Debug)]
pub(super) struct MessageWriter<W>(pub(super) W);

impl<W: AsyncWrite + Unpin> MessageWriter<W> {
    /// Sends one message.
    ///
    /// # Errors
    /// The client is gone, or does not listen: then it is not waited for.
    pub(super) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        timeout(WRITE, self.0.write_all(message))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
