//! Readying the boot partition for NixOS' installer: there is a spare entry, and nothing that the
//! installer fails on.

use super::{copies::Copy, leftovers, menu::Menu, spare};
use crate::boot::files::replace;
use anyhow::Context as _;
use std::{fs, path::PathBuf};

/// What is to be done to the boot partition.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    copies: Vec<Copy>,
    without: Option<(PathBuf, String)>,
    write: Option<(PathBuf, String)>,
    remove: Vec<PathBuf>,
    unused: Vec<PathBuf>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.copies.is_empty()
            && self.write.is_none()
            && self.remove.is_empty()
            && self.unused.is_empty()
    }

    /// Carries it out.
    ///
    /// # Errors
    /// The partition cannot be written.
    fn carry_out(&self) -> anyhow::Result<()> {
        let (mut write, mut unused) = (&self.write, self.unused.as_slice());
        if let Err(error) = self.copies.iter().try_for_each(Copy::make) {
            // Better one that starts what the default's does than none.
            println!("(the spare entry has no files of its own: {error:#})");
            write = &self.without;
            if write.is_none() {
                // The one that is there stays, with its files, and what was made for another goes.
                unused = &[];
                for copy in &self.copies {
                    let _ = fs::remove_file(&copy.target);
                }
            }
        }
        if let Some((path, text)) = write {
            replace(path, text.as_bytes())?;
            nix::unistd::sync();
        }
        for path in self.remove.iter().chain(unused) {
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        nix::unistd::sync();
        Ok(())
    }
}

/// Whether nothing has to be done: see [`secure`].
pub(super) fn is_secured(menu: &Menu, anew: bool) -> bool {
    plan(menu, anew).is_ok_and(|plan| plan.is_empty())
}

/// Readies the partition for the installer, and reads that back. With `anew`, the spare entry has to
/// start what starts by default now; without, it may start whatever it does.
///
/// # Errors
/// The partition cannot be written, or another entry would be taken than the spare one.
pub(super) fn secure(menu: &Menu, anew: bool) -> anyhow::Result<()> {
    plan(menu, anew)?.carry_out()?;
    spare::find(menu).map(|_| ())
}

fn plan(menu: &Menu, anew: bool) -> anyhow::Result<Plan> {
    let entries = menu.entries()?;
    let renewal = spare::renewal(menu, &entries, anew);
    let mut remove = leftovers::find(menu, &entries)?;
    remove.extend(renewal.stale);
    Ok(Plan {
        copies: renewal.copies,
        without: renewal.without,
        write: renewal.write,
        remove,
        unused: renewal.unused,
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{names, robot, set, system},
        *,
    };
    use surefoot_api::finding::Level;

    #[test]
    fn a_spare_entry_comes_up_when_the_defaults_is_lost() {
        // By its name, by a hash, and as a pattern with a sort key for the default's.
        for (old, new, default, key, spare) in [
            (
                "nixos-generation-1.conf",
                "nixos-generation-2.conf",
                "nixos-generation-1.conf",
                "nixos",
                "surefoot.conf",
            ),
            (
                "nixos-0bbb+3.conf",
                "nixos-0aaa+3.conf",
                "nixos-0bbb.conf",
                "nixos",
                "surefoot.conf",
            ),
            (
                "nixos-generation-1.conf",
                "nixos-generation-2.conf",
                "nixos-generation-*",
                "nixor-default",
                "Nixos-generation-surefoot.conf",
            ),
        ] {
            let (root, menu) = robot(&[(old, 'a'), (new, 'b')], default);
            let entries = root.path().join("boot/loader/entries");
            let text = fs::read_to_string(entries.join(old)).unwrap();
            let keyed = text.replace("sort-key nixos", &format!("sort-key {key}"));
            fs::write(entries.join(old), &keyed).unwrap();
            assert_eq!(menu.default().unwrap(), Some(system('a')), "{default}");
            assert!(!is_secured(&menu, false));
            assert_eq!(spare::finding(&menu).level, Level::Warn);
            secure(&menu, false).unwrap();
            assert!(is_secured(&menu, false) && is_secured(&menu, true));
            assert_eq!(spare::finding(&menu).level, Level::Ok);
            assert!(entries.join(spare).exists(), "{:?}", names(&menu));
            // It changes nothing as long as all is well.
            assert_eq!(menu.default().unwrap(), Some(system('a')), "{default}");

            // The default's entry is lost, and others with it: what is empty is taken away.
            for lost in [old, new] {
                fs::write(entries.join(lost), "").unwrap();
                assert_eq!(menu.default().unwrap(), Some(system('a')), "{default}");
                secure(&menu, false).unwrap();
                assert!(!entries.join(lost).exists());
                assert_eq!(menu.default().unwrap(), Some(system('a')), "{default}");
            }
            // With only that left there is nothing to renew it from.
            secure(&menu, true).unwrap();
            assert_eq!(names(&menu), [spare]);
        }
    }

    #[test]
    fn a_spare_entry_follows_the_default_only_when_told() {
        let names_of = ["nixos-generation-1.conf", "nixos-generation-2.conf"];
        let (root, menu) = robot(&[(names_of[0], 'a'), (names_of[1], 'b')], names_of[0]);
        secure(&menu, true).unwrap();
        let conf = root.path().join("boot/loader/loader.conf");
        fs::write(&conf, format!("default {}\n", names_of[1])).unwrap();
        assert!(is_secured(&menu, false) && !is_secured(&menu, true));
        assert_eq!(spare::find(&menu).unwrap().system, Some(system('a')));
        secure(&menu, true).unwrap();
        assert_eq!(spare::find(&menu).unwrap().system, Some(system('b')));
        // Never aimed at.
        let spare = menu.entries().unwrap().into_iter().find(|e| e.spare);
        assert_eq!(spare.unwrap().system, Some(system('b')));

        // A default that has become a pattern: one under another name takes its place.
        fs::write(&conf, "default nixos-generation-2*\n").unwrap();
        secure(&menu, true).unwrap();
        assert_eq!(
            names(&menu),
            [
                "Nixos-generation-2surefoot.conf",
                "nixos-generation-1.conf",
                "nixos-generation-2.conf"
            ]
        );
    }

    #[test]
    fn a_spare_entry_without_its_kernel_or_its_system_is_made_anew() {
        let (root, menu) = robot(
            &[("nixos-generation-1.conf", 'a')],
            "nixos-generation-1.conf",
        );
        secure(&menu, false).unwrap();
        fs::write(root.path().join("boot/other"), "a kernel").unwrap();
        let entry = root
            .path()
            .join("boot/loader/entries/nixos-generation-1.conf");
        let text = fs::read_to_string(&entry).unwrap();
        fs::write(&entry, text.replace("/kernel", "/other")).unwrap();
        assert!(is_secured(&menu, false));
        // Its own copy, which that of NixOS is not.
        fs::write(root.path().join("boot/kernel"), "").unwrap();
        assert!(is_secured(&menu, false));
        let copies = root.path().join("boot/EFI/surefoot");
        fs::write(copies.join("kernel"), "").unwrap();
        assert!(!is_secured(&menu, false));
        secure(&menu, false).unwrap();
        let files = spare::find(&menu).unwrap().files;
        assert_eq!(files[0].path, "/EFI/surefoot/other");
        assert!(copies.join("other").exists() && !copies.join("kernel").exists());
        fs::remove_dir(root.path().join(&system('a').to_string()[1..])).unwrap();
        assert!(secure(&menu, false).is_err());
    }

    #[test]
    fn an_entry_without_its_kernel_and_a_second_one_of_an_id_are_taken_away() {
        let entries = [
            ("nixos-generation-1.conf", 'a'),
            ("nixos-generation-2.conf", 'b'),
            ("nixos-generation-2+0-1.conf", 'b'),
            ("nixos-generation-3+0-1.conf", 'c'),
        ];
        let (root, menu) = robot(&entries, entries[0].0);
        let third = root.path().join("boot/loader/entries").join(entries[3].0);
        let text = fs::read_to_string(&third).unwrap();
        fs::write(&third, text.replace("/kernel", "/collected")).unwrap();
        // What the next boot is to start is left.
        set(root.path(), "LoaderEntryOneShot", entries[1].0);
        secure(&menu, true).unwrap();
        let left = ["nixos-generation-1.conf", "nixos-generation-2+0-1.conf"];
        assert_eq!(names(&menu)[..2], left);
        assert!(!third.exists());
        set(root.path(), "LoaderEntryOneShot", "");
        secure(&menu, true).unwrap();
        let left = [entries[0].0, entries[1].0, "surefoot.conf"];
        assert_eq!(names(&menu), left);
    }

    #[test]
    fn what_the_installer_would_trip_over_is_taken_away() {
        let (root, menu) = robot(
            &[("nixos-generation-1.conf", 'a')],
            "nixos-generation-1.conf",
        );
        secure(&menu, false).unwrap();
        let boot = root.path().join("boot/loader");
        for left in [
            "loader.conf.tmp",
            "loader.tmp",
            ".surefoot-AbCdEf",
            "entries/nixos-generation-2.tmp",
            "entries/nixos-generation-2.conf.tmp",
            "entries/nixos-generation-2.conf",
        ] {
            fs::write(boot.join(left), "title").unwrap();
            assert!(!is_secured(&menu, false), "{left}");
            secure(&menu, false).unwrap();
            assert!(!boot.join(left).exists(), "{left}");
        }
        // Others' are left.
        fs::write(boot.join("entries/memtest.conf"), "").unwrap();
        secure(&menu, false).unwrap();
        assert!(boot.join("entries/memtest.conf").exists());
    }
}
