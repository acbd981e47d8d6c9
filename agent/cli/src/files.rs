//! Files that somebody names on the command line.

use anyhow::Context as _;
use std::{fs::File, path::Path};
use surefoot_base::file::{ReadError, read_from};

/// Two roots of the largest size that robots read, and then some, bytes: no draft of a root and no
/// key is larger.
const MAX_SIGNED_BYTES: u64 = 2 << 20;

/// Reads a file of at most `limit` bytes; pipes are welcome.
///
/// # Errors
/// As [`read_from`], or the file cannot be opened.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    read_from(File::open(path)?, limit)
}

/// Reads a root, a draft of one or a key.
///
/// # Errors
/// As [`read`], naming the file.
pub(crate) fn read_signed(path: &Path) -> anyhow::Result<Vec<u8>> {
    read(path, MAX_SIGNED_BYTES).with_context(|| path.display().to_string())
}
