//! Looks at the health in a row, and what they prove.

use super::context::Policy;
use crate::{
    health::{Check, Failure, Report, Runs},
    machine::state::{Cause, Evidence},
    time::Instant,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long a system has been healthy.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Soak {
    /// When the first look had ended of those that were healthy without a break.
    healthy_since: Option<Instant>,
    /// Unhealthy looks in a row.
    failures: u32,
    /// The last look.
    pub(super) last: Option<Report>,
    /// The last one that found something, and when.
    unhealthy: Option<(Instant, Report)>,
    /// When the first look began.
    began: Option<Instant>,
    /// The runs of services at the last look.
    pub(super) runs: Option<Runs>,
    /// The last look that missed nothing but the repository or the Nix daemon, and when.
    missed: Option<(Instant, Report)>,
    /// Checks that did not pass while the repository was not reached.
    pub(super) aside: BTreeSet<Check>,
    /// How often systemd started which service again since the first look.
    again: BTreeMap<String, u32>,
    /// How long the robot had been suspended in this boot when this was asked last.
    slept: Option<Duration>,
    /// When the look began that has no answer yet.
    probing: Option<Instant>,
    /// Whether the agent of what is looked at has to prove itself in that look.
    proves: bool,
    /// Whether it has, since something was found last.
    proven: bool,
    /// When it is looked at next.
    next: Option<Instant>,
    /// When it has to have proven itself, where nothing else says so.
    pub(super) until: Option<Instant>,
}

/// What the looks so far prove.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Proof {
    /// Nothing yet: there is going to be another look.
    None,
    /// It was healthy for long enough.
    Healthy,
    /// It is not.
    Unhealthy(Evidence),
}

impl Soak {
    /// A look begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.probing = Some(now);
        self.next = None;
        self.began.get_or_insert(now);
    }

    /// Whether the agent of what is looked at has to prove itself in a look that begins now: as long as it
    /// has not, and in the one that may be the last. What it needs may have ended since it was asked.
    pub(super) fn proves(&mut self, now: Instant, long: Duration) -> bool {
        let last = self.healthy_for(now).is_some_and(|time| time >= long);
        self.proves = last || !self.proven;
        self.proves
    }

    /// How long the robot was suspended since this was asked last, from the first time on. That time proves
    /// nothing, and no deadline counts it.
    pub(super) fn slept(&mut self, in_all: Duration) -> Duration {
        // The two clocks are read one after the other: what seems to go back was never slept.
        let before = self.slept.unwrap_or(in_all);
        self.slept = Some(in_all.max(before));
        let slept = in_all.saturating_sub(before);
        for at in [&mut self.healthy_since, &mut self.until]
            .into_iter()
            .flatten()
        {
            *at = *at + slept;
        }
        slept
    }

    /// When it is to be looked at next; `None` while a look has no answer yet.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next.filter(|_| self.probing.is_none())
    }

    /// Whether no look is under way, and none is to come.
    pub(super) const fn rests(&self) -> bool {
        self.probing.is_none() && self.next.is_none()
    }

    /// How long it has been healthy without a break; `None` if the last look found something.
    pub(super) fn healthy_for(&self, now: Instant) -> Option<Duration> {
        self.healthy_since.map(|since| now.since(since))
    }

    /// The next look is no earlier than this.
    pub(super) fn put_off(&mut self, until: Instant) {
        self.next = self.next.map(|next| next.max(until));
    }

    /// Takes the answer of the look that began last; `None` if there was none. An answer may have waited
    /// long: it says what was when the look began.
    pub(super) fn take(&mut self, report: &Report) -> Option<Instant> {
        // What began for an earlier trial may answer late.
        let asked = |began: &mut Instant| report.began.is_none_or(|at| at == *began);
        let looked = self.probing.take_if(asked)?;
        self.proven = report.healthy() && (self.proven || self.proves);
        for (unit, times) in &report.again {
            let before = self.again.entry(unit.clone()).or_default();
            *before = before.saturating_add(*times);
        }
        self.runs = Some(report.runs.clone());
        self.aside.extend(report.aside.iter().cloned());
        if !report.healthy() {
            self.unhealthy = Some((looked, report.clone()));
        }
        if report.misses_only_its_surroundings() {
            self.missed = Some((looked, report.clone()));
        }
        self.last = Some(report.clone());
        Some(looked)
    }

    /// What the answer of the look that began at `looked` proves; `long`: how long a system has to be
    /// healthy without a break.
    pub(super) fn judge(
        &mut self,
        (looked, report): (Instant, &Report),
        now: Instant,
        long: Duration,
        policy: &Policy,
    ) -> Proof {
        if report.healthy() {
            self.failures = 0;
            let since = *self.healthy_since.get_or_insert(now);
            if looked.since(since) >= long {
                return Proof::Healthy;
            }
            // Look once more exactly at the end of the soak.
            self.next = Some((now + policy.health_interval).min(since + long));
            return Proof::None;
        }
        self.healthy_since = None;
        self.failures += u32::from(!report.failures.is_empty());
        self.next = Some(now + policy.health_interval);
        // A service that is up at each look, and not the same one, has failed as often.
        let again = self.again.iter().max_by_key(|(_, times)| **times);
        let again = again.filter(|(_, times)| **times >= policy.max_failures);
        if self.failures < policy.max_failures && again.is_none() {
            return Proof::None;
        }
        let again = again
            .map(|(unit, times)| format!("unit {unit} ended by itself {times} times since then; "));
        Proof::Unhealthy(Evidence {
            cause: Cause::Unhealthy.into(),
            message: again.unwrap_or_default() + &report.summary(),
            failures: report.failures.clone(),
            log: Vec::new(),
        })
    }

    /// A look found that something else is looked at: it is looked at again at this time, from the start.
    pub(super) const fn breaks(&mut self, next: Instant) {
        self.healthy_since = None;
        self.next = Some(next);
    }

    /// Nothing that was found before counts any more: what is looked at for days fails now and then.
    pub(super) fn count_anew(&mut self) {
        self.failures = 0;
        self.again.clear();
    }

    /// Whether a look has found anything.
    pub(super) const fn found_something(&self) -> bool {
        self.unhealthy.is_some()
    }

    /// What has to be said when the time is up.
    pub(super) fn late(self, now: Instant, long: Duration) -> Evidence {
        let (found, failures) = self.at_the_end(now);
        Evidence {
            cause: Cause::Deadline.into(),
            message: format!(
                "it did not stay healthy for {} s in time: {found}",
                long.as_secs()
            ),
            failures,
            log: Vec::new(),
        }
    }

    /// What has to be said when the time is up: what was found last, and when. A look that goes well
    /// says nothing of what came before it.
    fn at_the_end(self, now: Instant) -> (String, Vec<Failure>) {
        let late = self.probing.map_or_else(String::new, |began| {
            let waits = now.since(began).as_secs();
            format!("; a look that began {waits} s ago has no answer yet")
        });
        // What failed once and is well now is not what took the time, where the network was away.
        let found = match &self.last {
            Some(last) if last.healthy() => self.missed.or(self.unhealthy),
            _ => self.unhealthy,
        };
        let Some((when, report)) = found else {
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

#[cfg(test)]
mod tests {
    use super::*;

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
        soak.begin(at(10));
        soak.take(&Report::default());
        soak.begin(at(40));
        soak.take(&sick);
        soak.begin(at(90));
        soak.take(&Report::default());
        soak.begin(at(95));
        let (said, failures) = soak.at_the_end(at(100));
        assert_eq!(
            said,
            "30 s after the first look: unit arm.service: failed 2 s ago (exit-code), and nothing \
             since then; a look that began 5 s ago has no answer yet"
        );
        assert_eq!(failures, sick.failures);
    }

    #[test]
    fn only_the_answer_to_the_last_look_is_taken_and_the_look_that_may_be_the_last_is_proven() {
        let at = |seconds| Instant::default() + Duration::from_secs(seconds);
        let long = Duration::from_secs(60);
        let mut soak = Soak::default();
        let mut look = |second, answer: Option<u64>, well: bool| {
            soak.begin(at(second));
            let proves = soak.proves(at(second), long);
            let mut report = Report {
                began: answer.map(at),
                ..Report::default()
            };
            if !well {
                report.failures.push(Failure {
                    check: Check::Agent,
                    message: "no".into(),
                    journal: Vec::new(),
                });
            }
            let taken = soak.take(&report).is_some();
            if !well {
                soak.healthy_since = None;
            } else if taken {
                soak.healthy_since.get_or_insert(at(second));
            }
            (proves, taken)
        };
        // The agent of an earlier trial was asked for long, and says that all is well by now.
        assert_eq!(look(10, Some(2), true), (true, false));
        assert_eq!(look(15, Some(15), true), (true, true));
        assert_eq!(look(20, Some(20), true), (false, true));
        assert_eq!(look(75, Some(75), false), (true, true));
        assert_eq!(look(80, Some(80), true), (true, true));
        assert_eq!(look(85, None, true), (false, true));
    }

    #[test]
    fn an_outage_is_told_at_the_deadline_and_not_the_one_blip_after_it() {
        let at = |seconds| Instant::default() + Duration::from_secs(seconds);
        let found = |check| Report {
            failures: vec![Failure {
                check,
                message: "no".into(),
                journal: Vec::new(),
            }],
            ..Report::default()
        };
        let mut soak = Soak::default();
        let offline = found(Check::ManifestServer).with_network_pending();
        let blip = found(Check::Unit("arm.service".into()));
        for (second, report) in [(10, &offline), (250, &offline), (260, &blip)] {
            soak.begin(at(second));
            soak.take(report);
        }
        let long = Duration::from_secs(60);
        let late = |soak: &Soak| soak.clone().late(at(300), long);
        // It may be the release's doing as long as it is so.
        assert!(!late(&soak).blames_the_repository());
        soak.begin(at(270));
        soak.take(&Report::default());
        assert!(late(&soak).blames_the_repository());
    }
}
