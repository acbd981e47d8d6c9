//! Where to roll back to.

use crate::{
    StorePath,
    release::{Name, NameError},
    store_path::StorePathError,
};
use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr};

/// Where to roll back to, as people name it: a store path or a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackTo {
    /// The system with this store path.
    System(StorePath),
    /// The newest kept system that came with this release.
    Release(Name),
}

/// What was named is neither a store path nor a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollbackToError {
    /// It begins as a store path.
    #[error(transparent)]
    System(#[from] StorePathError),
    /// It does not.
    #[error(transparent)]
    Release(#[from] NameError),
}

impl RollbackTo {
    /// Whether a system is the one that was named.
    #[must_use]
    pub fn names(&self, system: &StorePath, release: Option<&Name>) -> bool {
        match self {
            Self::System(path) => path == system,
            Self::Release(name) => Some(name) == release,
        }
    }

    /// The number of a generation, if it can be read as one.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::System(_) => None,
            Self::Release(name) => name.as_str().parse().ok(),
        }
    }
}

impl FromStr for RollbackTo {
    type Err = RollbackToError;

    fn from_str(text: &str) -> Result<Self, RollbackToError> {
        Ok(if text.starts_with('/') {
            Self::System(text.parse()?)
        } else {
            Self::Release(text.parse()?)
        })
    }
}

impl fmt::Display for RollbackTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(path) => path.fmt(f),
            Self::Release(name) => name.fmt(f),
        }
    }
}

impl Serialize for RollbackTo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn where_to_go_back_to_is_a_path_or_a_release() {
        let path: StorePath = "/nix/store/7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-nixos"
            .parse()
            .unwrap();
        let release: Name = "2026.11".parse().unwrap();
        let to: RollbackTo = path.to_string().parse().unwrap();
        assert!(to.names(&path, None));
        let to: RollbackTo = "2026.11".parse().unwrap();
        assert!(to.names(&path, Some(&release)) && !to.names(&path, None));
        assert!("/etc".parse::<RollbackTo>().is_err());
        assert!("a b".parse::<RollbackTo>().is_err());
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(text in ".{0,60}") {
            let _ = text.parse::<RollbackTo>();
        }
    }
}
