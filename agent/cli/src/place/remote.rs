//! A directory of another machine, that the system's rsync reaches: over ssh, or a daemon of its own.

use super::{Has, MAX_FILE, is_versioned};
use anyhow::{Context as _, bail, ensure};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use surefoot_base::file;
use tempfile::TempDir;

/// The directory, and what was there when it was looked at.
pub(crate) struct Remote {
    /// As rsync takes it: `rsync://host/module/path` or `user@host:/path`.
    place: String,
    /// Its metadata and manifests, which are small files.
    copy: Fetched,
}

/// A copy of some of it, as a repository.
struct Fetched {
    dir: PathBuf,
    /// Goes with this value.
    _home: TempDir,
}

/// What was typed, if it is a place of another machine, as rsync tells that: `rsync://…`, or with a colon
/// before the first slash.
pub(super) fn place(text: &str) -> Option<&str> {
    let text = text.trim_end_matches('/');
    if text.starts_with("rsync://") {
        return Some(text);
    }
    let (host, path) = text.split_once(':')?;
    let other = !host.is_empty() && !host.contains('/') && !path.starts_with("//");
    other.then_some(text)
}

impl Fetched {
    /// Fetches these parts of a place. Of what is not there nothing comes.
    fn of(place: &str, parts: &[&str]) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let most = format!("--max-size={MAX_FILE}");
        // With whole paths rsync misses no directory that is not there, either.
        // Links are followed, as a web server follows them.
        let words = vec![
            "--recursive",
            "--relative",
            "--copy-links",
            "--ignore-missing-args",
            &*most,
        ];
        let from: Vec<String> = parts.iter().map(|part| format!("{place}/{part}")).collect();
        let mut places: Vec<&OsStr> = from.iter().map(OsStr::new).collect();
        places.push(home.path().as_os_str());
        rsync(words, &places, &[])?;
        let mut dir = home.path().to_owned();
        while !has_files(&dir.join("metadata"))
            && let Some(below) = only_entry(&dir)
        {
            dir = below;
        }
        Ok(Self { dir, _home: home })
    }

    fn read(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(file::read_if_there(&self.dir.join(name), MAX_FILE)?)
    }
}

fn has_files(dir: &Path) -> bool {
    let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
}

/// The directory that is all that another one holds.
fn only_entry(dir: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(dir).ok()?.flatten();
    let first = entries.next()?.path();
    (entries.next().is_none() && first.is_dir()).then_some(first)
}

impl Remote {
    /// Reads what is there.
    ///
    /// # Errors
    /// It cannot be reached; there is no rsync.
    pub(super) fn new(place: &str) -> anyhow::Result<Self> {
        let host = place.split_once(':').map_or(place, |(host, _)| host);
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        ensure!(
            !host.starts_with('-') && !place.starts_with('-'),
            "'{host}' is not the name of a host: ssh would take it for an option"
        );
        Ok(Self {
            place: place.to_owned(),
            copy: Fetched::of(place, &["metadata", "targets/channels"])?,
        })
    }

    /// Where the copy lies: a repository that has its metadata and manifests.
    pub(super) fn copy(&self) -> &Path {
        &self.copy.dir
    }

    /// A file of its metadata, as it was when this was made.
    pub(super) fn read(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        self.copy.read(name)
    }

    /// A file as it is now.
    pub(super) fn read_again(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        Fetched::of(&self.place, &[name])?.read(name)
    }

    /// Whether it has these very bytes. What only rsync can tell is asked all at once, by
    /// [`Self::differing`].
    pub(super) fn has(&self, name: &str, bytes: &[u8]) -> anyhow::Result<Has> {
        Ok(Has::of(self.read(name)?, bytes))
    }

    /// Those of these files that are not there, or are there otherwise: both sides read them.
    ///
    /// # Errors
    /// rsync fails.
    pub(crate) fn differing(
        &self,
        dir: &Path,
        names: &[PathBuf],
    ) -> anyhow::Result<BTreeSet<PathBuf>> {
        let words = ["--dry-run", "--checksum", "--out-format=%n", "--mkpath"];
        let names: Vec<&PathBuf> = names.iter().collect();
        let said = self.sends(&words, dir, &names)?;
        let names: BTreeSet<&PathBuf> = names.into_iter().collect();
        let said = said.lines().map(PathBuf::from);
        Ok(said.filter(|name| names.contains(name)).collect())
    }

    /// Writes files there. rsync writes each beside its place and puts it there when it is whole. What has a
    /// version in its name is written over others only if they may be replaced: they may be somebody else's
    /// that robots read.
    ///
    /// # Errors
    /// rsync fails.
    pub(super) fn write(
        &self,
        dir: &Path,
        names: &[&PathBuf],
        replace: bool,
    ) -> anyhow::Result<()> {
        let fixed = ["--checksum", "--mkpath", "--fsync"];
        let keeps = |name: &&&PathBuf| !replace && is_versioned(&name.to_string_lossy());
        let (new, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
            names.iter().copied().partition(|name| keeps(&name));
        if !others.is_empty() {
            self.sends(&fixed, dir, &others)?;
        }
        if !new.is_empty() {
            let words = [&fixed[..], &["--ignore-existing"]].concat();
            self.sends(&words, dir, &new)?;
        }
        Ok(())
    }

    fn sends(&self, words: &[&str], dir: &Path, names: &[&PathBuf]) -> anyhow::Result<String> {
        // What a link of the desk's leads to goes there, not the link; modes are those of a web server's files.
        let fixed = [
            "--copy-links",
            "--keep-dirlinks",
            "--times",
            "--chmod=D755,F644",
            "--from0",
            "--files-from=-",
        ];
        let mut list = Vec::new();
        for name in names {
            list.extend_from_slice(name.as_os_str().as_encoded_bytes());
            list.push(0);
        }
        let from = format!("{}/", dir.display());
        let to = format!("{}/", self.place);
        let places = [OsStr::new(&from), OsStr::new(&to)];
        rsync([&fixed, words].concat(), &places, &list)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

/// Runs rsync with these words and this input; gives what it says. Questions of ssh are between it and the
/// terminal.
fn rsync(words: Vec<&str>, places: &[&OsStr], input: &[u8]) -> anyhow::Result<String> {
    let mut command = Command::new("rsync");
    command.args(words).arg("--").args(places);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no rsync on this machine: install it to push to another one")
        }
        child => child.context("rsync")?,
    };
    let mut stdin = child.stdin.take().context("rsync has no input")?;
    // What it says of so many names could fill its pipe before it has read them all.
    let (sent, output) = std::thread::scope(|scope| {
        let sent = scope.spawn(move || stdin.write_all(input));
        let output = child.wait_with_output();
        (sent.join(), output)
    });
    let output = output.context("rsync")?;
    ensure!(
        output.status.success(),
        "rsync failed ({}); it says why above",
        output.status
    );
    sent.map_err(|_| anyhow::anyhow!("rsync was not told all names"))??;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_told_from_a_directory_and_a_bucket() {
        for (text, found) in [
            ("admin@web:/srv/fleet/", Some("admin@web:/srv/fleet")),
            ("web:fleet", Some("web:fleet")),
            ("rsync://web/fleet", Some("rsync://web/fleet")),
            ("/srv/a:b", None),
            ("./a:b", None),
            ("served", None),
            ("https://s3.example.org/fleet", None),
            (":x", None),
        ] {
            assert_eq!(place(text), found, "{text}");
        }
    }
}
