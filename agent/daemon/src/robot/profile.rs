//! The generations of the system's profile: links beside it, each with a number.
//!
//! They are taken away as Nix does it (`src/libstore/profiles.cc`, `deleteGenerations`): unlinked while
//! the profile is locked, and never the present one. No Nix daemon is needed for that.

use crate::robot;
use anyhow::{Context as _, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use surefoot_base::file;
use surefoot_core::{StorePath, profile::Link};

/// Where the generations lie.
pub(crate) const PROFILES: &str = "/nix/var/nix/profiles";

/// The profile's name.
const SYSTEM: &str = "system";

/// How long the profile's lock is waited for: whoever changes the profile needs it for a moment.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is tried meanwhile.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// The generations of the profile in a directory, oldest first. One that leads to no store path is
/// left out.
pub(crate) fn links(profiles: &Path) -> Vec<Link> {
    let entries = fs::read_dir(profiles).into_iter().flatten().flatten();
    let mut links: Vec<Link> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix("system-")?.strip_suffix("-link")?;
            let number = number.parse().ok()?;
            let system = leads_to(&place(profiles, number))?;
            Some(Link { number, system })
        })
        .collect();
    links.sort_unstable();
    links
}

/// Takes generations away; those that are something else by now stay.
///
/// # Errors
/// The profile cannot be locked, or the disk says no.
pub(crate) fn remove(profiles: &Path, links: &[Link]) -> anyhow::Result<()> {
    let _lock = lock(profiles, PATIENCE)?;
    let profile = profiles.join(SYSTEM);
    let present = fs::read_link(&profile).with_context(|| {
        format!(
            "cannot tell the present generation of {}",
            profile.display()
        )
    })?;
    for link in links {
        let path = place(profiles, link.number);
        if profiles.join(&present) != path && leads_to(&path).as_ref() == Some(&link.system) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    file::sync_dir(profiles).context("cannot write the profile's directory")
}

/// Where the link of a generation lies.
pub(crate) fn place(profiles: &Path, number: u64) -> PathBuf {
    profiles.join(format!("{SYSTEM}-{number}-link"))
}

fn leads_to(link: &Path) -> Option<StorePath> {
    fs::read_link(link).ok()?.to_str()?.parse().ok()
}

/// The lock that Nix takes: the last one to leave throws the file away, and what is written in it
/// then says so to whoever has waited for it (`src/libstore/pathlocks.cc`).
fn lock(profiles: &Path, patience: Duration) -> anyhow::Result<Flock<File>> {
    let path = profiles.join(format!("{SYSTEM}.lock"));
    let take = || -> std::io::Result<Option<Flock<File>>> {
        let mut open = File::options();
        open.read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        match Flock::lock(open.open(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok((lock.metadata()?.len() == 0).then_some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    };
    let end = Instant::now() + patience;
    loop {
        let lock = take().with_context(|| format!("cannot lock {}", path.display()))?;
        if let Some(lock) = lock {
            return Ok(lock);
        }
        if Instant::now() >= end {
            break;
        }
        thread::sleep(TRY_EVERY);
    }
    let holder = robot::holder(&path);
    let holder = holder.unwrap_or_else(|| format!("somebody holds {}", path.display()));
    bail!(
        "waited {} s for the profile's lock: {holder}",
        patience.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(number: u64, c: char) -> Link {
        let system = StorePath::from_base_name(&format!("{}-s", c.to_string().repeat(32)));
        Link {
            number,
            system: system.unwrap(),
        }
    }

    #[test]
    fn generations_go_but_never_the_present_one_or_what_is_another_by_now() {
        let dir = tempfile::tempdir().unwrap();
        let all = [link(2, 'a'), link(10, 'b'), link(11, 'a')];
        for Link { number, system } in &all {
            let target = system.to_string();
            file::replace_symlink(&place(dir.path(), *number), Path::new(&target)).unwrap();
        }
        file::replace_symlink(&dir.path().join("system"), Path::new("system-11-link")).unwrap();
        file::replace_symlink(&dir.path().join("other-1-link"), Path::new("/x")).unwrap();
        assert_eq!(links(dir.path()), all);
        remove(dir.path(), &[link(10, 'c'), link(11, 'a'), link(7, 'a')]).unwrap();
        assert_eq!(links(dir.path()), all);
        remove(dir.path(), &[link(2, 'a'), link(10, 'b')]).unwrap();
        assert_eq!(links(dir.path()), all[2..]);
    }

    #[test]
    fn a_lock_that_is_held_is_not_waited_for_without_an_end() {
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        let held = lock(dir.path(), Duration::ZERO).unwrap();
        let error = lock(dir.path(), Duration::ZERO).unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {} (", std::process::id())),
            "{error}"
        );
        // Whoever leaves it throws it away, and says so in it.
        let path = dir.path().join("system.lock");
        fs::write(&path, "d").unwrap();
        fs::remove_file(&path).unwrap();
        lock(dir.path(), Duration::ZERO).unwrap();
        drop(held);
    }
}
