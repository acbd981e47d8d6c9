//! The journal: state, confirmed system, fallbacks, blocked releases, holds and history.

use super::StateDir;
use anyhow::Context as _;
use std::{fs, io::Write as _, path::PathBuf};
use surefoot_base::file;
use surefoot_core::journal::{Journal, JournalError, MAX_JOURNAL_BYTES};

/// The journal's file, in the state directory.
pub(crate) const FILE: &str = "journal.json";

impl StateDir {
    fn journal(&self) -> PathBuf {
        self.dir.join(FILE)
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
        // One byte more than is allowed: whether that is too much is the parser's to say.
        let bytes = match file::read_start(&path, MAX_JOURNAL_BYTES + 1) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return Ok(Journal::default()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
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
        let write = file::replace_with(&path, 0o600, |file| {
            serde_json::to_writer_pretty(&mut *file, journal)?;
            file.write_all(b"\n")
        });
        write.with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_core::machine::state::State;

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
}
