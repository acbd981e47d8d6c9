//! The copies of kernels and initrds that NixOS puts where the boot loader can read them.

use anyhow::{Context as _, bail};
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

/// The copy of a file of the store beside the loader, if there is one: named by its path, with
/// dashes (nixpkgs, systemd-boot-builder.py and install-grub.pl).
pub(super) fn copy_of(kernels: &Path, file: &Path) -> Option<PathBuf> {
    let path = file.strip_prefix("/nix/store").unwrap_or(file);
    let name = path.to_str()?.trim_start_matches('/').replace('/', "-");
    [format!("{name}.efi"), name]
        .map(|name| kernels.join(name))
        .into_iter()
        .find(|copy| copy.exists())
}

/// Takes away a copy that is not whole: NixOS copies only what is not there, so what a power cut
/// left of a kernel would be started for ever.
pub(super) fn check_copy(kernels: &Path, file: &Path) -> anyhow::Result<()> {
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
