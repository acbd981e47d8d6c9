//! Store paths.
//!
//! Source: Nix `src/libstore/path.cc` (`checkName`, `StorePath`).

use crate::hash::NIX32_ALPHABET;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, path::Path, str::FromStr};
use surefoot_base::text::shown;

/// Where every store path lies. Other store directories are not supported: NixOS has none.
pub const STORE_DIR: &str = "/nix/store";

/// Characters of the hash part.
const HASH_LEN: usize = 32;
/// Nix' own bound on the name part.
const MAX_NAME_LEN: usize = 211;

/// A path directly below `/nix/store`, valid in form: 32 base-32 characters, a dash, a name of at
/// most 211 characters from `A-Za-z0-9+-._?=`.
///
/// Whether such a path exists in a store is another question.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(Box<str>);

impl StorePath {
    /// Reads `HASH-NAME`, the path without `/nix/store/`.
    ///
    /// # Errors
    /// [`StorePathError`] says which rule the text breaks.
    pub fn from_base_name(base: &str) -> Result<Self, StorePathError> {
        let fail = |why| {
            Err(StorePathError {
                text: base.chars().take(300).collect(),
                why,
            })
        };
        let Some((hash, name)) = base.split_at_checked(HASH_LEN) else {
            return fail("it is too short");
        };
        if !hash.chars().all(|c| NIX32_ALPHABET.contains(c)) {
            return fail("its hash part has a character outside Nix' base 32");
        }
        let Some(name) = name.strip_prefix('-') else {
            return fail("a dash must follow the 32 characters of the hash part");
        };
        if name.is_empty() || name.len() > MAX_NAME_LEN {
            return fail("its name must have 1 to 211 characters");
        }
        if matches!(name, "." | "..") || name.starts_with(".-") || name.starts_with("..-") {
            return fail("its name must not be '.' or '..' or start with '.-' or '..-'");
        }
        if !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-._?=".contains(&b))
        {
            return fail("its name may only have A-Z a-z 0-9 + - . _ ? =");
        }
        Ok(Self(base.into()))
    }

    /// `HASH-NAME`, as narinfo files list references.
    #[must_use]
    pub fn base_name(&self) -> &str {
        &self.0
    }

    /// The 32 characters which name the path's narinfo in a binary cache.
    #[must_use]
    pub fn hash_part(&self) -> &str {
        &self.0[..HASH_LEN]
    }

    /// The name without its hash, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0[HASH_LEN + 1..]
    }

    /// Finds the store path that a path lies in: `/nix/store/HASH-NAME/bin/x` gives
    /// `/nix/store/HASH-NAME`.
    ///
    /// # Errors
    /// [`StorePathError`] if it does not lie below `/nix/store`.
    pub fn containing(path: &Path) -> Result<Self, StorePathError> {
        let text = path.to_string_lossy();
        match text
            .strip_prefix(STORE_DIR)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            Some(rest) => Self::from_base_name(rest.split('/').next().unwrap_or(rest)),
            None => Err(StorePathError {
                text: text.chars().take(300).collect(),
                why: "it does not lie in /nix/store",
            }),
        }
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE_DIR}/{}", self.0)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StorePath {
    type Err = StorePathError;

    /// Reads the full path, `/nix/store/HASH-NAME`, and nothing below it.
    fn from_str(text: &str) -> Result<Self, StorePathError> {
        match text
            .strip_prefix(STORE_DIR)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            Some(base) => Self::from_base_name(base),
            None => Err(StorePathError {
                text: text.chars().take(300).collect(),
                why: "it does not start with /nix/store/",
            }),
        }
    }
}

impl Serialize for StorePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StorePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is not a store path, and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a store path: {why}", shown(.text))]
pub struct StorePathError {
    text: String,
    why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "/nix/store/7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-hello-2.12.1";

    #[test]
    fn a_path_has_parts() {
        let path: StorePath = GOOD.parse().unwrap();
        assert_eq!(path.hash_part(), "7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1");
        assert_eq!(path.name(), "hello-2.12.1");
        assert_eq!(path.to_string(), GOOD);
        assert_eq!(
            StorePath::containing(Path::new(&format!("{GOOD}/bin/hello"))),
            Ok(path)
        );
    }

    #[test]
    fn wrong_names_are_refused_with_the_rule() {
        for (text, word) in [
            ("/usr/bin/env", "start with"),
            ("/nix/store/short", "too short"),
            ("/nix/store/7rjj86a9d9vvbjg8c7i4r1f5vpm3k2de-x", "base 32"),
            ("/nix/store/7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1xx", "dash"),
            ("/nix/store/7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-", "1 to 211"),
            (
                "/nix/store/7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-a/b",
                "may only",
            ),
            ("/nix/store/7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-..", "must not"),
        ] {
            let error = text.parse::<StorePath>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,300}") {
            let _ = StorePath::from_base_name(&text);
            let _ = text.parse::<StorePath>();
            let _ = StorePath::containing(Path::new(&text));
        }
    }
}
