//! How files in staging are called.

use surefoot_core::{
    StorePath,
    closure::{Compression, Delta, PathInfo},
};

/// What the name of a delta ends with.
const DELTA: &str = "nar.delta";

/// The name of one file in staging: the digest of what it holds, and the hash part of the path that
/// it is for, since several paths may have the same file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StagingKey(pub(super) String);

impl StagingKey {
    /// The compressed file's digest where the index says it; else the NAR's, with the compression.
    #[must_use]
    pub fn of(info: &PathInfo) -> Self {
        let suffix = match info.download.compression.known() {
            Some(Compression::None) => "nar",
            Some(Compression::Xz) => "nar.xz",
            Some(Compression::Zstd) => "nar.zst",
            Some(Compression::Delta) => DELTA,
            None => "nar.unknown",
        };
        let digest = match info.download.file_hash {
            Some(hash) => hash.hex(),
            None => format!("nar-{}", info.nar_hash.hex()),
        };
        Self(format!("{digest}-{}.{suffix}", info.path.hash_part()))
    }

    /// The file of a path that comes as this delta.
    pub(crate) fn of_delta(path: &StorePath, delta: &Delta) -> Self {
        let digest = delta.sha256.hex();
        Self(format!("{digest}-{}.{DELTA}", path.hash_part()))
    }
}
