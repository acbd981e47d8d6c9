//! Made-up statuses for tests.

use surefoot_api::{
    BlockedRelease, Cause, Check, CheckResult, Failure, Gate, Health, HoldInfo, LeaseInfo,
    Progress, Stage, Stall, State, StatusInfo, StorePath, System, Traffic,
};

pub(crate) fn path(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-{name}")).unwrap()
}

pub(crate) fn time(seconds: i64) -> Option<jiff::Timestamp> {
    Some(jiff::Timestamp::from_second(1_790_000_000 + seconds).unwrap())
}

pub(crate) fn system(release: &str) -> System {
    System {
        system: path(&format!("nixos-{release}")),
        release: Some(release.parse().unwrap()),
        since: time(0),
    }
}

pub(crate) fn blocked(release: &str) -> BlockedRelease {
    BlockedRelease {
        release: release.parse().unwrap(),
        system: path(&format!("nixos-{release}")),
        cause: Cause::Unhealthy.into(),
        why: "3 rounds of checks failed in a row".into(),
        failures: vec![
            Failure {
                check: "unit arm.service".into(),
                message: "failed with exit code 1".into(),
                journal: (0..7)
                    .map(|line| format!("line {line} \u{1b}[31mred\u{202e}"))
                    .collect(),
            },
            Failure {
                check: "tcp ros".into(),
                message: "connection refused".into(),
                journal: Vec::new(),
            },
        ],
        log: vec!["starting the following units: arm.service".into()],
        log_file: Some("/var/lib/surefoot/switches/surefoot-trial-1-x.log".into()),
        when: time(60),
    }
}

pub(crate) fn quiet() -> StatusInfo {
    StatusInfo {
        version: "0.1.0".into(),
        model: "picker".into(),
        channel: "stable".into(),
        repository: "https://updates.example.org/fleet".into(),
        doing: "release 2 runs and is confirmed".into(),
        running: Some(system("2")),
        booted: Some(system("2")),
        confirmed: Some(system("2")),
        fallbacks: vec![system("1")],
        last_check: Some(Check {
            when: time(100),
            result: CheckResult::UpToDate.into(),
            error: None,
        }),
        next_check_seconds: Some(570),
        ..StatusInfo::default()
    }
}

pub(crate) fn busy() -> StatusInfo {
    StatusInfo {
        state: State::Fetching.into(),
        doing: "bringing release 3".into(),
        booted: Some(system("1")),
        running: Some(System {
            system: path("nixos-by-hand"),
            release: None,
            since: None,
        }),
        target: Some(system("3")),
        progress: Some(Progress {
            paths: 12,
            paths_total: 40,
            bytes: 91_540_684,
            bytes_total: 1_342_177_280,
            rate: 3_355_443,
            already_present: 1200,
            resumed_bytes: 4_194_304,
            wasted_bytes: 0,
            ..Progress::default()
        }),
        stalls: vec![Stall {
            what: "the fetch".into(),
            seconds: 75,
            why: Some("nix-build (process 7) holds /nix/store/x.lock\u{1b}".into()),
        }],
        room: Some(surefoot_api::Room {
            free_bytes: 3 << 30,
            reserved_bytes: 256 << 20,
        }),
        traffic: Some(Traffic {
            bytes: 91_540_684,
            wasted_bytes: 5_242_880,
            limit_bytes: Some(209_715_200),
            seconds_left: 72_000,
        }),
        health: Some(Health {
            failures: vec![Failure {
                check: "unit arm.service".into(),
                message: "failed 3 s ago (exit-code)".into(),
                journal: Vec::new(),
            }],
            pending: Vec::new(),
            excused: vec![Failure {
                check: "unit backup.service".into(),
                message: "failed 900 s ago (exit-code)".into(),
                journal: Vec::new(),
            }],
            started: vec!["sshd.service".into()],
        }),
        worse: Some("unit arm.service: ran before the trial and does not run now".into()),
        changed: Some("the profile names nixos-by-hand".into()),
        blocked: vec![blocked("2.5")],
        holds: vec![
            HoldInfo {
                owner: "alice".into(),
                why: "carrying a vase".into(),
                since: time(0),
                seconds_left: Some(14_340),
            },
            HoldInfo {
                owner: "robot".into(),
                why: "docking".into(),
                since: None,
                seconds_left: None,
            },
        ],
        labels: vec!["site=hall-3".into(), "arm=ur10".into()],
        leases: vec![
            LeaseInfo {
                name: "gripper".parse().unwrap(),
                owner: "ros".into(),
                busy: true,
                why: Some("a crate".into()),
                seconds_left: Some(21),
                lost: None,
                lost_seconds: None,
            },
            LeaseInfo {
                name: "leg".parse().unwrap(),
                owner: "ros".into(),
                busy: true,
                why: None,
                seconds_left: None,
                lost: None,
                lost_seconds: None,
            },
            LeaseInfo {
                name: "mission".parse().unwrap(),
                owner: "nav".into(),
                busy: true,
                why: Some("patrol".into()),
                seconds_left: None,
                lost: Some("its holder died".into()),
                lost_seconds: Some(310),
            },
        ],
        gates: vec![Gate {
            stage: Stage::Download.into(),
            gate: "window".into(),
            why: "it is Mon 12:30 and not within night".into(),
        }],
        last_check: Some(Check {
            when: None,
            result: CheckResult::Failed.into(),
            error: Some("timestamp.json is older than what was seen".into()),
        }),
        checking: true,
        evidence_withheld: Some("root, or a member of the group 'technicians'".into()),
        drift: Some("nixos-by-hand runs, but release 2 was confirmed".into()),
        ..quiet()
    }
}
