//! Everything that can go wrong with a signed repository, in words.

use jiff::Timestamp;
use std::{io, path::PathBuf, time::Duration};
use surefoot_base::text::{shown, shown_within};

/// Why something was refused or could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that is not metadata, or breaks a rule of the format.
    #[error("{} cannot be read: {}", shown(.file), shown(.why))]
    Malformed {
        /// The file of metadata.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// Too few of the role's keys signed (§5.3.4, §5.4.2 and following).
    #[error(
        "{}: {valid} of {threshold} required signatures are valid (threshold not reached){}",
        shown(.file), shown(.note)
    )]
    Threshold {
        /// The file of metadata.
        file: String,
        /// Valid signatures by distinct keys of the role.
        valid: u64,
        /// How many are needed.
        threshold: u64,
        /// Whose keys were asked, if it is not plain.
        note: String,
    },
    /// Not believed any more (§5.3.10, §5.4.4, §5.5.6, §5.6.6): a freeze, or a repository that
    /// nobody keeps.
    #[error(
        "{} expired at {expires}, and it is {now} now; {} on the repository, and check the clock here",
        shown(.file),
        renewed_by(.file)
    )]
    Expired {
        /// The file of metadata.
        file: String,
        /// When it expired.
        expires: Timestamp,
        /// What was taken for now.
        now: Timestamp,
    },
    /// Older than what was trusted before (§5.4.3, §5.5.5).
    #[error("{} is version {found}, but version {trusted} was already trusted: replay refused", shown(.file))]
    Rollback {
        /// The file of metadata.
        file: String,
        /// Its version.
        found: u64,
        /// The version that was trusted.
        trusted: u64,
    },
    /// Another version than the one that was asked for (§5.3.5, §5.5.4, §5.6.4).
    #[error("{} is version {found}, but version {expected} belongs there: mix-up refused", shown(.file))]
    WrongVersion {
        /// The file of metadata.
        file: String,
        /// Its version.
        found: u64,
        /// The version that its name or the signed metadata asks for.
        expected: u64,
    },
    /// A role that was listed before is gone from the snapshot (§5.5.5).
    #[error("snapshot.json does not list {} any more, although it did before: refused", shown(.file))]
    RoleRemoved {
        /// The file that is gone.
        file: String,
    },
    /// Other bytes than those that were signed (§5.5.2, §5.6.2, §5.7.5).
    #[error("{} is not what was signed: {}", shown(.file), shown(.why))]
    Mismatch {
        /// The file.
        file: String,
        /// Length or digest.
        why: String,
    },
    /// More than is ever read of such a file.
    #[error("{} is larger than {limit} bytes, which is the most that is read", shown(.file))]
    TooLarge {
        /// The file.
        file: String,
        /// The limit, bytes.
        limit: u64,
    },
    /// A file that must be there is not.
    #[error("{} does not exist; is the address right, and was the repository copied whole?", shown(.url))]
    NotFound {
        /// Where it was looked for.
        url: String,
    },
    /// No role that was asked offers this target (§5.6.7).
    #[error("the repository offers no target '{}'", shown(.name))]
    NoSuchTarget {
        /// The target path.
        name: String,
    },
    /// A target path that leads elsewhere.
    #[error("'{}' is not a target path; use a relative path without empty, '.' and '..' parts", shown(.name))]
    TargetName {
        /// The target path.
        name: String,
    },
    /// The client was asked for a target before it knew what to believe.
    #[error("no refresh has succeeded yet; refresh first")]
    NotRefreshed,
    /// The network, or the server.
    #[error("{}: {}", shown(.url), shown(.why))]
    Transport {
        /// What was asked for.
        url: String,
        /// What happened.
        why: String,
        /// How long the server asks to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The repository's address is of no use.
    #[error("'{}' is not an address of a repository; use https://…, http://… or file:///…", shown(.url))]
    Url {
        /// The address.
        url: String,
    },
    /// A file on this machine.
    #[error("{}: {}", shown(.path.display()), shown(.why))]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        why: io::Error,
    },
    /// A private key that is of no use.
    #[error("the key {} {}", shown(.name), shown(.why))]
    Key {
        /// The key's file or name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not enough private keys at hand to sign for a role.
    #[error(
        "{have} of the {need} keys that must sign '{}' are at hand; give the directory that holds them with --keys-dir",
        shown(.role)
    )]
    MissingKeys {
        /// The role.
        role: String,
        /// How many are here.
        have: u64,
        /// How many are needed.
        need: u64,
    },
    /// Somebody else works in the directory: a repository, or what a client trusts.
    #[error("{} is in use by another program; try again when it is done", shown(.0.display()))]
    Locked(PathBuf),
    /// `init` where something is already.
    #[error("{} already holds a repository; use another directory", shown(.0.display()))]
    Exists(PathBuf),
    /// A wish that cannot be.
    #[error("{}", shown_within(.0, 1000))]
    Usage(String),
}

impl Error {
    pub(crate) fn malformed(file: &str, why: impl ToString) -> Self {
        Self::Malformed {
            file: file.to_owned(),
            why: why.to_string(),
        }
    }

    pub(crate) fn transport(url: String, why: String) -> Self {
        Self::Transport {
            url,
            why,
            retry_after: None,
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |why| Self::Io { path, why }
    }

    /// How long the server asks to be left alone, if it does.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Transport { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether it lies in the network or the server, so that trying again later may help without
    /// anything being changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transport { .. } | Self::NotFound { .. })
    }
}

/// The command that makes a file of metadata valid for longer.
fn renewed_by(file: &str) -> &'static str {
    if file.ends_with("root.json") {
        "run `surefoot repo rotate`, with the keys of root,"
    } else {
        "run `surefoot repo refresh`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Envelope, Root};
    use proptest::prelude::*;
    use surefoot_base::text::is_hidden;

    /// Errors with a text wherever others may have written it, before anything is verified.
    fn errors(text: &str) -> Vec<Error> {
        let (text, now) = (|| text.to_owned(), Timestamp::UNIX_EPOCH);
        let quoted = serde_json::to_string(&text()).expect("a text");
        let signed = |fields: &str| format!(r#"{{"signatures":[],"signed":{{{fields}}}}}"#);
        let root = |version: &str, expires: &str, role: &str| {
            signed(&format!(
                r#""_type":"root","spec_version":{version},"version":1,"expires":{expires},
                "consistent_snapshot":true,"keys":{{}},"roles":{role}"#
            ))
        };
        let files = [
            text(),
            quoted.clone(),
            format!("{{{quoted}:1,{quoted}:2}}"),
            signed(&format!(r#""_type":{quoted}"#)),
            root(&quoted, r#""2030-01-01T00:00:00Z""#, "{}"),
            root(r#""1.0""#, &quoted, "{}"),
            root(r#""1.0""#, r#""2030-01-01T00:00:00Z""#, &quoted),
            root(
                r#""1.0""#,
                r#""2030-01-01T00:00:00Z""#,
                &format!(r#"{{{quoted}:{quoted}}}"#),
            ),
        ];
        let read = |file: &String| {
            let envelope = Envelope::parse(&text(), file.as_bytes());
            envelope
                .and_then(|envelope| envelope.read::<Root>(&text()))
                .err()
        };
        let mut errors: Vec<Error> = files.iter().filter_map(read).collect();
        errors.extend([
            Error::malformed(&text(), text()),
            Error::Threshold {
                file: text(),
                valid: 0,
                threshold: 1,
                note: text(),
            },
            Error::Expired {
                file: text(),
                expires: now,
                now,
            },
            Error::Rollback {
                file: text(),
                found: 0,
                trusted: 1,
            },
            Error::WrongVersion {
                file: text(),
                found: 0,
                expected: 1,
            },
            Error::RoleRemoved { file: text() },
            Error::Mismatch {
                file: text(),
                why: text(),
            },
            Error::TooLarge {
                file: text(),
                limit: 0,
            },
            Error::NotFound { url: text() },
            Error::NoSuchTarget { name: text() },
            Error::TargetName { name: text() },
            Error::Transport {
                retry_after: None,
                url: text(),
                why: text(),
            },
            Error::Url { url: text() },
            Error::Io {
                path: text().into(),
                why: io::Error::other(text()),
            },
            Error::Key {
                name: text(),
                why: text(),
            },
            Error::MissingKeys {
                role: text(),
                have: 0,
                need: 1,
            },
            Error::Locked(text().into()),
            Error::Exists(text().into()),
            Error::Usage(text()),
        ]);
        errors
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_error_of_a_repository_is_long_or_hides_anything(
            text in prop_oneof![any::<String>(), "[\u{1b}\u{202e}\u{200b}a]{0,9}"],
            times in 1usize..1000,
        ) {
            for error in errors(&text.repeat(times)) {
                let said = error.to_string();
                prop_assert!(said.chars().count() <= 1100, "{}", said);
                prop_assert!(!said.chars().any(is_hidden), "{:?}", said);
            }
        }
    }
}
