//! The commit: only forward.

use super::{Decision, Effect};
use crate::{
    StorePath,
    journal::What,
    machine::state::{Cause, Evidence, Generation, Origin, State},
    release::Target,
    switch::{Action, Kind},
};

impl Decision<'_> {
    pub(super) fn commit(
        &mut self,
        goal: Generation,
        target: Option<Target>,
        previous: StorePath,
        origin: Origin,
        (action, reboot): (Action, bool),
    ) {
        // From here on only forward: the dead-man timer must not go back.
        self.effects.push(Effect::DisarmDeadMan);
        let rollback = matches!(origin, Origin::Rollback { .. });
        let order = self.order(Kind::Commit, goal.system.clone(), action, rollback);
        self.effects.push(Effect::Switch(order.clone()));
        self.go(State::Committing {
            goal,
            target,
            previous,
            origin,
            order,
            attempts: 1,
            reboot,
        });
    }

    pub(super) fn commit_again(&mut self) {
        if let State::Committing {
            goal,
            target,
            previous,
            origin,
            order,
            attempts,
            reboot,
        } = self.machine.journal.state.clone()
        {
            let order = self.order(Kind::Commit, order.system, order.action, order.no_check);
            self.effects.push(Effect::DisarmDeadMan);
            self.effects.push(Effect::Switch(order.clone()));
            self.go(State::Committing {
                goal,
                target,
                previous,
                origin,
                order,
                attempts: attempts.saturating_add(1),
                reboot,
            });
        }
    }

    /// Goes on after a restart; `needed`: whether the reboot into it has not happened yet.
    pub(super) fn forward(&mut self, needed: bool) {
        let State::Committing {
            reboot,
            attempts,
            previous,
            ..
        } = &mut self.machine.journal.state
        else {
            return;
        };
        *reboot = needed;
        if needed && *attempts >= self.cx.policy.commit_attempts {
            // Each attempt may have cost a reboot, and the system before came up each time.
            let (previous, attempts) = (previous.clone(), *attempts);
            let why = format!("{attempts} times the boot loader did not start it");
            self.revert_to(
                previous,
                Action::Boot,
                false,
                Evidence::plain(Cause::Commit, why),
            );
        } else {
            self.commit_again();
        }
    }

    /// The boot loader starts the system that a person went back to: reboots into it, at a permitted
    /// moment. Whoever reboots the robot before that arrives there, too.
    pub(super) fn reboot_into(&mut self) {
        self.expire();
        let State::Committing { goal, .. } = &self.machine.journal.state else {
            return;
        };
        let why = format!("going back to {}", goal.system);
        self.machine.memory.rebooting = true;
        if let Some(hold) = self.machine.journal.holds.first() {
            self.machine.memory.problem = Some(format!(
                "{why}; the robot will be rebooted when the hold of {} ends",
                hold.owner
            ));
            self.machine.memory.retry = Some(self.cx.now + self.cx.policy.retry_delay);
        } else {
            self.reboot(why);
        }
    }

    pub(super) fn committed(&mut self) {
        let State::Committing { goal, origin, .. } = self.machine.journal.state.clone() else {
            return;
        };
        let old = self.machine.journal.confirmed.replace(goal.clone());
        let journal = &mut self.machine.journal;
        journal.attempts = None;
        journal.fallbacks.retain(|g| g.system != goal.system);
        let (what, why, by) = match origin {
            Origin::Trial | Origin::Adopt => {
                if let Some(old) = old.filter(|old| old.system != goal.system) {
                    journal.fallbacks.insert(0, old);
                    journal.fallbacks.truncate(self.cx.policy.keep);
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
                if let Some(old) = old.filter(|old| old.system != goal.system) {
                    self.block_left(&old, &why);
                }
                (What::RolledBack, Some(why), Some(by))
            }
            Origin::Restore { why } => (What::Restored, Some(why), None),
        };
        self.record_generation(what, &goal, why, by);
        self.go(State::Idle);
        self.effects.push(Effect::Renew);
        self.poll();
    }

    /// Blocks the release that a person went back from.
    pub(super) fn block_left(&mut self, old: &Generation, why: &str) {
        if let Some(release) = &old.release {
            let evidence = Evidence::plain(Cause::Rollback, why.to_owned());
            self.push_blocked(self.blocked(release, &old.system, evidence));
        }
    }
}
