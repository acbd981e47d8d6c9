//! Talking to the agent of a robot.

use crate::{Robot, rig};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::process::Output;

/// The agent's interface on its control socket.
const INTERFACE: &str = "io.surefoot.Agent";
/// Where that socket is.
const SOCKET: &str = "/run/surefoot/control.socket";

/// The command line of the robot's system.
const SUREFOOT: &str = "/run/current-system/sw/bin/surefoot";

impl Robot {
    /// Runs `surefoot` as a user of the robot, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be run at all.
    pub fn surefoot_as(&self, user: &str, words: &[&str]) -> Result<Output> {
        let login = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"];
        let command = login.iter().chain(&[SUREFOOT]).chain(words);
        Ok(self.command(command).output()?)
    }

    /// Calls a method of the agent by systemd's `varlinkctl`, as root.
    ///
    /// # Errors
    /// When it answers with an error, or not at all.
    pub fn call(&self, method: &str, parameters: &Value) -> Result<Value> {
        let method = format!("{INTERFACE}.{method}");
        let words = [
            "varlinkctl",
            "call",
            "--json=short",
            SOCKET,
            &method,
            &parameters.to_string(),
        ];
        let answer = rig::run(&mut self.command(words))?;
        serde_json::from_str(&answer).with_context(|| format!("no JSON: {answer}"))
    }

    /// What the agent says of itself and the robot.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Value> {
        Ok(self.call("Status", &json!({}))?["status"].take())
    }

    /// Waits until the agent's status is such, and gives it. While the agent restarts, or the robot
    /// does, they are waited for too.
    ///
    /// # Errors
    /// When it is not within a minute: with the last status and the robot's journal.
    pub fn until_status(&self, what: &str, good: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        rig::wait_for(what, || {
            last = self.status().unwrap_or_default();
            Ok(good(&last).then(|| last.clone()))
        })
        .with_context(|| self.journal())
        .with_context(|| format!("the last status was {last:#}"))
    }

    /// Waits until this system is confirmed and the agent has nothing more to do with it; then it
    /// must also be what runs, what the profile names and what the loader boots by default.
    ///
    /// # Errors
    /// When it is not within a minute, or the robot is not as the agent says.
    pub fn until_confirmed(&self, system: &str) -> Result<Value> {
        let status = self.until_status(&format!("{system} to be confirmed"), |status| {
            status["confirmed"]["system"] == system && status["state"] == "idle"
        })?;
        self.stands_on(system)?;
        Ok(status)
    }

    /// Waits until a release is blocked and the robot is back on the system that was confirmed.
    /// Gives what the status says of the block.
    ///
    /// # Errors
    /// When it does not come to that within a minute, or the robot is not as the agent says.
    pub fn until_blocked(&self, release: &str, confirmed: &str) -> Result<Value> {
        let status = self.until_status(&format!("{release} to be blocked"), |status| {
            blocked(status, release).is_some()
                && status["state"] == "idle"
                && status["running"]["system"] == confirmed
                && status["confirmed"]["system"] == confirmed
        })?;
        self.stands_on(confirmed)?;
        blocked(&status, release).cloned().context("not blocked")
    }

    /// Holds that the robot runs this system, would boot it, and has it in its profile.
    ///
    /// # Errors
    /// When one of them is another.
    pub fn stands_on(&self, system: &str) -> Result<()> {
        for (what, found) in [
            ("runs", self.current()?),
            ("would boot", self.loader_default()?),
            (
                "has in its profile",
                self.sh("readlink -f /nix/var/nix/profiles/system")?,
            ),
        ] {
            anyhow::ensure!(found == system, "the robot {what} {found}, not {system}");
        }
        Ok(())
    }
}

/// What the status says of a blocked release.
pub fn blocked<'a>(status: &'a Value, release: &str) -> Option<&'a Value> {
    status["blocked"]
        .as_array()?
        .iter()
        .find(|blocked| blocked["release"] == release)
}
