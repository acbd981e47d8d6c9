//! The trial by booting.
//!
//! The profile gets the new system and the boot loader an entry for it, but the default stays the
//! confirmed system. Then, as late as possible, a deadline is armed outside the agent and the
//! loader's one-shot is set; the next boot, and only that, is the trial. Whatever ends it, and be
//! it the power, ends on the default. Only then does the agent learn what happened, from the
//! traces: a boot that the loader never made is not held against the release.

use super::{
    context::DEAD_MAN_MARGIN,
    decision::Decision,
    effect::{Effect, Guards},
    revert::WayBack,
    start::KEPT_AWAY,
};
use crate::{
    StorePath,
    baseline::Baseline,
    disturbance::What,
    events,
    machine::state::{Cause, Committing, Evidence, Mode, Phase, State, Trial},
    release::Target,
    resolver::Trace,
    switch::{Action, Order, Purpose},
    time::Instant,
};

impl Decision<'_> {
    /// Begins a trial by booting: gives the system a boot entry.
    pub(super) fn begin_boot_trial(&mut self, target: Target, previous: StorePath) {
        let system = target.system.clone();
        let order = Order {
            default: Some(previous.clone()),
            ..self.order(Purpose::Stage, system.clone(), Action::Stage, false)
        };
        self.effects.push(Effect::Switch(order.clone()));
        self.go(State::Trial(Trial {
            target: Some(target),
            system,
            previous,
            boot: self.cx.boot.clone(),
            mode: Mode::Boot,
            reached: self.reached(),
            late: None,
            phase: Phase::Staging { order },
        }));
    }

    /// It has a boot entry: makes it the next boot, if nobody minds a reboot.
    pub(super) fn wait_for_reboot(&mut self) {
        if let State::Trial(trial) = &mut self.journal.state {
            // It may have been aimed at before a restart of the agent.
            if matches!(trial.phase, Phase::Aiming | Phase::Booting) {
                self.effects.push(Effect::Disarm(Guards::ALL));
            }
            trial.phase = Phase::Staged;
            self.ask_gates_if_free();
        }
    }

    /// Nobody minds, and the robot was looked at a moment ago: the next boot is to be the trial's.
    pub(super) fn aim_boot(&mut self, looked: Baseline) {
        if self.is_held_back() {
            return;
        }
        let within = self.cx.policy.boot_deadline + DEAD_MAN_MARGIN;
        let reached = self.reached();
        if let State::Trial(trial) = &mut self.journal.state {
            trial.phase = Phase::Aiming;
            // Since it was staged, hours may have passed.
            trial.reached = reached;
            self.effects.push(Effect::AimBoot {
                system: trial.system.clone(),
                previous: trial.previous.clone(),
                within,
            });
            self.journal.baseline = Some(looked);
        }
    }

    pub(super) fn on_boot_aimed(&mut self) {
        if let State::Trial(Trial {
            phase: phase @ Phase::Aiming,
            system,
            ..
        }) = &mut self.journal.state
        {
            *phase = Phase::Booting;
            let system = system.clone();
            if !self.is_held_back() {
                self.disturb(&system, What::Boot);
            }
            self.reboot_into_trial();
        }
    }

    pub(super) fn on_aim_failed(&mut self, why: String) {
        self.happened(events::Kind::PreparationFailed { why: why.clone() });
        if let State::Trial(Trial {
            phase: Phase::Aiming,
            system,
            ..
        }) = &self.journal.state
        {
            // The boot partition was written for it, and is again to put it right: without a bound that is
            // where a power cut does the most harm.
            let system = system.clone();
            self.disturb(&system, What::Staged);
            let why = format!("the boot could not be prepared: {why}");
            self.abandon(Evidence::plain(Cause::Interrupted, why));
        }
    }

    /// The new system was booted: now it has to prove itself, before its deadline does.
    pub(super) fn begin_boot_soak(&mut self) {
        let policy = self.cx.policy;
        let outer = Instant::default() + policy.boot_deadline;
        let inner = self.cx.now + policy.health_deadline;
        if let State::Trial(trial) = &mut self.journal.state {
            trial.boot = self.cx.boot.clone();
            trial.phase = Phase::Soaking {
                deadline: inner.min(outer),
            };
        }
        self.probe();
    }

    /// The robot restarted into the system before the trial's: finds out why.
    pub(super) fn explain_fallback(&mut self, trace: Trace) {
        let deadline = trace.ended == Some(Cause::Deadline);
        let how = "the boot's deadline rebooted the robot";
        if deadline && self.was_left_by_guard(how, trace.log.clone()) {
            return;
        }
        if deadline && trace.kept_away && self.may_be_kept_away_again() {
            let message = format!("{how}; {KEPT_AWAY}");
            self.abandon(Evidence {
                log: trace.log,
                ..Evidence::plain(Cause::Interrupted, message)
            });
            return;
        }
        let (cause, message) = match (trace.ended, trace.started) {
            (Some(Cause::Panic), _) => (Cause::Panic, "its kernel panicked"),
            (Some(Cause::Watchdog), _) => (
                Cause::Watchdog,
                "it stopped answering, and the hardware watchdog reset the robot",
            ),
            (Some(Cause::Deadline), _) => (
                Cause::Deadline,
                "its agent had not proven it before the boot's deadline, which rebooted the robot",
            ),
            (_, Some(false)) => (
                Cause::OneShotLost,
                "the boot loader did not start it: the one-shot was lost, or its entry could not be used",
            ),
            _ => (
                Cause::Interrupted,
                "it was booted, and the robot restarted without a trace of why",
            ),
        };
        self.abandon(Evidence {
            log: trace.log,
            ..Evidence::plain(cause, message.to_owned())
        });
    }

    /// The system before the trial runs: ends the trial, or a commit that the loader never saw, and
    /// puts profile and boot entries back in order. After a live trial there is nothing to put back.
    pub(super) fn abandon(&mut self, evidence: Evidence) {
        match &self.journal.state {
            State::Trial(Trial {
                mode: Mode::Boot,
                previous,
                ..
            })
            | State::Committing(Committing { previous, .. }) => {
                let previous = previous.clone();
                // First of all: no further boot is a trial.
                self.effects.push(Effect::Disarm(Guards::ALL));
                self.begin_revert(previous, WayBack::Entries, evidence);
            }
            _ if evidence.is_verdict() => self.end_with_verdict(evidence),
            _ => self.end_without_verdict(evidence),
        }
    }
}
