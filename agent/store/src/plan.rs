//! What a fetch will cost, known before its first byte.

use crate::{
    error::{Error, Result},
    staging::{Found, Staging, StagingKey},
};
use std::{collections::HashSet, os::unix::fs::MetadataExt, path::Path};
use surefoot_base::space;
use surefoot_core::{StorePath, closure::ClosureIndex};

/// What a fetch will cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPlan {
    /// Paths that the store lacks, references before referrers.
    pub missing: Vec<StorePath>,
    /// Paths of the closure that are valid in the store already.
    pub already_present: u64,
    /// Bytes of the missing paths' compressed files.
    pub download_bytes: u64,
    /// Bytes of them that lie in staging already, from an earlier try.
    pub staged_bytes: u64,
    /// Bytes that the missing paths will take in the store.
    pub nar_bytes: u64,
    /// Missing paths that come as a delta of what is there.
    pub deltas: u64,
    /// Bytes that these spare: what their compressed files have more.
    pub saved_bytes: u64,
}

impl FetchPlan {
    /// Bytes that must still be moved.
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        self.download_bytes.saturating_sub(self.staged_bytes)
    }

    pub(crate) fn new(index: &ClosureIndex, valid: &HashSet<StorePath>, staging: &Path) -> Self {
        let mut plan = Self {
            missing: Vec::new(),
            already_present: 0,
            download_bytes: 0,
            staged_bytes: 0,
            nar_bytes: 0,
            deltas: 0,
            saved_bytes: 0,
        };
        for info in &index.paths {
            if valid.contains(&info.path) {
                plan.already_present += 1;
                continue;
            }
            let size = info.download.size(info.nar_size);
            plan.missing.push(info.path.clone());
            plan.download_bytes = plan.download_bytes.saturating_add(size);
            plan.nar_bytes = plan.nar_bytes.saturating_add(info.nar_size);
            let staged = match Staging::look(staging, &StagingKey::of(info)) {
                Found::Nothing => 0,
                Found::Part(bytes) | Found::Whole(bytes) => bytes.min(size),
            };
            plan.staged_bytes = plan.staged_bytes.saturating_add(staged);
        }
        plan
    }

    /// Checks that there is room for it in staging and store, with a reserve left on each.
    ///
    /// # Errors
    /// [`Error::NoSpace`] says where and how much.
    pub(crate) fn check_space(&self, staging: &Path, store: &Path, reserve: u64) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let (staging, store) = (space::existing(staging), space::existing(store));
        let needs = if device(staging)? == device(store)? {
            vec![(staging, self.wire_bytes().saturating_add(self.nar_bytes))]
        } else {
            vec![(staging, self.wire_bytes()), (store, self.nar_bytes)]
        };
        for (dir, bytes) in needs {
            let free = space::free(dir)
                .map_err(|errno| Error::io("ask for the free space of", dir)(errno.into()))?;
            let needed = bytes.saturating_add(reserve);
            if free < needed {
                return Err(Error::NoSpace {
                    dir: dir.into(),
                    needed,
                    free,
                });
            }
        }
        Ok(())
    }
}

fn device(dir: &Path) -> Result<u64> {
    let data = dir.metadata().map_err(Error::io("look at", dir))?;
    Ok(data.dev())
}
