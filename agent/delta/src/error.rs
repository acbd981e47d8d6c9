//! What can be wrong with a delta, or with what it is applied to.

use std::io;

/// What comes of a delta, or why nothing does.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a delta could not be made or applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The base cannot be read.
    #[error("cannot read the base of the delta: {0}")]
    Base(io::Error),
    /// The delta cannot be read.
    #[error("cannot read the delta: {0}")]
    Delta(io::Error),
    /// The new file cannot be read; only when a delta is made.
    #[error("cannot read what the delta should make: {0}")]
    New(io::Error),
    /// What comes out, or the delta that is made, cannot be written.
    #[error("cannot write: {0}")]
    Output(io::Error),
    /// It does not begin as a delta does.
    #[error("this is not a delta")]
    NotADelta,
    /// A codec of another version.
    #[error("the delta is coded as '{0}', which this version does not know")]
    Codec(String),
    /// It would take more memory than the caller gives.
    #[error("the delta takes {needed} bytes of memory, and {allowed} are allowed")]
    Memory {
        /// What the header says, bytes.
        needed: u64,
        /// What the caller gives, bytes.
        allowed: u64,
    },
    /// More would come out than the caller takes.
    #[error("the delta makes {size} bytes, and {allowed} are allowed")]
    Result {
        /// What the header says, bytes.
        size: u64,
        /// What the caller takes, bytes.
        allowed: u64,
    },
    /// It belongs to another base.
    #[error("the delta is for another base than this one")]
    WrongBase,
    /// What came out is not what the header says. It must not be used.
    #[error("what came out of the delta is not what it says")]
    WrongResult,
    /// It breaks a rule of its format.
    #[error("the delta is broken: {0}")]
    Broken(&'static str),
}
