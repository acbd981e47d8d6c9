//! The commit: only forward.

use super::*;

impl Decision<'_> {
    pub(super) fn commit(
        &mut self,
        goal: Generation,
        target: Option<Target>,
        previous: StorePath,
        origin: Origin,
        action: Action,
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
            });
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
            let entry = Blocked {
                release: release.clone(),
                system: old.system.clone(),
                evidence: Evidence::plain(Cause::Rollback, why.to_owned()),
                since: self.cx.wall,
            };
            self.push_blocked(entry);
        }
    }
}
