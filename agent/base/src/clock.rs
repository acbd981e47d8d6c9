//! Which boot this is, and the time since it began.

use crate::file;
use nix::time::{ClockId, clock_gettime};
use std::{io, path::Path, time::Duration};

/// The kernel's random name of this boot (`random(4)`).
///
/// # Errors
/// The kernel does not tell.
pub fn boot_id() -> io::Result<String> {
    let text = file::read_text(Path::new("/proc/sys/kernel/random/boot_id"), 100)?;
    Ok(text.trim().to_owned())
}

/// Time since the boot, suspend included (`CLOCK_BOOTTIME`, `clock_gettime(2)`).
///
/// # Errors
/// The kernel has no such clock.
pub fn since_boot() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_BOOTTIME)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_boot_has_a_name_and_runs() {
        assert_eq!(boot_id().unwrap().len(), 36);
        assert!(since_boot().unwrap() > Duration::ZERO);
    }
}
