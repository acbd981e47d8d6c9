//! Whether booting once works on this robot.

use super::{
    menu::Menu,
    spare,
    variables::{COUNTING, MOUNT, ONE_SHOT, Variables},
};
use crate::{boot::loader::writable, robot};
use std::path::Path;
use surefoot_api::finding::{Finding, Subject};
use surefoot_base::environment;

const LOADER: Subject = Subject::Loader;

/// Looks at the partition, at the firmware's variables and at the loader itself.
pub(super) fn findings(menu: &Menu) -> Vec<Finding> {
    let writable = menu
        .partitions()
        .map(|mount| writable("boot partition", mount));
    let others = [
        variables_writable(&robot::read(Path::new("/proc/self/mounts")).unwrap_or_default()),
        one_shot_works(&menu.variables),
        bootctl(),
        spare::finding(menu),
    ];
    writable.chain(others).collect()
}

/// Whether the loader starts an entry once, by what it says of itself.
fn one_shot_works(variables: &Variables) -> Finding {
    let version = variables.text("LoaderInfo").unwrap_or_default();
    let what = "one-shot";
    match variables.features() {
        None => Finding::warn(
            LOADER,
            what,
            format!("{version} does not say what it can do"),
            "update it: bootctl update",
        ),
        Some(features) if features & ONE_SHOT == 0 => Finding::fail(
            LOADER,
            what,
            format!("{version} cannot start an entry once"),
            "update it: bootctl update",
        ),
        Some(features) if features & COUNTING == 0 => Finding::warn(
            LOADER,
            what,
            format!(
                "{version} does not count tries: a one-shot that the firmware lost cannot be \
                 told from a system that vanished without a trace"
            ),
            "update it: bootctl update",
        ),
        Some(_) => Finding::ok(
            LOADER,
            what,
            format!("{version} starts an entry once and counts its tries"),
        ),
    }
}

/// Whether the firmware's variables can be written, by the table of mounts.
fn variables_writable(mounts: &str) -> Finding {
    let place = MOUNT;
    let writable = mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(place)
            && words
                .nth(1)
                .is_some_and(|options| options.split(',').any(|option| option == "rw"))
    });
    let what = "firmware's variables";
    if writable {
        Finding::ok(LOADER, what, format!("{place} can be written"))
    } else {
        Finding::fail(
            LOADER,
            what,
            format!(
                "{place} is not mounted read-write, so systemd-boot cannot be told to start a \
                 system once"
            ),
            format!("mount -o remount,rw {place}; some firmware allows no writing at run time"),
        )
    }
}

/// Whether the program is there that sets the one-shot.
fn bootctl() -> Finding {
    match environment::find("bootctl") {
        Some(program) => Finding::ok(LOADER, "bootctl", program.display().to_string()),
        None => Finding::fail(
            LOADER,
            "bootctl",
            "it is not there, and nothing else sets the one-shot",
            "it is part of systemd; on Debian of systemd-boot",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{tests::robot, variables::VENDOR},
        *,
    };
    use std::fs;
    use surefoot_api::finding::Level;

    #[test]
    fn what_keeps_a_boot_on_trial_from_working_is_told_before() {
        let (root, menu) = robot(&[], "x");
        assert_eq!(one_shot_works(&menu.variables).level, Level::Warn);
        let variables = root.path().join("sys/firmware/efi/efivars");
        for (features, level) in [
            (ONE_SHOT | COUNTING, Level::Ok),
            (ONE_SHOT, Level::Warn),
            (COUNTING, Level::Fail),
        ] {
            let mut bytes = vec![6, 0, 0, 0];
            bytes.extend(features.to_le_bytes());
            fs::write(variables.join(format!("LoaderFeatures-{VENDOR}")), bytes).unwrap();
            assert_eq!(one_shot_works(&menu.variables).level, level);
        }

        let line =
            |options: &str| format!("efivarfs /sys/firmware/efi/efivars efivarfs {options} 0 0\n");
        assert_eq!(variables_writable(&line("rw,nosuid")).level, Level::Ok);
        assert_eq!(variables_writable(&line("ro,nosuid")).level, Level::Fail);
        assert_eq!(variables_writable("").level, Level::Fail);
    }
}
