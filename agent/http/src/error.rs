//! What can go wrong between a server and this machine.

use std::time::Duration;

/// Any failure of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transfer failed below HTTP's own answers.
    #[error("{url} cannot be read: {why}")]
    Transfer {
        /// Where, without credentials.
        url: String,
        /// The chain of causes.
        why: String,
    },
    /// The server sent nothing for too long.
    #[error("{url} sent nothing for {} s", .after.as_secs())]
    Stalled {
        /// Where, without credentials.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// The file is larger than is ever read of it.
    #[error("{url} is larger than {limit} bytes, which is the most that is read")]
    TooLarge {
        /// Where, without credentials.
        url: String,
        /// The limit, bytes.
        limit: u64,
    },
    /// The URL of an [`Access`](crate::access::Access) is none.
    #[error("'{0}' is no URL of a binary cache; use http://, https:// or file:///")]
    Url(String),
    /// The client cannot be made.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

impl Error {
    /// Whether how it was called or configured is wrong, so that waiting does not help.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Url(_) | Self::Client(_))
    }
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
