//! The commit: only forward.

use super::{
    decision::{Decision, Due},
    effect::{Effect, Guards},
    event::{Answer, Refusal},
    soak::{Proof, Soak},
};
use crate::{
    RollbackTo, StorePath,
    disturbance::What as Disturbed,
    events::Kind,
    gate::Stage,
    health::{Failure, Report},
    journal::What,
    machine::state::{Cause, Committing, Evidence, Generation, Origin, State},
    release::Target,
    resolver::World,
    switch::{Action, Outcome, Purpose},
};
use std::time::Duration;

/// How long the reason of a way back may grow by people who ask for it again, bytes.
const MAX_ASKED: usize = 2_000;

/// Adds what somebody says to a reason that goes into the history, which nobody may fill by asking.
pub(super) fn add_words(why: &mut String, asked: &str) {
    if why.len() + asked.len() < MAX_ASKED {
        *why = format!("{why}; {asked}");
    }
}

impl Decision<'_> {
    pub(super) fn tick_committing(&mut self, committing: &Committing, due: Due) {
        let now = self.cx.now;
        self.memory.soak.slept(self.cx.slept);
        if self.memory.soak.until.is_some_and(|until| until <= now) {
            let soak = std::mem::take(&mut self.memory.soak);
            if soak.found_something() {
                let mut evidence = soak.late(now, Duration::ZERO);
                if evidence.names_another_system() {
                    evidence.cause = Cause::Interrupted.into();
                }
                self.leave_unhealthy(committing.clone(), evidence);
            } else {
                // It was healthy for the whole soak, and nothing speaks against it.
                self.finish_commit(committing.clone());
            }
        } else if self.memory.soak.next().is_some_and(|at| at <= now) {
            self.probe_system(committing.goal.system.clone());
        } else if due.retry && committing.reboot && self.memory.rebooting {
            self.reboot_into_commit();
        } else if due.retry {
            self.retry_commit();
        } else if due.poll && self.commit_waits() {
            self.poll();
        }
    }

    pub(super) fn begin_commit(
        &mut self,
        goal: Generation,
        target: Option<Target>,
        previous: StorePath,
        origin: Origin,
        (action, reboot): (Action, bool),
    ) {
        if !matches!(origin, Origin::Restore { .. }) {
            self.memory.failures = 0;
        }
        if action == Action::Switch {
            // What a trial led to runs already, and a person knows what a rollback does.
            match origin {
                Origin::Restore { .. } => self.disturb(&goal.system, Disturbed::Restore),
                Origin::Adopt => self.disturb(&goal.system, Disturbed::Adopt),
                Origin::Trial | Origin::Rollback { .. } => {}
            }
        }
        // From here on only forward: the dead-man timer must not go back.
        self.effects.push(Effect::Disarm(Guards::ALL));
        if !matches!(origin, Origin::Restore { .. }) {
            // What an earlier trial made worse stays known until this one is confirmed.
            self.leave_aftermath();
        }
        let rollback = matches!(origin, Origin::Rollback { .. });
        let order = self.order(Purpose::Commit, goal.system.clone(), action, rollback);
        self.effects.push(Effect::Switch(order.clone()));
        self.go(State::Committing(Committing {
            goal,
            target,
            previous,
            origin,
            order,
            attempts: 1,
            reboot,
        }));
    }

    pub(super) fn retry_commit(&mut self) {
        if let State::Committing(committing) = self.journal.state.clone() {
            if self.leave_commit_as_wanted(&committing) {
                return;
            }
            let order = committing.order.clone();
            let order = self.order(Purpose::Commit, order.system, order.action, order.no_check);
            self.effects.push(Effect::Disarm(Guards::ALL));
            self.effects.push(Effect::Switch(order.clone()));
            self.go(State::Committing(committing.again(order)));
        }
    }

    /// Goes on after a restart; `needed`: whether the reboot into it has not happened yet.
    pub(super) fn continue_commit(&mut self, needed: bool) {
        let State::Committing(committing) = &mut self.journal.state else {
            return;
        };
        committing.reboot = needed;
        if !needed || committing.attempts < self.cx.policy.commit_attempts {
            self.retry_commit();
            return;
        }
        // Each attempt may have cost a reboot, and the system before came up each time.
        let why = format!(
            "{} times the boot loader did not start it",
            committing.attempts
        );
        let previous = committing.previous.clone();
        if self.is_confirmed(&previous) {
            let evidence = Evidence::plain(Cause::Commit, why);
            self.begin_revert(previous, Action::Boot, false, evidence);
        } else {
            self.rest_with(format!("commit: {why}"));
            self.retry_later();
        }
    }

    /// Whether this is the confirmed system. No other may become what the boot loader starts by
    /// default because a commit failed.
    fn is_confirmed(&self, system: &StorePath) -> bool {
        let confirmed = self.journal.confirmed.as_ref();
        confirmed.is_some_and(|confirmed| confirmed.system == *system)
    }

    pub(super) fn commit_switch_ended(
        &mut self,
        committing: Committing,
        outcome: &Outcome,
        log: Vec<String>,
        failures: Vec<Failure>,
    ) {
        if outcome.activated() && committing.reboot {
            self.reboot_into_commit();
        } else if outcome.activated() && self.is_looked_at_again(&committing) {
            self.memory.soak = Soak::default();
            self.memory.soak.until = Some(self.cx.now + self.cx.policy.health_deadline);
            self.memory.soak.slept(self.cx.slept);
            self.probe_system(committing.goal.system);
        } else if outcome.activated() {
            self.finish_commit(committing);
        } else {
            if *outcome == Outcome::ActivationFailed
                && matches!(committing.origin, Origin::Rollback { .. })
            {
                // The switch went on, so the robot may be where a person wants it.
                self.memory.half_rolled_back = true;
                self.effects.push(Effect::Observe);
            }
            self.commit_failed(committing, outcome, log, failures);
        }
    }

    /// The activation script of the system that a person wants back failed, and the robot was looked at since:
    /// where all names that system, the rollback is done. Nothing better is known, and they are told.
    pub(super) fn look_for_a_rollback(&mut self, world: &World) {
        let State::Committing(committing) = &self.journal.state else {
            return;
        };
        let goal = Some(&committing.goal.system);
        let named = [&world.current, &world.profile];
        if !self.memory.half_rolled_back
            || world.leftovers
            || world.silent
            || named.iter().any(|system| system.as_ref() != goal)
            || world.default.is_some() && world.default.as_ref() != goal
        {
            return;
        }
        let mut committing = committing.clone();
        if let Origin::Rollback { why, .. } = &mut committing.origin {
            add_words(why, &Outcome::ActivationFailed.to_string());
            self.finish_commit(committing);
        }
    }

    /// Whether the switch of this commit started services of the release once more, and there is something
    /// to compare them with and to go back to.
    fn is_looked_at_again(&self, committing: &Committing) -> bool {
        committing.origin == Origin::Trial
            && committing.order.action == Action::Switch
            && self.journal.baseline.is_some()
            && self.is_confirmed(&committing.previous)
    }

    /// A look at what the commit's switch left. Not at the network: that was judged in the trial.
    pub(super) fn on_probed_commit(&mut self, committing: Committing, report: Report) {
        let report = report.without_network();
        if !report.healthy() {
            self.happened(Kind::Unhealthy {
                report: report.clone(),
            });
        }
        let Some(looked) = self.memory.soak.take(&report) else {
            return;
        };
        let (now, policy) = (self.cx.now, self.cx.policy);
        let soak = &mut self.memory.soak;
        if report.names_another_system() {
            soak.breaks(now + policy.health_interval);
            self.effects.push(Effect::Observe);
            return;
        }
        match soak.judge((looked, &report), now, Duration::ZERO, policy) {
            Proof::None => {}
            Proof::Healthy => self.finish_commit(committing),
            Proof::Unhealthy(evidence) => self.leave_unhealthy(committing, evidence),
        }
    }

    /// It was healthy in the trial, and the switch that commits it has made it worse.
    fn leave_unhealthy(&mut self, committing: Committing, evidence: Evidence) {
        let message = format!(
            "healthy in its trial, and not after the switch of its commit: {}",
            evidence.message
        );
        self.leave_commit(
            committing,
            Evidence {
                message,
                ..evidence
            },
        );
    }

    /// What becomes of a commit that was not done. A system that proved healthy is not left because the
    /// boot loader cannot be written now, or somebody else switches: it waits for as long as that takes.
    fn commit_failed(
        &mut self,
        committing: Committing,
        outcome: &Outcome,
        log: Vec<String>,
        failures: Vec<Failure>,
    ) {
        let problem = format!("commit: {outcome}");
        if !outcome.touched_nothing() {
            self.disturb(&committing.goal.system, Disturbed::Commit);
        }
        if committing.attempts < self.cx.policy.commit_attempts {
            let again = self.cx.now + self.cx.policy.retry_delay;
            self.wait_with(problem, again);
            return;
        }
        let proven = matches!(committing.origin, Origin::Trial | Origin::Rollback { .. });
        if proven && outcome.touched_nothing() {
            self.retry_with(problem);
            self.find_own(&committing);
            if self.memory.next_poll.is_none() {
                self.poll();
            }
        } else if matches!(committing.origin, Origin::Adopt | Origin::Restore { .. })
            || !self.is_confirmed(&committing.previous)
        {
            // There is nothing better to go back to: what runs is what should run, or a person wanted
            // to leave what somebody had switched to. What is adopted later may be the loader's default
            // by now: should it not run any more before that, it is taken out again.
            if committing.origin == Origin::Adopt {
                self.journal.left_in_profile = Some(committing.goal.system);
            }
            self.rest_with(problem);
            self.retry_later();
        } else {
            let evidence = Evidence::of_switch(outcome, log, failures);
            let evidence = Evidence {
                cause: if evidence.cause == Cause::Killed {
                    evidence.cause
                } else {
                    Cause::Commit.into()
                },
                ..evidence
            };
            self.leave_commit(committing, evidence);
        }
    }

    /// Whether a commit waits to be tried again: no switch runs.
    pub(super) fn commit_waits(&self) -> bool {
        matches!(self.journal.state, State::Committing(_)) && self.memory.commit_waits()
    }

    /// Goes back from a system that could not be committed.
    fn leave_commit(&mut self, committing: Committing, evidence: Evidence) {
        let action = committing.order.action;
        // Until the reboot the system before still runs.
        let reboot = action == Action::Boot && !committing.reboot;
        self.begin_revert(committing.previous, action, reboot, evidence);
    }

    /// A release that proved healthy cannot be installed: maybe it is in its own way, and the system before
    /// is there to go back to.
    fn find_own(&mut self, committing: &Committing) {
        let Committing {
            goal,
            previous,
            origin,
            target,
            ..
        } = committing;
        if *origin == Origin::Trial && target.is_some() && self.is_confirmed(previous) {
            self.effects.push(Effect::FindOwn {
                system: goal.system.clone(),
                before: previous.clone(),
            });
        }
    }

    /// Nobody but the release itself keeps it from being installed. What lasts longer than a switch may take
    /// does not end by itself: the robot would wait for ever, and each power-on would begin a trial.
    pub(super) fn on_in_its_own_way(&mut self, own: Option<String>) {
        let Some(own) = own.filter(|_| self.commit_waits()) else {
            self.memory.own_way = None;
            return;
        };
        let (now, patience) = (self.cx.now, self.cx.policy.switch_timeout);
        let since = *self.memory.own_way.get_or_insert(now);
        if now.since(since) >= patience {
            let message = format!(
                "it kept itself from being committed for {} s: {own}",
                now.since(since).as_secs()
            );
            self.leave_when_allowed(Evidence::plain(Cause::InItsOwnWay, message));
        }
    }

    /// What waits for its commit runs, and leaving it is a switch: when nobody minds one.
    pub(super) fn leave_when_allowed(&mut self, evidence: Evidence) {
        self.memory.leaves = Some(evidence);
        self.effects.push(Effect::AskGates(Stage::Activate));
    }

    /// What waits for its commit is to be left, and nobody minds a switch.
    pub(super) fn leave_waiting(&mut self) {
        if let (State::Committing(committing), Some(evidence)) =
            (self.journal.state.clone(), self.memory.leaves.take())
        {
            self.leave_commit(committing, evidence);
        }
    }

    /// A person asks for the way back that waits: in their words, too.
    fn asked_again(&mut self, asked: &str, by: &str) {
        let State::Committing(committing) = &mut self.journal.state else {
            return;
        };
        let (mut why, by) = match &committing.origin {
            Origin::Rollback { why, by } => (why.clone(), by.clone()),
            Origin::Restore { why } => (why.clone(), by.to_owned()),
            Origin::Trial | Origin::Adopt => return,
        };
        add_words(&mut why, asked);
        committing.origin = Origin::Rollback { why, by };
    }

    /// A person wants to go back while a commit waits: from what was on trial to the system before; or
    /// sees that the way back itself waits, and has it tried again at once. A way back that gets on is what
    /// they want.
    pub(super) fn roll_back_from_commit(
        &mut self,
        to: Option<&RollbackTo>,
        force: bool,
        (why, by): (&str, &str),
    ) -> Answer {
        let State::Committing(committing) = self.journal.state.clone() else {
            return Err(Refusal::NothingToDo("nothing is committed".to_owned()));
        };
        let from_trial = matches!(committing.origin, Origin::Trial | Origin::Adopt);
        let waits = self.commit_waits();
        if from_trial && !waits {
            return Err(Refusal::Refused(
                "busy committing; try again when that is done".to_owned(),
            ));
        }
        let goal = if from_trial {
            &committing.previous
        } else {
            &committing.goal.system
        };
        let goal = goal.clone();
        if to.is_some_and(|to| !self.is_named(to, &goal)) {
            let problem = self.memory.problem.as_deref();
            return Err(Refusal::Refused(if waits {
                format!(
                    "a commit waits ({}); now the robot can only go back to {goal}",
                    problem.unwrap_or("it is tried again")
                )
            } else {
                format!("the robot is on its way back to {goal}; try again when that is done")
            }));
        }
        self.may_go_back(force, by)?;
        if from_trial {
            let evidence = Evidence::plain(Cause::Rollback, format!("{by}: {why}"));
            self.leave_commit(committing, evidence);
            Ok(format!("going back to {goal}"))
        } else {
            self.asked_again(&format!("{by}: {why}"), by);
            if !waits {
                return Ok(format!("the robot is on its way back to {goal} already"));
            }
            self.retry_commit();
            Ok(format!("trying again to go back to {goal}"))
        }
    }

    fn finish_commit(&mut self, Committing { goal, origin, .. }: Committing) {
        if !matches!(origin, Origin::Restore { .. }) {
            self.drop_aftermath();
        }
        let old = self.journal.confirmed.replace(goal.clone());
        let old = old.filter(|old| old.system != goal.system);
        self.journal.attempts = None;
        // What was put back or adopted after somebody's switch excuses nothing.
        let proven = matches!(origin, Origin::Trial | Origin::Rollback { .. });
        let counted = &mut self.journal.disturbances;
        counted.take_if(|counted| proven && counted.system == goal.system);
        self.memory.setbacks = 0;
        self.journal.lost = None;
        self.journal.left_in_profile = None;
        self.journal.named_before = None;
        self.journal.fallbacks.retain(|g| g.system != goal.system);
        let (what, why, by) = match origin {
            Origin::Trial | Origin::Adopt => {
                if let Some(old) = old {
                    self.journal.fallbacks.insert(0, old);
                    self.journal.fallbacks.truncate(self.cx.policy.keep);
                }
                let what = if origin == Origin::Trial {
                    What::Confirmed
                } else {
                    What::Adopted
                };
                (what, None, None)
            }
            Origin::Rollback { why, by } => {
                // What was left does not come back by itself.
                if let Some(old) = old {
                    self.block_left(&old, &why, &by);
                }
                self.unblock_goal(&goal.system, &by);
                (What::RolledBack, Some(why), Some(by))
            }
            Origin::Restore { why } => (What::Restored, Some(why), None),
        };
        if what == What::Confirmed {
            self.trial_ended(what, goal.system, goal.release, None);
        } else {
            self.record(what, goal.system, goal.release, why, by);
        }
        self.go(State::Idle);
        self.effects.push(Effect::Renew);
        self.poll();
    }
}
