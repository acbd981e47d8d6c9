//! The release is in the store: what is it, and how is it to be tried?

use super::{
    context::DEAD_MAN_MARGIN,
    decision::{Decision, Due},
    effect::Effect,
};
use crate::{
    StorePath,
    events::Kind,
    journal::What,
    machine::state::{Cause, Evidence, Mode, Phase, Ready, State, Trial},
    reboot::Reason,
    release::Target,
};

impl Decision<'_> {
    pub(super) fn tick_ready(&mut self, due: Due) {
        if due.retry || due.freed {
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
        current: StorePath,
        reboot: Vec<Reason>,
        unfit: Option<String>,
        no_boot: Option<String>,
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
        self.record(
            What::Tried,
            target.system.clone(),
            Some(target.release.clone()),
            why.as_ref().map(|why| format!("by booting it: {why}")),
            None,
        );
        if why.is_some() {
            self.begin_boot_trial(target, current);
        } else {
            self.begin_live_trial(target, current);
        }
    }

    /// Begins a trial beside the running kernel, with its guard.
    fn begin_live_trial(&mut self, target: Target, previous: StorePath) {
        let policy = self.cx.policy;
        self.effects.push(Effect::ArmDeadMan {
            system: previous.clone(),
            after: policy.switch_timeout + policy.health_deadline + DEAD_MAN_MARGIN,
        });
        self.go(State::Trial(Trial {
            system: target.system.clone(),
            target: Some(target),
            previous,
            boot: self.cx.boot.clone(),
            mode: Mode::Live,
            phase: Phase::Arming,
        }));
    }
}
