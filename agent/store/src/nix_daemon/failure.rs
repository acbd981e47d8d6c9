//! Why an operation failed, before it is known on which connection.

use crate::error::Error;
use std::{io, path::Path, time::Duration};

pub(super) type Outcome<T> = std::result::Result<T, Failure>;

/// What became of an operation that did not succeed.
pub(super) enum Failure {
    /// The daemon said so; the connection is still good.
    Daemon(String),
    /// The socket, or the protocol.
    Io(io::Error),
    /// It owed something for longer than it may.
    Silent(Duration),
    /// Somebody else's error, which came through.
    Other(Box<Error>),
}

impl Failure {
    /// The error, now that it is known where it happened.
    pub(super) fn on(self, socket: &Path) -> Error {
        match self {
            Self::Daemon(message) => Error::Daemon(message),
            Self::Other(error) => *error,
            Self::Silent(time) => Error::DaemonSilent {
                socket: socket.into(),
                time,
                locks: Vec::new(),
            },
            Self::Io(why) if why.kind() == io::ErrorKind::InvalidData => Error::DaemonProtocol {
                socket: socket.into(),
                why: why.to_string(),
            },
            Self::Io(why) => Error::DaemonGone {
                socket: socket.into(),
                why,
            },
        }
    }
}

impl From<io::Error> for Failure {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(Box::new(error))
    }
}
