//! A robot in a container: real systemd as PID 1, a real Nix daemon and store.

use crate::{Farm, Network, rig};
use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// A robot. Its disk lasts as long as this value; it may be started, unplugged and started again.
#[derive(Debug)]
pub struct Robot {
    directory: tempfile::TempDir,
    network: Option<u32>,
    running: Option<Child>,
}

impl Robot {
    /// A robot that is off, with the generation `toplevel` of the farm as the one it boots.
    ///
    /// # Errors
    /// When its disk cannot be made.
    pub fn new(farm: &Farm, toplevel: &str) -> Result<Self> {
        let robot = Self::bare()?;
        rig::run(robot.container("install").arg(farm.root()).arg(toplevel))?;
        Ok(robot)
    }

    /// A robot that is off, with systemd and a Nix daemon but no generation of NixOS.
    ///
    /// # Errors
    /// When its disk cannot be made.
    pub fn bare() -> Result<Self> {
        // Not in /tmp, which may be too small, or an overlay that cannot carry another.
        let robots = rig::cache().join("robots");
        std::fs::create_dir_all(&robots)?;
        let directory = tempfile::Builder::new()
            .prefix("robot-")
            .tempdir_in(robots)?;
        let robot = Self {
            directory,
            network: None,
            running: None,
        };
        rig::run(&mut robot.container("create"))?;
        Ok(robot)
    }

    /// Puts the robot into a network, where servers may be. Without it, it is alone.
    #[must_use]
    pub fn in_network(mut self, network: &Network) -> Self {
        self.network = Some(network.pid());
        self
    }

    fn container(&self, action: &str) -> Command {
        let mut command = rig::leashed(rig::program("container"));
        command.arg(action).arg(self.directory.path());
        command
    }

    /// The root of the robot's disk, as far as it differs from the userland that all robots share.
    /// Files may be put here while the robot is off.
    pub fn disk(&self) -> PathBuf {
        self.directory.path().join("upper")
    }

    /// Writes a file on the robot's disk, by its absolute path there, while the robot is off.
    ///
    /// # Errors
    /// When it cannot be written, or the robot runs.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        anyhow::ensure!(
            self.running.is_none(),
            "the robot runs: write before it starts"
        );
        let file = self.disk().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(file.parent().context("no directory")?)?;
        std::fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))
    }

    /// A directory of this machine that the robot sees as /srv.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn share(&self) -> Result<PathBuf> {
        let share = self.directory.path().join("share");
        std::fs::create_dir_all(&share)?;
        Ok(share)
    }

    /// Switches it on and waits until systemd has started everything.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(&mut self) -> Result<()> {
        let mut command = self.container("start");
        if let Some(network) = self.network {
            command.env("SUREFOOT_RIG_NET", network.to_string());
        }
        let log = File::create(self.directory.path().join("start.log"))?;
        self.running = Some(
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?,
        );
        rig::keep_commands_going();
        self.settle()
    }

    /// Waits until systemd has finished starting: after [`Robot::start`] it has, after a reboot
    /// from the inside this is how to wait for it.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn settle(&self) -> Result<()> {
        rig::run(&mut self.container("wait")).with_context(|| self.console())?;
        Ok(())
    }

    /// A command that runs in the robot as root, given as words.
    pub fn command<S: AsRef<std::ffi::OsStr>>(
        &self,
        words: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = self.container("exec");
        command.args(words);
        command
    }

    /// Runs a line of shell in the robot and gives what it wrote to stdout.
    ///
    /// # Errors
    /// When it does not exit with 0.
    pub fn sh(&self, line: &str) -> Result<String> {
        rig::run(&mut self.command(["sh", "-c", line]))
    }

    /// Runs a line of shell in the robot, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be run at all.
    pub fn try_sh(&self, line: &str) -> Result<Output> {
        Ok(self.command(["sh", "-c", line]).output()?)
    }

    /// Waits until a line of shell exits with 0 in the robot, and gives what it wrote. While the
    /// robot restarts it is waited for too.
    ///
    /// # Errors
    /// When it has not after a minute: with the robot's journal.
    pub fn until(&self, line: &str) -> Result<String> {
        rig::wait_for(line, || {
            let output = self.try_sh(line)?;
            let found = String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned();
            Ok(output.status.success().then_some(found))
        })
        .with_context(|| self.journal())
    }

    /// Pulls the plug: every process of the robot is killed at once. What it had written stays.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn unplug(&mut self) -> Result<()> {
        rig::run(&mut self.container("kill"))?;
        if let Some(mut running) = self.running.take() {
            running.wait()?;
        }
        Ok(())
    }

    /// A power cut, and power again.
    ///
    /// # Errors
    /// When it does not come up again.
    pub fn power_cycle(&mut self) -> Result<()> {
        self.unplug()?;
        self.start()
    }

    /// Whether the robot is on.
    pub fn is_running(&mut self) -> bool {
        matches!(self.running.as_mut().map(Child::try_wait), Some(Ok(None)))
    }

    /// This boot's id.
    ///
    /// # Errors
    /// When the robot is not running.
    pub fn boot_id(&self) -> Result<String> {
        self.sh("cat /proc/sys/kernel/random/boot_id")
    }

    /// Waits until the robot has restarted by itself since the boot of this id.
    ///
    /// # Errors
    /// When it has not after a minute.
    pub fn rebooted_since(&self, boot: &str) -> Result<()> {
        self.until(&format!(
            "test $(cat /proc/sys/kernel/random/boot_id) != {boot}"
        ))?;
        self.settle()
    }

    /// The generation that runs, as /run/current-system says.
    ///
    /// # Errors
    /// When the robot is not running.
    pub fn current(&self) -> Result<String> {
        self.sh("readlink -f /run/current-system")
    }

    /// The generation that the loader would boot next, by its toplevel.
    ///
    /// # Errors
    /// When the robot is not running, or its loader is not in order.
    pub fn loader_default(&self) -> Result<String> {
        let line = "cd /boot/loader/entries && \
            sed -n 's|^options .*init=\\([^ ]*\\)/init.*|\\1|p' $(sed -n 's/^default //p' ../loader.conf)";
        let toplevel = self.sh(line)?;
        if toplevel.is_empty() {
            bail!("the loader's default entry has no init=");
        }
        Ok(toplevel)
    }

    /// What the robot's journal says, for the message of a failed test.
    pub fn journal(&self) -> String {
        let lines = "journalctl --no-pager --no-hostname -o short-monotonic -n 200";
        match self.sh(lines) {
            Ok(journal) => format!("the robot's journal:\n{journal}"),
            Err(_) => self.console(),
        }
    }

    fn console(&self) -> String {
        let read = |name: &str| {
            std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
        };
        format!(
            "the robot's console:\n{}{}",
            read("console.log"),
            read("start.log")
        )
    }

    /// Where the robot is kept on this machine.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        let _ = self.unplug();
    }
}
