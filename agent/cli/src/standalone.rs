//! What can be done although no agent answers.

use crate::{
    errors::{Refused, Usage},
    output::{clean, print_json},
};
use anyhow::{Context, bail};
use serde_json::json;
use std::{
    path::PathBuf,
    process::{Command, Stdio},
};
use surefoot_api::{CallError, finding::Finding};

/// Lets the daemon's own program roll back, without the daemon: it takes the daemon's lock, so that
/// there are never two who switch.
///
/// `silence` is why nobody answered.
pub(crate) fn rollback(
    why: &str,
    to: Option<&str>,
    json: bool,
    silence: CallError,
) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(anyhow::Error::from(silence).context(
            "nothing was done; root can roll back without the agent: sudo surefoot rollback",
        ));
    }
    eprintln!("surefoot: {silence}\nsurefoot: rolling back without it");
    let program = program();
    let mut command = Command::new(&program);
    command.args(["--rollback", "--why", why]);
    if let Some(to) = to {
        command.args(["--to", to]);
    }
    if json {
        command.stdout(Stdio::piped());
    }
    let output = command
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .with_context(|| format!("{} cannot be run", program.display()))?;
    match output.status.code() {
        Some(0) if json => {
            let message = String::from_utf8_lossy(&output.stdout);
            print_json(&json!({ "message": clean(message.trim()) }))
        }
        Some(0) => Ok(()),
        Some(2) => Err(Usage("surefootd did not take that".into()).into()),
        Some(3) => Err(Refused("surefootd refused to roll back".into()).into()),
        _ => bail!("surefootd could not roll back: {}", output.status),
    }
}

/// Has the daemon's own program look the robot over, without the daemon.
///
/// `silence` is why nobody answered.
pub(crate) fn doctor(silence: CallError) -> anyhow::Result<Vec<Finding>> {
    if !nix::unistd::geteuid().is_root() {
        return Err(anyhow::Error::from(silence).context(
            "root can have the robot looked over without the agent: sudo surefoot doctor",
        ));
    }
    eprintln!("surefoot: {silence}\nsurefoot: looking without it");
    let program = program();
    let output = Command::new(&program)
        .arg("--doctor")
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{} cannot be run", program.display()))?;
    if !output.status.success() {
        bail!("surefootd could not look the robot over: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("surefootd gave what cannot be understood")
}

/// The daemon's program: beside this one, else wherever the system finds it.
fn program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .map(|own| own.with_file_name("surefootd"))
        .filter(|beside| beside.is_file())
        .unwrap_or_else(|| "surefootd".into())
}
