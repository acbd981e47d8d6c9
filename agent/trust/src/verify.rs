//! Whether enough of a role's keys signed.

use crate::{
    Error,
    keys::PublicKey,
    metadata::{Envelope, Key, KeyId, RoleKeys},
};
use data_encoding::HEXLOWER_PERMISSIVE;
use std::collections::{BTreeMap, BTreeSet};

/// Checks that a threshold of a role's keys signed the file.
///
/// Distinct keys count, not distinct names: one key under two names counts once. Signatures by
/// unknown keys, of unknown kinds or wrong ones do not count and do no harm (§4.2, §5.3.4).
///
/// # Errors
/// [`Error::Threshold`] with the numbers; `note` says whose keys were asked.
pub fn threshold(
    file: &str,
    envelope: &Envelope,
    keys: &BTreeMap<KeyId, Key>,
    role: &RoleKeys,
    note: &str,
) -> Result<(), Error> {
    let message = envelope.message();
    let mut valid = BTreeSet::new();
    for signature in &envelope.signatures {
        if !role.keyids.contains(&signature.keyid) {
            continue;
        }
        let Some(key) = keys.get(&signature.keyid).and_then(PublicKey::of) else {
            continue;
        };
        let Ok(bytes) = HEXLOWER_PERMISSIVE.decode(signature.sig.as_bytes()) else {
            continue;
        };
        if !valid.contains(&key) && key.verifies(&message, &bytes) {
            valid.insert(key);
        }
    }
    let valid = valid.len() as u64;
    if valid >= role.threshold.max(1) {
        return Ok(());
    }
    Err(Error::Threshold {
        file: file.to_owned(),
        valid,
        threshold: role.threshold,
        note: if note.is_empty() {
            String::new()
        } else {
            format!(", asking {note}")
        },
    })
}
