//! Nix' own signatures of store paths, as `nix store sign` makes them.
//!
//! Source: Nix `src/libstore/path-info.cc` (`ValidPathInfo::fingerprint`: what a signature covers).

use crate::nix_daemon::ValidPath;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use data_encoding::BASE64;
use std::str::FromStr;
use surefoot_base::text::shown;
use surefoot_core::{Sha256, StorePath, closure::PathInfo};

/// What a Nix signature covers: `1;path;narHash;narSize;references`, full paths, sorted.
#[must_use]
pub fn fingerprint(info: &PathInfo) -> String {
    covered(&info.path, &info.nar_hash, info.nar_size, &info.references)
}

fn covered(path: &StorePath, nar_hash: &Sha256, nar_size: u64, references: &[StorePath]) -> String {
    let references: Vec<String> = references.iter().map(ToString::to_string).collect();
    format!("1;{path};{nar_hash};{nar_size};{}", references.join(","))
}

/// A public key of a binary cache, `NAME:BASE64`, as in `trusted-public-keys` of `nix.conf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: [u8; 32],
}

/// A text that is no [`PublicKey`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a public key of a binary cache; expected NAME:BASE64 of 32 bytes", shown(.0))]
pub struct PublicKeyError(String);

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        text.split_once(':')
            .filter(|(name, _)| !name.is_empty())
            .and_then(|(name, key)| {
                let key = BASE64.decode(key.as_bytes()).ok()?.try_into().ok()?;
                Some(Self {
                    name: name.to_owned(),
                    key,
                })
            })
            .ok_or_else(|| PublicKeyError(text.chars().take(120).collect()))
    }
}

impl PublicKey {
    /// Whether one of the path's signatures was made by this key over what the path says of
    /// itself. Signatures that cannot be read count as absent.
    #[must_use]
    pub fn signed(&self, info: &PathInfo) -> bool {
        self.made_one_of(&info.signatures, &fingerprint(info))
    }

    /// As [`PublicKey::signed`], of what a store knows of a path.
    #[must_use]
    pub fn signed_valid(&self, path: &StorePath, info: &ValidPath) -> bool {
        let message = covered(path, &info.nar_hash, info.nar_size, &info.references);
        self.made_one_of(&info.signatures, &message)
    }

    fn made_one_of(&self, signatures: &[String], message: &str) -> bool {
        signatures.iter().any(|signature| {
            signature
                .split_once(':')
                .filter(|(name, _)| *name == self.name)
                .and_then(|(_, text)| BASE64.decode(text.as_bytes()).ok())
                .is_some_and(|bytes| {
                    UnparsedPublicKey::new(&ED25519, self.key)
                        .verify(message.as_bytes(), &bytes)
                        .is_ok()
                })
        })
    }
}
