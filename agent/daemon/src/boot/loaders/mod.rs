//! The boot loaders that are known.

mod grub;
mod systemd_boot;
mod unguarded;

use super::{loader::Loader, settings::Settings};
use crate::config;
use std::path::Path;

fn boxed(loader: impl Loader + 'static) -> Box<dyn Loader> {
    Box::new(loader)
}

/// The loader of this robot, or the one that the configuration names; `None` where nothing can
/// start a system once, and nobody accepts that.
pub(super) fn find(settings: &Settings) -> Option<Box<dyn Loader>> {
    let root = Path::new("/");
    let systemd_boot = || systemd_boot::SystemdBoot::find(root).map(boxed);
    let grub = || grub::Grub::find(root).map(boxed);
    let found = match settings.loader {
        config::Loader::Auto => systemd_boot().or_else(grub),
        config::Loader::SystemdBoot => systemd_boot(),
        config::Loader::Grub => grub(),
        config::Loader::None => None,
    };
    let accepted = settings.accept_no_fallback;
    found.or_else(|| accepted.then(|| boxed(unguarded::Unguarded)))
}

/// Reads bytes as everything that the loaders' files may be.
#[cfg(feature = "fuzz")]
pub(super) fn fuzz(bytes: &[u8]) {
    systemd_boot::fuzz(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        grub::fuzz(text);
    }
}
