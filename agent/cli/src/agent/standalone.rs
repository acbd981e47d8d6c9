//! What works without a running agent: the daemon's own program does it, once, by itself.

use crate::{
    errors::{Refused, Usage},
    output::{Output, notice, sanitize},
};
use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::{path::PathBuf, process::Stdio};
use surefoot_api::{
    CallError, Difference, SystemInfo,
    finding::Finding,
    method::{Compare, Rollback},
};
use surefoot_base::environment;

/// Lets the daemon's own program roll back, without the daemon: it takes the daemon's lock, so that
/// there are never two who switch.
///
/// `silence` is why nobody answered; `resume`: whether all holds are to end first.
pub(crate) fn rollback(
    rollback: &Rollback,
    resume: bool,
    silence: CallError,
    output: Output,
) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(anyhow::Error::from(silence).context(
            "nothing was done; root can roll back without the agent: sudo surefoot rollback",
        ));
    }
    notice(&silence.to_string());
    notice("rolling back without it");
    let program = program();
    // Half a rollback is worse than a long one, and the caller sees it work: so without a limit.
    let mut command = environment::command(&program);
    command.args(words(rollback, resume));
    if output.is_json() {
        command.stdout(Stdio::piped());
    }
    let ended = command
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .with_context(|| format!("{} cannot be run", program.display()))?;
    match ended.status.code() {
        Some(0) => {
            let message = String::from_utf8_lossy(&ended.stdout);
            output.object(&json!({ "message": sanitize(message.trim()) }))
        }
        Some(2) => Err(Usage("surefootd did not take that".into()).into()),
        Some(3) => Err(Refused("surefootd refused to roll back".into()).into()),
        _ => bail!("surefootd could not roll back: {}", ended.status),
    }
}

/// How the daemon's own program is asked for it. What people write stands behind a `=`: it may begin with
/// a dash.
fn words(rollback: &Rollback, resume: bool) -> Vec<String> {
    let mut words = vec!["--rollback".to_owned(), format!("--why={}", rollback.why)];
    words.extend(rollback.force.then(|| "--force".to_owned()));
    words.extend(resume.then(|| "--resume".to_owned()));
    words.extend(rollback.to.as_ref().map(|to| format!("--to={to}")));
    // Whoever was asked first may have done it before it fell silent.
    let seen = rollback
        .made
        .as_ref()
        .and_then(|made| made.running.as_ref());
    words.extend(seen.map(|seen| format!("--seen={seen}")));
    words
}

/// Has the daemon's own program look the robot over, without the daemon.
///
/// `silence` is why nobody answered.
pub(crate) fn doctor(silence: CallError) -> anyhow::Result<Vec<Finding>> {
    without(silence, "doctor")?;
    look(&["--doctor"])
}

/// Has the daemon's own program list the systems, without the daemon.
pub(crate) fn systems(silence: CallError) -> anyhow::Result<Vec<SystemInfo>> {
    without(silence, "systems")?;
    look(&["--systems"])
}

/// Has the daemon's own program compare two systems, without the daemon.
pub(crate) fn compare(compare: &Compare, silence: CallError) -> anyhow::Result<Difference> {
    without(silence, "systems")?;
    let from = compare.from.as_ref().map(ToString::to_string);
    let to = compare.to.to_string();
    let mut how = vec!["--systems", "--diff"];
    how.extend(from.as_deref());
    how.push(&to);
    look(&how)
}

/// Whether a look without the daemon is allowed to this user; says that it is one.
fn without(silence: CallError, command: &str) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(anyhow::Error::from(silence).context(format!(
            "root can look without the agent: sudo surefoot {command}"
        )));
    }
    notice(&silence.to_string());
    notice("looking without it");
    Ok(())
}

/// Has the daemon's own program read the store.
pub(crate) fn deep_doctor() -> anyhow::Result<Vec<Finding>> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "only root can have the store read: sudo surefoot doctor --deep"
    );
    look(&["--doctor", "--deep"])
}

/// What the daemon's own program prints when it is asked like this.
///
/// # Errors
/// It cannot be run, does not do it, or prints something else.
pub(crate) fn look<T: DeserializeOwned>(how: &[&str]) -> anyhow::Result<T> {
    let program = program();
    let output = environment::command(&program)
        .args(how)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{} cannot be run", program.display()))?;
    if !output.status.success() {
        bail!("surefootd could not look the robot over: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("surefootd gave what cannot be understood")
}

/// Where a unit's file may lie (systemd.unit(5), "Unit File Load Path").
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The daemon's program: beside this one, else the one of its unit (NixOS installs the two apart),
/// else wherever the system has it. It runs as root: the caller's `PATH` does not matter.
fn program() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .map(|own| own.with_file_name("surefootd"))
        .filter(|beside| beside.is_file());
    beside
        .or_else(|| environment::of_unit(&UNITS, "surefootd.service").filter(|it| it.is_file()))
        .unwrap_or_else(|| "surefootd".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_api::Made;

    #[test]
    fn the_daemons_program_is_asked_for_the_same() {
        let rollback = Rollback {
            why: "-1.2 drops boxes".parse().expect("a reason"),
            to: Some("1.1".parse().expect("a release")),
            force: true,
            made: Some(Made::default()),
        };
        let expected = [
            "--rollback",
            "--why=-1.2 drops boxes",
            "--force",
            "--resume",
            "--to=1.1",
        ];
        assert_eq!(words(&rollback, true), expected);
        let rollback = Rollback {
            to: None,
            force: false,
            ..rollback
        };
        assert_eq!(words(&rollback, false), expected[..2]);
    }
}
