//! A garbage collection root: a symlink that keeps a closure in the store.
//!
//! Source: Nix `src/libstore/gc.cc` (`addPermRoot`, `addIndirectRoot`, `findRoots`).

use crate::{
    blocking::blocking,
    error::{Error, Result},
    nix_daemon::Connection,
};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf, absolute},
};
use surefoot_core::StorePath;

/// Symlinks below it are roots by themselves.
const ROOTS: &str = "/nix/var/nix/gcroots/";

/// Makes `link` a root for `target`, in place of what it held before, durably.
///
/// A link outside `/nix/var/nix/gcroots` is made known to the daemon as an indirect root.
///
/// # Errors
/// [`Error::Io`] if something else than a symlink is in the way, or the file system says no.
pub async fn set(link: &Path, target: &StorePath, daemon: &mut Connection) -> Result<()> {
    let link = absolute(link).map_err(Error::io("find", link))?;
    let (at, to) = (link.clone(), PathBuf::from(target.to_string()));
    blocking(move || place(&at, &to)).await?;
    if !link.to_string_lossy().contains(ROOTS) {
        daemon.add_indirect_root(&link).await?;
    }
    Ok(())
}

fn place(link: &Path, target: &Path) -> Result<()> {
    match fs::symlink_metadata(link) {
        Ok(data) if !data.is_symlink() => {
            let why = io::Error::new(io::ErrorKind::AlreadyExists, "it is there and no symlink");
            return Err(Error::io("make the GC root", link)(why));
        }
        Ok(_) if fs::read_link(link).is_ok_and(|old| old == target) => return Ok(()),
        _ => {}
    }
    let failed = |why| Error::io("make the GC root", link)(why);
    let (Some(dir), Some(name)) = (link.parent(), link.file_name()) else {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    };
    fs::create_dir_all(dir).map_err(failed)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = dir.join(temporary);
    match fs::remove_file(&temporary) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(failed(why)),
        _ => {}
    }
    symlink(target, &temporary)
        .and_then(|()| fs::rename(&temporary, link))
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_and_replaced_but_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("new/root");
        for target in ["/nix/store/a", "/nix/store/b", "/nix/store/b"] {
            place(&link, Path::new(target)).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        }
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1);
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = place(&file, Path::new("/nix/store/a")).unwrap_err();
        assert!(error.to_string().contains("no symlink"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"x");
    }
}
