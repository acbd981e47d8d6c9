//! The robot's clocks: which boot this is, the time since it began, and what time of the day it is.

use jiff::Timestamp;
use std::time::Duration;
use surefoot_base::clock;
use surefoot_core::time::{BootId, Instant};
use surefoot_trust::Now;

/// This boot's name; empty if the kernel does not tell.
pub(crate) fn boot_id() -> BootId {
    BootId(clock::boot_id().unwrap_or_default())
}

/// Time since the boot, suspend included.
pub(crate) fn since_boot() -> Instant {
    let time = clock::since_boot().unwrap_or_else(|_| monotonic());
    Instant::default() + time
}

/// Time since the boot without suspend: systemd's timestamps are of this clock.
pub(crate) fn monotonic() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// How long the machine was suspended in this boot.
pub(crate) fn suspended() -> Duration {
    since_boot().since(Instant::default() + monotonic())
}

/// The reading, and whether something keeps the clock: timesyncd, chrony, ntpd and PTP all say so
/// to the kernel (`adjtimex(2)`), which forgets it at a boot, or when nobody has kept the clock
/// for long.
pub(crate) fn now() -> Now {
    Now {
        reading: Timestamp::now(),
        synced: synced(),
    }
}

#[allow(
    unsafe_code,
    reason = "no safe wrapper exists; the kernel only reads and fills the struct that it is given"
)]
fn synced() -> bool {
    // SAFETY: `timex` is plain numbers, for which all zeros is a value; with `modes` zero the call
    // changes nothing and writes only into the struct.
    let (state, error) = unsafe {
        let mut timex: nix::libc::timex = std::mem::zeroed();
        (nix::libc::adjtimex(&raw mut timex), timex.maxerror)
    };
    is_kept(state, error)
}

/// What `adjtimex(2)` gave, judged as systemd does (`timedate/timedated.c`, `ntp_synced`): by the
/// largest error that the clock may have, microseconds. It is 16 s where nobody keeps the clock. The
/// flag `STA_UNSYNC` says less: chrony clears it only where it is told to have the kernel set the
/// hardware clock (`rtcsync`).
const fn is_kept(state: i32, max_error: i64) -> bool {
    state >= 0 && max_error < 16_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_kept_if_its_error_is_bounded_whatever_the_flag_says() {
        let unsynced = nix::libc::TIME_ERROR;
        assert!(is_kept(nix::libc::TIME_OK, 1_500));
        // chrony without rtcsync.
        assert!(is_kept(unsynced, 20_000));
        // Since the boot, and long after the last answer of a server.
        assert!(!is_kept(unsynced, 16_000_000));
        assert!(!is_kept(-1, 0));
    }

    #[test]
    fn the_clock_of_a_boot_runs() {
        assert!(since_boot() > Instant(0));
        assert!(!boot_id().0.is_empty());
    }
}
