//! Booting a system once: the boot loader's one-shot, the boot's deadline, and the traces that a
//! boot on trial leaves.
//!
//! What has to write to the boot partition, to the firmware's variables or to /etc is a [`Step`]
//! that the daemon runs in a transient unit of its own: the daemon itself may write none of them.

mod deadline;
mod grub;
mod systemd_boot;
mod trace;

use crate::{activate, config, disk, observe, systemd};
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};
use surefoot_core::{
    StorePath,
    journal::{Mode, State},
    resolver::{Trace, World},
};

/// What was aimed at, in the state directory, for the boot that comes back.
const AIM: &str = "boot-trial.json";

/// Room that must be left on the boot partition beside a kernel and an initrd, bytes: the entry,
/// and what the file system needs to rename files.
const SLACK: u64 = 1 << 20;

/// Reads a text as everything that the loaders' files may be.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(text: &str) {
    grub::fuzz(text);
    systemd_boot::fuzz(text);
}

/// A boot loader that can start a system once and then its default again.
trait Loader {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// The system that it starts by default, if that can be told.
    fn default(&self) -> anyhow::Result<Option<StorePath>>;

    /// Whether booting once works on this robot, without changing anything.
    fn check(&self) -> anyhow::Result<()>;

    /// Where kernels lie that it starts, and whether a file of the store is among them.
    fn holds(&self, file: &Path) -> (PathBuf, bool);

    /// Has it start this system with the next boot, and reads that back. Gives what
    /// [`Loader::started`] and [`Loader::forget`] need to know.
    fn aim(&self, system: &StorePath) -> anyhow::Result<Mark>;

    /// Whether it has started what was aimed at; `None` if that cannot be told.
    fn started(&self, mark: &Mark) -> Option<bool>;

    /// Takes back a one-shot that was not used, and what aiming changed.
    fn forget(&self, mark: Option<&Mark>) -> anyhow::Result<()>;
}

/// What a loader marked when it was aimed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// The entry's file as it was made for the trial: the loader renames it when it starts it.
    #[serde(default)]
    entry: Option<PathBuf>,
    /// Its name before.
    #[serde(default)]
    before: Option<PathBuf>,
}

/// What was aimed at.
#[derive(Debug, Serialize, Deserialize)]
struct Aim {
    /// The system.
    system: StorePath,
    /// The loader's marks.
    mark: Mark,
    /// Crash dumps that were there before.
    pstore: Vec<String>,
}

/// Where a boot is prepared.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    loader: config::Loader,
    state_dir: PathBuf,
}

impl Place {
    /// As the configuration says.
    pub(crate) fn new(config: &config::Config) -> Self {
        Self {
            loader: config.boot.loader,
            state_dir: config.state_dir.clone(),
        }
    }
}

/// What the daemon may not do itself: given to `surefootd --boot-step` as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Errand {
    place: Place,
    step: Step,
}

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// Says why a system cannot be tried by booting it, if so.
    Check {
        /// The system.
        system: StorePath,
        /// What must be the default.
        previous: StorePath,
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
    /// Takes both back.
    Forget,
}

impl std::str::FromStr for Errand {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

impl Errand {
    /// Does it, with the rights of this process.
    ///
    /// # Errors
    /// What is wrong, and with which file.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = &self.place;
        match &self.step {
            Step::Check { system, previous } => check(place, system, previous),
            Step::Aim {
                system,
                previous,
                within,
            } => aim(place, system, previous, Duration::from_secs(*within)),
            Step::Forget => forget(place),
        }
    }
}

impl Step {
    /// Has it done in a transient unit.
    ///
    /// # Errors
    /// What [`Errand::run`] said there.
    pub(crate) async fn order(self, place: Place) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let program = program.to_string_lossy();
        let errand = serde_json::to_string(&Errand { place, step: self })?;
        let path = format!("--setenv=PATH={}", systemd::PATH);
        systemd::run_to_end(
            &[&path, "--description=Surefoot: a boot on trial"],
            &[&program, "--boot-step", &errand],
        )
        .await
    }
}

fn boxed(loader: impl Loader + 'static) -> Box<dyn Loader> {
    Box::new(loader)
}

/// The loader of this robot, or the one that the configuration names; `None` where nothing can
/// start a system once.
fn loader(choice: config::Loader) -> Option<Box<dyn Loader>> {
    let root = Path::new("/");
    let systemd_boot = || systemd_boot::SystemdBoot::find(root).map(boxed);
    let grub = || grub::Grub::find(root).map(boxed);
    match choice {
        config::Loader::Auto => systemd_boot().or_else(grub),
        config::Loader::SystemdBoot => systemd_boot(),
        config::Loader::Grub => grub(),
        config::Loader::None => None,
    }
}

fn needed(place: &Place) -> anyhow::Result<Box<dyn Loader>> {
    loader(place.loader).context(
        "no boot loader was found that can start a system once (systemd-boot or GRUB), so nothing \
         would bring the robot back from a system that does not start",
    )
}

/// The system that the loader starts by default, if that can be told.
pub(crate) fn default(place: &Place) -> Option<StorePath> {
    loader(place.loader)?.default().ok().flatten()
}

fn defaults_to(loader: &dyn Loader, previous: &StorePath) -> anyhow::Result<()> {
    match loader.default()? {
        Some(default) if default == *previous => Ok(()),
        Some(default) => bail!(
            "{} starts {default} by default, not {previous}: a failed trial would not end there",
            loader.name()
        ),
        None => bail!("it cannot be told what {} starts by default", loader.name()),
    }
}

fn check(place: &Place, system: &StorePath, previous: &StorePath) -> anyhow::Result<()> {
    let loader = needed(place)?;
    loader.check()?;
    defaults_to(&*loader, previous)?;
    deadline::check()?;
    let mut needed = SLACK;
    let mut place = None;
    for part in ["kernel", "initrd"] {
        let file = Path::new(&system.to_string()).join(part);
        let file =
            fs::canonicalize(&file).with_context(|| format!("{} leads nowhere", file.display()))?;
        let (directory, there) = loader.holds(&file);
        if !there {
            needed += fs::metadata(&file)?.len();
        }
        place = Some(directory);
    }
    if let Some(place) = place {
        let free = free(&place)?;
        if free < needed {
            bail!(
                "the boot partition has {free} bytes left at {}, and the system's kernel and \
                 initrd need {needed}; remove old generations",
                place.display()
            );
        }
    }
    Ok(())
}

fn free(place: &Path) -> anyhow::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(place)
        .with_context(|| format!("cannot see how full {} is", place.display()))?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

fn aim(
    place: &Place,
    system: &StorePath,
    previous: &StorePath,
    within: Duration,
) -> anyhow::Result<()> {
    let loader = needed(place)?;
    defaults_to(&*loader, previous)?;
    deadline::install(system, within, &place.state_dir.join(trace::DEADLINE))?;
    let _ = fs::remove_file(place.state_dir.join(trace::DEADLINE));
    // The deadline must be on the disk before anything can boot into the trial.
    nix::unistd::sync();
    let mark = loader.aim(system)?;
    let aim = Aim {
        system: system.clone(),
        mark,
        pstore: trace::dumps(),
    };
    replace(&place.state_dir.join(AIM), &serde_json::to_vec(&aim)?)?;
    nix::unistd::sync();
    println!("the next boot is {system}, by {}", loader.name());
    Ok(())
}

fn forget(place: &Place) -> anyhow::Result<()> {
    deadline::remove()?;
    let aim = read_aim(place);
    if let Some(loader) = loader(place.loader) {
        loader.forget(aim.as_ref().map(|aim| &aim.mark))?;
    }
    for name in [AIM, trace::DEADLINE] {
        match fs::remove_file(place.state_dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    nix::unistd::sync();
    Ok(())
}

/// Takes the guards of a boot back, if there are any.
///
/// # Errors
/// What [`Step::Forget`] says.
pub(crate) async fn disarm(place: &Place) -> anyhow::Result<()> {
    if place.state_dir.join(AIM).exists() || deadline::installed() {
        Step::Forget.order(place.clone()).await?;
    }
    Ok(())
}

fn read_aim(place: &Place) -> Option<Aim> {
    let text = observe::read(&place.state_dir.join(AIM))?;
    serde_json::from_str(&text).ok()
}

/// Adds what only the loader and the traces of a boot can tell.
pub(crate) async fn look(place: &Place, state: &State, world: &mut World) {
    world.default = default(place);
    world.dead_man |= deadline::armed().await;
    let State::Trial {
        mode, system, boot, ..
    } = state
    else {
        return;
    };
    if *boot == world.boot || world.current.as_ref() == Some(system) {
        return;
    }
    let dir = &place.state_dir;
    world.trace = match mode {
        Mode::Live => {
            // Nothing was aimed at; what was there when the trial began is older than its journal.
            let old = trace::dumps_until(&dir.join(disk::JOURNAL));
            trace::find(dir, &old, None, boot, &world.boot).await
        }
        Mode::Boot => match read_aim(place).filter(|aim| aim.system == *system) {
            Some(aim) => {
                let started = loader(place.loader).and_then(|loader| loader.started(&aim.mark));
                trace::find(dir, &aim.pstore, started, boot, &world.boot).await
            }
            None => Trace::default(),
        },
    };
}

/// Why a system must not be tried on this robot, if so: it would cut off the branch that it sits on.
pub(crate) fn unfit(current: &StorePath, new: &StorePath) -> Option<String> {
    let parts = [
        ("etc/systemd/system/surefootd.service", "the agent's unit"),
        ("etc/surefoot/config.toml", "the agent's configuration"),
    ];
    for (file, what) in parts {
        let has = |system: &StorePath| Path::new(&system.to_string()).join(file).exists();
        if has(current) && !has(new) {
            return Some(format!(
                "{new} does not contain {what} ({file}): the robot could not be updated any more"
            ));
        }
    }
    activate::check(new).err().map(|error| format!("{error:#}"))
}

/// Replaces a file as one step.
fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let work = || -> std::io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_parent(path)
    };
    work().with_context(|| format!("cannot write {}", path.display()))
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// The toplevel that a kernel's command line starts: NixOS names it by `init=`.
fn init_of(options: &str) -> Option<StorePath> {
    let init = options
        .split_whitespace()
        .find_map(|word| word.strip_prefix("init="))?;
    StorePath::containing(Path::new(init)).ok()
}
