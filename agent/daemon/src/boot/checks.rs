//! Whether a boot on trial would work on this robot, told before anything is touched.

use super::{copy, deadline, loader::Loader, loaders, room, settings::Settings};
use surefoot_api::finding::{Finding, Subject};
use surefoot_core::{StorePath, prune::Prune};

const LOADER: Subject = Subject::Loader;

/// Looks at the loader, the boot partition and the place of the deadline's units.
///
/// `system` is what would be tried; without it there has to be room for a kernel and an initrd like
/// those that were booted. `previous` is where a failed trial has to end, if that is known; `prune` says
/// what may go for it.
pub(super) fn look(
    settings: &Settings,
    system: Option<&StorePath>,
    previous: Option<&StorePath>,
    prune: &Prune,
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
    findings.extend(room::findings(&*loader, system, prune));
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
