use super::{
    doctor, status,
    update::{Outcome, ended},
};
use crate::output::Style;
use surefoot_api::{
    BlockedRelease, Check, CheckResult, Failure, Gate, HistoryEntry, HoldInfo, LeaseInfo, Progress,
    State, StatusInfo, System,
    finding::{Finding, Subject},
};
use surefoot_core::{StorePath, gate::Stage, journal::What, machine::state::Cause};

const PLAIN: Style = Style { on: false };

fn path(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-{name}")).unwrap()
}

fn time(seconds: i64) -> Option<jiff::Timestamp> {
    Some(jiff::Timestamp::from_second(1_790_000_000 + seconds).unwrap())
}

fn system(release: &str) -> System {
    System {
        system: path(&format!("nixos-{release}")),
        release: Some(release.parse().unwrap()),
        since: time(0),
    }
}

fn blocked(release: &str) -> BlockedRelease {
    BlockedRelease {
        release: release.parse().unwrap(),
        system: path(&format!("nixos-{release}")),
        cause: Cause::Unhealthy,
        why: "3 rounds of checks failed in a row".into(),
        failures: vec![
            Failure {
                check: "unit arm.service".into(),
                message: "failed with exit code 1".into(),
                journal: (0..7)
                    .map(|line| format!("line {line} \u{1b}[31mred"))
                    .collect(),
            },
            Failure {
                check: "tcp ros".into(),
                message: "connection refused".into(),
                journal: Vec::new(),
            },
        ],
        log: vec!["starting the following units: arm.service".into()],
        when: time(60),
    }
}

fn quiet() -> StatusInfo {
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
            result: CheckResult::UpToDate,
            error: None,
        }),
        next_check_seconds: Some(570),
        ..StatusInfo::default()
    }
}

fn busy() -> StatusInfo {
    StatusInfo {
        state: State::Fetching,
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
        }),
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
        leases: vec![LeaseInfo {
            name: "gripper".parse().unwrap(),
            owner: "ros".into(),
            busy: true,
            why: Some("a crate".into()),
            seconds_left: 21,
        }],
        gates: vec![Gate {
            stage: Stage::Download,
            gate: "window".into(),
            why: "it is Mon 12:30 and not within night".into(),
        }],
        last_check: Some(Check {
            when: None,
            result: CheckResult::Failed,
            error: Some("timestamp.json is older than what was seen".into()),
        }),
        checking: true,
        drift: Some("nixos-by-hand runs, but release 2 was confirmed".into()),
        ..quiet()
    }
}

#[test]
fn a_status_can_be_read() {
    insta::assert_snapshot!("quiet", status::status(&quiet(), PLAIN));
    insta::assert_snapshot!("busy", status::status(&busy(), PLAIN));
    insta::assert_snapshot!("nothing", status::status(&StatusInfo::default(), PLAIN));
}

#[test]
fn nothing_from_elsewhere_reaches_the_terminal_raw() {
    let text = status::status(&busy(), PLAIN);
    assert!(text.contains("red"));
    assert!(!text.contains('\u{1b}'));
    let coloured = status::status(&quiet(), Style { on: true });
    assert!(coloured.contains("\u{1b}[32midle\u{1b}[0m"));
}

#[test]
fn a_history_can_be_read() {
    let entry = |what, release: Option<&str>, why: Option<&str>, by: Option<&str>| HistoryEntry {
        when: time(0),
        what,
        release: release.map(|release| release.parse().unwrap()),
        system: path("nixos"),
        why: why.map(Into::into),
        by: by.map(Into::into),
    };
    let entries = [
        entry(
            What::RolledBack,
            Some("1"),
            Some("drops things"),
            Some("alice"),
        ),
        entry(
            What::Reverted,
            Some("3"),
            Some("unit arm.service failed"),
            None,
        ),
        entry(What::Confirmed, Some("2"), None, None),
        HistoryEntry {
            when: None,
            ..entry(What::Adopted, None, None, None)
        },
    ];
    insta::assert_snapshot!("history", status::history(&entries, PLAIN));
    insta::assert_snapshot!("no_history", status::history(&[], PLAIN));
}

#[test]
fn the_end_of_an_update_is_known() {
    let before = quiet();
    let end = |now: StatusInfo| ended(&before, &now);
    assert_eq!(end(quiet()), Some(Outcome::UpToDate));

    let checking = StatusInfo {
        checking: true,
        ..quiet()
    };
    assert_eq!(end(checking), None);
    let trial = StatusInfo {
        state: State::Trial,
        ..quiet()
    };
    assert_eq!(end(trial), None);

    let confirmed = StatusInfo {
        confirmed: Some(system("3")),
        ..quiet()
    };
    let release = Some("3".parse().unwrap());
    assert_eq!(end(confirmed), Some(Outcome::Confirmed { release }));

    let given_up = StatusInfo {
        blocked: vec![blocked("3")],
        ..quiet()
    };
    assert!(matches!(end(given_up), Some(Outcome::Blocked { .. })));

    let failed = StatusInfo {
        last_check: busy().last_check,
        ..quiet()
    };
    assert!(matches!(end(failed), Some(Outcome::Failed { .. })));

    let held = StatusInfo {
        state: State::Ready,
        holds: busy().holds,
        ..quiet()
    };
    assert!(matches!(end(held), Some(Outcome::Held { .. })));
    let ready = StatusInfo {
        state: State::Ready,
        ..quiet()
    };
    assert_eq!(end(ready.clone()), None);
    let gated = |stage, checking| StatusInfo {
        gates: vec![Gate {
            stage,
            gate: "battery".into(),
            why: "low".into(),
        }],
        checking,
        ..ready.clone()
    };
    let activate = gated(Stage::Activate, true);
    assert!(matches!(end(activate), Some(Outcome::Held { .. })));
    assert_eq!(end(gated(Stage::Check, true)), None);

    let drift = StatusInfo {
        drift: busy().drift,
        ..quiet()
    };
    assert!(matches!(end(drift), Some(Outcome::Held { .. })));

    let mut unwanted = quiet();
    unwanted.last_check = Some(Check {
        when: time(100),
        result: CheckResult::Found,
        error: None,
    });
    assert!(matches!(end(unwanted), Some(Outcome::Held { .. })));

    // What was given up long ago is no news, unless it is what the robot should run.
    let old = StatusInfo {
        blocked: vec![blocked("3")],
        ..quiet()
    };
    assert_eq!(ended(&old, &old.clone()), Some(Outcome::UpToDate));
    let wanted = StatusInfo {
        target: Some(system("3")),
        ..old.clone()
    };
    assert!(matches!(
        ended(&old, &wanted),
        Some(Outcome::Blocked { .. })
    ));
}

#[test]
fn findings_are_grouped_and_safe_to_show() {
    let findings = [
        Finding::ok(Subject::Loader, "boot partition", "/boot can be written"),
        Finding::warn(Subject::Watchdog, "device", "there is none", "get one"),
        Finding::fail(
            Subject::Loader,
            "default",
            "it starts \u{1b}[31mx",
            "put it back",
        ),
    ];
    insta::assert_snapshot!("doctor", doctor::show(&findings, PLAIN));
}
