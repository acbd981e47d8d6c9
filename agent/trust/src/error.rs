//! Everything that can go wrong with a signed repository, in words.

use jiff::Timestamp;
use std::{io, path::PathBuf};

/// Why something was refused or could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that is no metadata, or breaks a rule of the format.
    #[error("{file} cannot be read: {why}")]
    Malformed {
        /// The file of metadata.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// Too few of the role's keys signed (§5.3.4, §5.4.2 and following).
    #[error(
        "{file}: {valid} of {threshold} required signatures are valid (threshold not reached){note}"
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
        "{file} expired at {expires}, and it is {now} now; run `surefoot repo refresh` on the repository, and check the clock here"
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
    #[error("{file} is version {found}, but version {trusted} was already trusted: replay refused")]
    Rollback {
        /// The file of metadata.
        file: String,
        /// Its version.
        found: u64,
        /// The version that was trusted.
        trusted: u64,
    },
    /// Another version than the one that was asked for (§5.3.5, §5.5.4, §5.6.4).
    #[error("{file} is version {found}, but version {expected} belongs there: mix-up refused")]
    WrongVersion {
        /// The file of metadata.
        file: String,
        /// Its version.
        found: u64,
        /// The version that its name or the signed metadata asks for.
        expected: u64,
    },
    /// A role that was listed before is gone from the snapshot (§5.5.5).
    #[error("snapshot.json does not list {file} any more, although it did before: refused")]
    RoleRemoved {
        /// The file that is gone.
        file: String,
    },
    /// Other bytes than those that were signed (§5.5.2, §5.6.2, §5.7.5).
    #[error("{file} is not what was signed: {why}")]
    Mismatch {
        /// The file.
        file: String,
        /// Length or digest.
        why: String,
    },
    /// More than is ever read of such a file.
    #[error("{file} is larger than {limit} bytes, which is the most that is read")]
    TooLarge {
        /// The file.
        file: String,
        /// The limit, bytes.
        limit: u64,
    },
    /// A file that must be there is not.
    #[error("{url} does not exist; is the address right, and was the repository copied whole?")]
    NotFound {
        /// Where it was looked for.
        url: String,
    },
    /// No role that was asked offers this target (§5.6.7).
    #[error("the repository offers no target '{name}'")]
    NoSuchTarget {
        /// The target path.
        name: String,
    },
    /// A target path that leads elsewhere.
    #[error("'{name}' is no target path; use a relative path without empty, '.' and '..' parts")]
    TargetName {
        /// The target path.
        name: String,
    },
    /// The client was asked for a target before it knew what to believe.
    #[error("no refresh has succeeded yet; refresh first")]
    NotRefreshed,
    /// The network, or the server.
    #[error("{url}: {why}")]
    Transport {
        /// What was asked for.
        url: String,
        /// What happened.
        why: String,
    },
    /// The repository's address is of no use.
    #[error("'{url}' is no address of a repository; use https://…, http://… or file:///…")]
    Url {
        /// The address.
        url: String,
    },
    /// A file on this machine.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A private key that is of no use.
    #[error("the key {name} {why}")]
    Key {
        /// The key's file or name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not enough private keys at hand to sign for a role.
    #[error(
        "{have} of the {need} keys that must sign '{role}' are at hand; give the directory that holds them with --keys-dir"
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
    #[error("{0} is in use by another program; try again when it is done")]
    Locked(PathBuf),
    /// `init` where something is already.
    #[error("{0} already holds a repository; use another directory")]
    Exists(PathBuf),
    /// A wish that cannot be.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    pub(crate) fn malformed(file: &str, why: impl ToString) -> Self {
        Self::Malformed {
            file: file.to_owned(),
            why: why.to_string(),
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// Whether it lies in the network or the server, so that trying again later may help without
    /// anything being changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transport { .. } | Self::NotFound { .. })
    }
}
