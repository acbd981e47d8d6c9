//! The agent's own process.

use crate::robot;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The agent's own program, if the running system names another one in its unit: then it is time
/// to let that one go on.
pub(crate) fn replaced_by() -> Option<PathBuf> {
    let unit = robot::read(Path::new("/etc/systemd/system/surefootd.service"))
        .or_else(|| robot::read(Path::new("/run/systemd/system/surefootd.service")))?;
    let program = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))?
        .trim_start_matches(['-', '@', ':', '+', '!'])
        .split_whitespace()
        .next()?;
    let wanted = fs::canonicalize(program).ok()?;
    let own = fs::canonicalize("/proc/self/exe").ok()?;
    (wanted != own).then_some(wanted)
}
