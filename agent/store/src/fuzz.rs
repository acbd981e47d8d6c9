//! What reads outside bytes behind closed doors, as the fuzz targets call it.

use crate::access;

/// Files with logins, tokens and keys; requests that are signed by them.
pub fn access(text: &str) {
    access::fuzz(text);
}
