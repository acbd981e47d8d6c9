//! What reads outside bytes behind closed doors, as the fuzz targets call it.

use crate::{Error, client, trusted_set::TrustedSet};

/// What a robot with this anchor believes whose state directory holds a body, under a checksum that
/// fits.
///
/// # Errors
/// The anchor and what is stored do not go together.
pub fn stored(body: &[u8], anchor: TrustedSet, bytes: &[u8]) -> Result<TrustedSet, Error> {
    client::fuzz(body, anchor, bytes)
}
