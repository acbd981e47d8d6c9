//! Files that a system has put on the boot partition beside kernels: `boot.loader.systemd-boot.extraFiles`,
//! `boot.loader.grub.extraFiles`. Their programs copy them with every installation, and an installer that runs
//! out of room leaves half a boot menu.

use crate::robot::nixos;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};
use surefoot_base::space;

const STORE: &str = "/nix/store/";

/// Length of the hash that a store path begins with, and of the dash after it.
const HASH: usize = 33;

/// The files by way of which the switcher comes to what copies them, by the end of their store path's name,
/// and where in that path they lie (nixpkgs, systemd-boot.nix and grub.nix).
const WAY: [(&str, &str); 5] = [
    ("install-systemd-boot.sh", ""),
    ("systemd-boot", "bin/systemd-boot"),
    ("copy-extra-files", ""),
    ("install-grub.sh", ""),
    ("grub-config.xml", ""),
];

/// No program of an installer is larger, bytes, and none names more files.
const MAX_PROGRAM: u64 = 4 << 20;
const MAX_FILES: usize = 1000;

/// Bytes that these files of a system need on the file system of `place`, beside those of the system that was
/// installed last, which go first or are written over. `boot` is what GRUB's installer calls `@bootPath@`.
pub(super) fn needed(system: &Path, boot: &Path, place: &Path) -> u64 {
    let root = Path::new("/");
    let device = |path: &Path| fs::metadata(space::existing(path)).map(|it| it.dev()).ok();
    let there = |path: &&PathBuf| device(path) == device(place);
    let size = |path: &Path| fs::metadata(path).map_or(0, |it| it.len());
    let new = copies(root, system, boot);
    let sizes = (new.iter()).filter(|(to, _)| there(to));
    let needed: u64 = sizes.map(|(_, from)| size(from)).sum();
    let old = copies(root, Path::new(nixos::PROFILE), boot);
    let gone: BTreeSet<&PathBuf> = old.keys().chain(new.keys()).filter(there).collect();
    needed.saturating_sub(gone.into_iter().map(|path| size(path)).sum())
}

/// What is copied where: the copy, and the file of the store.
fn copies(root: &Path, system: &Path, boot: &Path) -> BTreeMap<PathBuf, PathBuf> {
    let mut seen = BTreeSet::new();
    let mut next = vec![system.join("bin/switch-to-configuration")];
    let mut copies = BTreeMap::new();
    while let Some(program) = next.pop() {
        let Some(text) = read(&program) else { continue };
        copies.extend(copied(&text, boot));
        for (end, within) in WAY {
            for path in store_paths(&text).filter(|path| path[STORE.len() + HASH..] == *end) {
                if seen.insert(path.to_owned()) && seen.len() <= MAX_FILES {
                    let path = root.join(path.trim_start_matches('/'));
                    next.push(if within.is_empty() {
                        path
                    } else {
                        path.join(within)
                    });
                }
            }
        }
    }
    copies.into_iter().take(MAX_FILES).collect()
}

/// A program's text: with some of NixOS' wrappers it stands between bytes that are none.
fn read(program: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(program).ok()?;
    file.take(MAX_PROGRAM).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // As Nix writes a text into XML (nix, src/libutil/xml-writer.cc).
    let marks = [("&quot;", "\""), ("&#xA;", "\n"), ("&amp;", "&")];
    Some((marks.into_iter()).fold(text.into_owned(), |text, (mark, c)| text.replace(mark, c)))
}

fn store_paths(text: &str) -> impl Iterator<Item = &str> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || "+-._?=".contains(c);
    text.match_indices(STORE).filter_map(move |(at, _)| {
        let rest = &text[at + STORE.len()..];
        let length = rest.find(|c| !in_name(c)).unwrap_or(rest.len());
        (length > HASH).then(|| &text[at..at + STORE.len() + length])
    })
}

/// What is copied by lines such as `…/install -Dp "/nix/store/…" "/boot/"name` and
/// `…/cp -pf "/nix/store/…" "@bootPath@/name"`.
fn copied<'a>(text: &'a str, boot: &'a Path) -> impl Iterator<Item = (PathBuf, PathBuf)> + 'a {
    text.lines().filter_map(move |line| {
        let copies = ["/install -Dp \"", "/cp -pf \""];
        let (_, files) = copies.iter().find_map(|program| line.split_once(program))?;
        let (from, to) = files.trim_end().split_once("\" ")?;
        let to = to.replace(['"', '\''], "");
        let to = match to.strip_prefix("@bootPath@/") {
            Some(name) => boot.join(name),
            None => PathBuf::from(to),
        };
        from.starts_with(STORE).then(|| (to, PathBuf::from(from)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_path(name: &str) -> String {
        format!("{STORE}{}-{name}", "0".repeat(HASH - 1))
    }

    /// A system whose programs lie below `root`, each with its text.
    fn system(root: &Path, programs: &[(&str, String)]) -> PathBuf {
        for (name, text) in programs {
            let path = root.join(store_path(name).trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root.join(store_path("nixos-system").trim_start_matches('/'))
    }

    #[test]
    fn what_an_installer_copies_beside_kernels_is_found() {
        let (memtest, blob) = (store_path("memtest86.efi"), store_path("blob/a b.bin"));
        for (installer, builder, tail, copying) in [
            (
                "install-systemd-boot.sh",
                "systemd-boot/bin/systemd-boot",
                "/bin/systemd-boot",
                format!(
                    "/x/bin/install -Dp \"{memtest}\" \"/boot/\"EFI/memtest.efi\n\
                     /x/bin/install -D /dev/null \"/boot//EFI/nixos/.extra-files/\"EFI/memtest.efi\n\
                     /x/bin/install -Dp \"{blob}\" \"/boot/\"'a b.bin'\n"
                ),
            ),
            (
                "install-grub.sh",
                "grub-config.xml",
                "",
                format!(
                    "<attr name=\"extraPrepareConfig\"><string value=\"/x/bin/cp -pf &quot;{memtest}&quot; \
                     &quot;@bootPath@/EFI/memtest.efi&quot;&#xA;/x/bin/cp -pf &quot;{blob}&quot; \
                     &quot;@bootPath@/a b.bin&quot;&#xA;\" /></attr>\n"
                ),
            ),
        ] {
            let root = tempfile::tempdir().unwrap();
            let root = root.path();
            let next = if tail.is_empty() {
                store_path(builder)
            } else {
                format!("{}{tail}", store_path("systemd-boot"))
            };
            let last = match tail {
                "" => copying.clone(),
                _ => format!(
                    "COPY_EXTRA_FILES = \"{}\"\n",
                    store_path("copy-extra-files")
                ),
            };
            let switcher = format!(
                "\u{0}export INSTALL_BOOTLOADER='{}'\u{0}",
                store_path(installer)
            );
            let system = system(
                root,
                &[
                    ("nixos-system/bin/switch-to-configuration", switcher),
                    (installer, format!("#!/bin/sh\n{next} \"$@\"\n")),
                    (builder, last),
                    ("copy-extra-files", copying),
                ],
            );
            let found = copies(root, &system, Path::new("/boot"));
            let expected = [
                ("/boot/EFI/memtest.efi", memtest.as_str()),
                ("/boot/a b.bin", blob.as_str()),
            ];
            let expected = expected.map(|(to, from)| (PathBuf::from(to), PathBuf::from(from)));
            assert_eq!(found, BTreeMap::from(expected), "{installer}");
        }
    }

    #[test]
    fn a_system_without_such_files_needs_no_room_for_them() {
        let root = tempfile::tempdir().unwrap();
        let system = system(root.path(), &[]);
        assert_eq!(needed(&system, Path::new("/boot"), root.path()), 0);
    }

    #[test]
    fn what_lies_there_already_needs_no_room_again() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::write(&from, [0; 100]).unwrap();
        fs::write(&to, [0; 60]).unwrap();
        let line = format!("/x/bin/cp -pf \"{STORE}x\" \"{}\"", to.display());
        let found: Vec<_> = copied(&line, place.path()).collect();
        assert_eq!(found, [(to, PathBuf::from(format!("{STORE}x")))]);
    }
}
