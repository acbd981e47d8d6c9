//! Files of certificates, keys and logins.

use crate::error::{Error, Result};
use std::{fs::File, io::Read as _, path::Path};

/// Files above this size are refused, bytes.
const MAX: u64 = 1 << 20;

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let fail = |why: String| Error::Client(format!("{}: {why}", path.display()));
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| fail(error.to_string()))?;
    if bytes.len() as u64 > MAX {
        return Err(fail(format!("it has more than {MAX} bytes")));
    }
    Ok(bytes)
}

/// Reads a text.
pub(crate) fn text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|_| Error::Client(format!("{}: it is not UTF-8", path.display())))
}
