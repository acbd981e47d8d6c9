//! When a command was given, and what ran then: see [`Made`].

use std::fs;
use surefoot_api::{Made, StorePath};
use surefoot_base::clock;
use surefoot_core::time::{BootId, Instant};

/// Says what is the case now. What cannot be told is left out.
pub(crate) fn now() -> Made {
    let at = clock::since_boot().ok();
    Made {
        boot: clock::boot_id().ok().map(BootId),
        at: at.map(|at| Instant::default() + at),
        running: fs::canonicalize("/run/current-system")
            .ok()
            .and_then(|path| StorePath::containing(&path).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_and_time_are_known() {
        let made = now();
        assert!(made.boot.is_some_and(|boot| boot.0.len() == 36));
        assert!(made.at.is_some_and(|at| at > Instant(0)));
    }
}
