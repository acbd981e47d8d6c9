//! SHA-256 digests in the notations that Nix uses.
//!
//! Source: Nix `src/libutil/hash.cc` and `src/libutil/base-nix-32.cc`.

use data_encoding::{BASE64, BitOrder, Encoding, HEXLOWER, Specification};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, sync::LazyLock};
use surefoot_base::text::shown;

/// The alphabet of Nix' base 32: digits and lower-case letters without `e o u t`.
pub const NIX32_ALPHABET: &str = "0123456789abcdfghijklmnpqrsvwxyz";

/// Nix' base 32 is ordinary base 32 with the least significant bit first, written backwards.
#[allow(
    clippy::expect_used,
    reason = "a constant specification, covered by every test"
)]
static NIX32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str(NIX32_ALPHABET);
    spec.bit_order = BitOrder::LeastSignificantFirst;
    spec.encoding().expect("the alphabet has 32 symbols")
});

/// Encodes bytes in Nix' base 32.
#[must_use]
pub fn nix32_encode(bytes: &[u8]) -> String {
    NIX32.encode(bytes).chars().rev().collect()
}

/// Decodes Nix' base 32; `None` if a character is not in the alphabet or bits are left over.
#[must_use]
pub fn nix32_decode(text: &str) -> Option<Vec<u8>> {
    let reversed: Vec<u8> = text.bytes().rev().collect();
    NIX32.decode(&reversed).ok()
}

/// A SHA-256 digest.
///
/// Written as `sha256:` and 52 characters of Nix' base 32, as narinfo files do. Read in that form,
/// as `sha256:` with 64 hexadecimal digits, and as SRI (`sha256-` with base 64).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Lower-case hexadecimal without a prefix, as the daemon protocol and TUF write it.
    #[must_use]
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Reads 64 hexadecimal digits without a prefix.
    ///
    /// # Errors
    /// [`HashError`] if the text is anything else.
    pub fn from_hex(text: &str) -> Result<Self, HashError> {
        HEXLOWER
            .decode(text.to_ascii_lowercase().as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| HashError::new(text))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", nix32_encode(&self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let bytes = if let Some(sri) = text.strip_prefix("sha256-") {
            BASE64.decode(sri.as_bytes()).ok()
        } else {
            match text.strip_prefix("sha256:") {
                Some(digest) if digest.len() == 52 => nix32_decode(digest),
                Some(digest) if digest.len() == 64 => return Self::from_hex(digest),
                _ => None,
            }
        };
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| HashError::new(text))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is not a SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{}' is not a SHA-256 digest; expected 'sha256:' with 52 base-32 or 64 hexadecimal characters, or 'sha256-' with base 64",
    shown(.0)
)]
pub struct HashError(String);

impl HashError {
    /// Keeps at most 100 characters of what was read: it may be anything.
    fn new(text: &str) -> Self {
        Self(text.chars().take(100).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_notations_of_nix_agree() {
        // nix hash convert --hash-algo sha256 --to … of the digest of "abc"
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let nix32 = "sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s";
        let sri = "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        let hash: Sha256 = nix32.parse().unwrap();
        assert_eq!(hash.hex(), hex);
        assert_eq!(hash.to_string(), nix32);
        assert_eq!(sri.parse(), Ok(hash));
        assert_eq!(format!("sha256:{hex}").parse(), Ok(hash));
    }

    proptest! {
        #[test]
        fn every_digest_survives_its_text(bytes: [u8; 32]) {
            let hash = Sha256(bytes);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,120}") {
            let _ = text.parse::<Sha256>();
            let _ = format!("sha256:{text}").parse::<Sha256>();
        }
    }
}
