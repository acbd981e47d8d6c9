//! Reading a file that says the version of its format.

use crate::foreign::{self, Foreign};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Why a file was not read.
pub(crate) enum Unreadable {
    /// Larger than allowed; bytes.
    TooLarge(usize),
    /// Not JSON, or of another shape.
    Json(serde_json::Error),
    /// A version that is not known here.
    Spec(u32),
}

/// Reads a file of at most `max` bytes, whose `spec` has to be `known`. The version is looked at
/// first: a newer format may have another shape.
pub(crate) fn read<T: DeserializeOwned>(
    bytes: &[u8],
    max: u64,
    known: u32,
) -> Result<T, Unreadable> {
    check(bytes, max, known)?;
    serde_json::from_slice(bytes).map_err(Unreadable::Json)
}

fn check(bytes: &[u8], max: u64, known: u32) -> Result<(), Unreadable> {
    #[derive(Deserialize)]
    struct Head {
        spec: u32,
    }
    if bytes.len() as u64 > max {
        return Err(Unreadable::TooLarge(bytes.len()));
    }
    let head: Head = serde_json::from_slice(bytes).map_err(Unreadable::Json)?;
    if head.spec != known {
        return Err(Unreadable::Spec(head.spec));
    }
    Ok(())
}

/// The same for a file that is going to be written again: with what in it is not known here.
pub(crate) fn read_to_keep<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    max: u64,
    known: u32,
) -> Result<(T, Foreign), Unreadable> {
    check(bytes, max, known)?;
    foreign::read(bytes).map_err(Unreadable::Json)
}
