//! The trial by booting.
//!
//! The profile gets the new system and the boot loader an entry for it, but the default stays the
//! confirmed system. Then, as late as possible, a deadline is armed outside the agent and the
//! loader's one-shot is set; the next boot, and only that, is the trial. Whatever ends it, and be
//! it the power, ends on the default. Only then does the agent learn what happened, from the
//! traces: a boot that the loader never made is not held against the release.

use super::{DEAD_MAN_MARGIN, Decision, Effect};
use crate::{
    StorePath,
    machine::state::{Cause, Evidence, Mode, Phase, State},
    release::Target,
    resolver::Trace,
    switch::{Action, Kind, Order},
    time::Instant,
};

impl Decision<'_> {
    /// Begins a trial by booting: gives the system a boot entry.
    pub(super) fn stage(&mut self, target: Target, previous: StorePath) {
        let system = target.system.clone();
        let order = Order {
            default: Some(previous.clone()),
            ..self.order(Kind::Stage, system.clone(), Action::Stage, false)
        };
        self.effects.push(Effect::Switch(order.clone()));
        self.go(State::Trial {
            target: Some(target),
            system,
            previous,
            boot: self.cx.boot.clone(),
            mode: Mode::Boot,
            phase: Phase::Staging { order },
        });
    }

    /// It has a boot entry: aims at it, if nobody minds a reboot.
    pub(super) fn staged(&mut self) {
        if let State::Trial { phase, .. } = &mut self.machine.journal.state {
            // It may have been aimed at before a restart of the agent.
            if *phase == Phase::Aiming || *phase == Phase::Booting {
                self.effects.push(Effect::DisarmDeadMan);
            }
            *phase = Phase::Staged;
            self.begin_if_free();
        }
    }

    /// Nobody minds: the next boot is to be the trial's.
    pub(super) fn aim(&mut self) {
        if self.kept() {
            return;
        }
        let within = self.cx.policy.boot_deadline + DEAD_MAN_MARGIN;
        let State::Trial {
            system,
            previous,
            phase,
            ..
        } = &mut self.machine.journal.state
        else {
            return;
        };
        *phase = Phase::Aiming;
        self.effects.push(Effect::AimBoot {
            system: system.clone(),
            previous: previous.clone(),
            within,
        });
    }

    /// The next boot is the trial's: makes it happen, unless somebody holds the robot since then.
    pub(super) fn aimed(&mut self) {
        if let State::Trial {
            phase: phase @ Phase::Aiming,
            ..
        } = &mut self.machine.journal.state
        {
            *phase = Phase::Booting;
            self.boot_trial();
        }
    }

    pub(super) fn aim_failed(&mut self, why: &str) {
        if let State::Trial {
            phase: Phase::Aiming,
            ..
        } = self.machine.journal.state
        {
            let why = format!("the boot could not be prepared: {why}");
            self.unstage(Evidence::plain(Cause::Interrupted, why));
        }
    }

    pub(super) fn boot_trial(&mut self) {
        if self.kept() {
            self.staged();
        } else if let State::Trial { system, .. } = &self.machine.journal.state {
            self.reboot(format!("trying {system}"));
        }
    }

    /// The new system was booted: now it has to prove itself, before its deadline does.
    pub(super) fn arrived(&mut self) {
        let policy = self.cx.policy;
        let outer = Instant::default() + policy.boot_deadline;
        let inner = self.cx.now + policy.health_deadline;
        let now_here = self.cx.boot.clone();
        if let State::Trial { boot, phase, .. } = &mut self.machine.journal.state {
            *boot = now_here;
            *phase = Phase::Soaking {
                deadline: inner.min(outer),
            };
        }
        self.probe();
    }

    /// The robot restarted into the system before the trial's: finds out why.
    pub(super) fn fell_back(&mut self, trace: Trace) {
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
        self.unstage(Evidence {
            log: trace.log,
            ..Evidence::plain(cause, message.to_owned())
        });
    }

    /// The system before the trial runs: ends the trial, or a commit that the loader never saw, and
    /// puts profile and boot entries back in order. After a live trial there is nothing to put back.
    pub(super) fn unstage(&mut self, evidence: Evidence) {
        match self.machine.journal.state.clone() {
            State::Trial {
                mode: Mode::Boot,
                previous,
                ..
            }
            | State::Committing { previous, .. } => {
                // First of all: no further boot is a trial.
                self.effects.push(Effect::DisarmDeadMan);
                self.revert_to(previous, Action::Boot, false, evidence);
            }
            _ if evidence.cause.is_verdict() => self.left_behind(evidence),
            _ => self.no_verdict(evidence),
        }
    }
}
