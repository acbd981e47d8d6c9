//! What the daemon may not do itself, for it writes neither to the boot partition nor to the
//! firmware's variables nor to /etc: done by this program in a transient unit of its own.

use super::{aim, checks, settings::Settings};
use crate::robot::{nixos, systemd};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use surefoot_base::environment;
use surefoot_core::StorePath;

/// What the daemon may not do itself: given to `surefootd --boot-step` as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BootStep {
    settings: Settings,
    task: Task,
}

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Task {
    /// Says what a boot on trial would meet here: prints findings as JSON.
    Look {
        /// The system, if it is known already.
        system: Option<StorePath>,
        /// What must be the default, likewise.
        previous: Option<StorePath>,
    },
    /// Arms the deadline, then the one-shot.
    Aim {
        /// The system.
        system: StorePath,
        /// What must be the default.
        previous: StorePath,
        /// The deadline, seconds after the start of the kernel.
        within: u64,
    },
    /// Takes the deadline away.
    RemoveDeadline,
    /// Takes back a one-shot that was not used.
    TakeBackOneShot,
    /// Readies the loader for NixOS' installer: [`Loader::secure`](super::loader::Loader::secure).
    Secure {
        /// Whether it has to be secured for what is the default now.
        anew: bool,
    },
}

impl std::str::FromStr for BootStep {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

impl BootStep {
    /// Does it, with the rights of this process.
    ///
    /// # Errors
    /// What is wrong, and with which file.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let settings = &self.settings;
        match &self.task {
            Task::Look { system, previous } => {
                let findings = checks::look(settings, system.as_ref(), previous.as_ref());
                println!("{}", serde_json::to_string(&findings)?);
                Ok(())
            }
            Task::Aim {
                system,
                previous,
                within,
            } => aim::aim(settings, system, previous, Duration::from_secs(*within)),
            Task::RemoveDeadline => aim::remove_deadline(settings),
            Task::TakeBackOneShot => aim::take_back_one_shot(settings),
            Task::Secure { anew } => {
                // Nobody else's files are taken for leftovers.
                let _lock = nixos::lock_switches().context("another switch runs")?;
                let loader = settings.find_loader().context("the boot loader is gone")?;
                loader.secure(*anew)
            }
        }
    }
}

impl Task {
    /// Has it done in a transient unit; gives what it printed.
    ///
    /// # Errors
    /// What [`BootStep::run`] said there.
    pub(super) async fn order(self, settings: Settings) -> anyhow::Result<String> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let program = program.to_string_lossy();
        let step = serde_json::to_string(&BootStep {
            settings,
            task: self,
        })?;
        let path = format!("--setenv=PATH={}", environment::PATH);
        systemd::run_to_end(
            &[&path, "--description=Surefoot: a boot on trial"],
            &[&program, "--boot-step", &step],
        )
        .await
    }
}
