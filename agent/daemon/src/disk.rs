//! What the agent keeps on the disk: its lock, its journal, and the roots that keep its systems
//! from the garbage collector.

use crate::{config::Config, observe};
use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Seek as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
};
use surefoot_core::{
    StorePath,
    journal::{Journal, JournalError, MAX_JOURNAL_BYTES},
    lease::Leases,
    time::BootId,
};

/// Where the roots lie: Nix follows every link below `/nix/var/nix/gcroots` (Nix manual,
/// "Garbage Collector Roots").
pub(crate) const ROOTS_DIR: &str = "/nix/var/nix/gcroots/surefoot";

/// The journal's file, in the state directory.
pub(crate) const JOURNAL: &str = "journal.json";

/// Where what lasts as long as a boot is kept.
#[derive(Debug)]
pub(crate) struct RuntimeDir(PathBuf);

/// What the robot's software said, and in which boot.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    boot: BootId,
    leases: Leases,
}

impl RuntimeDir {
    /// That of the unit (`systemd.exec(5)`, `RuntimeDirectory=`), else where the socket is.
    pub(crate) fn new(config: &Config) -> Self {
        let given = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
        let beside = || config.socket.parent().unwrap_or(Path::new("/run")).into();
        Self(given.unwrap_or_else(beside))
    }

    fn leases(&self) -> PathBuf {
        self.0.join("leases.json")
    }

    /// What was said in this boot. What cannot be read was not said.
    pub(crate) fn load(&self, boot: &BootId) -> Leases {
        let said = observe::read(&self.leases());
        let said = said.and_then(|text| serde_json::from_str::<Said>(&text).ok());
        let said = said.filter(|said| said.boot == *boot);
        said.map(|said| said.leases).unwrap_or_default()
    }

    /// Keeps it, for a restart of the agent. It need not outlast the power.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn save(&self, boot: &BootId, leases: &Leases) -> anyhow::Result<()> {
        let said = Said {
            boot: boot.clone(),
            leases: leases.clone(),
        };
        let path = self.leases();
        let write = || -> anyhow::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
            file.write_all(&serde_json::to_vec(&said)?)?;
            file.persist(&path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The state directory, held by one agent at a time.
#[derive(Debug)]
pub(crate) struct StateDir {
    dir: PathBuf,
    /// Released when the process ends, however it ends.
    _lock: Flock<File>,
}

impl StateDir {
    /// Makes the directory if need be, and takes its lock.
    ///
    /// # Errors
    /// Another agent holds it, or the disk says no.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)
            .with_context(|| format!("cannot make the state directory {}", dir.display()))?;
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                // For the one who finds it taken. Not worth failing for.
                let _ = lock.set_len(0);
                let _ = lock.rewind();
                let _ = writeln!(lock, "{}", std::process::id());
                Ok(Self {
                    dir: dir.to_owned(),
                    _lock: lock,
                })
            }
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                let _ = file.take(20).read_to_string(&mut pid);
                bail!(
                    "another surefootd (process {}) works on {}; only one may",
                    pid.trim(),
                    dir.display()
                )
            }
            Err((_, error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    fn journal(&self) -> PathBuf {
        self.dir.join(JOURNAL)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.clone()
    }

    /// Reads the journal; a new one if there is none.
    ///
    /// A journal that cannot be read is put aside, never overwritten: the robot then begins anew
    /// with what the boot loader started, which is a proven system. One of a newer format stops the
    /// agent: it belongs to another version.
    ///
    /// # Errors
    /// The disk says no, or the format is unknown.
    pub(crate) fn load(&self) -> anyhow::Result<Journal> {
        let path = self.journal();
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file
                .take(MAX_JOURNAL_BYTES + 1)
                .read_to_end(&mut bytes)
                .with_context(|| format!("cannot read {}", path.display()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Journal::default()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot open {}", path.display()));
            }
        };
        match Journal::parse(&bytes) {
            Ok(journal) => Ok(journal),
            Err(error @ JournalError::Spec(_)) => {
                Err(error).with_context(|| path.display().to_string())
            }
            Err(error) => {
                let aside = self.aside();
                fs::rename(&path, &aside)
                    .with_context(|| format!("cannot put the broken {} aside", path.display()))?;
                tracing::error!(
                    journal = %path.display(), aside = %aside.display(),
                    "the journal is broken ({error}); it was put aside, and the booted system is \
                     taken for the confirmed one"
                );
                Ok(Journal::default())
            }
        }
    }

    /// A free name for a broken journal.
    fn aside(&self) -> PathBuf {
        (1_u32..)
            .map(|n| self.dir.join(format!("journal.json.broken-{n}")))
            .find(|path| !path.exists())
            .unwrap_or_else(|| self.dir.join("journal.json.broken"))
    }

    /// Replaces the journal: written, fsynced, renamed, directory fsynced.
    ///
    /// # Errors
    /// The disk says no; then the old journal is still there.
    pub(crate) fn save(&self, journal: &Journal) -> anyhow::Result<()> {
        let path = self.journal();
        let write = || -> anyhow::Result<()> {
            let mut file = tempfile::Builder::new()
                .prefix(".journal-")
                .tempfile_in(&self.dir)?;
            serde_json::to_writer_pretty(&mut file, journal)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(&self.dir)?.sync_all()?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Makes the roots in `dir` exactly these: new ones first, so that nothing is ever without one.
///
/// # Errors
/// The disk says no.
pub(crate) fn root(dir: &Path, roots: &BTreeMap<String, StorePath>) -> anyhow::Result<()> {
    let work = || -> std::io::Result<()> {
        fs::create_dir_all(dir)?;
        for (name, system) in roots {
            let (link, target) = (dir.join(name), PathBuf::from(system.to_string()));
            if fs::read_link(&link).is_ok_and(|there| there == target) {
                continue;
            }
            let new = dir.join(format!(".{name}.new"));
            match fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => symlink(&target, &new)?,
            }
            fs::rename(&new, &link)?;
        }
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let known = entry
                .file_name()
                .to_str()
                .is_some_and(|name| roots.contains_key(name));
            if !known {
                fs::remove_file(entry.path())?;
            }
        }
        File::open(dir)?.sync_all()
    };
    work().with_context(|| format!("cannot root the systems in {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_core::machine::state::State;

    fn system(c: char) -> StorePath {
        StorePath::from_base_name(&format!("{}-s", c.to_string().repeat(32))).unwrap()
    }

    #[test]
    fn what_was_said_belongs_to_its_boot() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir(dir.path().to_owned());
        let boot = |name: &str| BootId(name.into());
        assert_eq!(runtime.load(&boot("1")), Leases::default());
        let mut leases = Leases::default();
        let lease = surefoot_core::lease::Lease {
            name: "gripper".parse().unwrap(),
            owner: "ros".into(),
            busy: true,
            why: Some("a crate".into()),
            until: surefoot_core::time::Instant(7),
        };
        leases.put(lease).unwrap();
        runtime.save(&boot("1"), &leases).unwrap();
        assert_eq!(runtime.load(&boot("1")), leases);
        assert_eq!(runtime.load(&boot("2")), Leases::default());
        fs::write(runtime.leases(), "{").unwrap();
        assert_eq!(runtime.load(&boot("1")), Leases::default());
    }

    #[test]
    fn a_second_agent_is_told_who_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        let error = StateDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        StateDir::open(dir.path()).unwrap();
    }

    #[test]
    fn a_journal_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let mut journal = state.load().unwrap();
        assert_eq!(journal.state, State::Idle);
        journal.units = 7;
        state.save(&journal).unwrap();
        assert_eq!(state.load().unwrap(), journal);
        // Nothing else is left lying about.
        let names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn a_broken_journal_is_put_aside_and_a_newer_one_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        for n in 1..=2 {
            fs::write(dir.path().join("journal.json"), b"{\"spec\":1,").unwrap();
            assert_eq!(state.load().unwrap(), Journal::default());
            let aside = dir.path().join(format!("journal.json.broken-{n}"));
            assert_eq!(fs::read(aside).unwrap(), b"{\"spec\":1,");
        }
        fs::write(dir.path().join("journal.json"), b"{\"spec\":2}").unwrap();
        let error = format!("{:#}", state.load().unwrap_err());
        assert!(error.contains("format 2"), "{error}");
        assert!(dir.path().join("journal.json").exists());
    }

    #[test]
    fn roots_are_exactly_what_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("roots");
        let wanted = |names: &[(&str, char)]| -> BTreeMap<String, StorePath> {
            names
                .iter()
                .map(|(name, c)| ((*name).to_owned(), system(*c)))
                .collect()
        };
        let there = || -> BTreeMap<String, StorePath> {
            fs::read_dir(&dir)
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    let target = fs::read_link(entry.path()).unwrap();
                    (
                        entry.file_name().into_string().unwrap(),
                        target.to_str().unwrap().parse().unwrap(),
                    )
                })
                .collect()
        };
        for roots in [
            wanted(&[("confirmed", 'a'), ("next", 'b')]),
            wanted(&[("confirmed", 'b'), ("fallback-1", 'a')]),
            wanted(&[("confirmed", 'b')]),
        ] {
            root(&dir, &roots).unwrap();
            assert_eq!(there(), roots);
        }
    }
}
