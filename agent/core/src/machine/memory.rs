//! What a restart may forget.

use crate::{
    StorePath,
    baseline::Baseline,
    gate::{Closed, Stage},
    health::{Failure, Report, Runs},
    lease::Leases,
    machine::state::State,
    retry::Patience,
    time::Instant,
    traffic::Traffic,
};
use std::collections::BTreeMap;

/// What the machine knows besides its journal.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Memory {
    /// The number of the last occurrence.
    pub(super) seq: u64,
    /// Whether the repository, or its gates, are being asked.
    pub(super) polling: bool,
    /// How the repository is left alone after failures.
    pub(super) repository: Patience,
    /// When the repository last answered, or could not be asked.
    pub(super) asked: Option<Instant>,
    /// What waits for a gate waits for the repository first.
    pub(super) asks_first: bool,
    /// How the caches are.
    pub(super) caches: Patience,
    /// What fetches have moved within a day.
    pub(super) traffic: Traffic,
    /// Why the last one did.
    pub(super) poll_error: Option<String>,
    /// Why the newest release is left alone, if it is.
    pub(super) left: Option<String>,
    /// When the next one is due.
    pub(super) next_poll: Option<Instant>,
    /// Failures in a row of what the present state tries.
    pub(super) failures: u32,
    /// Trials in a row that ended through no fault of a release.
    pub(super) setbacks: u32,
    /// Why a system that waits for its commit is to be left, if it is.
    pub(super) withdrawn: Option<String>,
    /// When the present state tries again.
    pub(super) retry: Option<Instant>,
    /// What waits for its retry is a reboot into a system that the boot loader starts already.
    pub(super) rebooting: bool,
    /// The proof of the present trial.
    pub(super) soak: Soak,
    /// The system that runs although it is not the confirmed one, if the agent did not do that.
    pub(super) drift: Option<StorePath>,
    /// What runs in a state that is not known, while somebody minds going back.
    pub(super) stray: Option<Stray>,
    /// What is wrong with the present state, or with what came to rest last. It ends when something
    /// begins.
    pub(super) problem: Option<String>,
    /// The outer gates that said no when they were asked last.
    pub(super) closed: BTreeMap<Stage, Vec<Closed>>,
    /// What the robot's software says.
    pub(super) leases: Leases,
    /// What the look at the release that is ready found; the gates are asked once more.
    pub(super) inspected: Option<Inspected>,
    /// The robot as it was when that look was taken.
    pub(super) baseline: Option<Baseline>,
    /// When the dead-man timer of the present trial fires.
    pub(super) dead_man: Option<Instant>,
    /// The switcher said that this system needs a reboot.
    pub(super) other_init: Option<StorePath>,
}

/// A release was looked at, and may be tried.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Inspected {
    /// What runs.
    pub(super) current: StorePath,
    /// Why it has to be tried by booting it; `None` if a live switch will do.
    pub(super) why: Option<String>,
}

/// What runs instead of the confirmed system, in a state that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stray {
    /// The system.
    pub(super) system: StorePath,
    /// Whether it was booted: then only a boot leads back.
    pub(super) booted: bool,
}

/// How long a trial has been healthy.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Soak {
    /// When the first look had ended of those that were healthy without a break.
    pub(super) healthy_since: Option<Instant>,
    /// Unhealthy looks in a row.
    pub(super) failures: u32,
    /// The last look.
    pub(super) last: Option<Report>,
    /// The last one that found something, and when.
    pub(super) unhealthy: Option<(Instant, Report)>,
    /// When the first look began.
    pub(super) began: Option<Instant>,
    /// The runs of services at the last look.
    pub(super) runs: Option<Runs>,
    /// How often systemd started which service again since the first look.
    pub(super) again: BTreeMap<String, u32>,
    /// When the look began that has no answer yet.
    pub(super) probing: Option<Instant>,
    /// When it is looked at next.
    pub(super) next: Option<Instant>,
}

impl Soak {
    /// Takes the answer of the look that began then.
    pub(super) fn take(&mut self, looked: Instant, report: &Report) {
        for (unit, times) in &report.again {
            let before = self.again.entry(unit.clone()).or_default();
            *before = before.saturating_add(*times);
        }
        self.runs = Some(report.runs.clone());
        if !report.healthy() {
            self.unhealthy = Some((looked, report.clone()));
        }
        self.last = Some(report.clone());
    }

    /// What has to be said when the time is up: what was found last, and when. A look that goes well
    /// says nothing of what came before it.
    pub(super) fn at_the_end(self, now: Instant) -> (String, Vec<Failure>) {
        let late = self.probing.map_or_else(String::new, |began| {
            let waits = now.since(began).as_secs();
            format!("; a look that began {waits} s ago has no answer yet")
        });
        let Some((when, report)) = self.unhealthy else {
            let looks = match self.last {
                Some(_) => "every look found it healthy, but the looks did not span that time",
                None => "no look at it came to an end",
            };
            return (format!("{looks}{late}"), Vec::new());
        };
        let since = self.began.map_or(0, |began| when.since(began).as_secs());
        let then = match self.last {
            Some(last) if last.healthy() => ", and nothing since then",
            _ => "",
        };
        let summary = report.summary();
        let message = format!("{since} s after the first look: {summary}{then}{late}");
        (message, [report.failures, report.pending].concat())
    }
}

impl Memory {
    /// Whether a commit, if there is one, waits to be tried again: no switch runs.
    pub(super) const fn commit_waits(&self) -> bool {
        self.retry.is_some() && !self.rebooting
    }

    /// Forgets what belongs to the state that is left. A problem outlasts it into rest: whoever asks
    /// why nothing happens is to see it.
    pub(super) fn enter(&mut self, state: &State) {
        self.retry = None;
        self.rebooting = false;
        self.stray = None;
        self.soak = Soak::default();
        self.inspected = None;
        self.withdrawn = None;
        self.baseline = None;
        self.dead_man = None;
        self.closed.retain(|stage, _| *stage == Stage::Check);
        if *state != State::Idle {
            self.problem = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Check;
    use std::time::Duration;

    #[test]
    fn the_deadline_tells_what_was_found_last_and_when() {
        let at = |seconds| Instant::default() + Duration::from_secs(seconds);
        let sick = Report {
            failures: vec![Failure {
                check: Check::Unit("arm.service".into()),
                message: "failed 2 s ago (exit-code)".into(),
                journal: Vec::new(),
            }],
            ..Report::default()
        };
        let mut soak = Soak {
            began: Some(at(10)),
            ..Soak::default()
        };
        assert_eq!(
            soak.clone().at_the_end(at(100)).0,
            "no look at it came to an end"
        );
        soak.take(at(10), &Report::default());
        soak.take(at(40), &sick);
        soak.take(at(90), &Report::default());
        soak.probing = Some(at(95));
        let (said, failures) = soak.at_the_end(at(100));
        assert_eq!(
            said,
            "30 s after the first look: unit arm.service: failed 2 s ago (exit-code), and nothing \
             since then; a look that began 5 s ago has no answer yet"
        );
        assert_eq!(failures, sick.failures);
    }
}
