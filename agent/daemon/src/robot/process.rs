//! Processes: the agent's own, and those of the configuration's programs.

use super::systemd;
use crate::robot;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use surefoot_base::program::{self, Limits, last_lines};
use surefoot_core::health::JOURNAL_LINES;

/// How much of a program's output is looked at, bytes.
const MAX_OUTPUT: usize = 1 << 20;

/// Lines of a program's output are cut after this many characters.
const MAX_LINE: usize = 500;

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

/// Runs a program that must exit with 0.
///
/// # Errors
/// How it ended instead, and its last lines.
pub(crate) async fn run(exec: &[String], limit: Duration) -> Result<(), (String, Vec<String>)> {
    let Some((name, args)) = exec.split_first() else {
        return Err(("there is no program".to_owned(), Vec::new()));
    };
    let mut command = Command::new(name);
    command.args(args).env("PATH", systemd::PATH);
    let limits = Limits {
        time: limit,
        output: MAX_OUTPUT,
    };
    let ended =
        (program::run(command, limits).await).map_err(|error| (error.to_string(), Vec::new()))?;
    if ended.status.success() {
        return Ok(());
    }
    let printed = [ended.stdout, ended.stderr].concat();
    let lines = last_lines(&printed, JOURNAL_LINES, MAX_LINE);
    Err((ended.status.to_string(), lines))
}
