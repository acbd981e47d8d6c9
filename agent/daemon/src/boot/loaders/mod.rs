//! The boot loaders that are known: one folder each, and one line in the list below.

mod grub;
mod systemd_boot;
mod unguarded;

use super::loader::{AnyLoader, Known};
use crate::config::values::choice;
use std::path::Path;
use unguarded::Unguarded;

/// Takes the list: a loader's choice, its word in the configuration (`boot.loader`), and how it is
/// found.
macro_rules! loaders {
    ($($(#[doc = $doc:literal])* $choice:ident = $word:literal => $known:path,)*) => {
        choice! {
            /// What starts the robot, as the configuration says.
            LoaderChoice {
                /// Whatever is found, the first of the list before the others.
                Auto = "auto",
                $($(#[doc = $doc])* $choice = $word,)*
                /// Nothing that could start a system once.
                None = "none",
            }
        }

        const KNOWN: &[(LoaderChoice, Known)] = &[$((LoaderChoice::$choice, $known)),*];
    };
}

loaders! {
    /// systemd-boot.
    SystemdBoot = "systemd-boot" => systemd_boot::KNOWN,
    /// GRUB.
    Grub = "grub" => grub::KNOWN,
}

/// The loader of this robot, or the one that the configuration names; `None` where nothing can
/// start a system once, and nobody accepts that.
pub(super) fn find(choice: LoaderChoice, accept_no_fallback: bool) -> Option<Box<dyn AnyLoader>> {
    let found = meant(choice).find_map(|known| (known.find)(Path::new("/")));
    found.or_else(|| {
        let unguarded = || Unguarded::new(names(" or "));
        accept_no_fallback.then(|| Box::new(unguarded()) as Box<dyn AnyLoader>)
    })
}

/// Why none was found.
pub(super) fn absent(choice: LoaderChoice) -> String {
    match (choice, meant(choice).next()) {
        (LoaderChoice::Auto, _) => format!("neither {} was found", names(" nor ")),
        (_, Some(known)) => {
            format!(
                "the configuration says {}, but {}",
                known.name, known.absent
            )
        }
        (_, None) => "the configuration says that there is none (boot.loader)".to_owned(),
    }
}

/// Those that are looked for.
fn meant(choice: LoaderChoice) -> impl Iterator<Item = &'static Known> {
    KNOWN
        .iter()
        .filter(move |(this, _)| choice == LoaderChoice::Auto || choice == *this)
        .map(|(_, known)| known)
}

/// The names of all, for people.
pub(super) fn names(between: &str) -> String {
    let names: Vec<_> = KNOWN.iter().map(|(_, known)| known.name).collect();
    names.join(between)
}

/// Reads bytes as everything that the loaders' files may be.
#[cfg(feature = "fuzz")]
pub(super) fn fuzz(bytes: &[u8]) {
    systemd_boot::fuzz(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        grub::fuzz(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::Setting as _;

    #[test]
    fn what_is_not_there_is_told() {
        let none = absent(LoaderChoice::Auto);
        assert!(none.starts_with("neither systemd-boot nor GRUB"), "{none}");
        assert!(none.ends_with(" was found"), "{none}");
        assert_eq!(
            absent(LoaderChoice::Grub),
            "the configuration says GRUB, but there is no /boot/grub with grub.cfg and grubenv"
        );
        assert!(absent(LoaderChoice::None).contains("there is none"));
        assert!(find(LoaderChoice::None, false).is_none());
    }

    #[test]
    fn the_nixos_module_has_the_same_list() {
        let list = include_str!("../../../../../nixos-module/loaders.nix");
        let names = list.lines().filter_map(|line| {
            let name = line.trim().strip_prefix("name = \"")?;
            name.strip_suffix("\";")
        });
        let mut words = LoaderChoice::CHOICES.to_vec();
        words.retain(|word| !matches!(*word, "auto" | "none"));
        assert_eq!(names.collect::<Vec<_>>(), words);
    }

    #[test]
    fn where_the_risk_is_accepted_there_is_always_one() {
        let loader = find(LoaderChoice::None, true).unwrap();
        assert!(!loader.is_guarded());
        let findings = loader.check();
        let advice = findings[0].advice.as_deref().unwrap();
        assert!(advice.contains("; systemd-boot or GRUB"), "{advice}");
    }
}
