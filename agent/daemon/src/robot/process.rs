//! Processes: the agent's own, and those of the configuration's programs.

use std::{fs, path::PathBuf, time::Duration};
use surefoot_base::{
    environment,
    program::{self, Limits, last_lines},
};
use surefoot_core::health::JOURNAL_LINES;

/// How much of a program's output is looked at, bytes.
const MAX_OUTPUT: usize = 1 << 20;

/// Lines of a program's output are cut after this many characters.
const MAX_LINE: usize = 500;

/// The agent's own program, if the running system names another one in its unit: then it is time
/// to let that one go on.
pub(crate) fn replaced_by() -> Option<PathBuf> {
    let directories = ["/etc/systemd/system", "/run/systemd/system"];
    let program = environment::of_unit(&directories, "surefootd.service")?;
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
    let mut command = environment::command(name);
    command.args(args);
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
