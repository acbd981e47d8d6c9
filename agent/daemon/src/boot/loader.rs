//! What a boot loader has to be able to do for boots on trial.

use anyhow::bail;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use surefoot_api::finding::{Finding, Subject};
use surefoot_core::StorePath;

/// A boot loader that can start a system once and then its default again.
pub(super) trait Loader {
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
pub(super) struct Mark {
    /// The entry's file as it was made for the trial: the loader renames it when it starts it.
    #[serde(default)]
    pub(super) entry: Option<PathBuf>,
    /// Its name before.
    #[serde(default)]
    pub(super) before: Option<PathBuf>,
    /// What has to become the default again, where only that was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) default: Option<StorePath>,
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
