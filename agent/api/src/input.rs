//! What people and programs give the agent, and what of it does.

use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr, time::Duration};
use surefoot_base::{text, units::MAX_DURATION};
use surefoot_core::{StorePath, lease, release::Name};

/// Where to roll back to, as people name it: a store path or a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackTo {
    /// The system with this store path.
    System(StorePath),
    /// The newest kept system that came with this release.
    Release(Name),
}

impl RollbackTo {
    /// Whether a system is the one that was named.
    #[must_use]
    pub fn names(&self, system: &StorePath, release: Option<&Name>) -> bool {
        match self {
            Self::System(path) => path == system,
            Self::Release(name) => Some(name) == release,
        }
    }
}

impl FromStr for RollbackTo {
    type Err = InputError;

    fn from_str(text: &str) -> Result<Self, InputError> {
        let wrong = |error: &dyn fmt::Display| InputError(error.to_string());
        if text.starts_with('/') {
            text.parse().map(Self::System).map_err(|e| wrong(&e))
        } else {
            text.parse().map(Self::Release).map_err(|e| wrong(&e))
        }
    }
}

impl fmt::Display for RollbackTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(path) => path.fmt(f),
            Self::Release(name) => name.fmt(f),
        }
    }
}

impl Serialize for RollbackTo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A reason, in somebody's words: 1 to 500 characters on one line. It goes into the history, logs
/// and terminals, so characters that people cannot see are refused ([`text::is_hidden`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Why(String);

impl Why {
    /// The words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Why {
    type Err = InputError;

    fn from_str(text: &str) -> Result<Self, InputError> {
        let given = text.trim();
        if given.is_empty() {
            Err(InputError(
                "a reason must be given, for those who come after".into(),
            ))
        } else if given.chars().count() > 500 {
            Err(InputError("the reason has more than 500 characters".into()))
        } else if let Some(hidden) = text::hidden(given) {
            Err(InputError(format!(
                "the reason must be one line without {hidden}; leave it out"
            )))
        } else {
            Ok(Self(given.to_owned()))
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long a hold lasts.
///
/// # Errors
/// [`InputError`] unless it is 1 second to ten years.
pub fn hold_time(seconds: i64) -> Result<Duration, InputError> {
    time_up_to(MAX_DURATION, seconds)
        .ok_or_else(|| InputError("a hold lasts 1 second to 10 years".into()))
}

/// How long a lease is believed.
///
/// # Errors
/// [`InputError`] unless it is 1 second to [`lease::MAX_TTL`].
pub fn lease_time(seconds: i64) -> Result<Duration, InputError> {
    time_up_to(lease::MAX_TTL, seconds)
        .ok_or_else(|| InputError("a lease lasts 1 second to 1 hour; renew it".into()))
}

fn time_up_to(longest: Duration, seconds: i64) -> Option<Duration> {
    u64::try_from(seconds)
        .ok()
        .map(Duration::from_secs)
        .filter(|time| !time.is_zero() && *time <= longest)
}

/// A value from outside that does not do, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InputError(String);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reasons_are_one_line_of_words() {
        assert_eq!(
            "  drops things ".parse::<Why>().unwrap().as_str(),
            "drops things"
        );
        for (text, word) in [
            (" ".to_owned(), "must be given"),
            ("a\nb".to_owned(), "one line"),
            ("\u{1b}[31m".to_owned(), "control"),
            ("arm \u{202e}elbisivni\u{202c}".to_owned(), "U+202E"),
            ("arm\u{200b}".to_owned(), "U+200B"),
            ("arm\u{e0041}".to_owned(), "U+E0041"),
            ("a\u{2028}b".to_owned(), "one line"),
            ("x".repeat(501), "500"),
        ] {
            let error = text.parse::<Why>().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn where_to_go_back_to_is_a_path_or_a_release() {
        let path: StorePath = "/nix/store/7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-nixos"
            .parse()
            .unwrap();
        let release: Name = "2026.11".parse().unwrap();
        let to: RollbackTo = path.to_string().parse().unwrap();
        assert!(to.names(&path, None));
        let to: RollbackTo = "2026.11".parse().unwrap();
        assert!(to.names(&path, Some(&release)) && !to.names(&path, None));
        assert!("/etc".parse::<RollbackTo>().is_err());
        assert!("a b".parse::<RollbackTo>().is_err());
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(text in ".{0,60}", seconds: i64) {
            let _ = text.parse::<Why>();
            let _ = text.parse::<RollbackTo>();
            let _ = hold_time(seconds);
            let _ = lease_time(seconds);
        }
    }
}
