//! Whether a boot on trial would work on this robot, told before anything is touched.

use super::{copy, deadline, kernels::copy_of, loader::Loader, loaders, settings::Settings};
use crate::robot::nixos;
use anyhow::Context as _;
use std::{fs, path::Path};
use surefoot_api::finding::{Finding, Subject};
use surefoot_base::space;
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
    let Some(loader) = settings.find_loader() else {
        return vec![
            no_loader(&loaders::absent(settings.loader)),
            copy::finding(settings),
        ];
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
    findings.push(copy::finding(settings));
    findings.push(match system {
        Some(system) => room(&*loader, Path::new(&system.to_string()), true),
        None => room(&*loader, Path::new(nixos::BOOTED), false),
    });
    findings
}

fn no_loader(found: &str) -> Finding {
    Finding::fail(
        LOADER,
        "boot loader",
        format!(
            "{found}: there is no automatic fallback, nothing would bring the robot back from a \
             system that does not start"
        ),
        format!(
            "releases that need a reboot wait; use {}, or accept the risk with \
             boot.accept_no_fallback",
            loaders::names(" or ")
        ),
    )
}

fn default(loader: &(impl Loader + ?Sized), previous: &StorePath) -> Finding {
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
fn room(loader: &(impl Loader + ?Sized), system: &Path, exact: bool) -> Finding {
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
        let place = space::existing(&kernels).to_path_buf();
        let free = space::free(&place)
            .with_context(|| format!("cannot see how full {} is", place.display()))?;
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
