//! The way back, to the system that ran before.

use super::{Decision, Effect, MAX_REBOOTS, REBOOT_PATIENCE};
use crate::{
    StorePath,
    journal::What,
    machine::state::{Evidence, Mode, Phase, State},
    switch::{Action, Kind, Order},
};

impl Decision<'_> {
    /// Leaves the trial for the system that ran before it.
    pub(super) fn revert(&mut self, evidence: Evidence) {
        let State::Trial {
            previous,
            phase,
            mode,
            ..
        } = self.machine.journal.state.clone()
        else {
            return;
        };
        if let Phase::Switching { order } | Phase::Staging { order } = &phase {
            self.effects.push(Effect::StopSwitch(order.unit.clone()));
        }
        match mode {
            Mode::Live => self.revert_to(previous, Action::Test, false, evidence),
            Mode::Boot => {
                let booted = matches!(
                    phase,
                    Phase::Aiming | Phase::Booting | Phase::Soaking { .. }
                );
                self.revert_to(previous, Action::Boot, booted, evidence);
            }
        }
    }

    /// `reboot`: whether only a reboot leads there.
    pub(super) fn revert_to(
        &mut self,
        system: StorePath,
        action: Action,
        reboot: bool,
        evidence: Evidence,
    ) {
        let (target, failed) = match self.machine.journal.state.clone() {
            State::Trial { target, system, .. } => (target, system),
            State::Committing { target, goal, .. } => (target, goal.system),
            _ => return,
        };
        let order = self.way_back(system, action, &failed);
        self.effects.push(Effect::Switch(order.clone()));
        self.go(State::Reverting {
            target,
            failed,
            order,
            evidence,
            attempts: 1,
            reboots: 0,
            reboot,
        });
    }

    /// What was tried in vain leaves the profile, unless the robot may still go back to it.
    fn way_back(&mut self, system: StorePath, action: Action, failed: &StorePath) -> Order {
        let journal = &self.machine.journal;
        let mut kept = journal.confirmed.iter().chain(&journal.fallbacks);
        let kept = kept.any(|kept| kept.system == *failed) || system == *failed;
        let remove = (action != Action::Test && !kept).then(|| failed.clone());
        Order {
            remove,
            ..self.order(Kind::Revert, system, action, true)
        }
    }

    pub(super) fn revert_again(&mut self) {
        if let State::Reverting {
            target,
            failed,
            order,
            evidence,
            attempts,
            reboots,
            reboot,
        } = self.machine.journal.state.clone()
        {
            let order = self.way_back(order.system, order.action, &failed);
            self.effects.push(Effect::Switch(order.clone()));
            self.go(State::Reverting {
                target,
                failed,
                order,
                evidence,
                attempts: attempts.saturating_add(1),
                reboots,
                reboot,
            });
        }
    }

    /// Only a reboot leads back: the boot loader still starts the system before the trial.
    pub(super) fn reboot_to_revert(&mut self, why: String) {
        self.expire();
        let State::Reverting {
            order,
            attempts,
            reboots,
            ..
        } = &mut self.machine.journal.state
        else {
            return;
        };
        if *reboots >= MAX_REBOOTS {
            self.machine.memory.problem = Some(format!(
                "neither switching to {} nor {MAX_REBOOTS} reboots brought it back ({why}); a \
                 person must look",
                order.system
            ));
            return;
        }
        if let Some(hold) = self.machine.journal.holds.first() {
            self.machine.memory.problem = Some(format!(
                "{why}; the robot will be rebooted when the hold of {} ends",
                hold.owner
            ));
            self.machine.memory.retry = Some(self.cx.now + self.cx.policy.retry_delay);
            return;
        }
        *reboots += 1;
        *attempts = 0;
        let system = order.system.clone();
        self.record(What::Rebooted, system, None, Some(why.clone()), None);
        self.reboot(why);
    }

    pub(super) fn reboot(&mut self, why: String) {
        self.machine.memory.retry = Some(self.cx.now + REBOOT_PATIENCE);
        self.effects.push(Effect::Reboot(why));
    }

    pub(super) fn reverted(&mut self) {
        if let State::Reverting { evidence, .. } = self.machine.journal.state.clone() {
            if evidence.cause.is_verdict() {
                self.left_behind(evidence);
            } else {
                self.effects.push(Effect::DisarmDeadMan);
                self.no_verdict(evidence);
            }
        }
    }

    /// The system before runs again: remember why, and go on.
    pub(super) fn left_behind(&mut self, evidence: Evidence) {
        let (target, system) = match self.machine.journal.state.clone() {
            State::Trial { target, system, .. } => (target, system),
            State::Reverting { target, failed, .. } => (target, failed),
            _ => return,
        };
        self.effects.push(Effect::DisarmDeadMan);
        self.record(
            What::Reverted,
            system,
            target.as_ref(),
            Some(evidence.message.clone()),
            None,
        );
        match target {
            Some(target) if evidence.blames_the_repository() => {
                let suspect = self.blocked(&target.release, &target.system, evidence);
                self.machine.journal.suspect = Some(suspect);
            }
            Some(target) => {
                self.machine.journal.attempts = None;
                self.block(&target, evidence);
            }
            None => {}
        }
        self.go(State::Idle);
        self.poll();
    }
}
