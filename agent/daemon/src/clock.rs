//! What this machine's clock says, and whether it can be trusted.

use jiff::Timestamp;
use surefoot_trust::Now;

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
    let (state, status) = unsafe {
        let mut timex: nix::libc::timex = std::mem::zeroed();
        (nix::libc::adjtimex(&raw mut timex), timex.status)
    };
    (0..nix::libc::TIME_ERROR).contains(&state) && status & nix::libc::STA_UNSYNC == 0
}
