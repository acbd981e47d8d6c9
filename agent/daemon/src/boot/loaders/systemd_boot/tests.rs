//! Robots with a boot partition, and what the loader makes of their menus.

use super::{entry::identity, menu::Menu, variables::VENDOR};
use std::{fs, path::Path};
use surefoot_core::StorePath;

/// A system by a letter.
pub(super) fn system(c: char) -> StorePath {
    StorePath::from_base_name(&format!("{}-nixos-system-{c}", c.to_string().repeat(32))).unwrap()
}

/// A root with a boot partition that has these entries.
pub(super) fn robot(entries: &[(&str, char)], default: &str) -> (tempfile::TempDir, Menu) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("boot/loader/entries");
    fs::create_dir_all(&directory).unwrap();
    for (name, c) in entries {
        let store = root.path().join(&system(*c).to_string()[1..]);
        fs::create_dir_all(store).unwrap();
        fs::write(root.path().join("boot/kernel"), "a kernel").unwrap();
        let text = format!(
            "title NixOS\nlinux /kernel\noptions init={}/init quiet\nsort-key nixos\n",
            system(*c)
        );
        fs::write(directory.join(name), text).unwrap();
    }
    let text = format!("timeout 0\ndefault {default}\n");
    fs::write(root.path().join("boot/loader/loader.conf"), text).unwrap();
    let variables = root.path().join("sys/firmware/efi/efivars");
    fs::create_dir_all(&variables).unwrap();
    set(root.path(), "LoaderInfo", "systemd-boot 257.13");
    let menu = Menu::find(root.path()).unwrap();
    (root, menu)
}

/// Sets a variable of the loader.
pub(super) fn set(root: &Path, name: &str, text: &str) {
    let mut bytes = vec![7, 0, 0, 0];
    bytes.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
    let variables = root.join("sys/firmware/efi/efivars");
    fs::write(variables.join(format!("{name}-{VENDOR}")), bytes).unwrap();
}

/// The names of all entries, in order.
pub(super) fn names(menu: &Menu) -> Vec<String> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<_> = fs::read_dir(menu.esp.join("loader/entries"))
        .unwrap()
        .map(|file| name(&file.unwrap().path()))
        .collect();
    names.sort();
    names
}

#[test]
fn entries_are_found_by_what_they_start_whatever_their_names() {
    for names in [
        ["nixos-generation-1.conf", "nixos-generation-2.conf"],
        ["nixos-0aaa.conf", "nixos-0bbb+3.conf"],
        ["nixos-generation-1+2-1.conf", "nixos-generation-2+0-3.conf"],
    ] {
        let id = identity(names[0]).unwrap();
        let (_root, menu) = robot(&[(names[0], 'a'), (names[1], 'b')], &id);
        assert_eq!(menu.default().unwrap(), Some(system('a')), "{names:?}");
    }
}

#[test]
fn a_default_may_be_a_pattern_or_a_variable() {
    let entries = [
        ("nixos-generation-1.conf", 'a'),
        ("nixos-generation-2.conf", 'b'),
    ];
    let (root, menu) = robot(&entries, "nixos-generation-2*");
    assert_eq!(menu.default().unwrap(), Some(system('b')));
    set(root.path(), "LoaderEntryDefault", "nixos-generation-1.conf");
    assert_eq!(menu.default().unwrap(), Some(system('a')));
    // The default's entry has a sort key of its own where entries are counted.
    let (root, menu) = robot(&entries, "nixos-generation-*");
    for (name, key) in [("1", "nixor-default"), ("2", "nixos")] {
        let path = root
            .path()
            .join(format!("boot/loader/entries/nixos-generation-{name}.conf"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(
            path,
            text.replace("sort-key nixos", &format!("sort-key {key}")),
        )
        .unwrap();
    }
    assert_eq!(menu.default().unwrap(), Some(system('a')));
    let path = root
        .path()
        .join("boot/loader/entries/nixos-generation-1.conf");
    fs::rename(&path, path.with_file_name("nixos-generation-1+0-1.conf")).unwrap();
    assert_eq!(menu.default().unwrap(), Some(system('b')));
    // Which of the two it takes cannot be told.
    let (_root, menu) = robot(&entries, "nixos-*");
    assert_eq!(menu.default().unwrap(), None);
}

#[test]
fn without_its_variable_it_is_not_there() {
    let (root, _) = robot(&[], "x");
    set(root.path(), "LoaderInfo", "GRUB");
    assert!(Menu::find(root.path()).is_none());
}
