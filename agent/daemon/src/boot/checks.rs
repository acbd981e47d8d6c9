//! Whether a boot on trial would work on this robot, told before anything is touched.

use super::{deadline, kernels::copy_of, loader::Loader, loaders, settings::Settings};
use crate::{config, robot::nixos};
use anyhow::Context as _;
use std::{fs, path::Path};
use surefoot_api::finding::{Finding, Subject};
use surefoot_core::StorePath;

const LOADER: Subject = Subject::Loader;

/// Room that must be left on the boot partition beside a kernel and an initrd, bytes: the entry,
/// and what the file system needs to rename files.
const SLACK: u64 = 1 << 20;

/// Looks at the loader, the boot partition and the place of the deadline's units.
///
/// `system` is what would be tried; without it there has to be room for a kernel and an initrd like
/// those that were booted. `previous` is where a failed trial has to end, if that is known.
pub(super) fn look(
    settings: &Settings,
    system: Option<&StorePath>,
    previous: Option<&StorePath>,
) -> Vec<Finding> {
    let Some(loader) = loaders::find(settings) else {
        return vec![no_loader(settings.loader)];
    };
    let mut findings = loader.check();
    findings.extend(previous.map(|previous| default(&*loader, previous)));
    findings.push(match deadline::check() {
        Ok(()) => Finding::ok(
            LOADER,
            "deadline of a boot",
            "its units would still be there after the boot",
        ),
        Err(error) => Finding::fail(
            LOADER,
            "deadline of a boot",
            format!("{error:#}"),
            "put /etc on a disk",
        ),
    });
    findings.push(match system {
        Some(system) => room(&*loader, Path::new(&system.to_string()), true),
        None => room(&*loader, Path::new(nixos::BOOTED), false),
    });
    findings
}

fn no_loader(choice: config::Loader) -> Finding {
    let found = match choice {
        config::Loader::None => "the configuration says that there is none (boot.loader)",
        config::Loader::SystemdBoot => {
            "the configuration says systemd-boot, but it did not start this robot, or its partition \
             is not mounted at /boot, /efi or /boot/efi"
        }
        config::Loader::Grub => {
            "the configuration says GRUB, but there is no /boot/grub with grub.cfg and grubenv"
        }
        config::Loader::Auto => "neither systemd-boot nor GRUB was found",
    };
    Finding::fail(
        LOADER,
        "boot loader",
        format!(
            "{found}: there is no automatic fallback, nothing would bring the robot back from a \
             system that does not start"
        ),
        "releases that need a reboot wait; use systemd-boot or GRUB, or accept the risk with \
         boot.accept_no_fallback",
    )
}

fn default(loader: &dyn Loader, previous: &StorePath) -> Finding {
    match loader.falls_back_to(previous) {
        Ok(found) => Finding::ok(LOADER, "default", found),
        Err(error) => Finding::fail(
            LOADER,
            "default",
            format!("{error:#}"),
            "`surefoot rollback`, or `switch-to-configuration boot` of that system, puts it back",
        ),
    }
}

/// Room for what a system needs there. `exact`: what lies there already need not come again.
fn room(loader: &dyn Loader, system: &Path, exact: bool) -> Finding {
    let look = || {
        let (mut needed, kernels) = (SLACK, loader.kernels());
        for part in ["kernel", "initrd"] {
            let file = system.join(part);
            let file = fs::canonicalize(&file)
                .with_context(|| format!("{} leads nowhere", file.display()))?;
            if !exact || copy_of(&kernels, &file).is_none() {
                needed += fs::metadata(&file)?.len();
            }
        }
        // It may not be there yet.
        let place = kernels.ancestors().find(|place| place.exists());
        let place = place.unwrap_or(Path::new("/")).to_path_buf();
        let free = free(&place)?;
        anyhow::Ok((place, free, needed))
    };
    let what = "room for one more kernel and initrd";
    match look() {
        Ok((place, free, needed)) if free >= needed => Finding::ok(
            LOADER,
            what,
            format!(
                "{free} bytes are free at {}, {needed} are needed",
                place.display()
            ),
        ),
        Ok((place, free, needed)) => Finding::fail(
            LOADER,
            what,
            format!(
                "the boot partition has {free} bytes left at {}, and {needed} are needed",
                place.display()
            ),
            "remove old generations (nix-env -p /nix/var/nix/profiles/system --delete-generations) \
             and install the boot loader again",
        ),
        Err(error) => Finding::fail(
            LOADER,
            what,
            format!("{error:#}"),
            "the system is incomplete: fetch it again",
        ),
    }
}

fn free(place: &Path) -> anyhow::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(place)
        .with_context(|| format!("cannot see how full {} is", place.display()))?;
    Ok(stat.blocks_available() * stat.fragment_size())
}
