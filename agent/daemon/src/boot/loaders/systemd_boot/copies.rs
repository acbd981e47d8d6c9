//! The spare entry's own copies of kernel, initrd and device tree.
//!
//! They lie in a directory that no installer of NixOS cleans: the builder of 24.11 deletes every kernel and
//! copies it anew at each install, without a flush, so a power cut may leave none of them whole.

use anyhow::{Context as _, ensure};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::{
    fs::{self, File, FileTimes},
    io::{BufRead as _, BufReader, ErrorKind, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};
use surefoot_base::{
    file::{TEMPORARY, sync_parent},
    space,
};

/// Where they lie on the partition of the entries.
pub(super) const DIRECTORY: &str = "EFI/surefoot";

/// What FAT rounds a file's time to.
const TICK: Duration = Duration::from_secs(2);

/// Room that stays on the partition beside the files, bytes.
const SLACK: u64 = 1 << 20;

/// A copy, and what it is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    /// A file that NixOS put there.
    pub(super) source: PathBuf,
    /// The copy.
    pub(super) target: PathBuf,
    /// What has to be found at its beginning, if that is known: secrets are appended to an initrd.
    pub(super) original: Option<PathBuf>,
}

impl Copy {
    /// Whether it is there, as far as size and time can tell: neither file is read for that.
    pub(super) fn is_there(&self) -> bool {
        let (Ok(source), Ok(target)) = (fs::metadata(&self.source), fs::metadata(&self.target))
        else {
            return false;
        };
        let times = source.modified().ok().zip(target.modified().ok());
        source.len() == target.len()
            && times.is_some_and(|(a, b)| {
                let apart = a.duration_since(b).or_else(|_| b.duration_since(a));
                apart.is_ok_and(|apart| apart <= TICK)
            })
    }

    /// Makes it, on the disk before it has its name, and reads it back.
    ///
    /// # Errors
    /// The file of NixOS is not whole, or the disk says no.
    pub(super) fn make(&self) -> anyhow::Result<()> {
        if let Some(original) = &self.original {
            ensure!(
                begins_with(&self.source, original)?,
                "{} is not the whole of {}",
                self.source.display(),
                original.display()
            );
        }
        let directory = (self.target.parent()).context("a copy lies in no directory")?;
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let name = (self.target.file_name()).context("a copy has no name")?;
        let part = directory.join(format!("{TEMPORARY}{}", name.to_string_lossy()));
        let made = write(&self.source, &part).and_then(|()| {
            fs::rename(&part, &self.target)?;
            sync_parent(&self.target)?;
            Ok(())
        });
        if made.is_err() {
            let _ = fs::remove_file(&part);
        }
        made.with_context(|| format!("cannot write {}", self.target.display()))
    }
}

fn write(source: &Path, part: &Path) -> anyhow::Result<()> {
    let mut from = File::open(source)?;
    let mut to = File::create(part)?;
    std::io::copy(&mut from, &mut to)?;
    to.set_times(FileTimes::new().set_modified(from.metadata()?.modified()?))?;
    to.sync_all()?;
    // From the disk, not from memory.
    posix_fadvise(&to, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    ensure!(
        to.metadata()?.len() == from.metadata()?.len() && begins_with(part, source)?,
        "it does not read back as it was written"
    );
    Ok(())
}

/// Whether a file begins with the whole of another.
fn begins_with(file: &Path, other: &Path) -> anyhow::Result<bool> {
    let open = |path: &Path| {
        let opened = File::open(path).map(BufReader::new);
        opened.with_context(|| format!("cannot read {}", path.display()))
    };
    let (mut file, mut other) = (open(file)?, open(other)?);
    let mut found = Vec::new();
    loop {
        let expected = other.fill_buf()?;
        if expected.is_empty() {
            return Ok(true);
        }
        found.resize(expected.len(), 0);
        match file.read_exact(&mut found) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if found != expected {
            return Ok(false);
        }
        let length = expected.len();
        other.consume(length);
    }
}

/// Whether there is room for those that are missing, beside one more kernel and initrd of that size: a
/// spare entry must not keep a release from being installed.
///
/// # Errors
/// What is there cannot be looked at; with words where there is too little.
pub(super) fn room(partition: &Path, copies: &[Copy]) -> anyhow::Result<()> {
    let (mut all, mut missing) = (0, 0);
    for copy in copies {
        let size = fs::metadata(&copy.source)?.len();
        all += size;
        missing += if copy.is_there() { 0 } else { size };
    }
    if missing == 0 {
        return Ok(());
    }
    let needed = all + missing + SLACK;
    let free = space::free(partition)
        .with_context(|| format!("cannot see how full {} is", partition.display()))?;
    ensure!(
        free >= needed,
        "{free} bytes are free at {}, and {needed} would be needed for copies and for the next release",
        partition.display()
    );
    Ok(())
}

/// The files in the directory of copies that nobody needs.
pub(super) fn unused(partition: &Path, needed: &[Copy]) -> Vec<PathBuf> {
    let files = fs::read_dir(partition.join(DIRECTORY));
    (files.into_iter().flatten().flatten())
        .map(|file| file.path())
        .filter(|path| path.is_file() && !needed.iter().any(|copy| copy.target == *path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn a_copy_is_made_only_of_what_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = root.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let copy = Copy {
            source: file("boot.efi", b"an initrd and a secret"),
            target: root.path().join(DIRECTORY).join("boot.efi"),
            original: Some(file("store", b"an initrd")),
        };
        assert!(!copy.is_there());
        copy.make().unwrap();
        assert!(copy.is_there());
        assert_eq!(fs::read(&copy.target).unwrap(), b"an initrd and a secret");
        // Another secret of the same length, later.
        fs::write(&copy.source, "an initrd and another!").unwrap();
        let later = SystemTime::now() + Duration::from_secs(60);
        let source = File::options().write(true).open(&copy.source).unwrap();
        source.set_modified(later).unwrap();
        assert!(!copy.is_there());
        copy.make().unwrap();
        assert!(copy.is_there());
        // What a power cut left.
        for torn in ["", "an ini", "an inXXrd and"] {
            fs::write(&copy.source, torn).unwrap();
            assert!(copy.make().is_err(), "{torn}");
            assert_eq!(fs::read(&copy.target).unwrap(), b"an initrd and another!");
        }
        let one = [copy];
        assert_eq!(unused(root.path(), &[]), [one[0].target.clone()]);
        assert!(unused(root.path(), &one).is_empty());
    }
}
