//! The deadline of a boot on trial: units that reboot the robot unless the agent takes them away.
//!
//! They lie in /etc/systemd/system.control, which systemd reads on every system and no generation
//! of NixOS owns (systemd.unit(5), "Unit File Load Path"), so they work whatever the new system
//! contains. A condition on the kernel's command line makes them inert in every other system.

use super::files::{replace, run};
use crate::robot::{systemd, units::DEADLINE as NAME};
use anyhow::Context as _;
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};
use surefoot_base::{environment, file::sync_parent};
use surefoot_core::StorePath;

const DIRECTORY: &str = "/etc/systemd/system.control";

/// What systemd reads as well, and what is gone with this boot.
const RUNTIME: &str = "/run/systemd/system";

/// How much later the robot is rebooted without stopping anything, should stopping hang.
const FORCE_AFTER: Duration = Duration::from_secs(90);

/// How long the switcher may take to make the system before the default again, where the boot loader
/// does not go back by itself.
const PUT_BACK: Duration = Duration::from_secs(120);

fn units(
    system: &StorePath,
    within: Duration,
    marker: &Path,
    back: Option<&StorePath>,
) -> Vec<(String, String)> {
    let condition = format!("ConditionKernelCommandLine=init={system}/init");
    let put_back = back.map_or_else(String::new, |back| {
        format!(
            "Environment=NIXOS_NO_CHECK=1 PATH={back}/sw/bin:{}\n\
             ExecStart=-{back}/bin/switch-to-configuration boot\n",
            environment::PATH
        )
    });
    let (limit, force) = match back {
        Some(_) => (PUT_BACK, within + FORCE_AFTER + PUT_BACK),
        None => (Duration::from_secs(10), within + FORCE_AFTER),
    };
    let mut units = Vec::new();
    for (suffix, after, action, first) in [
        ("", within, "reboot", put_back.as_str()),
        ("-force", force, "reboot-force", ""),
    ] {
        units.push((
            format!("{NAME}{suffix}.timer"),
            format!(
                "[Unit]\nDescription=Surefoot: deadline of the boot on trial\n\
                 DefaultDependencies=no\n{condition}\n\
                 [Timer]\nOnBootSec={}s\nAccuracySec=1s\n",
                after.as_secs()
            ),
        ));
        units.push((
            format!("{NAME}{suffix}.service"),
            format!(
                "[Unit]\nDescription=Surefoot: the boot on trial was not proven in time\n\
                 DefaultDependencies=no\n{condition}\nSuccessAction={action}\n\
                 FailureAction={action}\n\
                 [Service]\nType=oneshot\nTimeoutStartSec={}s\n\
                 ExecStart=-/bin/sh -c 'echo deadline >{}; exec sync'\n{first}",
                limit.as_secs(),
                marker.display()
            ),
        ));
    }
    units
}

/// Whether units can be put there for good.
pub(super) fn check() -> anyhow::Result<()> {
    fs::create_dir_all(DIRECTORY).with_context(|| format!("cannot make {DIRECTORY}"))?;
    let volatile = nix::sys::statfs::statfs(DIRECTORY)
        .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC);
    anyhow::ensure!(
        !volatile,
        "{DIRECTORY} lies on a tmpfs, so a boot's deadline would be gone when it is needed"
    );
    Ok(())
}

/// Installs them for the next boot, if that is this system's. `back` is what they make the boot
/// loader's default first, where it is not that already.
pub(super) fn install(
    system: &StorePath,
    within: Duration,
    marker: &Path,
    back: Option<&StorePath>,
) -> anyhow::Result<()> {
    check()?;
    // sysinit.target is part of every boot, and its wants start at once.
    let wants = Path::new(DIRECTORY).join("sysinit.target.wants");
    fs::create_dir_all(&wants)?;
    for (name, text) in units(system, within, marker, back) {
        let path = Path::new(DIRECTORY).join(&name);
        replace(&path, text.as_bytes())?;
        let link = wants.join(&name);
        if name.ends_with(".timer") && fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(&path, &link)
                .with_context(|| format!("cannot link {}", link.display()))?;
            sync_parent(&link)?;
        }
    }
    Ok(())
}

/// What has the timers of this boot come later. It counts from the start of the kernel, as they do, and lies
/// where no later boot finds it: that one has the deadline which the files say.
fn later(within: Duration) -> [(PathBuf, String); 2] {
    let timer = |suffix: &str, after: Duration| {
        // An empty value takes back the one of the file (systemd.timer(5)).
        let text = format!("[Timer]\nOnBootSec=\nOnBootSec={}s\n", after.as_secs());
        (drop_in(suffix), text)
    };
    [
        timer("", within),
        timer("-force", within + FORCE_AFTER + PUT_BACK),
    ]
}

fn drop_in(suffix: &str) -> PathBuf {
    Path::new(RUNTIME).join(format!("{NAME}{suffix}.timer.d/later.conf"))
}

/// Moves the deadline of the boot on trial that runs.
///
/// # Errors
/// What is wrong, and with which file.
pub(super) fn prolong(within: Duration) -> anyhow::Result<()> {
    for (path, text) in later(within) {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        replace(&path, text.as_bytes())?;
    }
    run(environment::command("systemctl"), &["daemon-reload"], &[0])?;
    let timers = ["", "-force"].map(|suffix| format!("{NAME}{suffix}.timer"));
    let restart = ["restart", "--", &timers[0], &timers[1]];
    run(environment::command("systemctl"), &restart, &[0])?;
    Ok(())
}

/// Takes them away, and stops them.
pub(super) fn remove() -> anyhow::Result<()> {
    let names: Vec<String> = ["", "-force"]
        .iter()
        .flat_map(|suffix| ["timer", "service"].map(|kind| format!("{NAME}{suffix}.{kind}")))
        .collect();
    // First the files: a power cut in between must not leave a timer that nobody stops.
    for name in &names {
        for path in [
            Path::new(DIRECTORY).join("sysinit.target.wants").join(name),
            Path::new(DIRECTORY).join(name),
        ] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
    }
    for suffix in ["", "-force"] {
        // No later boot has it in any case.
        let _ = fs::remove_file(drop_in(suffix));
    }
    // Without their files they are gone after the next boot in any case.
    let run = |words: &[&str]| {
        let _ = run(environment::command("systemctl"), words, &[0]);
    };
    let mut stop = vec!["stop", "--quiet", "--"];
    stop.extend(names.iter().map(String::as_str));
    run(&stop);
    run(&["daemon-reload"]);
    Ok(())
}

/// Whether they are there.
pub(super) fn installed() -> bool {
    Path::new(DIRECTORY).join(format!("{NAME}.timer")).exists()
}

/// Whether the deadline of this boot is running.
///
/// # Errors
/// systemd does not answer.
pub(super) async fn armed() -> anyhow::Result<bool> {
    systemd::is_active(&format!("{NAME}.timer")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_concern_one_system_only() {
        let system =
            StorePath::from_base_name("7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-nixos-system-b").unwrap();
        let units = units(&system, Duration::from_secs(600), Path::new("/s/m"), None);
        assert_eq!(units.len(), 4);
        for (name, text) in &units {
            assert!(
                text.contains(&format!("ConditionKernelCommandLine=init={system}/init\n")),
                "{name}"
            );
        }
        assert!(units[0].1.contains("OnBootSec=600s"));
        assert!(units[2].1.contains("OnBootSec=690s"));
    }

    #[test]
    fn more_time_is_for_this_boot_only() {
        let all = later(Duration::from_secs(200_000));
        for (path, text) in &all {
            assert!(path.starts_with("/run"), "{}", path.display());
            assert!(text.starts_with("[Timer]\nOnBootSec=\n"), "{text}");
        }
        assert!(all[0].0.ends_with("surefoot-deadline.timer.d/later.conf"));
        assert!(all[0].1.ends_with("OnBootSec=200000s\n"));
        // The second one leaves the first the time that it may take.
        assert!(all[1].1.ends_with("OnBootSec=200210s\n"));
    }

    #[test]
    fn where_the_loader_does_not_go_back_they_do() {
        let path = |name: &str| {
            StorePath::from_base_name(&format!("7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-{name}")).unwrap()
        };
        let (new, old) = (path("b"), path("a"));
        let within = Duration::from_secs(600);
        let units = units(&new, within, Path::new("/s/m"), Some(&old));
        let put_back = format!("ExecStart=-{old}/bin/switch-to-configuration boot\n");
        assert!(units[1].1.ends_with(&put_back), "{}", units[1].1);
        assert!(!units[3].1.contains("switch-to-configuration"));
        // The second one leaves the first the time that it may take.
        assert!(units[1].1.contains("TimeoutStartSec=120s"));
        assert!(units[2].1.contains("OnBootSec=810s"));
    }
}
