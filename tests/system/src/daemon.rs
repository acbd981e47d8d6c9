//! A real Nix daemon on this machine, with a store of its own.

use crate::rig;
use anyhow::{Context, Result};
use nix::{sys::signal::Signal, unistd::Pid};
use std::{
    fs::File,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

/// A Nix daemon with an empty store. It ends with this value, and the store with it.
#[derive(Debug)]
pub struct NixDaemon {
    process: Option<Child>,
    directory: tempfile::TempDir,
    settings: String,
}

impl NixDaemon {
    /// Starts one; `settings` are lines of `nix.conf`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(settings: &str) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, settings)
    }

    /// Starts one with its store in this directory.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_in(directory: tempfile::TempDir, settings: &str) -> Result<Self> {
        let mut daemon = Self {
            process: None,
            directory,
            settings: settings.to_owned(),
        };
        daemon.resume()?;
        Ok(daemon)
    }

    /// Starts it again, with the store as it was left.
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&mut self) -> Result<()> {
        self.stop();
        if !self.root().join("nix/var/nix/db/db.sqlite").exists() {
            // Two of a daemon's processes that make the store at once get in each other's way.
            rig::run(rig::nix("nix-store").args(["--init", "--store", &self.store()]))?;
        }
        let log = File::create(self.directory.path().join("log"))?;
        let mut process = rig::nix("nix-daemon")
            .args(["--store", &self.store()])
            .env("NIX_DAEMON_SOCKET_PATH", self.socket())
            .env("NIX_CONFIG", &self.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot run nix-daemon")?;
        let socket = self.socket();
        rig::wait_for("the Nix daemon to listen", || {
            if let Some(status) = process.try_wait()? {
                anyhow::bail!("nix-daemon ended with {status}");
            }
            Ok(UnixStream::connect(&socket).ok())
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it with all that it does for its clients, and takes its socket away.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // The processes that serve clients are sessions of their own.
            for child in children(process.id()) {
                let _ = send(child, Signal::SIGKILL);
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_file(self.socket());
    }

    /// Stops it, so that whoever calls is heard by nobody. [`NixDaemon::go_on`] ends that.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        send(self.pid()?, Signal::SIGSTOP)
    }

    /// Stops what it does for its clients; new ones are served.
    ///
    /// # Errors
    /// When it does not run, or serves nobody.
    pub fn pause_children(&self) -> Result<()> {
        let children = children(self.pid()?.cast_unsigned());
        anyhow::ensure!(!children.is_empty(), "it serves nobody");
        (children.into_iter()).try_for_each(|child| send(child, Signal::SIGSTOP))
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn go_on(&self) -> Result<()> {
        send(self.pid()?, Signal::SIGCONT)
    }

    fn pid(&self) -> Result<i32> {
        let process = self.process.as_ref().context("it does not run")?;
        Ok(process.id().cast_signed())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// The directory that is the root of its store.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Its store as Nix names it, to look at it without the daemon.
    pub fn store(&self) -> String {
        format!("local?root={}", self.root().display())
    }

    /// A directory of this daemon, for files of the test that shall go with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Every path that is valid in the store.
    ///
    /// # Errors
    /// When Nix fails.
    pub fn valid_paths(&self) -> Result<Vec<String>> {
        let list =
            rig::run(rig::nix("nix").args(["path-info", "--all", "--store", &self.store()]))?;
        Ok(list.lines().map(str::to_owned).collect())
    }

    /// Reads every path of the store again and compares it with what is registered.
    ///
    /// # Errors
    /// When one is not what it should be.
    pub fn verify(&self) -> Result<()> {
        rig::run(rig::nix("nix").args([
            "store",
            "verify",
            "--all",
            "--no-trust",
            "--store",
            &self.store(),
        ]))?;
        Ok(())
    }

    /// Collects garbage.
    ///
    /// # Errors
    /// When Nix fails.
    pub fn collect_garbage(&self) -> Result<()> {
        rig::run(rig::nix("nix-store").args(["--gc", "--store", &self.store()]))?;
        Ok(())
    }
}

impl Drop for NixDaemon {
    fn drop(&mut self) {
        self.stop();
        // Store paths are read-only, their directories too.
        let _ = std::process::Command::new("chmod")
            .args(["-R", "u+w"])
            .arg(self.root())
            .status();
    }
}

fn send(pid: i32, signal: Signal) -> Result<()> {
    Ok(nix::sys::signal::kill(Pid::from_raw(pid), signal)?)
}

fn children(of: u32) -> Vec<i32> {
    std::fs::read_to_string(format!("/proc/{of}/task/{of}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}
