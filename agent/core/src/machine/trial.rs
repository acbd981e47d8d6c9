//! The trial: begun if nobody holds it back, proven by its health, or left.

use super::{DEAD_MAN_MARGIN, Decision, Effect};
use crate::{
    StorePath,
    health::{Failure, Report},
    journal::{Attempts, What},
    machine::state::{Cause, Evidence, Generation, Mode, Origin, Phase, State},
    reboot,
    release::Name,
    switch::{Action, Kind, Outcome},
};

impl Decision<'_> {
    pub(super) fn inspected(
        &mut self,
        current: StorePath,
        mut reboot: Vec<reboot::Reason>,
        unfit: Option<String>,
        no_boot: Option<String>,
    ) {
        let State::Ready { target } = self.machine.journal.state.clone() else {
            return;
        };
        if let Some(why) = unfit {
            let evidence = Evidence::plain(Cause::Unfit, why);
            self.block(&target, evidence.clone());
            self.record(
                What::Refused,
                target.system.clone(),
                Some(&target),
                Some(evidence.message),
                None,
            );
            self.go(State::Idle);
            return;
        }
        if self.machine.memory.other_init.as_ref() == Some(&target.system) {
            reboot.push(reboot::Reason::Init);
        }
        let confirmed = self.machine.journal.confirmed.as_ref();
        if confirmed.is_none_or(|confirmed| confirmed.system != current) {
            // Somebody switched by hand since the last look.
            self.go(State::Idle);
            self.drifted(current);
            return;
        }
        if self.kept() {
            return;
        }
        let reasons: Vec<String> = reboot.iter().map(ToString::to_string).collect();
        let why = (!reasons.is_empty()).then(|| reasons.join(", "));
        if let (Some(why), Some(no_boot)) = (&why, no_boot) {
            self.machine.memory.problem = Some(format!(
                "release {} needs a reboot ({why}), but the robot cannot try it by one: {no_boot}",
                target.release
            ));
            self.retry_later();
            return;
        }
        self.record(
            What::Tried,
            target.system.clone(),
            Some(&target),
            why.map(|why| format!("by booting it: {why}")),
            None,
        );
        if !reboot.is_empty() {
            self.stage(target, current);
            return;
        }
        let policy = self.cx.policy;
        self.effects.push(Effect::ArmDeadMan {
            system: current.clone(),
            after: policy.switch_timeout + policy.health_deadline + DEAD_MAN_MARGIN,
        });
        self.go(State::Trial {
            system: target.system.clone(),
            target: Some(target),
            previous: current,
            boot: self.cx.boot.clone(),
            mode: Mode::Live,
            phase: Phase::Arming,
        });
    }

    pub(super) fn dead_man_armed(&mut self) {
        let state = self.machine.journal.state.clone();
        let State::Trial {
            target,
            system,
            previous,
            boot,
            mode,
            phase: Phase::Arming,
        } = state
        else {
            return;
        };
        let order = self.order(Kind::Trial, system.clone(), Action::Test, false);
        self.effects.push(Effect::Switch(order.clone()));
        self.go(State::Trial {
            target,
            system,
            previous,
            boot,
            mode,
            phase: Phase::Switching { order },
        });
    }

    pub(super) fn switch_ended(
        &mut self,
        outcome: &Outcome,
        log: Vec<String>,
        failures: Vec<Failure>,
    ) {
        match self.machine.journal.state.clone() {
            State::Trial {
                mode: Mode::Boot, ..
            } => match outcome {
                Outcome::Done => self.staged(),
                // Nothing of the new system has run: it is the robot that could not do it.
                _ => self.unstage(Evidence {
                    cause: Cause::Interrupted,
                    message: format!("it could not be staged for a boot: {outcome}"),
                    failures,
                    log,
                }),
            },
            State::Trial { .. } if outcome.activated() => self.soak(),
            State::Trial { .. } if *outcome == Outcome::Locked => {
                self.effects.push(Effect::DisarmDeadMan);
                self.no_verdict(Evidence::plain(Cause::Interrupted, outcome.to_string()));
            }
            State::Trial {
                target: Some(target),
                system,
                ..
            } if *outcome == Outcome::NeedsReboot => {
                // Nothing was activated: try it by booting it.
                self.effects.push(Effect::DisarmDeadMan);
                self.machine.memory.other_init = Some(system);
                self.go(State::Ready { target });
                self.begin_if_free();
            }
            State::Trial { .. } => self.revert(Evidence::of_switch(outcome, log, failures)),
            State::Committing { reboot: true, .. } if outcome.activated() => self.reboot_into(),
            State::Committing { .. } if outcome.activated() => self.committed(),
            State::Committing {
                attempts,
                previous,
                origin,
                order,
                reboot,
                ..
            } => {
                let problem = Some(format!("commit: {outcome}"));
                if attempts < self.cx.policy.commit_attempts {
                    self.machine.memory.problem = problem;
                    self.machine.memory.retry = Some(self.cx.now + self.cx.policy.retry_delay);
                } else if matches!(origin, Origin::Adopt | Origin::Restore { .. }) {
                    // What runs is what should run: there is nothing better to go back to.
                    self.go(State::Idle);
                    self.machine.memory.problem = problem;
                    self.retry_later();
                } else {
                    let evidence = Evidence {
                        cause: Cause::Commit,
                        ..Evidence::of_switch(outcome, log, failures)
                    };
                    // Until the reboot the system before still runs.
                    let reboot = order.action == Action::Boot && !reboot;
                    self.revert_to(previous, order.action, reboot, evidence);
                }
            }
            State::Reverting {
                reboot: true,
                order,
                ..
            } if outcome.activated() => {
                self.reboot_to_revert(format!("going back to {}", order.system));
            }
            State::Reverting { .. } if outcome.activated() => self.reverted(),
            State::Reverting {
                attempts,
                order,
                reboot,
                ..
            } => {
                self.machine.memory.problem = Some(format!("revert: {outcome}"));
                if attempts < self.cx.policy.revert_attempts {
                    self.machine.memory.retry = Some(self.cx.now + self.cx.policy.retry_delay);
                } else if order.action == Action::Boot && !reboot {
                    // The system before runs; only its boot entries could not be put in order.
                    self.reverted();
                    self.machine.memory.problem = Some(format!("revert: {outcome}"));
                } else {
                    let why = format!("switching back to {} failed: {outcome}", order.system);
                    self.reboot_to_revert(why);
                }
            }
            State::Idle | State::Fetching { .. } | State::Ready { .. } => {}
        }
    }

    /// The new system is live: now it has to prove itself.
    pub(super) fn soak(&mut self) {
        let policy = self.cx.policy;
        if let State::Trial { phase, .. } = &mut self.machine.journal.state {
            *phase = Phase::Soaking {
                deadline: self.cx.now + policy.health_deadline,
            };
        }
        self.probe();
    }

    pub(super) fn probe(&mut self) {
        if let State::Trial { system, .. } = &self.machine.journal.state {
            self.machine.memory.soak.probing = true;
            self.machine.memory.soak.next = None;
            self.effects.push(Effect::Probe(system.clone()));
        }
    }

    pub(super) fn probed(&mut self, report: Report) {
        let State::Trial {
            phase: Phase::Soaking { .. },
            target,
            ..
        } = self.machine.journal.state.clone()
        else {
            return;
        };
        let (now, policy) = (self.cx.now, self.cx.policy);
        let soak = &mut self.machine.memory.soak;
        soak.probing = false;
        soak.last = Some(report.clone());
        if report.healthy() {
            soak.failures = 0;
            let since = *soak.healthy_since.get_or_insert(now);
            if now.since(since) >= policy.soak {
                self.proven();
                return;
            }
            // Look once more exactly at the end of the soak.
            soak.next = Some((now + policy.health_interval).min(since + policy.soak));
            return;
        }
        soak.healthy_since = None;
        soak.failures += u32::from(!report.failures.is_empty());
        soak.next = Some(now + policy.health_interval);
        if soak.failures >= policy.max_failures {
            let evidence = Evidence {
                cause: Cause::Unhealthy,
                message: report.summary(),
                failures: report.failures,
                log: Vec::new(),
            };
            self.failed_health(target.is_some(), evidence);
        }
    }

    /// A release goes back; a system that somebody chose by hand stays, and is only reported.
    pub(super) fn failed_health(&mut self, release: bool, evidence: Evidence) {
        if release {
            self.revert(evidence);
        } else {
            self.machine.memory.problem = Some(format!(
                "the system that somebody switched to is not healthy: {}",
                evidence.message
            ));
            let problem = self.machine.memory.problem.take();
            self.go(State::Idle);
            self.machine.memory.problem = problem;
            self.retry_later();
        }
    }

    /// The trial stayed healthy.
    pub(super) fn proven(&mut self) {
        if let State::Trial {
            target,
            system,
            previous,
            mode,
            ..
        } = self.machine.journal.state.clone()
        {
            let action = match mode {
                Mode::Live => Action::Switch,
                // It runs already.
                Mode::Boot => Action::Boot,
            };
            let goal = Generation {
                system,
                release: target.as_ref().map(|target| target.release.clone()),
                since: self.cx.wall,
            };
            let origin = if target.is_some() {
                Origin::Trial
            } else {
                Origin::Adopt
            };
            self.commit(goal, target, previous, origin, (action, false));
        }
    }

    /// A trial ended through no fault of the release, as far as anybody knows: it may come again,
    /// but not for ever.
    pub(super) fn no_verdict(&mut self, evidence: Evidence) {
        let Some(target) = self.machine.journal.state.target().cloned() else {
            self.go(State::Idle);
            return;
        };
        let count = self.attempted(&target.release, &target.system);
        if count < self.cx.policy.trial_attempts {
            self.record(
                What::Interrupted,
                target.system.clone(),
                Some(&target),
                Some(evidence.message.clone()),
                None,
            );
            self.go(State::Idle);
            self.machine.memory.problem = Some(evidence.message);
            self.retry_later();
        } else {
            self.left_behind(Evidence {
                message: format!("{} ({count} trials ended like this)", evidence.message),
                ..evidence
            });
        }
    }

    /// Counts a trial without a verdict: how many there were of this release.
    pub(super) fn attempted(&mut self, release: &Name, system: &StorePath) -> u32 {
        let attempts = &mut self.machine.journal.attempts;
        let before = attempts
            .take()
            .filter(|a| a.release == *release && a.system == *system);
        let count = 1 + before.map_or(0, |a| a.count);
        *attempts = Some(Attempts {
            release: release.clone(),
            system: system.clone(),
            count,
        });
        count
    }
}
