//! The line to a caller: whether there is still somebody who hears an answer.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
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

    /// It waited for an agent, and so did the first call on it.
    pub(super) fn has_waited(&self) {
        self.waited.store(true, Ordering::Relaxed);
    }

    /// Whether the call that is read now waited for an agent.
    pub(super) fn take_waited(&self) -> bool {
        self.waited.swap(false, Ordering::Relaxed)
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
    use std::{io::Write as _, net::Shutdown, os::unix::net::UnixStream};

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
    fn only_the_first_call_waited() {
        let line = Line::default();
        assert!(!line.take_waited());
        line.has_waited();
        let same = line.clone();
        assert!(same.take_waited() && !line.take_waited());
    }
}
