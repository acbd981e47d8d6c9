//! The line to a caller: whether there is still somebody who hears an answer.

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, send},
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The line to a caller. One without a socket is always up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    socket: Option<Arc<OwnedFd>>,
    waited: Arc<AtomicBool>,
}

impl Line {
    /// The line of this connection.
    ///
    /// # Errors
    /// There is no file descriptor left for it.
    pub(super) fn of(stream: impl AsFd) -> io::Result<Self> {
        let socket = stream.as_fd().try_clone_to_owned()?;
        Ok(Self {
            socket: Some(Arc::new(socket)),
            waited: Arc::default(),
        })
    }

    /// It waited for an agent, and so did the first call on it and what was said right after that.
    pub(super) fn has_waited(&self) {
        self.waited.store(true, Ordering::Relaxed);
    }

    /// Whether the call that is read now may have waited for an agent.
    pub(super) fn waited(&self) -> bool {
        self.waited.load(Ordering::Relaxed)
    }

    /// A call was answered. If nothing more has been said by now, what comes later did not wait.
    pub(super) fn was_answered(&self) {
        if self.waited() && !self.has_more() {
            self.waited.store(false, Ordering::Relaxed);
        }
    }

    /// Whether there is something to read.
    fn has_more(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| {
            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
        })
    }

    /// Hands bytes to the kernel for the caller, as far as it takes them at once; how many it took. Nobody
    /// is waited for.
    ///
    /// # Errors
    /// The caller is gone.
    pub(super) fn hand_over(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(socket) = &self.socket else {
            return Ok(0);
        };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(socket.as_raw_fd(), bytes, flags) {
            Err(Errno::EAGAIN) => Ok(0),
            sent => Ok(sent?),
        }
    }

    /// Whether the caller can still hear an answer, as the kernel says: it has neither hung up nor
    /// ended. One that only says nothing more (`shutdown(2)`) still hears.
    pub(crate) fn is_up(&self) -> bool {
        let Some(socket) = &self.socket else {
            return true;
        };
        // `poll(2)` says that the other end is gone whatever it is asked for.
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(0) => true,
            Ok(_) | Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read as _, Write as _},
        net::Shutdown,
        os::unix::net::UnixStream,
    };

    #[test]
    fn a_line_is_up_until_the_caller_hangs_up() {
        let (own, mut other) = UnixStream::pair().unwrap();
        let line = Line::of(&own).unwrap();
        assert!(line.is_up() && Line::default().is_up());
        other.write_all(b"not yet read").unwrap();
        assert!(line.is_up());
        other.shutdown(Shutdown::Write).unwrap();
        assert!(line.is_up());
        drop(other);
        assert!(!line.is_up());
    }

    #[test]
    fn what_was_said_before_the_first_answer_waited_as_well() {
        let (mut own, mut other) = UnixStream::pair().unwrap();
        let line = Line::of(&own).unwrap();
        assert!(!line.waited());
        line.has_waited();
        other.write_all(b"2").unwrap();
        line.was_answered();
        assert!(line.clone().waited());
        own.read_exact(&mut [0]).unwrap();
        line.was_answered();
        assert!(!line.waited());
        // What comes now did not wait.
        other.write_all(b"3").unwrap();
        line.was_answered();
        assert!(!line.waited());
    }
}
