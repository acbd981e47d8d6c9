//! What a boot loader has to be able to do. Each of [`super::loaders`] does it in its own way, and
//! whatever depends on the loader asks for it here.
//!
//! "Adding a boot loader" of the documentation tells what is called when.

use anyhow::bail;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};
use surefoot_api::finding::{Finding, Subject};
use surefoot_core::StorePath;

/// A kind of boot loader, and how it is found on a robot.
pub(super) struct Known {
    /// Its name, for people.
    pub(super) name: &'static str,
    /// What is missing where it is not found; follows "the configuration says …, but".
    pub(super) absent: &'static str,
    /// Finds it below a root, which is `/` on a robot: only if it is what starts this robot.
    pub(super) find: fn(&Path) -> Option<Box<dyn AnyLoader>>,
}

/// A boot loader: what it starts by default, and what keeps it doing so.
pub(super) trait Loader {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// The system that it starts by default, if that can be told.
    ///
    /// # Errors
    /// What it goes by cannot be read.
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

    /// Whether every boot but the trial's ends on the system before, by itself. Where it does not,
    /// the deadline's units have NixOS install that system as the default before they reboot.
    fn is_guarded(&self) -> bool {
        true
    }

    /// Whether booting once works on this robot, without changing anything.
    fn check(&self) -> Vec<Finding>;

    /// The systems that it starts should the default's entry be lost.
    fn spares(&self) -> Vec<StorePath> {
        Vec::new()
    }

    /// Whether NixOS' installer takes kernels away that no generation needs any more before it copies
    /// new ones: then generations that go make room for the next system.
    fn frees_first(&self) -> bool {
        false
    }

    /// Where the kernels lie that it starts, in the names that NixOS gives to copies of them. There
    /// has to be room for one more, and a copy that is torn is taken away before it is started. On the
    /// same file system lies the copy of what the robot remembers ([`super::copy`]).
    fn kernels(&self) -> PathBuf;

    /// Whether what starts by default will start even if NixOS' installer is cut off in its work, as
    /// far as that can be; and whether the installer will find nothing that it fails on. With
    /// `anew`, that has to be so for what is the default now.
    fn is_secured(&self, _anew: bool) -> bool {
        true
    }

    /// Sees to it.
    ///
    /// # Errors
    /// It cannot be done; then the installer must not run.
    fn secure(&self, _anew: bool) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Starting a system once.
pub(super) trait OneShot: Loader {
    /// What has to be remembered of an aim, in [`super::aim::AIM`]: the agent that reads it may be
    /// another version's.
    type Mark: Serialize + DeserializeOwned;

    /// Has it start this system with the next boot, and reads that back; every other boot starts
    /// `previous`.
    ///
    /// # Errors
    /// It was not possible, or was not kept. Whatever was done is taken back by
    /// [`OneShot::take_back`], without a mark.
    fn aim(&self, system: &StorePath, previous: &StorePath) -> anyhow::Result<Self::Mark>;

    /// Whether it has started what was aimed at; `None` if that cannot be told.
    fn started(&self, mark: &Self::Mark) -> Option<bool>;

    /// Takes back a one-shot that was not used, and what aiming changed. The mark is missing if the
    /// power was cut before it was on the disk.
    ///
    /// # Errors
    /// It is not taken back.
    fn take_back(&self, mark: Option<&Self::Mark>) -> anyhow::Result<()>;

    /// Puts right what aiming changed, as far as NixOS' installer would stumble over it, if what was aimed
    /// at was started. It stays told that it was.
    ///
    /// # Errors
    /// It cannot be put right.
    fn put_right(&self, _mark: &Self::Mark) -> anyhow::Result<()> {
        Ok(())
    }
}

/// [`OneShot`] for a loader of whatever kind, with its mark as it lies on the disk.
pub(super) trait AnyLoader: Loader {
    /// [`OneShot::aim`].
    fn aim(&self, system: &StorePath, previous: &StorePath) -> anyhow::Result<Box<RawValue>>;

    /// [`OneShot::started`]; `None` for another loader's mark.
    fn started(&self, mark: &RawValue) -> Option<bool>;

    /// [`OneShot::take_back`]; another loader's mark is none.
    fn take_back(&self, mark: Option<&RawValue>) -> anyhow::Result<()>;

    /// [`OneShot::put_right`]; not for another loader's mark.
    fn put_right(&self, mark: &RawValue) -> anyhow::Result<()>;
}

impl<L: OneShot> AnyLoader for L {
    fn aim(&self, system: &StorePath, previous: &StorePath) -> anyhow::Result<Box<RawValue>> {
        let mark = OneShot::aim(self, system, previous)?;
        Ok(serde_json::value::to_raw_value(&mark)?)
    }

    fn started(&self, mark: &RawValue) -> Option<bool> {
        OneShot::started(self, &read_mark::<L>(mark)?)
    }

    fn take_back(&self, mark: Option<&RawValue>) -> anyhow::Result<()> {
        OneShot::take_back(self, mark.and_then(read_mark::<L>).as_ref())
    }

    fn put_right(&self, mark: &RawValue) -> anyhow::Result<()> {
        read_mark::<L>(mark).map_or(Ok(()), |mark| OneShot::put_right(self, &mark))
    }
}

fn read_mark<L: OneShot>(mark: &RawValue) -> Option<L::Mark> {
    serde_json::from_str(mark.get()).ok()
}

/// The toplevel that a kernel's command line starts: NixOS names it by `init=`.
pub(super) fn init_of(options: &str) -> Option<StorePath> {
    let init = options
        .split_whitespace()
        .find_map(|word| word.strip_prefix("init="))?;
    StorePath::containing(Path::new(init)).ok()
}

/// Whether root can write there: not on a file system that is mounted read-only, or became so after
/// an error.
pub(super) fn writable(what: &str, path: &Path) -> Finding {
    match nix::unistd::access(path, nix::unistd::AccessFlags::W_OK) {
        Ok(()) => Finding::ok(
            Subject::Loader,
            what,
            format!("{} can be written", path.display()),
        ),
        Err(error) => Finding::fail(
            Subject::Loader,
            what,
            format!("{} cannot be written: {}", path.display(), error.desc()),
            "mount it read-write; after an error of the file system, check it first (fsck)",
        ),
    }
}
