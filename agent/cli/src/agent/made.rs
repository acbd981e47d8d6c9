//! When a command was given, and what ran then: see [`Made`].

use nix::time::{ClockId, clock_gettime};
use std::fs;
use surefoot_api::{Made, StorePath};
use surefoot_core::time::{BootId, Instant};

/// Says what is the case now. What cannot be told is left out.
pub(crate) fn now() -> Made {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let at = clock_gettime(ClockId::CLOCK_BOOTTIME).ok();
    Made {
        boot: boot.map(|text| BootId(text.trim().to_owned())),
        at: at.and_then(|at| {
            let seconds = u64::try_from(at.tv_sec()).ok()?;
            let millis = u64::try_from(at.tv_nsec()).ok()? / 1_000_000;
            Some(Instant(seconds * 1000 + millis))
        }),
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
