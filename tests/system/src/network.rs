//! A network of its own, with nothing but loopback, for robots and the servers they talk to.

use crate::rig;
use anyhow::{Context, Result};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// A network namespace. It ends with this value.
///
/// Robots come and go in it while the servers stay, and every test may use port 80.
#[derive(Debug)]
pub struct Network {
    keeper: Child,
}

impl Network {
    /// A new network.
    ///
    /// # Errors
    /// When namespaces cannot be made: not root, most likely.
    pub fn new() -> Result<Self> {
        let mut keeper = rig::leashed("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && echo up && exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run unshare")?;
        let mut line = String::new();
        let stdout = keeper.stdout.take().context("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        anyhow::ensure!(
            line == "up\n",
            "cannot make a network namespace: is this root?"
        );
        Ok(Self { keeper })
    }

    /// A process that lives in the network.
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// The words to put before a command so that it runs in the network.
    pub fn prefix(&self) -> [String; 4] {
        let pid = self.pid().to_string();
        ["nsenter".into(), "--net".into(), "--target".into(), pid]
    }

    /// A command that runs in the network, and dies with the thread that starts it.
    pub fn command(&self, program: &str) -> Command {
        let [nsenter, rest @ ..] = self.prefix();
        let mut command = rig::leashed(nsenter);
        command.args(rest).arg(program);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
