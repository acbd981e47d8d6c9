//! A garbage collection root: a symlink that keeps a closure in the store.
//!
//! Source: Nix `src/libstore/gc.cc` (`addPermRoot`, `addIndirectRoot`, `findRoots`).

use crate::{
    blocking::blocking,
    error::{Error, Result},
    nix_daemon::Connection,
};
use std::{
    fs, io,
    path::{Path, PathBuf, absolute},
};
use surefoot_base::file;
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
    let failed = |why| Error::io("make the GC root", link)(why);
    if fs::symlink_metadata(link).is_ok_and(|data| !data.is_symlink()) {
        let why = io::Error::new(io::ErrorKind::AlreadyExists, "it is there and no symlink");
        return Err(failed(why));
    }
    // Only `/` lies in no directory, and it was refused above.
    file::make_dirs(link.parent().unwrap_or(link))
        .and_then(|()| file::replace_symlink(link, target))
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
