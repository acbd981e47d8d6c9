//! What people and programs give the agent, and what of it does.

use serde::Serialize;
use std::{fmt, str::FromStr, time::Duration};
use surefoot_base::{text, units::MAX_DURATION};
use surefoot_core::lease;

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
            ("\u{2800}".to_owned(), "U+2800"),
            ("arm\u{e001}".to_owned(), "U+E001"),
            ("x".repeat(501), "500"),
        ] {
            let error = text.parse::<Why>().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(text in ".{0,60}", seconds: i64) {
            let _ = text.parse::<Why>();
            let _ = hold_time(seconds);
            let _ = lease_time(seconds);
        }
    }
}
