//! The release is in the store: what is it, and how is it to be tried?

use super::{
    context::DEAD_MAN_MARGIN,
    decision::{Decision, Due},
    effect::{Effect, Guards},
    memory::Inspected,
};
use crate::{
    StorePath,
    baseline::Baseline,
    disturbance,
    events::Kind,
    gate::Stage,
    journal::What,
    machine::state::{Cause, Evidence, Mode, Phase, Ready, State, Trial},
    reboot::Reason,
    release::Target,
    switch::{Action, Purpose},
};
use std::time::Duration;

impl Decision<'_> {
    pub(super) fn tick_ready(&mut self, due: Due) {
        if due.retry {
            self.ask_gates_if_free();
        }
        if due.poll {
            self.poll();
        }
    }

    pub(super) fn on_inspect_failed(&mut self, why: String) {
        self.happened(Kind::PreparationFailed { why: why.clone() });
        if matches!(self.journal.state, State::Ready(_)) {
            self.retry_with(why);
        }
    }

    pub(super) fn on_vanished(&mut self) {
        if let State::Ready(Ready { target }) = self.journal.state.clone() {
            self.fetch(target);
        }
    }

    pub(super) fn on_inspected(
        &mut self,
        (current, mut named): (StorePath, Vec<StorePath>),
        reboot: Vec<Reason>,
        unfit: Option<String>,
        (no_boot, no_room): (Option<String>, Option<String>),
    ) {
        let State::Ready(Ready { target }) = self.journal.state.clone() else {
            return;
        };
        if let Some(why) = unfit {
            let evidence = Evidence::plain(Cause::Unfit, why);
            self.block(&target, evidence.clone());
            self.record(
                What::Refused,
                target.system.clone(),
                Some(target.release.clone()),
                Some(evidence.message),
                None,
            );
            self.go(State::Idle);
            return;
        }
        let confirmed = self.journal.confirmed.as_ref();
        if confirmed.is_none_or(|confirmed| confirmed.system != current) {
            // Somebody switched by hand since the last look.
            self.go(State::Idle);
            self.on_drift(current);
            return;
        }
        if self.is_held_back() {
            return;
        }
        let why = self.why_by_boot(&target, reboot);
        if let (Some(why), Some(no_boot)) = (&why, no_boot) {
            self.retry_with(format!(
                "release {} needs a reboot ({why}), but the robot cannot try it by one: {no_boot}",
                target.release
            ));
            return;
        }
        if let Some(no_room) = no_room {
            self.retry_with(format!(
                "release {} could not be installed after its trial: {no_room}",
                target.release
            ));
            return;
        }
        // Looking took its time, and a gate may have closed meanwhile.
        named.retain(|system| *system != current);
        named.dedup();
        self.memory.inspected = Some(Inspected {
            current,
            why,
            named,
        });
        self.effects.push(Effect::AskGates(Stage::Activate));
    }

    /// The gates are open, and what is to be tried was looked at a moment ago.
    pub(super) fn begin_trial(
        &mut self,
        target: Target,
        Inspected {
            current,
            why,
            named,
        }: Inspected,
    ) {
        if self.is_held_back() {
            return;
        }
        let baseline = self.memory.baseline.take();
        self.leave_aftermath();
        self.record(
            What::Tried,
            target.system.clone(),
            Some(target.release.clone()),
            match (&target.back, &why) {
                (None, None) => None,
                (Some(back), None) => Some(back.clone()),
                (None, Some(why)) => Some(format!("by booting it: {why}")),
                (Some(back), Some(why)) => Some(format!("by booting it: {why}; {back}")),
            },
            None,
        );
        if why.is_some() {
            self.begin_boot_trial(target, current);
        } else {
            self.begin_live_trial(target, current);
        }
        self.journal.named_before = Some(named);
        self.journal.baseline = baseline;
    }

    /// The robot was looked at as it is before a trial.
    pub(super) fn on_looked(&mut self, baseline: Baseline) {
        match self.journal.state.waits_for() {
            Some(Stage::Activate) => self.memory.baseline = Some(baseline),
            // Looking took its time, and a gate may have closed meanwhile. Whatever ends a hold or a
            // lease asks the gates, and after them the robot is looked at anew.
            Some(Stage::Reboot) if !self.is_held_back() => {
                self.memory.baseline = Some(baseline);
                self.effects.push(Effect::AskGates(Stage::Reboot));
            }
            _ => {}
        }
    }

    /// Begins a trial beside the running kernel, with its guard.
    fn begin_live_trial(&mut self, target: Target, previous: StorePath) {
        let after = self.trial_time() + DEAD_MAN_MARGIN;
        self.effects.push(Effect::ArmDeadMan {
            system: target.system.clone(),
            previous: previous.clone(),
            after,
        });
        self.go(State::Trial(Trial {
            system: target.system.clone(),
            target: Some(target),
            previous,
            boot: self.cx.boot.clone(),
            mode: Mode::Live,
            reached: self.reached(),
            late: None,
            phase: Phase::Arming,
        }));
        self.memory.dead_man = Some(self.cx.now + after);
    }

    /// How long a live trial may take, from the order to switch.
    pub(super) fn trial_time(&self) -> Duration {
        self.cx.policy.switch_timeout + self.cx.policy.health_deadline
    }

    pub(super) fn on_dead_man_armed(&mut self) {
        let State::Trial(trial) = &self.journal.state else {
            return;
        };
        if trial.phase != Phase::Arming {
            return;
        }
        let trial = trial.clone();
        let end = self.cx.now + self.trial_time();
        if self.memory.dead_man.is_none_or(|fires| fires < end)
            && let Some(target) = trial.target.clone()
        {
            // Arming took so long that it would fire into the trial, and that a gate may have closed.
            self.effects.push(Effect::Disarm(Guards::ALL));
            self.go(State::Ready(Ready { target }));
            self.ask_gates_if_free();
            return;
        }
        self.disturb(&trial.system, disturbance::What::Switch);
        let order = self.order(Purpose::Trial, trial.system.clone(), Action::Test, false);
        self.effects.push(Effect::Switch(order.clone()));
        self.go(State::Trial(Trial {
            phase: Phase::Switching { order },
            ..trial
        }));
    }
}
