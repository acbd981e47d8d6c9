//! What the daemon may not do itself, for it writes neither to the boot partition nor to the
//! firmware's variables, the system's profile or /etc: done by this program in a transient unit of its own.
//! And what it looks at there, which may never answer ([`partition`]): done by this program as a child.

use super::{
    aim, checks, copy, deadline, installable,
    partition::{Left, PARTITION, Silent},
    room,
    settings::Settings,
};
use crate::robot::{
    nixos,
    profile::{self, PROFILES},
    systemd,
    transient::{self, How, Job},
    units::{LOOK, REMEMBER, STEP},
};
use anyhow::{Context as _, bail};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use surefoot_base::program::Limits;
use surefoot_core::{StorePath, profile::Link, prune::Prune};
use tokio::{sync::Mutex, time::Instant};

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
        /// What may go so that there is room.
        prune: Prune,
    },
    /// Says what keeps every system from being installed now: prints closed gates as JSON.
    Obstacles {
        /// Whether a system was installed, and is to be booted on trial.
        booting: bool,
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
    /// Moves the deadline of the boot on trial that runs.
    Prolong {
        /// The deadline, seconds after the start of the kernel.
        within: u64,
    },
    /// Takes the deadline away.
    RemoveDeadline,
    /// Takes back a one-shot that was not used.
    TakeBackOneShot,
    /// Copies the essentials of the journal to the boot partition, and prints them.
    Remember,
    /// Takes generations out of the profile.
    Prune {
        /// Which ones.
        links: Vec<Link>,
    },
    /// Readies the loader for NixOS' installer: [`Loader::secure`](super::loader::Loader::secure).
    Secure {
        /// Whether it has to be secured for what is the default now.
        anew: bool,
    },
    /// Looks at all that the others need of the boot partition: prints nothing worth reading.
    Touch,
    /// Prints the system that the loader starts by default, if that can be told.
    Default,
    /// Prints whether [`Task::Secure`] has nothing to do.
    IsSecured {
        /// As there.
        anew: bool,
    },
    /// Prints whether the loader has started what was aimed at, if that can be told.
    Started,
    /// Prints whether there is a place for a copy of the essentials.
    HasPlace,
    /// Prints that copy, if there is one.
    Recall,
    /// Prints the systems that are in use, if that can be told.
    InUse,
    /// Prints which generations go before a system is installed, if that can be told.
    Superfluous {
        /// Which ones may.
        prune: Prune,
        /// The system.
        system: StorePath,
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
            Task::Look {
                system,
                previous,
                prune,
            } => {
                let findings = checks::look(settings, system.as_ref(), previous.as_ref(), prune);
                print(&findings)
            }
            Task::Obstacles { booting } => print(&installable::obstacles(settings, *booting)),
            Task::Aim {
                system,
                previous,
                within,
            } => aim::aim(settings, system, previous, Duration::from_secs(*within)),
            Task::Prolong { within } => deadline::prolong(Duration::from_secs(*within)),
            Task::Remember => copy::remember(settings),
            Task::RemoveDeadline => aim::remove_deadline(settings),
            Task::TakeBackOneShot => aim::take_back_one_shot(settings),
            Task::Prune { links } => profile::remove(Path::new(PROFILES), links),
            Task::Secure { anew } => {
                // Nobody else's files are taken for leftovers.
                let _lock = nixos::lock_switches().context("another switch runs")?;
                let loader = settings.find_loader().context("the boot loader is gone")?;
                if let Some(aim) = aim::read(settings) {
                    loader.put_right(&aim.mark)?;
                }
                loader.secure(*anew)
            }
            Task::Touch => print(&(super::default_of(settings), copy::place(settings))),
            Task::Default => print(&super::default_of(settings)),
            Task::IsSecured { anew } => print(&super::needs_nothing(settings, *anew)),
            Task::Started => print(&super::was_started(settings)),
            Task::HasPlace => print(&copy::place(settings).is_some()),
            Task::Recall => print(&copy::read(settings)?),
            Task::InUse => print(&room::in_use(settings.find_loader().as_deref())),
            Task::Superfluous { prune, system } => {
                print(&room::superfluous(settings, prune, system))
            }
        }
    }
}

fn print(found: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(found)?);
    Ok(())
}

fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find this program")
}

/// Steps that change something come one after the other.
static CHANGING: Mutex<()> = Mutex::const_new(());

impl Task {
    /// The unit that it runs in: a fixed one if it changes something, so that systemd never runs two
    /// of those. The deadline's is its own: while what hangs in the other lives on, that cannot be begun anew.
    fn unit(&self, settings: &Settings) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        match self {
            Self::Look { .. } | Self::Obstacles { .. } => {
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                format!("{LOOK}{}-{number}.service", std::process::id())
            }
            // It waits for nobody and nobody for it.
            Self::Remember => format!("{REMEMBER}.service"),
            _ if self.is_of_the_deadline(settings) => format!("{STEP}-deadline.service"),
            _ => format!("{STEP}.service"),
        }
    }

    /// Whether it touches the deadline alone: that moves and goes whatever the boot partition does.
    fn is_of_the_deadline(&self, settings: &Settings) -> bool {
        match self {
            Self::Prolong { .. } => true,
            // Or a one-shot that was not recorded is looked for.
            Self::RemoveDeadline => aim::is_recorded(settings),
            _ => false,
        }
    }

    /// How long it may take: a system's own switcher may have to install the boot loader.
    const fn limit(&self) -> Duration {
        match self {
            // Or a kernel and an initrd are copied on a slow disk.
            Self::Aim { .. } | Self::TakeBackOneShot | Self::Secure { .. } => {
                Duration::from_secs(100)
            }
            Self::Look { .. }
            | Self::Obstacles { .. }
            | Self::Prune { .. }
            | Self::Remember
            | Self::Prolong { .. }
            | Self::RemoveDeadline
            | Self::Touch
            | Self::Default
            | Self::IsSecured { .. }
            | Self::Started
            | Self::HasPlace
            | Self::Recall
            | Self::InUse
            | Self::Superfluous { .. } => Duration::from_secs(45),
        }
    }

    /// Whether it cannot be done while the boot partition does not answer.
    fn needs_partition(&self, settings: &Settings) -> bool {
        !self.is_of_the_deadline(settings) && !matches!(self, Self::Prune { .. })
    }

    /// Has a look taken by a child with a limit, with no more rights than the daemon has; gives what was
    /// found.
    ///
    /// # Errors
    /// [`Silent`], or what [`BootStep::run`] said there.
    pub(super) async fn ask<T: DeserializeOwned>(self, settings: &Settings) -> anyhow::Result<T> {
        let mut command = Command::new(program()?);
        command.args(["--boot-step", &self.with(settings.clone())?]);
        let said = PARTITION.look(command).await?;
        serde_json::from_str(&said)
            .context("cannot understand what the look at the boot loader gave")
    }

    fn with(self, settings: Settings) -> anyhow::Result<String> {
        let task = self;
        Ok(serde_json::to_string(&BootStep { settings, task })?)
    }

    /// Has it done in a transient unit, which ends before it is given up here; gives what it printed.
    ///
    /// # Errors
    /// [`Silent`], or what [`BootStep::run`] said there.
    pub(super) async fn order(self, settings: Settings) -> anyhow::Result<String> {
        let _alone = match self {
            Self::Look { .. } | Self::Obstacles { .. } | Self::Remember => None,
            // It comes in time also where another step hangs until its own is over.
            _ if self.is_of_the_deadline(&settings) => None,
            _ => Some(CHANGING.lock().await),
        };
        let needs_partition = self.needs_partition(&settings);
        if needs_partition
            && let Err(error) = Self::Touch.ask::<IgnoredAny>(&settings).await
            && error.is::<Silent>()
        {
            return Err(error);
        }
        let program = program()?;
        let (unit, time) = (self.unit(&settings), self.limit());
        // One that nobody could end is ended now, or this one is not begun.
        systemd::clear(&[&unit]).await?;
        let step = self.with(settings)?;
        let begun = Instant::now();
        let job = Job {
            unit: unit.clone(),
            options: vec![
                "--description=Surefoot: the boot loader and the disks".to_owned(),
                // systemd's words about each start and end of it would fill the journal.
                "--property=LogLevelMax=err".to_owned(),
            ],
            exec: vec![
                program.to_string_lossy().into_owned(),
                "--boot-step".to_owned(),
                step,
            ],
            limits: Limits {
                time,
                output: 1 << 20,
            },
        };
        match transient::run(job).await {
            Ok(printed) => Ok(printed.whole()?),
            Err(failed) => {
                // What it read came from memory, and what it did not find there hangs.
                if needs_partition && begun.elapsed() >= time {
                    PARTITION.hangs(begun, Left::of_unit(&unit));
                }
                let said = failed.stderr.last_words();
                match failed.how {
                    How::Exit(_) if !said.is_empty() => bail!("{said}"),
                    how if said.is_empty() => bail!("{how}"),
                    how => bail!("{how}: {said}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::robot::units::is_own;

    #[test]
    fn a_step_that_hangs_keeps_the_deadline_from_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::in_dir(dir.path());
        let of_the_deadline = |task: Task| {
            let unit = task.unit(&settings);
            assert!(is_own(&unit), "{unit}");
            let apart = unit != (Task::Secure { anew: false }).unit(&settings);
            assert_eq!(apart, !task.needs_partition(&settings), "{unit}");
            apart
        };
        let prolong = || Task::Prolong { within: 600 };
        // Without a record the one-shot is looked for, and goes first.
        assert!(of_the_deadline(prolong()));
        assert!(!of_the_deadline(Task::RemoveDeadline));
        std::fs::write(dir.path().join(aim::AIM), "{}").unwrap();
        assert!(of_the_deadline(prolong()));
        assert!(of_the_deadline(Task::RemoveDeadline));
        assert!(!of_the_deadline(Task::TakeBackOneShot));
    }
}
