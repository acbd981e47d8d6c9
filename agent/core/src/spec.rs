//! Reading and writing a file that says the version of its format, and keeping in it what only other
//! versions know.

use crate::foreign::Foreign;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

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
    let whole: Value = serde_json::from_slice(bytes).map_err(Unreadable::Json)?;
    // A field that stands there twice counts once, here as in what is kept.
    let content = T::deserialize(&whole).map_err(Unreadable::Json)?;
    let ours = serde_json::to_value(&content).map_err(Unreadable::Json)?;
    Ok((content, Foreign::of(&whole, &ours)))
}

/// The text of a file, for people too, with what other versions wrote in it.
pub(crate) fn to_bytes<T: Serialize>(
    content: &T,
    foreign: &Foreign,
) -> serde_json::Result<Vec<u8>> {
    let mut bytes = if foreign.is_empty() {
        serde_json::to_vec_pretty(content)?
    } else {
        let mut value = serde_json::to_value(content)?;
        foreign.put_back(&mut value);
        serde_json::to_vec_pretty(&value)?
    };
    bytes.push(b'\n');
    Ok(bytes)
}
