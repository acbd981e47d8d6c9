//! The commit: only forward.

use super::{
    decision::{Decision, Due},
    effect::{Effect, Guards},
};
use crate::{
    StorePath,
    health::Failure,
    journal::What,
    machine::state::{Cause, Committing, Evidence, Generation, Origin, State},
    release::Target,
    switch::{Action, Outcome, Purpose},
};

impl Decision<'_> {
    pub(super) fn tick_committing(&mut self, reboot: bool, due: Due) {
        if due.retry && reboot && self.memory.rebooting {
            self.reboot_into_commit();
        } else if due.retry {
            self.retry_commit();
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
        // From here on only forward: the dead-man timer must not go back.
        self.effects.push(Effect::Disarm(Guards::ALL));
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

    fn retry_commit(&mut self) {
        if let State::Committing(committing) = self.journal.state.clone() {
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
        } else if outcome.activated() {
            self.finish_commit(committing);
        } else if committing.attempts < self.cx.policy.commit_attempts {
            let again = self.cx.now + self.cx.policy.retry_delay;
            self.wait_with(format!("commit: {outcome}"), again);
        } else if matches!(committing.origin, Origin::Adopt | Origin::Restore { .. })
            || !self.is_confirmed(&committing.previous)
        {
            // There is nothing better to go back to: what runs is what should run, or a person wanted
            // to leave what somebody had switched to.
            self.rest_with(format!("commit: {outcome}"));
            self.retry_later();
        } else {
            let evidence = Evidence {
                cause: Cause::Commit.into(),
                ..Evidence::of_switch(outcome, log, failures)
            };
            let action = committing.order.action;
            // Until the reboot the system before still runs.
            let reboot = action == Action::Boot && !committing.reboot;
            self.begin_revert(committing.previous, action, reboot, evidence);
        }
    }

    fn finish_commit(&mut self, Committing { goal, origin, .. }: Committing) {
        let old = self.journal.confirmed.replace(goal.clone());
        let old = old.filter(|old| old.system != goal.system);
        self.journal.attempts = None;
        self.journal.lost = None;
        self.journal.left_in_profile = None;
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
                    self.block_left(&old, &why);
                }
                (What::RolledBack, Some(why), Some(by))
            }
            Origin::Restore { why } => (What::Restored, Some(why), None),
        };
        self.record(what, goal.system, goal.release, why, by);
        self.go(State::Idle);
        self.effects.push(Effect::Renew);
        self.poll();
    }

    /// Blocks the release that a person went back from.
    fn block_left(&mut self, old: &Generation, why: &str) {
        if let Some(release) = &old.release {
            let evidence = Evidence::plain(Cause::Rollback, why.to_owned());
            self.push_blocked(self.blocked(release, &old.system, evidence));
        }
    }
}
