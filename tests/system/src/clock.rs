//! Wrong clocks: what the agent of a robot sees, while the rest of the robot keeps the time.

use crate::{Robot, rig};
use anyhow::{Context, Result};
use std::{
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

/// Where the robot has the library that lies to the agent; see `tests/rig/false-clock.c`.
const LIBRARY: &str = "/usr/local/lib/false-clock.so";
/// What it says.
const CLOCK: &str = "/etc/false-clock";

/// A year, in seconds.
pub const YEAR: i64 = 365 * 86_400;

/// The agent's clock.
#[derive(Debug, Clone, Copy)]
pub struct FalseClock {
    /// How far it is off, seconds.
    pub offset: i64,
    /// Whether the kernel says that somebody keeps it.
    pub synced: bool,
}

impl FalseClock {
    /// A clock that reads the first of January of a year, more or less.
    ///
    /// # Errors
    /// When this machine's own clock reads a time before 1970.
    pub fn reads(year: i64, synced: bool) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let offset = (year - 1970) * YEAR + (year - 1969) / 4 * 86_400 - i64::try_from(now)?;
        // A day later: 1970 is not to be a time before 1970.
        let offset = offset + 86_400;
        Ok(Self { offset, synced })
    }

    fn text(self) -> String {
        format!("{} {}\n", self.offset, u8::from(self.synced))
    }
}

impl Robot {
    /// Has the agent of a robot that is off see this clock.
    ///
    /// # Errors
    /// When the library cannot be built: it needs a C compiler.
    pub fn with_clock(&self, clock: FalseClock) -> Result<()> {
        let directory = tempfile::tempdir()?;
        let library = directory.path().join("false-clock.so");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]);
        rig::run(cc.arg(&library).arg(rig::program("false-clock.c")))?;
        self.write(LIBRARY, std::fs::read(&library)?)?;
        self.write(
            "/usr/local/lib/systemd/system/surefootd.service.d/clock.conf",
            format!("[Service]\nEnvironment=LD_PRELOAD={LIBRARY}\n"),
        )?;
        self.write(CLOCK, clock.text())
    }

    /// Sets the agent's clock while the robot runs.
    ///
    /// # Errors
    /// When the robot does not run.
    pub fn set_clock(&self, clock: FalseClock) -> Result<()> {
        let text = clock.text();
        let line = format!(
            "echo '{}' >{CLOCK}.new && mv {CLOCK}.new {CLOCK}",
            text.trim()
        );
        self.sh(&line).context("the clock cannot be set")?;
        Ok(())
    }
}
