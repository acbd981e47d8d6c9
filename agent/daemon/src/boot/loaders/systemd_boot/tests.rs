//! Robots with a boot partition, and what the loader makes of their menus.

use super::{
    entry::identity,
    menu::Menu,
    secure::secure,
    variables::{PREFERRED, VENDOR},
};
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

/// Sets what the loader can do.
pub(super) fn features(root: &Path, features: u64) {
    let mut bytes = vec![6, 0, 0, 0];
    bytes.extend(features.to_le_bytes());
    let variables = root.join("sys/firmware/efi/efivars");
    fs::write(variables.join(format!("LoaderFeatures-{VENDOR}")), bytes).unwrap();
}

/// The names of all entries, in order.
pub(super) fn names(menu: &Menu) -> Vec<String> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<_> = fs::read_dir(menu.boot.join("loader/entries"))
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
fn what_is_preferred_comes_before_the_default_as_long_as_tries_are_left() {
    // As NixOS 26.11 writes it with counted tries.
    let entries = [("nixos-0aaa.conf", 'a'), ("nixos-0bbb+3.conf", 'b')];
    let (root, menu) = robot(&entries, "nixos-*\npreferred nixos-0aaa.conf");
    // A loader before systemd 260 does not know the word.
    assert_eq!(menu.default().unwrap(), None);
    features(root.path(), PREFERRED);
    assert_eq!(menu.default().unwrap(), Some(system('a')));
    // Each as a variable comes before the file, and the default after all that is preferred.
    set(root.path(), "LoaderEntryDefault", "nixos-0bbb.conf");
    assert_eq!(menu.default().unwrap(), Some(system('a')));
    set(root.path(), "LoaderEntryPreferred", "nixos-0ccc.conf");
    assert_eq!(menu.default().unwrap(), Some(system('a')));
    set(root.path(), "LoaderEntryPreferred", "NixOS-0BBB.conf");
    assert_eq!(menu.default().unwrap(), Some(system('b')));
    // No try is left.
    let directory = root.path().join("boot/loader/entries");
    let used_up = directory.join("nixos-0bbb+0-3.conf");
    fs::rename(directory.join("nixos-0bbb+3.conf"), &used_up).unwrap();
    assert_eq!(menu.default().unwrap(), Some(system('a')));
    // But the default says nothing of tries.
    fs::remove_file(directory.join("nixos-0aaa.conf")).unwrap();
    assert_eq!(menu.default().unwrap(), Some(system('b')));
    // A variable that speaks of nothing leaves it to the file.
    set(root.path(), "LoaderEntryDefault", "gone.conf");
    assert_eq!(menu.default().unwrap(), Some(system('b')));
}

#[test]
fn entries_may_lie_on_a_partition_of_their_own() {
    let entries = [
        ("nixos-generation-1.conf", 'a'),
        ("nixos-generation-2.conf", 'b'),
    ];
    let (root, _) = robot(&entries, "nixos-generation-1.conf");
    let esp = root.path().join("efi/loader");
    fs::create_dir_all(esp.join("entries")).unwrap();
    let conf = root.path().join("boot/loader/loader.conf");
    fs::rename(conf, esp.join("loader.conf")).unwrap();
    let menu = Menu::find(root.path()).unwrap();
    assert_eq!(menu.esp, root.path().join("efi"));
    assert_eq!(menu.boot, root.path().join("boot"));
    assert_eq!(menu.default().unwrap(), Some(system('a')));
    // What the builder leaves of its work lies on the ESP; the spare entry goes where the others are.
    fs::write(esp.join("loader.tmp"), "").unwrap();
    secure(&menu, true).unwrap();
    assert!(!esp.join("loader.tmp").exists());
    assert!(names(&menu).contains(&"surefoot.conf".to_owned()));
    fs::remove_file(menu.boot.join("loader/entries/nixos-generation-1.conf")).unwrap();
    assert_eq!(menu.default().unwrap(), Some(system('a')));
    // Another system's entries on the ESP are in the menu as well.
    fs::write(esp.join("entries/a.conf"), "linux /kernel\nsort-key a\n").unwrap();
    assert_eq!(menu.default().unwrap(), None);
}

#[test]
fn without_its_variable_it_is_not_there() {
    let (root, _) = robot(&[], "x");
    set(root.path(), "LoaderInfo", "GRUB");
    assert!(Menu::find(root.path()).is_none());
}
