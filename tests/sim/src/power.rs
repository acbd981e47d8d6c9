//! Power, kernel and watchdog: how a robot goes down and comes up again, between any two things.

use crate::robot::{Pending, Robot};
use surefoot_core::{
    lease::Leases,
    machine::state::{Cause, Mode, State, Trial},
    resolver::Trace,
    time::Instant,
};

/// What becomes of a system that is booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its kernel panics.
    Panics,
    /// It stops answering; the watchdog resets the robot.
    Freezes,
    /// It is reset, and nothing says why.
    Vanishes,
    /// It has no agent that works: only the deadline can end it.
    Agentless,
}

/// What strikes a robot at any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// The agent dies.
    Kill,
    /// The power goes and comes back.
    PowerCut,
    /// The kernel panics, or the watchdog resets the robot: it leaves a trace of why.
    Reset(Cause),
}

impl Robot {
    /// The agent dies; what systemd runs goes on.
    pub fn kill(&mut self) {
        self.log.note("kill");
        self.machine = None;
        self.renew = false;
        self.witness.forgets_health();
        self.pending.retain(|p| matches!(p, Pending::Switch(_)));
    }

    /// The power goes and comes back: the boot loader starts its one-shot or its default.
    ///
    /// # Panics
    /// A trial is booted without the deadline that could end it.
    pub fn power_cut(&mut self) {
        self.log.note("power cut");
        let live = matches!(
            self.state(),
            State::Trial(Trial {
                mode: Mode::Live,
                ..
            })
        );
        if live {
            // Whatever an earlier trial left is older than this one.
            self.trace = Trace::default();
        }
        self.go_down();
        if let Some(system) = self.take_one_shot() {
            self.log.note(format!("the loader starts {system} once"));
            self.trace.started = Some(true);
            let fate = self.fates.get(&system).copied();
            self.come_up(system);
            match fate {
                None => return,
                Some(Fate::Agentless) => {
                    let armed = self.boot_deadline.is_some();
                    self.promised(
                        "trial-is-guarded",
                        armed,
                        "boots a trial without its deadline",
                    );
                    self.trace.ended = Some(Cause::Deadline);
                }
                Some(Fate::Panics) => self.trace.ended = Some(Cause::Panic),
                Some(Fate::Freezes) => self.trace.ended = Some(Cause::Watchdog),
                Some(Fate::Vanishes) => {}
            }
            self.go_down();
        }
        let starts = self.stubborn.as_ref().unwrap_or(&self.default);
        self.come_up(starts.clone());
    }

    /// The kernel or the hardware resets it, and leaves a trace of why.
    pub fn reset(&mut self, cause: Cause) {
        self.power_cut();
        self.trace.ended = Some(cause);
    }

    /// Somebody, and not the trial, has ended the agent.
    pub const fn is_kept_away(&mut self) {
        self.trace.kept_away = true;
    }

    /// Something strikes.
    pub fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Kill => self.kill(),
            Blow::PowerCut => self.power_cut(),
            Blow::Reset(cause) => self.reset(cause),
        }
    }

    /// Something is going to strike after so many more points. There is one before and one after
    /// every save of the journal, and one before every effect.
    pub const fn light_fuse(&mut self, points: u32, blow: Blow) {
        self.fuse = Some((points, blow));
    }

    /// Whether something is going to strike.
    #[must_use]
    pub const fn fuse_burns(&self) -> bool {
        self.fuse.is_some()
    }

    /// Nothing is going to strike.
    pub const fn put_out_fuse(&mut self) {
        self.fuse = None;
    }

    /// A point between two things. Whether something struck: what was to follow does not happen.
    pub(crate) fn struck(&mut self) -> bool {
        match &mut self.fuse {
            None => false,
            Some((0, blow)) => {
                let blow = *blow;
                self.fuse = None;
                self.strike(blow);
                true
            }
            Some((points, _)) => {
                *points -= 1;
                false
            }
        }
    }

    fn come_up(&mut self, system: surefoot_core::StorePath) {
        self.boots += 1;
        self.hurt = false;
        self.spent = false;
        self.now = Instant(1_000);
        self.current = system.clone();
        let guard = self
            .boot_guard
            .iter()
            .find(|(guarded, _)| *guarded == system);
        self.boot_deadline = guard.map(|(_, within)| Instant(0) + *within);
        self.booted = system;
    }

    fn go_down(&mut self) {
        self.kill();
        self.cut_switches_off();
        self.leases = Leases::default();
        self.witness.boots(self.now);
        self.dead_man = None;
        self.boot_deadline = None;
        self.unit = None;
        self.leftovers = false;
    }
}
