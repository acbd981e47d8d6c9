//! The way back, to the system that ran before.

use super::{
    commit::add_words,
    decision::{Decision, Due},
    effect::{Effect, Guards},
    event::{Answer, Refusal},
};
use crate::{
    RollbackTo, StorePath,
    health::Check,
    machine::state::{Cause, Evidence, Mode, Reverting, State},
    resolver::World,
    switch::{Action, Order, Outcome, Purpose},
};

impl Decision<'_> {
    pub(super) fn tick_reverting(&mut self, due: Due) {
        if due.retry {
            self.retry_revert();
        }
    }

    /// Leaves the trial for the system that ran before it.
    pub(super) fn revert_trial(&mut self, evidence: Evidence) {
        let State::Trial(trial) = &self.journal.state else {
            return;
        };
        if let Some(order) = trial.phase.order() {
            self.effects.push(Effect::StopSwitch(order.clone()));
        }
        // In another boot than it was staged in it has been booted, whatever was planned.
        let elsewhen = trial.mode == Mode::Boot && trial.boot != *self.cx.boot;
        let (action, reboot) = (trial.revert_action(), trial.may_be_booted() || elsewhen);
        self.begin_revert(trial.previous.clone(), action, reboot, evidence);
    }

    /// `reboot`: whether only a reboot leads there.
    pub(super) fn begin_revert(
        &mut self,
        system: StorePath,
        action: Action,
        reboot: bool,
        evidence: Evidence,
    ) {
        if matches!(self.journal.state, State::Trial(_))
            && !self.journal.state.may_have_changed_what_ran()
        {
            // It never ran: what changed meanwhile is not its doing.
            self.journal.baseline = None;
        }
        let (target, failed) = match &self.journal.state {
            State::Trial(trial) => (trial.target.clone(), trial.system.clone()),
            State::Committing(committing) => {
                (committing.target.clone(), committing.goal.system.clone())
            }
            _ => return,
        };
        let order = self.way_back(system, action, &failed);
        self.effects.push(Effect::Switch(order.clone()));
        self.go(State::Reverting(Reverting {
            target,
            failed,
            order,
            evidence: evidence.shortened(),
            attempts: 1,
            reboots: 0,
            reboot,
        }));
    }

    /// What was tried in vain leaves the profile, unless the robot may still go back to it.
    fn way_back(&mut self, system: StorePath, action: Action, failed: &StorePath) -> Order {
        let needed =
            self.journal.proven().any(|proven| proven.system == *failed) || system == *failed;
        let remove = (action != Action::Test && !needed).then(|| failed.clone());
        Order {
            remove,
            ..self.order(Purpose::Revert, system, action, true)
        }
    }

    fn retry_revert(&mut self) {
        if let State::Reverting(reverting) = self.journal.state.clone() {
            let order = reverting.order.clone();
            let order = self.way_back(order.system, order.action, &reverting.failed);
            self.effects.push(Effect::Switch(order.clone()));
            self.go(State::Reverting(reverting.again(order)));
        }
    }

    /// A person wants to go back, which the robot does already: it is tried anew, with all its tries, where
    /// it does not get on.
    pub(super) fn roll_back_from_revert(
        &mut self,
        to: Option<&RollbackTo>,
        force: bool,
        (why, by): (&str, &str),
    ) -> Answer {
        let State::Reverting(reverting) = &self.journal.state else {
            return Err(Refusal::NothingToDo("nothing is left".to_owned()));
        };
        let goal = reverting.order.system.clone();
        if to.is_some_and(|to| !self.is_named(to, &goal)) {
            return Err(Refusal::Refused(format!(
                "the robot is on its way back to {goal}, and can go nowhere else"
            )));
        }
        self.may_go_back(force, by)?;
        let stuck = self.memory.problem.is_some();
        if let State::Reverting(reverting) = &mut self.journal.state {
            add_words(&mut reverting.evidence.message, &format!("{by}: {why}"));
            if stuck {
                reverting.attempts = 0;
                reverting.reboots = 0;
            }
        }
        if !stuck {
            return Ok(format!("the robot is on its way back to {goal} already"));
        }
        self.retry_revert();
        Ok(format!("trying again to go back to {goal}"))
    }

    /// Goes on after a restart; `needed`: whether only a reboot leads back.
    pub(super) fn continue_revert(&mut self, needed: bool) {
        if let State::Reverting(reverting) = &mut self.journal.state {
            reverting.reboot = needed;
        }
        self.retry_revert();
    }

    pub(super) fn revert_switch_ended(&mut self, reverting: Reverting, outcome: &Outcome) {
        if outcome.was_cut_off() || *outcome == Outcome::NotStarted {
            self.nothing_against_the_release();
        }
        let order = &reverting.order;
        let nothing_began = reverting.evidence.cause == Cause::NotStarted
            && *outcome == Outcome::NotStarted
            && order.action == Action::Test;
        if nothing_began {
            // The robot starts no switch at all: maybe nothing was changed, and a look says so.
            self.memory.unstarted = true;
            self.effects.push(Effect::Observe);
        }
        if outcome.activated() && reverting.reboot {
            self.reboot_to_revert(format!("going back to {}", order.system));
        } else if outcome.activated() {
            self.finish_revert();
        } else if reverting.attempts < self.revert_attempts(outcome) {
            let again = self.cx.now + self.cx.policy.retry_delay;
            self.wait_with(format!("revert: {outcome}"), again);
        } else if order.action == Action::Boot && !reverting.reboot {
            // The system before runs; only its boot entries could not be put in order yet.
            self.finish_revert();
            self.report(format!("revert: {outcome}"));
        } else {
            self.report(format!("revert: {outcome}"));
            let why = format!("switching back to {} failed: {outcome}", order.system);
            self.reboot_to_revert(why);
        }
    }

    /// No switch could be started, neither there nor back, and the robot was looked at since: where nothing
    /// was changed, nothing has to be brought back.
    pub(super) fn look_for_a_change(&mut self, world: &World) {
        if let State::Reverting(reverting) = &self.journal.state
            && std::mem::take(&mut self.memory.unstarted)
            && world.current.as_ref() == Some(&reverting.order.system)
            && !world.leftovers
        {
            self.finish_revert();
        }
    }

    /// How often the way back is tried after this outcome before the robot reboots. Somebody else's switch
    /// is waited for as long as a switch may take: a reboot would cut it off, maybe while it writes the boot
    /// loader. Whoever holds the lock for longer does not switch, and what is to be left runs meanwhile.
    fn revert_attempts(&self, outcome: &Outcome) -> u32 {
        let policy = self.cx.policy;
        let most = policy.revert_attempts;
        if *outcome != Outcome::Locked {
            return most;
        }
        let delay = policy.retry_delay.as_millis().max(1);
        let waits = policy.switch_timeout.as_millis().div_ceil(delay);
        most.saturating_add(u32::try_from(waits).unwrap_or(u32::MAX))
    }

    /// A release was tried and is left: should profile or loader name it all the same, or what somebody
    /// installed meanwhile, the next look at the robot puts that right. Called before the state is left.
    pub(super) fn leave_nothing_behind(&mut self) {
        let state = &self.journal.state;
        let confirmed = self.journal.confirmed.as_ref().map(|c| &c.system);
        if state.target().is_some() && state.next() != confirmed {
            self.journal.left_in_profile = state.next().cloned();
        }
    }

    /// The switch of the system before is ended, too: whatever does that ends switches as such.
    fn nothing_against_the_release(&mut self) {
        if let State::Reverting(reverting) = &mut self.journal.state
            && reverting.evidence.is_doubtful()
        {
            reverting.evidence.cause = Cause::Interrupted.into();
        }
    }

    /// A switch that was cut off is held against its release once that has happened
    /// [`trial_attempts`](crate::machine::Policy::trial_attempts) times.
    pub(super) fn finish_revert(&mut self) {
        if let State::Reverting(reverting) = &self.journal.state {
            let mut evidence = reverting.evidence.clone();
            if evidence.is_doubtful()
                && let Some(target) = reverting.target.clone()
                && self.count_attempt(&target.release, &target.system, Check::Switch)
                    < self.cx.policy.trial_attempts
            {
                evidence.cause = Cause::Interrupted.into();
            }
            if evidence.is_verdict() {
                self.end_with_verdict(evidence);
            } else {
                self.effects.push(Effect::Disarm(Guards::ALL));
                self.end_without_verdict(evidence);
            }
        }
    }
}
