//! What a release is held against: the robot as it was before its trial.
//!
//! Robots are rarely whole. A release is judged by what it made worse: a unit that failed before may
//! fail on, and one that ran before must run on. Two things are never excused by what was before: units
//! that are required by name, and checks that somebody wrote.

use crate::{
    health::{Check, Failure, Report, Run, Runs},
    startup::{ENDLESS, STARTED},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Names that are remembered of each kind; how many more there were is counted.
pub const MAX_NAMES: usize = 256;

/// Longer names are not remembered, bytes.
pub const MAX_NAME: usize = 128;

/// The target that pulls in what a system is there for.
const GOAL: &str = "default.target";

/// What is expected to be there: whatever the default target pulls in of these kinds.
const JUDGED: [&str; 7] = [
    ".service",
    ".mount",
    ".automount",
    ".swap",
    ".socket",
    ".path",
    ".timer",
];

/// A unit, as systemd has it at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// The slice that it lies in.
    pub slice: String,
    /// Whether there is such a unit, and what is wrong with its file.
    pub load: Load,
    /// What it does.
    pub activity: Activity,
    /// How it ended last, in systemd's word: `success`, `exit-code`, …
    pub result: String,
    /// How long it has been like this.
    pub since: Duration,
    /// Whether a job for it waits or runs.
    pub job: bool,
    /// Whether it was anything else than inactive in this boot.
    pub began: bool,
    /// Whether its conditions kept it from being started.
    pub skipped: bool,
    /// Whether it is inactive once its work is done.
    pub ends: bool,
    /// Whether a bus name, socket, path or timer starts it when it is needed.
    pub on_demand: bool,
    /// How often systemd started it again after it had ended by itself.
    pub restarts: u32,
    /// The name of its present run.
    pub invocation: String,
    /// What it pulls in, and can run without.
    pub needs: Vec<String>,
    /// What it pulls in, and cannot run without.
    pub requires: Vec<String>,
    /// What cannot run beside it.
    pub conflicts: Vec<String>,
}

/// Whether a unit can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Load {
    /// Yes.
    #[default]
    Loaded,
    /// There is none, or it is masked.
    Missing,
    /// Its file cannot be read.
    Broken,
}

/// What a unit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activity {
    /// It runs, waits for its event, or has done what it stays active for.
    Active,
    /// It is being started.
    Starting,
    /// It ended by itself and waits to be started again.
    Restarting,
    /// It is being stopped.
    Stopping,
    /// Nothing.
    #[default]
    Inactive,
    /// It failed.
    Failed,
}

impl Unit {
    /// Whether it is there for somebody who logs in, or for a program that crashed. Any user can make it
    /// fail or start again, by ending a process of their own, and it says nothing of the system.
    #[must_use]
    pub fn is_of_users(&self) -> bool {
        const BY_NAME: [&str; 5] = [
            "systemd-coredump@",
            "getty@",
            "serial-getty@",
            "container-getty@",
            "console-getty.",
        ];
        let of_one = self.slice.starts_with("user-") && self.slice.ends_with(".slice");
        self.slice == "user.slice"
            || of_one
            || BY_NAME.iter().any(|name| self.name.starts_with(name))
    }

    /// Whether it is failed, or fails again and again.
    #[must_use]
    pub const fn is_failed(&self) -> bool {
        matches!(self.activity, Activity::Failed | Activity::Restarting)
    }

    /// What is wrong with it by itself, in words.
    #[must_use]
    pub fn failing(&self) -> Option<String> {
        let since = self.since.as_secs();
        match self.activity {
            Activity::Failed => Some(format!("failed {since} s ago ({})", self.result)),
            Activity::Restarting => Some(format!(
                "fails again and again: started again {} times",
                self.restarts
            )),
            _ => None,
        }
    }
}

/// Everything that one look found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// The units that count.
    pub units: Vec<Unit>,
    /// Checks that did not pass, units aside.
    pub failures: Vec<Failure>,
    /// Units that a start of the system still waits for. Until there are none, what does not run is
    /// not judged.
    pub pending: Vec<Failure>,
}

/// The robot before a trial.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// Checks that did not pass, failed units among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Check>,
    /// Units that the default target pulled in and that had run for the length of a soak.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<String>,
    /// Services that had ended by themselves and been started again within the length of a soak.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarting: Vec<String>,
    /// Units that the default target pulled in and that had never been started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle: Vec<String>,
    /// Services that the default target pulled in and that had been stopped: a trial may start them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<String>,
    /// Units that had been starting for so long that nobody could expect them to end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starting: Vec<String>,
    /// Checks of other machines that passed although the repository was not reached: they do not need what it
    /// needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alone: Vec<Check>,
    /// Whether the checks that somebody wrote were not asked, as the robot was still starting.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unasked: bool,
    /// How many more there were of all these.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What a look is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Against {
    /// The robot before the trial; `None` if nobody looked.
    pub baseline: Option<Baseline>,
    /// The runs at the look before this one; `None` at the first.
    pub runs: Option<Runs>,
    /// Checks that did not pass while the repository was not reached: see [`crate::offline`].
    pub aside: BTreeSet<Check>,
}

impl Against {
    /// Whether a start is waited for. That of a unit which did not come to its end before the trial, either,
    /// is not, unless it is `required`.
    #[must_use]
    pub fn awaits(&self, starting: &Failure, required: impl Fn(&str) -> bool) -> bool {
        let Check::Unit(name) = &starting.check else {
            return true;
        };
        let before = self.baseline.as_ref();
        required(name) || !before.is_some_and(|before| before.starting.contains(name))
    }
}

impl Baseline {
    /// The robot as a look found it; `soak`: how long something must have run to be expected to run
    /// on.
    #[must_use]
    pub fn of(look: &Look, soak: Duration) -> Self {
        let wanted = wanted(&look.units);
        // No gate lets anything wait for longer.
        let long = soak.min(STARTED / 2);
        let mut baseline = Self::default();
        let mut left_out = 0;
        let mut keep = |names: &mut Vec<String>, unit: &Unit| {
            if names.len() < MAX_NAMES && unit.name.len() <= MAX_NAME {
                names.push(unit.name.clone());
            } else {
                left_out += 1;
            }
        };
        let mut failed = Vec::new();
        for unit in &look.units {
            let wanted = wanted.contains(unit.name.as_str()) && is_judged(unit);
            if unit.failing().is_some() {
                keep(&mut failed, unit);
            }
            if unit.restarts > 0 && (unit.since < soak || unit.activity != Activity::Active) {
                keep(&mut baseline.restarting, unit);
            }
            if wanted && unit.activity == Activity::Active && unit.since >= long {
                keep(&mut baseline.running, unit);
            }
            if wanted && never_started(unit, &look.units) {
                keep(&mut baseline.idle, unit);
            }
            if wanted && was_stopped(unit) {
                keep(&mut baseline.stopped, unit);
            }
            let is_it =
                |late: &Failure| matches!(&late.check, Check::Unit(name) if *name == unit.name);
            if unit.since >= ENDLESS && look.pending.iter().any(is_it) {
                keep(&mut baseline.starting, unit);
            }
        }
        baseline.failed = failed.into_iter().map(Check::Unit).collect();
        for failure in &look.failures {
            let checks = &mut baseline.failed;
            if checks.len() < 2 * MAX_NAMES && failure.check.to_string().len() <= 2 * MAX_NAME {
                checks.push(failure.check.clone());
            } else {
                left_out += 1;
            }
        }
        baseline.left_out = left_out;
        baseline
    }

    /// Whether a fault of a unit was there before.
    #[must_use]
    pub fn excuses(&self, name: &str) -> bool {
        let has = |names: &[String]| names.iter().any(|known| known == name);
        let failed = |check: &Check| matches!(check, Check::Unit(known) if known == name);
        self.failed.iter().any(failed) || has(&self.restarting) || has(&self.idle)
    }
}

/// Judges a look: what counts against the release on trial, what may still come right, and what was no
/// better before. `required`: whether a unit must be well whatever was before.
#[must_use]
pub fn judge(look: Look, against: &Against, required: impl Fn(&str) -> bool) -> Report {
    let wanted = wanted(&look.units);
    let (pending, endless) = (look.pending.into_iter())
        .partition::<Vec<_>, _>(|starting| against.awaits(starting, &required));
    let settled = pending.is_empty();
    let mut report = Report {
        excused: endless,
        ..Report::default()
    };
    for unit in &look.units {
        let name = unit.name.as_str();
        let baseline = against.baseline.as_ref();
        let expected = settled && is_judged(unit) && wanted.contains(name);
        let again = again(unit, against.runs.as_ref());
        let ran = baseline.is_some_and(|before| before.running.iter().any(|n| n == name));
        let waits = unit.job || matches!(unit.activity, Activity::Starting | Activity::Stopping);
        let message = if let Some(message) = unit.failing() {
            message
        } else if again > 0 {
            format!(
                "ended by itself, and systemd started it again {again} times since the last look \
                 ({} in all)",
                unit.restarts
            )
        } else if expected && ran && unit.activity != Activity::Active && !is_done(unit) {
            let since = unit.since.as_secs();
            let message = format!("ran before the trial and does not run now, for {since} s");
            if waits {
                report.pending.push(failure(unit, message));
                continue;
            }
            message
        } else if expected && baseline.is_some() && never_started(unit, &look.units) {
            match unit.load {
                Load::Broken => {
                    "is pulled in by the system, and its file cannot be used".to_owned()
                }
                _ => "is pulled in by the system, and was never started: what it needs is missing"
                    .to_owned(),
            }
        } else {
            continue;
        };
        let excused = !required(name) && baseline.is_some_and(|before| before.excuses(name));
        if excused {
            report.excused.push(failure(unit, message));
        } else {
            if again > 0 {
                report.again.insert(unit.name.clone(), again);
            }
            report.failures.push(failure(unit, message));
        }
    }
    report.runs = runs(&look.units);
    if let Some(baseline) = &against.baseline {
        report.started = started(baseline, &look.units);
    }
    report.failures.extend(look.failures);
    report.pending.extend(pending);
    report
}

/// What of the units that had been stopped runs now.
fn started(baseline: &Baseline, units: &[Unit]) -> Vec<String> {
    let runs = |name: &&String| {
        let mut units = units.iter();
        units.any(|unit| unit.name == **name && unit.activity == Activity::Active)
    };
    baseline.stopped.iter().filter(runs).cloned().collect()
}

fn failure(unit: &Unit, message: String) -> Failure {
    Failure {
        check: Check::Unit(unit.name.clone()),
        message,
        journal: Vec::new(),
    }
}

/// How often a service was started again since the look before.
fn again(unit: &Unit, before: Option<&Runs>) -> u32 {
    let Some(before) = before else { return 0 };
    let Some(run) = before.get(&unit.name) else {
        return unit.restarts;
    };
    match unit.restarts.checked_sub(run.restarts) {
        // The count begins anew when somebody starts it.
        Some(0) if unit.invocation != run.invocation => 0,
        Some(more) => more,
        None => unit.restarts,
    }
}

/// How often systemd has started each service again.
#[must_use]
pub fn runs(units: &[Unit]) -> Runs {
    let again = units.iter().filter(|unit| unit.restarts > 0);
    again
        .map(|unit| {
            let run = Run {
                restarts: unit.restarts,
                invocation: unit.invocation.clone(),
            };
            (unit.name.clone(), run)
        })
        .collect()
}

/// Whether it did its work and is not meant to stay.
fn is_done(unit: &Unit) -> bool {
    unit.ends && unit.result == "success"
}

fn is_judged(unit: &Unit) -> bool {
    let kind = JUDGED.iter().any(|kind| unit.name.ends_with(kind));
    kind && unit.load != Load::Missing && !unit.on_demand
}

/// Whether it was to be started and never was: nothing about it says why.
fn never_started(unit: &Unit, all: &[Unit]) -> bool {
    let runs = |name: &String| {
        let mut all = all.iter();
        all.any(|other| other.name == *name && other.activity != Activity::Inactive)
    };
    unit.activity == Activity::Inactive
        && !unit.began
        && !unit.skipped
        && !unit.job
        && !unit.conflicts.iter().any(runs)
}

/// Whether somebody, or it itself, ended it.
fn was_stopped(unit: &Unit) -> bool {
    unit.activity == Activity::Inactive && unit.began && !unit.ends && !unit.skipped
}

/// What the default target pulls in, over units that run. Targets are not reached before all that they are
/// to start is, and pull it in all the same.
fn wanted(units: &[Unit]) -> BTreeSet<&str> {
    let by_name: BTreeMap<&str, &Unit> = units
        .iter()
        .flat_map(|unit| {
            let aliases = unit.aliases.iter().map(String::as_str);
            aliases.chain([unit.name.as_str()]).map(move |n| (n, unit))
        })
        .collect();
    let mut wanted = BTreeSet::new();
    let mut next: Vec<&Unit> = by_name.get(GOAL).copied().into_iter().collect();
    while let Some(unit) = next.pop() {
        let is_target = unit.name.ends_with(".target") && !unit.skipped;
        let pulls = unit.activity == Activity::Active || is_target;
        if !wanted.insert(unit.name.as_str()) || !pulls {
            continue;
        }
        let needs = unit.needs.iter().chain(&unit.requires);
        next.extend(needs.filter_map(|n| by_name.get(n.as_str())));
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOAK: Duration = Duration::from_secs(60);

    fn goal(needs: &[&str]) -> Unit {
        Unit {
            name: "multi-user.target".into(),
            aliases: vec![GOAL.into()],
            activity: Activity::Active,
            needs: needs.iter().map(|&name| name.to_owned()).collect(),
            ..Unit::default()
        }
    }

    fn unit(name: &str, activity: Activity) -> Unit {
        Unit {
            name: name.into(),
            activity,
            result: "success".into(),
            since: Duration::from_secs(600),
            began: true,
            ..Unit::default()
        }
    }

    fn look(units: &[Unit]) -> Look {
        let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
        Look {
            units: [&[goal(&names)], units].concat(),
            ..Look::default()
        }
    }

    /// What is said of `now` after `before`.
    fn compare(before: &[Unit], now: &[Unit]) -> Report {
        against(&Against {
            baseline: Some(Baseline::of(&look(before), SOAK)),
            runs: None,
            ..Against::default()
        })(now)
    }

    fn against(against: &Against) -> impl Fn(&[Unit]) -> Report {
        |now| judge(look(now), against, |name| name == "estop.service")
    }

    fn names(failures: &[Failure]) -> Vec<String> {
        let check = |failure: &Failure| failure.check.to_string();
        failures.iter().map(check).collect()
    }

    #[test]
    fn what_failed_before_is_shown_and_does_not_count() {
        let timer = unit("backup.service", Activity::Failed);
        let report = compare(std::slice::from_ref(&timer), std::slice::from_ref(&timer));
        assert!(report.healthy());
        assert_eq!(names(&report.excused), ["unit backup.service"]);
    }

    #[test]
    fn what_any_user_can_make_fail_is_known_by_its_slice() {
        let of_users = |name: &str, slice: &str| {
            let unit = Unit {
                slice: slice.into(),
                ..unit(name, Activity::Failed)
            };
            unit.is_of_users()
        };
        assert!(of_users("user@1000.service", "user-1000.slice"));
        assert!(of_users("user-runtime-dir@1000.service", "user-1000.slice"));
        assert!(of_users("run-u7.service", "user.slice"));
        let crash = "systemd-coredump@7-812-1000.service";
        assert!(of_users(crash, "system-systemd\\x2dcoredump.slice"));
        assert!(of_users("getty@tty1.service", "system-getty.slice"));
        assert!(of_users("console-getty.service", "system.slice"));
        // Of the system, whoever it runs as.
        assert!(!of_users("arm.service", "system.slice"));
        assert!(!of_users("arm@user.service", "system-arm.slice"));
        assert!(!of_users("users.service", "users-arm.slice"));
        assert!(!of_users("data.mount", ""));
    }

    #[test]
    fn what_fails_only_now_counts() {
        let report = compare(
            &[unit("arm.service", Activity::Active)],
            &[unit("arm.service", Activity::Failed)],
        );
        assert_eq!(names(&report.failures), ["unit arm.service"]);
        assert_eq!(report.failures[0].message, "failed 600 s ago (success)");
    }

    #[test]
    fn a_required_unit_is_never_excused() {
        let estop = unit("estop.service", Activity::Failed);
        let report = compare(std::slice::from_ref(&estop), std::slice::from_ref(&estop));
        assert_eq!(names(&report.failures), ["unit estop.service"]);
    }

    #[test]
    fn a_check_that_somebody_wrote_is_never_excused() {
        let broken = Look {
            failures: vec![Failure {
                check: Check::Command("estop".into()),
                message: "exit 1".into(),
                journal: Vec::new(),
            }],
            ..look(&[])
        };
        let against = Against {
            baseline: Some(Baseline::of(&broken, SOAK)),
            runs: None,
            ..Against::default()
        };
        let report = judge(broken, &against, |_| false);
        assert_eq!(names(&report.failures), ["command estop"]);
    }

    #[test]
    fn what_ran_before_has_to_run_on() {
        let ran = unit("arm.service", Activity::Active);
        let report = compare(
            std::slice::from_ref(&ran),
            &[unit("arm.service", Activity::Inactive)],
        );
        assert_eq!(names(&report.failures), ["unit arm.service"]);

        // It is on its way.
        let report = compare(
            std::slice::from_ref(&ran),
            &[unit("arm.service", Activity::Starting)],
        );
        assert!(report.failures.is_empty() && !report.healthy());

        // The new system has none, or has it do its work and end.
        let gone = Unit {
            load: Load::Missing,
            ..unit("arm.service", Activity::Inactive)
        };
        let once = Unit {
            ends: true,
            ..unit("arm.service", Activity::Inactive)
        };
        for now in [vec![], vec![gone], vec![once]] {
            assert!(compare(std::slice::from_ref(&ran), &now).healthy());
        }
    }

    #[test]
    fn what_nobody_expects_to_run_on_may_end() {
        let now = [unit("arm.service", Activity::Inactive)];
        let young = Unit {
            since: Duration::from_secs(59),
            ..unit("arm.service", Activity::Active)
        };
        let on_demand = Unit {
            on_demand: true,
            ..unit("arm.service", Activity::Active)
        };
        for before in [young, on_demand] {
            assert!(compare(&[before], &now).healthy());
        }
        // The new system has it, and does not want it.
        let baseline = Baseline::of(&look(&[unit("arm.service", Activity::Active)]), SOAK);
        let unwanted = Look {
            units: [&[goal(&[])], &now[..]].concat(),
            ..Look::default()
        };
        let against = Against {
            baseline: Some(baseline),
            runs: None,
            ..Against::default()
        };
        assert!(judge(unwanted, &against, |_| false).healthy());
    }

    #[test]
    fn a_mount_whose_disk_never_comes_counts_unless_it_did_not_before() {
        let waits = Unit {
            began: false,
            ..unit("data.mount", Activity::Inactive)
        };
        let report = compare(&[], std::slice::from_ref(&waits));
        assert_eq!(names(&report.failures), ["unit data.mount"]);
        let report = compare(std::slice::from_ref(&waits), std::slice::from_ref(&waits));
        assert!(report.healthy());
        assert_eq!(names(&report.excused), ["unit data.mount"]);

        // Its conditions, or something that runs instead, keep it away; or it is still to come.
        let skipped = Unit {
            skipped: true,
            ..waits.clone()
        };
        let queued = Unit {
            job: true,
            ..waits.clone()
        };
        let replaced = Unit {
            conflicts: vec!["other.service".into()],
            ..waits
        };
        let other = unit("other.service", Activity::Active);
        for now in [vec![skipped], vec![queued], vec![replaced, other]] {
            assert!(compare(&[], &now).healthy());
        }
    }

    #[test]
    fn nothing_is_missed_while_the_system_still_starts() {
        let baseline = Baseline::of(&look(&[unit("arm.service", Activity::Active)]), SOAK);
        let starts = Look {
            pending: vec![failure(
                &unit("slow.service", Activity::Starting),
                "still starting".into(),
            )],
            ..look(&[unit("arm.service", Activity::Inactive)])
        };
        let against = Against {
            baseline: Some(baseline),
            runs: None,
            ..Against::default()
        };
        assert!(judge(starts, &against, |_| false).failures.is_empty());
    }

    #[test]
    fn a_start_that_never_ended_before_is_not_waited_for() {
        let starting = |name: &str, since| Look {
            pending: vec![failure(
                &unit(name, Activity::Starting),
                "still starting".into(),
            )],
            ..look(&[Unit {
                since: Duration::from_secs(since),
                ..unit(name, Activity::Starting)
            }])
        };
        let after = |before: u64, name: &str| {
            let against = Against {
                baseline: Some(Baseline::of(&starting(name, before), SOAK)),
                ..Against::default()
            };
            judge(starting(name, 10), &against, |name| name == "estop.service")
        };
        let report = after(600, "disk.service");
        assert!(report.healthy());
        assert_eq!(names(&report.excused), ["unit disk.service"]);
        // It may only have begun, and what is required has to come up.
        for report in [after(599, "disk.service"), after(600, "estop.service")] {
            assert!(!report.healthy() && report.excused.is_empty());
        }
        // What runs beside it is judged.
        let mut both = starting("disk.service", 900);
        both.units
            .extend(look(&[unit("arm.service", Activity::Active)]).units);
        let against = Against {
            baseline: Some(Baseline::of(&both, SOAK)),
            ..Against::default()
        };
        both.units.pop();
        both.units.push(unit("arm.service", Activity::Failed));
        let report = judge(both, &against, |_| false);
        assert_eq!(names(&report.failures), ["unit arm.service"]);
    }

    #[test]
    fn what_runs_beside_a_start_that_never_ends_is_judged() {
        // The target is not reached as long as something of it starts.
        let look = |arm: Activity| {
            let mut look = look(&[
                Unit {
                    since: Duration::from_secs(900),
                    job: true,
                    ..unit("hung.service", Activity::Starting)
                },
                Unit {
                    since: Duration::from_secs(890),
                    ..unit("arm.service", arm)
                },
                Unit {
                    began: false,
                    job: true,
                    ..unit("after.service", Activity::Inactive)
                },
            ]);
            look.units[0].activity = Activity::Inactive;
            look.units[0].job = true;
            let hung = unit("hung.service", Activity::Starting);
            look.pending = vec![failure(&hung, "still starting".into())];
            look
        };
        let against = Against {
            baseline: Some(Baseline::of(&look(Activity::Active), SOAK)),
            ..Against::default()
        };
        let judged = |arm| judge(look(arm), &against, |_| false);
        assert!(judged(Activity::Active).healthy());
        for dead in [Activity::Inactive, Activity::Failed] {
            assert_eq!(names(&judged(dead).failures), ["unit arm.service"]);
        }
    }

    #[test]
    fn what_a_long_soak_could_not_wait_for_is_expected_to_run_on() {
        let arm = Unit {
            since: STARTED - Duration::from_secs(60),
            ..unit("arm.service", Activity::Active)
        };
        let baseline = Baseline::of(&look(&[arm]), Duration::from_secs(36_000));
        assert_eq!(baseline.running, ["arm.service"]);
    }

    #[test]
    fn a_service_that_systemd_starts_again_counts_although_it_runs_at_every_look() {
        let crashes = |restarts| Unit {
            restarts,
            invocation: format!("run-{restarts}"),
            ..unit("arm.service", Activity::Active)
        };
        let first = compare(&[], &[crashes(0)]);
        assert!(first.healthy());
        let second = Against {
            baseline: Some(Baseline::default()),
            runs: Some(first.runs),
            ..Against::default()
        };
        let report = against(&second)(&[crashes(2)]);
        assert_eq!(report.again, BTreeMap::from([("arm.service".into(), 2)]));
        assert!(!report.healthy());
        // What the switch itself did to it does not matter.
        assert!(compare(&[], &[crashes(2)]).healthy());
        // It has not ended since.
        let third = Against {
            runs: Some(report.runs),
            ..second
        };
        assert!(against(&third)(&[crashes(2)]).healthy());
        // Somebody started it anew, and it ended once.
        assert_eq!(against(&third)(&[crashes(1)]).again["arm.service"], 1);
    }

    #[test]
    fn a_service_that_was_started_again_and_again_before_is_excused() {
        let crashes = |restarts| Unit {
            restarts,
            since: Duration::from_secs(15),
            ..unit("arm.service", Activity::Active)
        };
        let baseline = Baseline::of(&look(&[crashes(7)]), SOAK);
        let before = Against {
            baseline: Some(baseline),
            runs: Some(Runs::new()),
            ..Against::default()
        };
        let report = against(&before)(&[crashes(1)]);
        assert!(report.healthy() && report.again.is_empty());
        assert_eq!(names(&report.excused), ["unit arm.service"]);
    }

    #[test]
    fn what_had_been_stopped_and_runs_is_named() {
        let stopped = unit("arm.service", Activity::Inactive);
        let baseline = Baseline::of(&look(&[stopped]), SOAK);
        let now = [unit("arm.service", Activity::Active)];
        assert_eq!(started(&baseline, &now), ["arm.service"]);
    }

    #[test]
    fn a_baseline_stays_small_and_says_what_it_leaves_out() {
        let mut units: Vec<Unit> = (0..300)
            .map(|n| unit(&format!("{n}.service"), Activity::Failed))
            .collect();
        units.push(unit(&"x".repeat(MAX_NAME + 1), Activity::Failed));
        let baseline = Baseline::of(&look(&units), SOAK);
        assert_eq!(baseline.failed.len(), MAX_NAMES);
        assert_eq!(baseline.left_out, 45);
    }
}
