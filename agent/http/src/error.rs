//! What can go wrong between a server and this machine.

use std::time::Duration;
use surefoot_base::text::shown;

/// Any failure of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transfer failed below HTTP's own answers.
    #[error("{} cannot be read: {}", shown(.url), shown(.why))]
    Transfer {
        /// Where, without credentials.
        url: String,
        /// The chain of causes.
        why: String,
    },
    /// The server sent nothing for too long.
    #[error("{} sent nothing for {} s", shown(.url), .after.as_secs())]
    Stalled {
        /// Where, without credentials.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// The server answered with an error of its own.
    #[error("{url} cannot be read: the server answered {status}")]
    Status {
        /// Where, without credentials.
        url: String,
        /// The status.
        status: reqwest::StatusCode,
        /// How long the server asks to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The file is larger than is ever read of it.
    #[error("{} is larger than {limit} bytes, which is the most that is read", shown(.url))]
    TooLarge {
        /// Where, without credentials.
        url: String,
        /// The limit, bytes.
        limit: u64,
    },
    /// The URL of an [`Access`](crate::access::Access) is none.
    #[error("'{}' is not a URL of a binary cache; use http://, https:// or file:///", shown(.0))]
    Url(String),
    /// The client cannot be made.
    #[error("the HTTP client cannot be set up: {}", shown(.0))]
    Client(String),
}

impl Error {
    /// How long the server asks to be left alone, if it does.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether how it was called or configured is wrong, so that waiting does not help.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Url(_) | Self::Client(_))
    }
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use surefoot_base::text::is_hidden;

    proptest! {
        /// What a server, a certificate or a proxy says ends up in these.
        #[test]
        fn no_error_of_a_transfer_is_long_or_hides_anything(
            text in prop_oneof![any::<String>(), "[\u{1b}\u{202e}\u{200b}a]{0,9}"],
            times in 1usize..2000,
        ) {
            let text = text.repeat(times);
            let errors = [
                Error::Transfer { url: text.clone(), why: text.clone() },
                Error::Stalled { url: text.clone(), after: Duration::MAX },
                Error::TooLarge { url: text.clone(), limit: u64::MAX },
                Error::Url(text.clone()),
                Error::Client(text),
            ];
            for error in errors {
                let said = error.to_string();
                prop_assert!(said.chars().count() <= 600, "{}", said);
                prop_assert!(!said.chars().any(is_hidden), "{:?}", said);
            }
        }
    }
}
