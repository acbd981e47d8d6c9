//! Booting a system once: the boot loader's one-shot, the boot's deadline, and the traces that a
//! boot on trial leaves.
//!
//! What has to write to the boot partition, to the firmware's variables or to /etc is a [`Step`]
//! that the daemon runs in a transient unit of its own: the daemon itself may write none of them.

mod check;
mod deadline;
mod grub;
mod mounts;
mod none;
mod systemd_boot;
mod trace;

use crate::{activate, config, disk, observe, systemd};
use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use surefoot_core::{
    StorePath,
    finding::Finding,
    machine::state::{Mode, State},
    resolver::{Trace, World},
};

pub(crate) use deadline::NAME as DEADLINE;

/// What was aimed at, in the state directory, for the boot that comes back.
const AIM: &str = "boot-trial.json";

/// Room that must be left on the boot partition beside a kernel and an initrd, bytes: the entry,
/// and what the file system needs to rename files.
const SLACK: u64 = 1 << 20;

/// Reads bytes as everything that the loaders' files and a crash dump may be.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) {
    trace::fuzz(bytes);
    systemd_boot::fuzz(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        grub::fuzz(text);
    }
}

/// A boot loader that can start a system once and then its default again.
trait Loader {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// The system that it starts by default, if that can be told.
    fn default(&self) -> anyhow::Result<Option<StorePath>>;

    /// That it starts this system by default, in words.
    ///
    /// # Errors
    /// It starts another one, or that cannot be told.
    fn falls_back_to(&self, previous: &StorePath) -> anyhow::Result<String> {
        match self.default()? {
            Some(default) if default == *previous => {
                Ok(format!("{} starts {previous} by default", self.name()))
            }
            Some(default) => bail!(
                "{} starts {default} by default, not {previous}: a failed trial would not end there",
                self.name()
            ),
            None => bail!("it cannot be told what {} starts by default", self.name()),
        }
    }

    /// Whether booting once works on this robot, without changing anything.
    fn check(&self) -> Vec<Finding>;

    /// Where kernels lie that it starts.
    fn kernels(&self) -> PathBuf;

    /// Has it start this system with the next boot, and reads that back; every other boot starts
    /// `previous`. Gives what [`Loader::started`] and [`Loader::forget`] need to know.
    fn aim(&self, system: &StorePath, previous: &StorePath) -> anyhow::Result<Mark>;

    /// Whether it has started what was aimed at; `None` if that cannot be told.
    fn started(&self, mark: &Mark) -> Option<bool>;

    /// Takes back a one-shot that was not used, and what aiming changed.
    fn forget(&self, mark: Option<&Mark>) -> anyhow::Result<()>;

    /// Whether what starts by default will start even if NixOS' installer is cut off in its work, as
    /// far as that can be. With `anew`, that has to be what is the default now.
    fn is_secured(&self, _anew: bool) -> bool {
        true
    }

    /// Sees to it.
    fn secure(&self, _anew: bool) -> anyhow::Result<()> {
        Ok(())
    }

    /// Whether every boot but the trial's ends on the system before, by itself.
    fn is_guarded(&self) -> bool {
        true
    }
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
    /// What has to become the default again, where only that was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<StorePath>,
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
    accept_no_fallback: bool,
    state_dir: PathBuf,
}

impl Place {
    /// As the configuration says.
    pub(crate) fn new(config: &config::Config) -> Self {
        Self {
            loader: config.boot.loader,
            accept_no_fallback: config.boot.accept_no_fallback,
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
    /// Takes both back.
    Forget,
    /// Readies the loader for NixOS' installer: [`Loader::secure`].
    Secure {
        /// Whether it has to be secured for what is the default now.
        anew: bool,
    },
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
            Step::Look { system, previous } => {
                let findings = check::look(place, system.as_ref(), previous.as_ref());
                println!("{}", serde_json::to_string(&findings)?);
                Ok(())
            }
            Step::Aim {
                system,
                previous,
                within,
            } => aim(place, system, previous, Duration::from_secs(*within)),
            Step::Forget => forget(place),
            Step::Secure { anew } => {
                // Nobody else's files are taken for leftovers.
                let _lock = observe::lock_switches().context("another switch runs")?;
                let loader = loader(place).context("the boot loader is gone")?;
                loader.secure(*anew)
            }
        }
    }
}

impl Step {
    /// Has it done in a transient unit; gives what it printed.
    ///
    /// # Errors
    /// What [`Errand::run`] said there.
    pub(crate) async fn order(self, place: Place) -> anyhow::Result<String> {
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

/// What a boot on trial would meet on this robot: as for [`Step::Look`].
///
/// # Errors
/// systemd does not answer, or nothing could be looked at.
pub(crate) async fn findings(
    place: Place,
    system: Option<StorePath>,
    previous: Option<StorePath>,
) -> anyhow::Result<Vec<Finding>> {
    let said = Step::Look { system, previous }.order(place).await?;
    serde_json::from_str(&said).context("cannot understand what the look at the boot loader gave")
}

fn boxed(loader: impl Loader + 'static) -> Box<dyn Loader> {
    Box::new(loader)
}

/// The loader of this robot, or the one that the configuration names; `None` where nothing can
/// start a system once, and nobody accepts that.
fn loader(place: &Place) -> Option<Box<dyn Loader>> {
    let root = Path::new("/");
    let systemd_boot = || systemd_boot::SystemdBoot::find(root).map(boxed);
    let grub = || grub::Grub::find(root).map(boxed);
    let found = match place.loader {
        config::Loader::Auto => systemd_boot().or_else(grub),
        config::Loader::SystemdBoot => systemd_boot(),
        config::Loader::Grub => grub(),
        config::Loader::None => None,
    };
    let accepted = place.accept_no_fallback;
    found.or_else(|| accepted.then(|| boxed(none::Unguarded)))
}

/// The system that the loader starts by default, if that can be told.
pub(crate) fn default(place: &Place) -> Option<StorePath> {
    loader(place)?.default().ok().flatten()
}

/// Sees to it that a power cut while NixOS' installer works does not leave the robot without a system
/// to start. With `anew`, the default was changed, and is now to be secured itself.
///
/// # Errors
/// What [`Step::Secure`] says.
pub(crate) async fn secure(place: &Place, anew: bool) -> anyhow::Result<()> {
    mounts::restore().await?;
    if loader(place).is_none_or(|loader| loader.is_secured(anew)) {
        return Ok(());
    }
    let step = Step::Secure { anew }.order(place.clone());
    let said = step
        .await
        .context("cannot secure the boot loader's default")?;
    tracing::info!("secured the boot loader's default {}", said.trim());
    Ok(())
}

/// As [`secure`], where all goes on without it: warns.
pub(crate) async fn try_secure(place: &Place, anew: bool) {
    if let Err(error) = secure(place, anew).await {
        tracing::warn!("{error:#}");
    }
}

fn aim(
    place: &Place,
    system: &StorePath,
    previous: &StorePath,
    within: Duration,
) -> anyhow::Result<()> {
    let loader = loader(place).context("no boot loader was found that can start a system once")?;
    loader.falls_back_to(previous)?;
    for part in ["kernel", "initrd"] {
        let file = fs::canonicalize(Path::new(&system.to_string()).join(part))
            .with_context(|| format!("{system} has no {part}"))?;
        check_copy(&loader.kernels(), &file)?;
    }
    let back = (!loader.is_guarded()).then_some(previous);
    deadline::install(system, within, &place.state_dir.join(trace::DEADLINE), back)?;
    let _ = fs::remove_file(place.state_dir.join(trace::DEADLINE));
    // The deadline must be on the disk before anything can boot into the trial.
    nix::unistd::sync();
    let mark = loader.aim(system, previous)?;
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

/// The copy of a file of the store beside the loader, if there is one: named by its path, with
/// dashes (nixpkgs, systemd-boot-builder.py and install-grub.pl).
fn copy_of(kernels: &Path, file: &Path) -> Option<PathBuf> {
    let path = file.strip_prefix("/nix/store").unwrap_or(file);
    let name = path.to_str()?.trim_start_matches('/').replace('/', "-");
    [format!("{name}.efi"), name]
        .map(|name| kernels.join(name))
        .into_iter()
        .find(|copy| copy.exists())
}

/// Takes away a copy that is not whole: NixOS copies only what is not there, so what a power cut
/// left of a kernel would be started for ever.
fn check_copy(kernels: &Path, file: &Path) -> anyhow::Result<()> {
    let Some(copy) = copy_of(kernels, file) else {
        return Ok(());
    };
    let open = |path: &Path| {
        File::open(path)
            .map(BufReader::new)
            .with_context(|| format!("cannot read {}", path.display()))
    };
    let (mut ours, mut there) = (open(file)?, open(&copy)?);
    loop {
        let expected = ours.fill_buf()?;
        if expected.is_empty() {
            // More may follow: secrets are appended to an initrd.
            return Ok(());
        }
        let length = expected.len();
        let mut found = vec![0; length];
        if there.read_exact(&mut found).is_err() || found != expected {
            fs::remove_file(&copy).with_context(|| format!("cannot remove {}", copy.display()))?;
            nix::unistd::sync();
            bail!(
                "{} was not the whole of {}; it has been removed, to be written again",
                copy.display(),
                file.display()
            );
        }
        ours.consume(length);
    }
}

fn forget(place: &Place) -> anyhow::Result<()> {
    deadline::remove()?;
    let aim = read_aim(place);
    if let Some(loader) = loader(place) {
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
                let started = loader(place).and_then(|loader| loader.started(&aim.mark));
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

/// A program, found where NixOS and others have theirs.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", systemd::PATH);
    command
}

/// Runs a program to its end; gives what it printed.
///
/// # Errors
/// It cannot be run, or none of these statuses is its; then with its last words.
fn run(command: &mut Command, good: &[i32]) -> anyhow::Result<String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let name = words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    let output = command
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output
            .status
            .code()
            .is_some_and(|code| good.contains(&code)),
        "{name}: {}: {} {}",
        output.status,
        printed.lines().last().unwrap_or_default(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(printed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_copy_is_taken_away_and_a_whole_one_left() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("linux");
        let name = file.to_str().unwrap()[1..].replace('/', "-") + ".efi";
        let copy = root.path().join(name);
        let bytes = vec![7; 100_000];
        fs::write(&file, &bytes).unwrap();
        // None at all: the loader may know it by another name.
        check_copy(root.path(), &file).unwrap();
        for (torn, whole) in [
            (bytes[..99_999].to_vec(), false),
            (Vec::new(), false),
            ([&bytes[..50_000], &[8; 50_000][..]].concat(), false),
            (bytes.clone(), true),
            ([&bytes[..], b"a secret"].concat(), true),
        ] {
            fs::write(&copy, torn).unwrap();
            assert_eq!(check_copy(root.path(), &file).is_ok(), whole);
            assert_eq!(copy.exists(), whole);
        }
    }
}
