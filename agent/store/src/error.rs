//! What can go wrong on the way of a closure, and what may be done about it.

use crate::{
    damage::Damage,
    locks::{self, Lock},
    narinfo::NarInfoError,
};
use std::{io, path::PathBuf, time::Duration};
use surefoot_base::{
    text::{shown, shown_within},
    units::format_duration,
};
use surefoot_core::{Sha256, StorePath, closure::IndexError};

/// What kind of trouble an [`Error`] is: it decides whether waiting can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The network, or a server that does not answer properly. Waiting can help.
    Network,
    /// A server says it cannot right now (5xx, 429). Waiting can help.
    Server,
    /// A cache does not have what the release needs. It may still be uploading: waiting can help.
    Missing,
    /// This machine's own disk or files. Waiting, or somebody making room, can help.
    Disk,
    /// The Nix daemon is not there or cannot do it now. Waiting can help.
    Daemon,
    /// What was published or served is wrong. Only another release or cache can help.
    Wrong,
    /// How it was called or configured is wrong.
    Usage,
}

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transfer failed below HTTP's own answers, or the client cannot be made.
    #[error(transparent)]
    Http(#[from] surefoot_http::Error),
    /// The answer ended before all of it was there.
    #[error("{} ended after {got} of {expected} bytes", shown(.url))]
    Truncated {
        /// Where, without credentials.
        url: String,
        /// Bytes that should have come.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// The server answered with an error of its own.
    #[error("{} answers {status}", shown(.url))]
    Status {
        /// Where, without credentials.
        url: String,
        /// HTTP status code.
        status: u16,
        /// How long the server asks to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// All caches that may have it asked to be left alone for longer than is worth waiting.
    #[error("{}: asked for a longer pause; try again in {} s", shown(.caches), .after.as_secs())]
    Resting {
        /// The caches.
        caches: String,
        /// When the first of them may be asked again.
        after: Duration,
    },
    /// None of the caches has it.
    #[error(
        "{} is in none of the caches ({}); push it there or add the cache that has it",
        shown_within(.what, 500), shown_within(.caches, 500)
    )]
    Missing {
        /// The store path or file.
        what: String,
        /// The caches that were asked.
        caches: String,
    },
    /// Neither `http://`, `https://` nor `file://`, or not a URL at all.
    #[error("'{}' is not a URL of a binary cache; use http://, https:// or file:///", shown(.0))]
    Url(String),
    /// The name of a file leads out of the cache.
    #[error("{} does not lie below the cache: {why}", shown(.url))]
    Outside {
        /// Where it would lie, without credentials.
        url: String,
        /// What is wrong with the name.
        why: &'static str,
    },
    /// The cache is for another store directory.
    #[error("the cache {} holds paths of '{}', not of /nix/store", shown(.url), shown(.found))]
    StoreDir {
        /// The cache.
        url: String,
        /// Its `StoreDir`.
        found: String,
    },
    /// A narinfo cannot be read.
    #[error("the narinfo {} is bad: {}", shown(.url), shown_within(.why, 500))]
    NarInfo {
        /// Where, without credentials.
        url: String,
        /// What is wrong with it.
        why: NarInfoError,
    },
    /// Two sources say different things of one path.
    #[error(
        "{path}: the {field} is {} in the cache, but {} in {source_name}; the cache holds another build of it, push it again",
        shown(.found), shown(.expected)
    )]
    Disagree {
        /// The store path.
        path: StorePath,
        /// Which field.
        field: &'static str,
        /// What was expected.
        expected: String,
        /// Who expected it.
        source_name: &'static str,
        /// What the cache says.
        found: String,
    },
    /// The file is larger than signed.
    #[error(
        "{} is longer than the {expected} bytes of the closure index; the cache serves another file",
        shown(.url)
    )]
    TooLong {
        /// Where, without credentials.
        url: String,
        /// Bytes that should have come at most.
        expected: u64,
    },
    /// It came wrong before, and is the same still.
    #[error(
        "{url} came wrong before and has not changed since; push it again, or repair the cache. It is asked for again when it changes, or after a day"
    )]
    StillWrong {
        /// Where, without credentials.
        url: String,
    },
    /// Something else came in the place of the file.
    #[error("{url}: {what}")]
    Stranger {
        /// Where, without credentials.
        url: String,
        /// What, in words.
        what: String,
    },
    /// The compressed file is another one.
    #[error(
        "{} has digest {found}, the closure index says {expected}; the cache serves another file",
        shown(.url)
    )]
    FileHash {
        /// Where, without credentials.
        url: String,
        /// The signed digest.
        expected: Sha256,
        /// The digest of what came.
        found: Sha256,
    },
    /// The NAR is another one.
    #[error(
        "the NAR of {path} has digest {found}, the closure index says {expected}; it was not imported"
    )]
    NarHash {
        /// The store path.
        path: StorePath,
        /// The signed digest.
        expected: Sha256,
        /// The digest of what came.
        found: Sha256,
    },
    /// The NAR has another size.
    #[error(
        "the NAR of {path} does not have the {expected} bytes of the closure index; it was not imported"
    )]
    NarSize {
        /// The store path.
        path: StorePath,
        /// The signed size.
        expected: u64,
    },
    /// It is compressed in a way that only another version knows, and no cache names another file.
    #[error(
        "the NAR of {path} is compressed as '{}', which this program cannot unpack; update Surefoot first, or push it as xz, zstd or none",
        shown_within(.word, 40)
    )]
    Compression {
        /// The store path.
        path: StorePath,
        /// The index's word.
        word: String,
    },
    /// A path cannot come as a delta, or cannot now. A fetch takes the NAR instead.
    #[error("{path} cannot come as a delta: {why}")]
    Delta {
        /// The store path.
        path: StorePath,
        /// The digest of the delta.
        sha256: Sha256,
        /// Why not.
        why: Box<Error>,
    },
    /// The compressed file cannot be unpacked.
    #[error("the NAR of {path} cannot be unpacked: {}", shown(.why))]
    Unpack {
        /// The store path.
        path: StorePath,
        /// What the decompressor says.
        why: io::Error,
    },
    /// The closure index breaks its promises.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The file of a closure index cannot be unpacked, or is too large.
    #[error("the closure index cannot be unpacked: {}; publish the release again", shown(.0))]
    IndexFile(String),
    /// A file of this machine.
    #[error("cannot {action} {}: {}", shown(.path.display()), shown(.why))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        why: io::Error,
    },
    /// There is not enough room.
    #[error("{} has {free} bytes free, {needed} are needed; make room", shown(.dir.display()))]
    NoSpace {
        /// Where.
        dir: PathBuf,
        /// Bytes that are needed, the reserve included.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Somebody else is using the staging area.
    #[error("{} is in use by another fetch; wait for it or name another staging directory", shown(.0.display()))]
    StagingBusy(PathBuf),
    /// The Nix daemon's socket is not there, or it went away.
    #[error("the Nix daemon at {} is gone: {}; is nix-daemon.socket running?", shown(.socket.display()), shown(.why))]
    DaemonGone {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The Nix daemon owed something for longer than it may: it hangs, or waits for somebody itself.
    #[error(
        "the Nix daemon at {} has been silent for {}{}{}",
        shown(.socket.display()), format_duration(*.time),
        if .locks.is_empty() { "" } else { ": " }, locks::list(.locks)
    )]
    DaemonSilent {
        /// Its socket.
        socket: PathBuf,
        /// How long.
        time: Duration,
        /// Locks of the store that somebody waits for.
        locks: Vec<Lock>,
    },
    /// The Nix daemon says something that the protocol does not allow.
    #[error("the Nix daemon at {} broke the protocol: {}", shown(.socket.display()), shown(.why))]
    DaemonProtocol {
        /// Its socket.
        socket: PathBuf,
        /// What it said.
        why: String,
    },
    /// The Nix daemon refused an operation, in its own words.
    #[error("the Nix daemon refused: {}", shown_within(.0, 1000))]
    Daemon(String),
    /// A path that is valid is damaged, and cannot be replaced now.
    #[error(
        "{0}; what runs now uses it, so it is not replaced: while the robot stands still, replace it with `nix-store --repair-path {path} --option substituters CACHE`",
        path = .0.path
    )]
    Damaged(Damage),
    /// A path of the closure is not in the local store.
    #[error("{0} is not valid in the local Nix store; build it, or publish from the cache alone")]
    NotInStore(StorePath),
    /// Nobody waits for the result any more.
    #[error("it was cancelled")]
    Cancelled,
    /// A path is not signed by any of the keys asked for.
    #[error(
        "{0} is not signed by any of the given keys; sign it with `nix store sign` and push it again"
    )]
    Unsigned(StorePath),
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The kind of trouble.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Http(error) if error.is_usage() => Kind::Usage,
            Self::Http(_) | Self::Truncated { .. } | Self::Stranger { .. } => Kind::Network,
            Self::Status { .. } | Self::Resting { .. } => Kind::Server,
            Self::Missing { .. } => Kind::Missing,
            Self::Url(_) | Self::NotInStore(_) => Kind::Usage,
            Self::Io { .. } | Self::NoSpace { .. } | Self::StagingBusy(_) | Self::Damaged(_) => {
                Kind::Disk
            }
            Self::DaemonGone { .. }
            | Self::DaemonSilent { .. }
            | Self::DaemonProtocol { .. }
            | Self::Cancelled => Kind::Daemon,
            Self::Daemon(message) => Self::daemon_kind(message),
            Self::Delta { why, .. } => why.kind(),
            Self::Outside { .. }
            | Self::StoreDir { .. }
            | Self::NarInfo { .. }
            | Self::Disagree { .. }
            | Self::TooLong { .. }
            | Self::StillWrong { .. }
            | Self::FileHash { .. }
            | Self::NarHash { .. }
            | Self::NarSize { .. }
            | Self::Compression { .. }
            | Self::Unpack { .. }
            | Self::Index(_)
            | Self::IndexFile(_)
            | Self::Unsigned(_) => Kind::Wrong,
        }
    }

    /// How long the servers ask to be left alone, if they do.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Resting { after, .. } => Some(*after),
            Self::Http(error) => error.retry_after(),
            Self::Delta { why, .. } => why.retry_after(),
            _ => None,
        }
    }

    /// Whether the same call may succeed later although nothing else is published.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self.kind(), Kind::Wrong | Kind::Usage)
    }

    /// The daemon's errors are only text. These words have been stable since Nix 2.3
    /// (`src/libstore/local-store.cc`, `LocalStore::addToStore`).
    fn daemon_kind(message: &str) -> Kind {
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if says(&["No space left", "disk is full", "Disk quota exceeded"]) {
            Kind::Disk
        } else if says(&[
            "lacks a signature",
            "hash mismatch",
            "size mismatch",
            "NAR",
            "Nar",
        ]) {
            Kind::Wrong
        } else {
            Kind::Daemon
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |why| Self::Io { action, path, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::narinfo::NarInfo;
    use proptest::prelude::*;
    use surefoot_base::text::is_hidden;
    use surefoot_core::closure::ClosureIndex;

    /// Errors with a text wherever others may have written it.
    fn errors(text: &str) -> Vec<Error> {
        let (text, io) = (|| text.to_owned(), || io::Error::other(text));
        let path: StorePath = format!("/nix/store/{}-x", "0".repeat(32))
            .parse()
            .expect("a path");
        let narinfo = |bytes: &str| NarInfo::parse(bytes.as_bytes()).err();
        let known = "Compression: xz\nNarSize: 1\nURL: x\n";
        let fields = [
            "StorePath",
            "URL",
            "NarHash",
            "NarSize",
            "FileHash",
            "Compression",
            "Deriver",
            "References",
        ];
        let mut errors: Vec<Error> = fields
            .iter()
            .filter_map(|field| narinfo(&format!("{field}: {}\n{known}", text().replace('\n', ""))))
            .chain(narinfo(&text()))
            .map(|why| Error::NarInfo { url: text(), why })
            .collect();
        let quoted = serde_json::to_string(&text()).expect("a text");
        errors.extend(
            [
                text(),
                format!(r#"{{"spec":1,"toplevel":{quoted},"paths":[]}}"#),
                format!(r#"{{"spec":1,{quoted}:1,"paths":{quoted}}}"#),
                format!(r#"{{"spec":{quoted}}}"#),
            ]
            .iter()
            .filter_map(|index| ClosureIndex::parse(index.as_bytes()).err())
            .map(Error::Index),
        );
        errors.extend([
            Error::Truncated {
                url: text(),
                expected: 1,
                got: 0,
            },
            Error::Status {
                url: text(),
                status: 500,
                retry_after: None,
            },
            Error::Resting {
                caches: text(),
                after: Duration::ZERO,
            },
            Error::Missing {
                what: text(),
                caches: text(),
            },
            Error::Url(text()),
            Error::Outside {
                url: text(),
                why: "",
            },
            Error::StoreDir {
                url: text(),
                found: text(),
            },
            Error::Disagree {
                path: path.clone(),
                field: "CA",
                expected: text(),
                source_name: "the request",
                found: text(),
            },
            Error::TooLong {
                url: text(),
                expected: 1,
            },
            Error::Damaged(Damage {
                path: path.clone(),
                found: text(),
            }),
            Error::Unpack { path, why: io() },
            Error::IndexFile(text()),
            Error::Io {
                action: "open",
                path: text().into(),
                why: io(),
            },
            Error::NoSpace {
                dir: text().into(),
                needed: 1,
                free: 0,
            },
            Error::StagingBusy(text().into()),
            Error::DaemonGone {
                socket: text().into(),
                why: io(),
            },
            Error::DaemonSilent {
                socket: text().into(),
                time: Duration::ZERO,
                locks: vec![
                    Lock {
                        file: text().into(),
                        pid: 1,
                        program: Some(text()),
                    };
                    9
                ],
            },
            Error::DaemonProtocol {
                socket: text().into(),
                why: text(),
            },
            Error::Daemon(text()),
        ]);
        errors
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_error_of_a_fetch_is_long_or_hides_anything(
            text in prop_oneof![any::<String>(), "[\u{1b}\u{202e}\u{200b}a]{0,9}"],
            times in 1usize..1000,
        ) {
            for error in errors(&text.repeat(times)) {
                let said = error.to_string();
                prop_assert!(said.chars().count() <= 1200, "{}", said);
                prop_assert!(!said.chars().any(is_hidden), "{:?}", said);
            }
        }
    }
}
