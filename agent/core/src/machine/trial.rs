//! The trial: switched to, proven by its health, or left.

use super::{
    context::DEAD_MAN_MARGIN,
    decision::{Decision, Due},
    effect::{Effect, Guards},
    soak::{Proof, Soak},
};
use crate::{
    StorePath,
    baseline::Against,
    events,
    health::{Beside, Check, Failure, Report},
    journal::{Attempts, What},
    machine::state::{Cause, Evidence, Mode, Phase, Ready, Reverting, State, Trial},
    release::Name,
    switch::Outcome,
    time::Instant,
};
use std::{collections::BTreeMap, time::Duration};

/// A trial of which only the repository is missing so long before its deadline gets more time for its guard
/// then: at the deadline the guard may be due before that is done.
const PROLONG_BEFORE: Duration = Duration::from_secs(120);

impl Decision<'_> {
    pub(super) fn tick_trial(&mut self, trial: &Trial, due: Due) {
        match trial.phase {
            Phase::Soaking { .. } if trial.late.is_some() => self.tick_late(due),
            Phase::Soaking { deadline } => self.tick_soak(trial, deadline),
            Phase::Staged => {
                if due.retry {
                    self.ask_gates_if_free();
                }
                if due.poll {
                    self.poll();
                }
            }
            Phase::Booting if due.retry => self.reboot_into_trial(),
            _ => {}
        }
    }

    fn tick_soak(&mut self, trial: &Trial, deadline: Instant) {
        let now = self.cx.now;
        let deadline = self.without_sleep(deadline);
        if deadline <= now {
            let soak = self.memory.soak.clone();
            let mut evidence = soak.late(now, self.cx.policy.soak);
            let network = evidence.blames_the_repository();
            if network && !trial.reached {
                // Nor did the system before: that says nothing about this one.
                evidence.cause = Cause::Interrupted.into();
            }
            if evidence.names_another_system()
                || evidence.failures.is_empty() && self.may_look_again(trial)
            {
                // Somebody switched, or nobody looked often enough.
                evidence.cause = Cause::Interrupted.into();
            }
            let unreached = evidence.misses_the_repository();
            if self.doubts_the_network(trial, &evidence.failures, unreached) {
                evidence.cause = Cause::Interrupted.into();
            }
            if !network || trial.target.is_none() {
                self.memory.soak = Soak::default();
                self.end_unhealthy(trial, evidence);
                return;
            }
            self.begin_to_wait(evidence);
            if self.memory.soak.rests() {
                // The look whose answer came too late was the last one.
                self.probe();
            }
        }
        if self.memory.soak.next().is_some_and(|at| at <= now) {
            self.probe();
        }
    }

    /// The deadline of a soak: what the robot slept meanwhile is added to it.
    fn without_sleep(&mut self, deadline: Instant) -> Instant {
        let moved = deadline + self.memory.soak.slept(self.cx.slept);
        if let State::Trial(Trial {
            phase: Phase::Soaking { deadline },
            ..
        }) = &mut self.journal.state
        {
            *deadline = moved;
        }
        moved
    }

    /// The time is up, and no look found anything, but there were too few of them. Whatever kept the agent
    /// from looking may be the robot's fault, and the release's where it happens every time.
    fn may_look_again(&mut self, trial: &Trial) -> bool {
        let most = self.cx.policy.trial_attempts;
        trial.target.as_ref().is_none_or(|target| {
            self.count_attempt(&target.release, &target.system, Check::Agent) < most
        })
    }

    /// The time is up, and all that was missing was the repository. Nothing forces the way back, so it
    /// waits for a moment at which nobody minds, and the robot is guarded for longer.
    fn begin_to_wait(&mut self, evidence: Evidence) {
        if let State::Trial(trial) = &mut self.journal.state {
            trial.late = Some(evidence.shortened());
        }
        self.wait_to_leave();
    }

    /// Waits for a moment to go back, from now on or since before a restart of the agent.
    pub(super) fn wait_to_leave(&mut self) {
        let State::Trial(trial) = &self.journal.state else {
            return;
        };
        let (Some(evidence), previous) = (&trial.late, &trial.previous) else {
            return;
        };
        let goes = format!("the robot goes back to {previous} when its gates are open");
        let found = &evidence.message;
        let problem = if trial.failed_late() {
            format!("{found}; {goes}")
        } else {
            format!(
                "{found}; nothing is held against the release for that; {goes}, unless the repository is \
                 reached before"
            )
        };
        self.report(problem);
        self.prolong();
        self.ask_gates_if_free();
    }

    /// Something failed while it waited to be left. The robot may be at work by then, so that waits as well.
    fn fail_late(&mut self, evidence: Evidence) {
        self.memory.soak = Soak::default();
        self.begin_to_wait(evidence);
    }

    fn tick_late(&mut self, due: Due) {
        let now = self.cx.now;
        if self.memory.prolong.is_some_and(|at| at <= now) {
            self.prolong();
        }
        if due.retry {
            self.ask_gates_if_free();
        }
        if self.memory.soak.next().is_some_and(|at| at <= now) {
            self.probe();
        }
    }

    /// Gives the guard of a trial that waits to be left as much time as a trial has.
    fn prolong(&mut self) {
        if let State::Trial(trial) = &self.journal.state {
            let after = self.trial_time() + DEAD_MAN_MARGIN;
            self.effects.push(Effect::Prolong {
                mode: trial.mode,
                system: trial.system.clone(),
                previous: trial.previous.clone(),
                after,
            });
            self.memory.prolong = Some(self.cx.now + after / 2);
        }
    }

    /// Nobody minds: what did not reach the repository in time is left.
    pub(super) fn leave_late(&mut self) {
        if self.is_held_back() {
            return;
        }
        self.leave_now();
    }

    /// The guard of a trial that waited to be left got no more time and has left it: that says nothing
    /// beyond what was found before. Whether it was such a trial.
    pub(super) fn was_left_by_guard(&mut self, how: &str, log: Vec<String>) -> bool {
        let State::Trial(Trial {
            late: Some(found), ..
        }) = &self.journal.state
        else {
            return false;
        };
        let found = found.clone();
        self.abandon(Evidence {
            message: format!("{}; {how}", found.message),
            log,
            ..found
        });
        true
    }

    /// Leaves what waits to be left. Whether anything did.
    fn leave_now(&mut self) -> bool {
        let State::Trial(Trial {
            late: Some(evidence),
            ..
        }) = &self.journal.state
        else {
            return false;
        };
        let evidence = evidence.clone();
        self.revert_trial(evidence);
        true
    }

    pub(super) fn on_dead_man_failed(&mut self, why: String) {
        self.happened(events::Kind::PreparationFailed { why: why.clone() });
        if let State::Trial(Trial {
            phase: Phase::Arming,
            ..
        }) = self.journal.state
        {
            let why = format!("the dead-man timer could not be armed: {why}");
            self.end_without_verdict(Evidence::plain(Cause::Interrupted, why));
        }
        // Nothing stays on trial without its guard, whoever minds.
        if !self.leave_now() {
            // It is tried again.
            self.memory.prolong = None;
        }
    }

    pub(super) fn trial_switch_ended(
        &mut self,
        trial: Trial,
        outcome: &Outcome,
        log: Vec<String>,
        failures: Vec<Failure>,
    ) {
        match (trial.mode, outcome, trial.target) {
            (Mode::Boot, Outcome::Done, _) => self.wait_for_reboot(),
            // Nothing of the new system has run: it is the robot that could not do it.
            (Mode::Boot, _, _) => self.abandon(Evidence {
                cause: Cause::Interrupted.into(),
                message: format!("it could not be staged for a boot: {outcome}"),
                failures,
                log,
            }),
            (Mode::Live, _, _) if outcome.activated() => self.begin_soak(),
            (Mode::Live, Outcome::Locked, Some(target)) => {
                // Nothing was done, and it is nobody's fault that somebody else switches now.
                self.effects.push(Effect::Disarm(Guards::ALL));
                self.was_undisturbed();
                let problem = format!("release {} waits: {outcome}", target.release);
                self.go(State::Ready(Ready { target }));
                self.retry_with(problem);
            }
            (Mode::Live, Outcome::NeedsReboot, Some(target)) => {
                // Nothing was activated: try it by booting it.
                self.effects.push(Effect::Disarm(Guards::ALL));
                self.was_undisturbed();
                self.memory.other_init = Some(trial.system);
                self.go(State::Ready(Ready { target }));
                self.ask_gates_if_free();
            }
            (Mode::Live, _, _) => self.revert_trial(Evidence::of_switch(outcome, log, failures)),
        }
    }

    /// The new system is live: now it has to prove itself.
    fn begin_soak(&mut self) {
        let deadline = self.cx.now + self.cx.policy.health_deadline;
        if let State::Trial(trial) = &mut self.journal.state {
            trial.phase = Phase::Soaking { deadline };
        }
        self.probe();
    }

    pub(super) fn probe(&mut self) {
        if let State::Trial(Trial { system, .. }) = &self.journal.state {
            let system = system.clone();
            self.probe_system(system);
        }
    }

    /// A look at the system on trial, or being committed.
    pub(super) fn probe_system(&mut self, system: StorePath) {
        let (soak, now) = (&mut self.memory.soak, self.cx.now);
        soak.begin(now);
        soak.slept(self.cx.slept);
        let beside = match &self.journal.state {
            State::Trial(_) if soak.proves(now, self.cx.policy.soak) => Beside::Agent,
            State::Trial(_) => Beside::Nothing,
            // Its switch may have ended what its trial was proven with.
            _ => Beside::NixDaemon,
        };
        self.effects.push(Effect::Probe {
            system,
            at: now,
            against: Box::new(Against {
                baseline: self.journal.baseline.clone(),
                runs: soak.runs.clone(),
                aside: soak.aside.clone(),
            }),
            beside,
        });
    }

    pub(super) fn on_probed(&mut self, report: Report) {
        let about = match &self.journal.state {
            State::Idle | State::Fetching(_) | State::Ready(_) => {
                self.journal.aftermath.as_ref().map(|after| &after.system)
            }
            State::Committing(committing) => Some(&committing.goal.system),
            State::Trial(trial) => Some(&trial.system),
            State::Reverting(_) | State::Unknown(_) => None,
        };
        if report.system.is_some() && report.system.as_ref() != about {
            // A look at another system, which took its time.
            return;
        }
        match self.journal.state.clone() {
            State::Idle | State::Fetching(_) | State::Ready(_) => self.on_probed_back(report),
            State::Committing(committing) => self.on_probed_commit(committing, report),
            State::Trial(trial) => self.on_probed_trial(trial, report.with_network_pending()),
            State::Reverting(_) | State::Unknown(_) => {}
        }
    }

    fn on_probed_trial(&mut self, trial: Trial, report: Report) {
        if !report.healthy() {
            self.happened(events::Kind::Unhealthy {
                report: report.clone(),
            });
        }
        let Phase::Soaking { deadline } = trial.phase else {
            return;
        };
        if trial.failed_late() || self.was_to_be_left(&trial.system).is_some() {
            return;
        }
        let deadline = self.without_sleep(deadline);
        let (now, policy) = (self.cx.now, self.cx.policy);
        let soak = &mut self.memory.soak;
        let Some(looked) = soak.take(&report) else {
            return;
        };
        if trial.late.is_none() && deadline <= now {
            // Whatever the answer says, the guard of the trial may be acting already.
            self.tick_soak(&trial, deadline);
            return;
        }
        if report.names_another_system() {
            // What that means, the links say.
            soak.breaks(now + policy.health_interval);
            self.effects.push(Effect::Observe);
            return;
        }
        let proof = soak.judge((looked, &report), now, policy.soak, policy);
        if trial.late.is_some() && !report.healthy() {
            // It may take hours.
            soak.put_off(now + policy.gate_interval);
        }
        if trial.late.is_some() && report.failures.is_empty() && report.again.is_empty() {
            soak.count_anew();
        }
        match proof {
            Proof::None => {
                let soon = deadline.since(now) <= PROLONG_BEFORE;
                let first = trial.late.is_none() && self.memory.prolong.is_none();
                if first && soon && trial.target.is_some() && report.misses_only_its_surroundings()
                {
                    self.prolong();
                }
            }
            Proof::Healthy => {
                self.name_started(&trial.system, &report);
                self.commit_trial(trial);
            }
            Proof::Unhealthy(evidence) if trial.late.is_some() => self.fail_late(evidence),
            Proof::Unhealthy(mut evidence) => {
                let unreached = report.misses_the_repository();
                if self.doubts_the_network(&trial, &evidence.failures, unreached) {
                    evidence.cause = Cause::Interrupted.into();
                }
                self.end_unhealthy(&trial, evidence);
            }
        }
    }

    /// Whether all that failed passed before the trial while the repository was not reached, which is not
    /// reached now, either. Its server may have been down then, and the network be gone now: that is counted,
    /// and held against the release once it comes again every time.
    fn doubts_the_network(&mut self, trial: &Trial, found: &[Failure], unreached: bool) -> bool {
        let Some(target) = trial.target.as_ref().filter(|_| unreached) else {
            return false;
        };
        let before = self.journal.baseline.as_ref();
        let alone = |check: &Check| before.is_some_and(|before| before.alone.contains(check));
        let mut checks = found.iter().map(|failure| &failure.check);
        let others = checks.clone().find(|check| !check.is_of_surroundings());
        let (Some(check), true) = (
            others,
            checks.all(|check| alone(check) || *check == Check::ManifestServer),
        ) else {
            return false;
        };
        let most = self.cx.policy.trial_attempts;
        self.count_attempt(&target.release, &target.system, check.clone()) < most
    }

    /// Units run that somebody had stopped: for whoever did.
    pub(super) fn name_started(&mut self, system: &StorePath, report: &Report) {
        if !report.started.is_empty() {
            let why = format!(
                "these had been stopped before the trial and run now: {}",
                report.started.join(", ")
            );
            self.record(What::Started, system.clone(), None, Some(why), None);
        }
    }

    /// A release goes back; a system that somebody chose by hand stays, and is only reported.
    fn end_unhealthy(&mut self, trial: &Trial, evidence: Evidence) {
        if trial.target.is_some() {
            self.revert_trial(evidence);
        } else {
            self.rest_with(format!(
                "the system that somebody switched to is not healthy: {}",
                evidence.message
            ));
            self.retry_later();
        }
    }

    /// The trial stayed healthy.
    fn commit_trial(&mut self, trial: Trial) {
        let how = (trial.commit_action(), false);
        let (goal, origin) = (trial.goal(self.cx.wall), trial.origin());
        self.begin_commit(goal, trial.target, trial.previous, origin, how);
    }

    /// A trial ended through no fault of the release, as far as anybody knows: it comes again, and how
    /// often that disturbs the robot is counted.
    pub(super) fn end_without_verdict(&mut self, evidence: Evidence) {
        let Some(target) = self.journal.state.target().cloned() else {
            // No release is to be tried again.
            let problem = evidence.message.clone();
            self.end_with_verdict(evidence);
            self.report(problem);
            return;
        };
        let withdrawn = evidence.cause == Cause::Withdrawn;
        let message = evidence.message.clone();
        self.trial_ended(
            What::Interrupted,
            target.system,
            Some(target.release),
            Some(evidence),
        );
        if withdrawn {
            // Nobody failed.
            self.go(State::Idle);
            self.poll();
            return;
        }
        self.rest_with(message);
        self.memory.setbacks = self.memory.setbacks.saturating_add(1);
        self.memory.retry = Some(self.after_failures(self.memory.setbacks));
    }

    /// The system before runs again: remember why, and go on.
    pub(super) fn end_with_verdict(&mut self, evidence: Evidence) {
        let (State::Trial(Trial { target, system, .. })
        | State::Reverting(Reverting {
            target,
            failed: system,
            ..
        })) = self.journal.state.clone()
        else {
            return;
        };
        self.effects.push(Effect::Disarm(Guards::ALL));
        self.trial_ended(
            What::Reverted,
            system,
            target.as_ref().map(|target| target.release.clone()),
            Some(evidence.clone()),
        );
        match target {
            Some(target) if evidence.blames_its_surroundings() => {
                let suspect = self.blocked(&target.release, &target.system, evidence);
                self.journal.suspect = Some(suspect);
            }
            Some(target) => {
                self.journal.attempts = None;
                self.block(&target, evidence);
            }
            None => {}
        }
        self.go(State::Idle);
        self.poll();
    }

    /// Counts a trial that leaves a doubt, and tells it: how many of this release failed in this check.
    pub(super) fn count_attempt(
        &mut self,
        release: &Name,
        system: &StorePath,
        check: Check,
    ) -> u32 {
        let before = self.journal.attempts.take();
        let before = before.filter(|a| a.release == *release && a.system == *system);
        let mut attempts = before.unwrap_or_else(|| Attempts {
            release: release.clone(),
            system: system.clone(),
            count: 0,
            checks: BTreeMap::new(),
        });
        // An older agent counted all of them together.
        let known: u32 = attempts.checks.values().sum();
        let unknown = attempts.count.saturating_sub(known);
        attempts.count += 1;
        let of_check = attempts.checks.entry(check.clone()).or_insert(unknown);
        *of_check += 1;
        let times = *of_check;
        let most = self.cx.policy.trial_attempts;
        self.journal.attempts = Some(attempts);
        self.record(
            What::Doubted,
            system.clone(),
            Some(release.clone()),
            Some(format!(
                "its trial failed in '{check}', and the system before does not: {times} of {most} times"
            )),
            None,
        );
        times
    }
}
