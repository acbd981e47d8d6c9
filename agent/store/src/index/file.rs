//! The file form of a closure index.

use crate::error::{Error, Result};
use sha2::Digest;
use std::io::Read;
use surefoot_core::{
    Sha256,
    closure::{ClosureIndex, MAX_COMPRESSED_INDEX_BYTES, MAX_INDEX_BYTES},
    release::index_target,
};

/// Indexes are written once and fetched by every robot.
const LEVEL: i32 = 19;

/// A closure index as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The TUF target's name.
    pub target: String,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Packs an index into its file form.
///
/// # Errors
/// [`Error::Index`] if it breaks its promises, [`Error::IndexFile`] if it is too large to be read
/// again.
pub fn pack(index: &ClosureIndex) -> Result<Packed> {
    index.check()?;
    let failed = |why: String| Error::IndexFile(why);
    let json = serde_json::to_vec(index).map_err(|why| failed(why.to_string()))?;
    let bytes = zstd::bulk::compress(&json, LEVEL).map_err(|why| failed(why.to_string()))?;
    if json.len() as u64 > MAX_INDEX_BYTES || bytes.len() as u64 > MAX_COMPRESSED_INDEX_BYTES {
        return Err(failed(format!(
            "it has {} bytes, which is too large",
            json.len()
        )));
    }
    let digest = Sha256(sha2::Sha256::digest(&bytes).into());
    Ok(Packed {
        target: index_target(&digest),
        bytes,
    })
}

/// Reads the file form of an index. Its bytes are trusted; they are bounded all the same.
///
/// # Errors
/// [`Error::IndexFile`] or [`Error::Index`].
pub fn unpack(bytes: &[u8]) -> Result<ClosureIndex> {
    if bytes.len() as u64 > MAX_COMPRESSED_INDEX_BYTES {
        return Err(Error::IndexFile(format!(
            "it has {} bytes, at most {MAX_COMPRESSED_INDEX_BYTES} are read",
            bytes.len()
        )));
    }
    let mut json = Vec::new();
    zstd::stream::read::Decoder::with_buffer(bytes)
        .and_then(|decoder| decoder.take(MAX_INDEX_BYTES + 1).read_to_end(&mut json))
        .map_err(|why| Error::IndexFile(why.to_string()))?;
    Ok(ClosureIndex::parse(&json)?)
}
