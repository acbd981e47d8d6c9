//! Files of certificates, keys and logins. People name them, so they may be pipes.

use crate::error::{Error, Result};
use std::{fs::File, path::Path};
use surefoot_base::file::{ReadError, read_from};

/// Files above this size are refused, bytes.
const MAX: u64 = 1 << 20;

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    File::open(path)
        .map_err(ReadError::from)
        .and_then(|file| read_from(file, MAX))
        .map_err(|error| unusable(path, &error))
}

/// Reads a text.
pub(crate) fn text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|_| unusable(path, &ReadError::NotText))
}

fn unusable(path: &Path, error: &ReadError) -> Error {
    Error::Client(format!("{}: {error}", path.display()))
}
