//! Values that say everything that can be said, for tests.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use crate::{
    BlockedRelease, Cause, Check, CheckResult, ClockState, Difference, Failure, Gate, Health,
    HistoryEntry, HoldInfo, KeptInfo, Knowledge, LeaseInfo, Part, Progress, Stage, Stall, State,
    StatusInfo, StorePath, System, SystemInfo, Traffic, What,
    finding::{Finding, Subject},
};
use jiff::Timestamp;
use surefoot_core::{
    comparison::{Change, Names},
    package::{Package, PackageChange},
};

/// A store path with this name.
pub fn path(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-{name}")).unwrap()
}

/// The system of a release.
pub fn system(release: &str) -> System {
    System {
        system: path(release),
        release: Some(release.parse().unwrap()),
        since: Some(Timestamp::UNIX_EPOCH),
    }
}

fn failure() -> Failure {
    Failure {
        check: "unit arm.service".into(),
        message: "failed".into(),
        journal: vec!["no motor".into()],
    }
}

/// A status that says everything that can be said.
pub fn status() -> StatusInfo {
    StatusInfo {
        version: "0.1.0".into(),
        id: Some("b3856a1d8d3b41cba7d2738c20be40ce".into()),
        model: "picker".into(),
        labels: vec!["site=hall-3".into()],
        channel: "stable".into(),
        repository: "https://updates.example.org/fleet".into(),
        state: State::Trial.into(),
        doing: "trying release 3".into(),
        fault: Some("the journal cannot be written: no space left".into()),
        configuration: Some("/etc/surefoot/config.toml: it cannot be read".into()),
        no_reserve: Some("it has not been made yet".into()),
        lost: Some("the memory was lost: both slots are damaged".into()),
        unheard: Some("ada asked for a rollback and may have been told that it happens".into()),
        turn: Some("release 4 is given out in steps: nobody begins".into()),
        checking: false,
        running: Some(system("3")),
        booted: Some(system("2")),
        confirmed: Some(system("2")),
        fallbacks: vec![system("1")],
        kept: vec![KeptInfo {
            system: path("0"),
            release: Some("0".parse().unwrap()),
            by: "alice".into(),
            since: Some(Timestamp::UNIX_EPOCH),
        }],
        target: Some(system("3")),
        progress: Some(Progress::default()),
        traffic: Some(Traffic {
            limit_bytes: Some(100),
            seconds_left: 3600,
            ..Traffic::default()
        }),
        stalls: vec![Stall {
            what: "the fetch".into(),
            seconds: 75,
            why: Some("nix-build (process 7) holds /nix/store/x.lock".into()),
        }],
        health: Some(Health {
            failures: vec![failure()],
            pending: vec![failure()],
            excused: vec![failure()],
            started: vec!["sshd.service".into()],
        }),
        soak: Some(crate::Soak {
            healthy_seconds: 20,
            needed_seconds: 60,
        }),
        room: Some(crate::Room {
            free_bytes: 1,
            reserved_bytes: 2,
        }),
        damaged: vec!["/nix/store/x is not what was put into the store".into()],
        worse: Some("unit arm.service is dead".into()),
        doubt: Some("2 trials of release 8 failed in 'manifest server'".into()),
        changed: Some("the profile names another system".into()),
        blocked: vec![BlockedRelease {
            release: "2.5".parse().unwrap(),
            system: path("2.5"),
            cause: Cause::Unhealthy.into(),
            why: "unit arm.service failed".into(),
            failures: vec![failure()],
            log: vec!["starting the following units".into()],
            log_file: Some("/var/lib/surefoot/switches/surefoot-trial-1-x.log".into()),
            when: Some(Timestamp::UNIX_EPOCH),
        }],
        leases: vec![LeaseInfo {
            name: "gripper".parse().unwrap(),
            owner: "ros".into(),
            busy: true,
            why: Some("a vase".into()),
            seconds_left: Some(9),
            lost: Some("its holder died".into()),
            lost_seconds: Some(3),
        }],
        gates: vec![Gate {
            stage: Stage::Activate.into(),
            gate: "battery".into(),
            why: "3 %, below 40 %".into(),
        }],
        holds: vec![HoldInfo {
            owner: "alice".into(),
            why: "carrying a vase".into(),
            since: Some(Timestamp::UNIX_EPOCH),
            seconds_left: Some(100),
        }],
        last_check: Some(Check {
            when: Some(Timestamp::UNIX_EPOCH),
            result: CheckResult::Failed.into(),
            error: Some("no route".into()),
        }),
        knowledge: Some(Knowledge {
            signed: Some(Timestamp::UNIX_EPOCH),
            expires: Timestamp::UNIX_EPOCH,
            clock: ClockState::Unsynced.into(),
        }),
        next_check_seconds: Some(30),
        drift: Some("somebody switched".into()),
        evidence_withheld: Some("root".into()),
    }
}

/// What is as it should be, and what is not.
pub fn findings() -> Vec<Finding> {
    vec![
        Finding::ok(Subject::Loader, "boot partition", "it can be written"),
        Finding::warn(Subject::Watchdog, "device", "there is none", "get one"),
    ]
}

/// Three entries, newest first.
pub fn history() -> Vec<HistoryEntry> {
    let entry = |what: What, name: &str| HistoryEntry {
        when: Some(Timestamp::UNIX_EPOCH),
        what: what.into(),
        release: Some(name.parse().unwrap()),
        system: path(name),
        why: Some("healthy".into()),
        by: Some("alice".into()),
    };
    vec![
        entry(What::Confirmed, "2"),
        entry(What::Tried, "2"),
        entry(What::Adopted, "1"),
    ]
}

/// The system that runs, and one with everything that can be said.
pub fn systems() -> Vec<SystemInfo> {
    let info = |release: &str, parts: &[Part]| SystemInfo {
        system: path(release),
        release: Some(release.parse().unwrap()),
        generations: vec![release.parse().unwrap()],
        parts: parts.iter().map(|part| (*part).into()).collect(),
        proven: true,
        since: Some(Timestamp::UNIX_EPOCH),
        nixos: Some("26.05.20260601.abcdef0".into()),
        kernel: Some("6.12.9".into()),
        agent: true,
        size: Some(3 << 30),
        own_size: Some(120 << 20),
        differs: String::new(),
        reboot: Vec::new(),
        lost_on: None,
    };
    vec![
        info(
            "3",
            &[Part::Running, Part::Booted, Part::Confirmed, Part::Default],
        ),
        SystemInfo {
            kernel: Some("6.12.4".into()),
            differs: "kernel 6.12.9 → 6.12.4, ros-nav2 1.3.4 → 1.3.2, 3 packages less".into(),
            reboot: vec!["another kernel".into()],
            lost_on: Some("it cannot read format 2 of the journal".into()),
            ..info("2", &[Part::Fallback, Part::Kept, Part::Next])
        },
    ]
}

/// Everything differs.
pub fn difference() -> Difference {
    let change = |before: &str, after: &str| {
        Some(Change {
            before: Some(before.into()),
            after: Some(after.into()),
        })
    };
    let names = |name: &str| Names {
        added: vec![format!("new-{name}")],
        removed: vec![format!("old-{name}")],
        changed: vec![name.into()],
    };
    let package = |version: &str, size| {
        Some(Package {
            versions: [version.to_owned()].into(),
            size,
        })
    };
    let packages = [
        ("less", package("1", 10), None),
        ("linux", package("6.12.9", 1000), package("6.12.4", 900)),
        ("zsh", None, package("5", 20)),
    ];
    Difference {
        nixos: change("26.05.2", "26.05.1"),
        kernel: change("6.12.9", "6.12.4"),
        params: Names {
            added: vec!["quiet".into()],
            ..Names::default()
        },
        packages: Some(
            packages
                .map(|(name, before, after)| PackageChange {
                    name: name.into(),
                    before,
                    after,
                })
                .into(),
        ),
        units: names("arm.service"),
        etc: names("hosts"),
    }
}
