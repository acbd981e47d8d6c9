//! What is wrong with a path of the store.

use std::fmt;
use surefoot_base::text::shown_within;
use surefoot_core::StorePath;

/// A path of the store that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Which one.
    pub path: StorePath,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, shown_within(&self.found, 200))
    }
}
