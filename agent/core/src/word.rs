//! Words of a format that later versions may have more of.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the words that this version knows, or another one: that is kept as it was read, shown and
/// written again. What it is taken for is decided where it is used, and is always the safest meaning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Word<T> {
    /// This version knows it.
    Known(T),
    /// Another version wrote it.
    Other(String),
}

impl<T: Copy> Word<T> {
    /// What this version knows it as; `None` if another version wrote it.
    #[must_use]
    pub const fn known(&self) -> Option<T> {
        match self {
            Self::Known(word) => Some(*word),
            Self::Other(_) => None,
        }
    }
}

impl<T> From<T> for Word<T> {
    fn from(word: T) -> Self {
        Self::Known(word)
    }
}

impl<T: PartialEq> PartialEq<T> for Word<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(word) if word == other)
    }
}

impl<T: Default> Default for Word<T> {
    fn default() -> Self {
        Self::Known(T::default())
    }
}

impl<T: fmt::Display> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(word) => word.fmt(f),
            Self::Other(word) => word.fmt(f),
        }
    }
}
