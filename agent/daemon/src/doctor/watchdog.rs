//! Whether a hang would be noticed: the hardware watchdog, fed by systemd, and armed before it.

use crate::robot::{self, systemd};
use std::{fs, path::Path, time::Duration};
use surefoot_api::finding::{Finding, Subject};
use surefoot_base::units::{format_duration, parse_duration};

const WATCHDOG: Subject = Subject::Watchdog;

/// A robot that hangs stands still for this long at most, or it is said.
const SLOW: Duration = Duration::from_secs(300);

/// Below this a healthy but busy robot may be reset.
const HASTY: Duration = Duration::from_secs(5);

/// What systemd's own log calls it when it takes a watchdog (`src/shared/watchdog.c`).
const TAKEN: &str = "hardware watchdog";

/// A watchdog as the kernel shows it (`Documentation/ABI/testing/sysfs-class-watchdog`).
#[derive(Debug, Clone, Default)]
struct Device {
    name: String,
    identity: String,
    state: String,
}

impl Device {
    /// The first one; systemd takes that too, unless it is told otherwise.
    fn find(class: &Path) -> Option<Self> {
        let mut names: Vec<_> = fs::read_dir(class)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        names.sort();
        let path = names.first()?;
        let file = |name: &str| {
            let text = robot::read(&path.join(name)).unwrap_or_default();
            text.trim().to_owned()
        };
        Some(Self {
            name: path.file_name()?.to_string_lossy().into_owned(),
            identity: file("identity"),
            state: file("state"),
        })
    }
}

/// What systemd says about it; times in microseconds since the kernel started.
#[derive(Debug, Clone, Default)]
struct Feeder {
    /// `RuntimeWatchdogUSec`; `None` if it is not fed at all.
    runtime: Option<String>,
    /// When systemd of this system, not of the initrd, started.
    started: u64,
    /// Whether systemd ran in the initrd.
    initrd: bool,
    /// When a systemd took a watchdog; `None` if the journal cannot tell.
    taken: Option<Vec<u64>>,
}

impl Feeder {
    async fn ask() -> anyhow::Result<Self> {
        let names = "RuntimeWatchdogUSec,InitRDTimestampMonotonic,UserspaceTimestampMonotonic";
        let said = systemd::properties(None, names).await?;
        let number = |key: &str| said.get(key).and_then(|text| text.parse().ok());
        Ok(Self {
            runtime: said
                .get("RuntimeWatchdogUSec")
                .filter(|text| !matches!(text.as_str(), "" | "0"))
                .cloned(),
            started: number("UserspaceTimestampMonotonic").unwrap_or(0),
            initrd: number("InitRDTimestampMonotonic").is_some_and(|at: u64| at > 0),
            taken: systemd::said_by_init(TAKEN).await,
        })
    }
}

/// Looks at it. `demanded`: a robot without a watchdog that is fed does not boot trials.
pub(super) async fn findings(demanded: bool) -> Vec<Finding> {
    let device = Device::find(Path::new("/sys/class/watchdog"));
    match Feeder::ask().await {
        Ok(feeder) => judge(device.as_ref(), &feeder, demanded),
        Err(error) => vec![
            Finding::warn(
                WATCHDOG,
                "systemd",
                format!("it does not say whether it feeds the watchdog: {error:#}"),
                "look at `systemctl show --property=RuntimeWatchdogUSec`",
            )
            .demanded(demanded),
        ],
    }
}

fn judge(device: Option<&Device>, feeder: &Feeder, demanded: bool) -> Vec<Finding> {
    let Some(device) = device else {
        return vec![
            Finding::warn(
                WATCHDOG,
                "device",
                "there is none: a robot that hangs stays so until somebody comes by",
                "load the driver of the board's watchdog (boot.kernelModules), or softdog as a \
                 poor substitute",
            )
            .demanded(demanded),
        ];
    };
    let mut findings = vec![if device.identity == "Software Watchdog" {
        Finding::warn(
            WATCHDOG,
            "device",
            format!(
                "{} is the kernel's own (softdog): it does not survive what stops the kernel",
                device.name
            ),
            "load the driver of the board's watchdog, if it has one",
        )
    } else {
        Finding::ok(
            WATCHDOG,
            "device",
            format!("{}: {}", device.name, device.identity),
        )
    }];
    findings.push(fed(device, feeder).demanded(demanded));
    if feeder.runtime.is_some() {
        findings.push(early(feeder));
    }
    findings
}

/// Whether systemd feeds it, and how often.
fn fed(device: &Device, feeder: &Feeder) -> Finding {
    let what = "fed by systemd";
    let Some(runtime) = &feeder.runtime else {
        return Finding::warn(
            WATCHDOG,
            what,
            "no: RuntimeWatchdogSec= is not set, so nothing resets a robot that hangs",
            "services.surefoot.watchdog of the NixOS module sets it, or RuntimeWatchdogSec=30s in \
             systemd-system.conf(5)",
        );
    };
    if device.state == "inactive" {
        return Finding::warn(
            WATCHDOG,
            what,
            format!(
                "no: {} does not run, although RuntimeWatchdogSec= is {runtime}",
                device.name
            ),
            "look at `journalctl -b _PID=1 --grep=watchdog`; another program may hold it, or \
             WatchdogDevice= names another one",
        );
    }
    match parse_duration(runtime) {
        Ok(time) if time > SLOW => Finding::warn(
            WATCHDOG,
            what,
            format!(
                "it resets the robot only {} after a hang",
                format_duration(time)
            ),
            "RuntimeWatchdogSec= of 30 s to a minute suits most robots",
        ),
        Ok(time) if time < HASTY => Finding::warn(
            WATCHDOG,
            what,
            format!(
                "it resets the robot after {}, which a busy one may need",
                format_duration(time)
            ),
            "RuntimeWatchdogSec= of 30 s to a minute suits most robots",
        ),
        _ => Finding::ok(
            WATCHDOG,
            what,
            format!("a hang resets the robot after {runtime}"),
        ),
    }
}

/// Whether a hang before this system's systemd would be noticed: if the systemd of the initrd took
/// the watchdog in this boot, it will in the next.
fn early(feeder: &Feeder) -> Finding {
    let what = "armed in the initrd";
    let advice = "put its driver into boot.initrd.kernelModules and RuntimeWatchdogSec= into the \
                  initrd's systemd (services.surefoot.watchdog.modules does both)";
    match &feeder.taken {
        Some(times) if times.iter().any(|at| *at < feeder.started) => {
            Finding::ok(WATCHDOG, what, "yes: in this boot it was")
        }
        Some(_) if feeder.initrd => Finding::warn(
            WATCHDOG,
            what,
            "no: a system that hangs before its systemd starts is not noticed",
            advice,
        ),
        _ => Finding::warn(
            WATCHDOG,
            what,
            "nothing tells: a system that hangs before its systemd starts may not be noticed",
            advice,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_api::finding::{Level, obstacle, worst};

    fn good() -> (Device, Feeder) {
        (
            Device {
                name: "watchdog0".into(),
                identity: "i6300ESB timer".into(),
                state: "active".into(),
            },
            Feeder {
                runtime: Some("30s".into()),
                started: 5_000_000,
                initrd: true,
                taken: Some(vec![900_000, 5_100_000]),
            },
        )
    }

    #[test]
    fn a_watchdog_that_works_is_found_well() {
        let (device, feeder) = good();
        let findings = judge(Some(&device), &feeder, true);
        assert_eq!(worst(&findings), Level::Ok, "{findings:?}");
        assert_eq!(findings.len(), 3);
    }

    #[test]
    fn what_is_missing_warns_and_stops_trials_only_where_demanded() {
        let (device, feeder) = good();
        let unfed = Feeder {
            runtime: None,
            ..feeder.clone()
        };
        let idle = Device {
            state: "inactive".into(),
            ..device.clone()
        };
        for (device, feeder) in [
            (None, &feeder),
            (Some(&device), &unfed),
            (Some(&idle), &feeder),
        ] {
            let findings = judge(device, feeder, false);
            assert_eq!(worst(&findings), Level::Warn, "{findings:?}");
            assert_eq!(obstacle(&findings), None);
            assert!(obstacle(&judge(device, feeder, true)).is_some());
        }
    }

    #[test]
    fn weak_watchdogs_are_told() {
        let (device, feeder) = good();
        let with = |change: &dyn Fn(&mut Device, &mut Feeder)| {
            let (mut device, mut feeder) = (device.clone(), feeder.clone());
            change(&mut device, &mut feeder);
            let findings = judge(Some(&device), &feeder, false);
            let weak: Vec<String> = findings
                .iter()
                .filter(|finding| finding.level == Level::Warn)
                .map(|finding| finding.found.clone())
                .collect();
            weak.join("\n")
        };
        assert!(with(&|d, _| d.identity = "Software Watchdog".into()).contains("softdog"));
        assert!(with(&|_, f| f.runtime = Some("10min".into())).contains("only 10min"));
        assert!(with(&|_, f| f.runtime = Some("2s".into())).contains("busy"));
        assert!(with(&|_, f| f.taken = Some(vec![5_100_000])).contains("no: "));
        assert!(with(&|_, f| f.taken = None).contains("nothing tells"));
    }

    #[test]
    fn a_device_is_read_from_the_kernels_files() {
        let class = tempfile::tempdir().unwrap();
        assert!(Device::find(class.path()).is_none());
        for (name, identity) in [("watchdog1", "other"), ("watchdog0", "i6300ESB timer")] {
            let device = class.path().join(name);
            fs::create_dir(&device).unwrap();
            fs::write(device.join("identity"), format!("{identity}\n")).unwrap();
            fs::write(device.join("state"), "active\n").unwrap();
        }
        let device = Device::find(class.path()).unwrap();
        assert_eq!(device.identity, "i6300ESB timer");
        assert_eq!(device.state, "active");
    }
}
