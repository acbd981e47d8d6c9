//! Length and digests of a file against what was signed.

use crate::Error;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256, Sha512};
use std::collections::BTreeMap;

/// Checks bytes against a length and digests. At least one digest must be of a known kind
/// (`sha256`, `sha512`), and every known one must agree.
///
/// # Errors
/// [`Error::Mismatch`].
pub(crate) fn check(
    file: &str,
    bytes: &[u8],
    length: u64,
    hashes: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let fail = |why: String| {
        Err(Error::Mismatch {
            file: file.to_owned(),
            why,
        })
    };
    if bytes.len() as u64 != length {
        return fail(format!("{} bytes instead of {length}", bytes.len()));
    }
    let mut known = false;
    for (name, expected) in hashes {
        let found = match name.as_str() {
            "sha256" => HEXLOWER.encode(&Sha256::digest(bytes)),
            "sha512" => HEXLOWER.encode(&Sha512::digest(bytes)),
            _ => continue,
        };
        known = true;
        if !found.eq_ignore_ascii_case(expected) {
            return fail(format!("its {name} is {found} instead of {expected}"));
        }
    }
    if known {
        Ok(())
    } else {
        let names: Vec<&str> = hashes.keys().map(String::as_str).collect();
        fail(format!(
            "none of its digests ({}) is of a kind known here; use sha256 or sha512",
            names.join(", ")
        ))
    }
}
