//! Time: it passes to the next thing that is due, jumps while the robot sleeps, and the wall clock
//! shows anything.

use crate::robot::{Pending, Robot};
use std::time::Duration;
use surefoot_core::{
    machine::{
        Event, Machine,
        state::{Cause, State},
    },
    time::Instant,
};

impl Robot {
    /// One thing happens: an answer, a switch that ends, or time that passes. `false` if nothing
    /// can happen any more but the next poll.
    pub fn advance(&mut self) -> bool {
        if self.renew && *self.state() == State::Idle {
            self.log.note("another agent takes over");
            self.kill();
            self.start();
            return true;
        }
        match self.pending.pop_front() {
            Some(Pending::Event(event)) => self.feed(event),
            Some(Pending::Switch(order)) => self.finish(order),
            None => return self.wait(),
        }
        true
    }

    /// When the agent is to be woken.
    fn deadline(&self) -> Option<Instant> {
        self.machine.as_ref().and_then(Machine::deadline)
    }

    /// Nothing is pending: time passes to the next thing that is due.
    fn wait(&mut self) -> bool {
        let fires = self.dead_man.as_ref().map(|(_, at)| *at);
        let due = self
            .deadline()
            .into_iter()
            .chain(fires)
            .chain(self.boot_deadline);
        let Some(next) = due.min() else {
            return false;
        };
        self.now = self.now.max(next);
        if !self.guards_fire() {
            self.feed(Event::Tick);
        }
        true
    }

    /// The guards whose time has come do what they are for; whether one did.
    pub(crate) fn guards_fire(&mut self) -> bool {
        if self.boot_deadline.is_some_and(|at| at <= self.now) {
            self.log.note("the boot's deadline has come");
            self.trace.ended = Some(Cause::Deadline);
            self.power_cut();
            self.check();
            return true;
        }
        if let Some((system, _)) = self.dead_man.take_if(|(_, at)| *at <= self.now) {
            self.log.note("dead-man timer fires");
            self.dead_man_goes_back(system);
            self.check();
            return true;
        }
        false
    }

    /// Time passes, whatever is pending; what is due then happens.
    pub fn pass(&mut self, time: Duration) {
        self.log.note(format!("{} s pass", time.as_secs()));
        self.now = self.now + time;
        self.due();
    }

    /// The robot sleeps. Its own time goes on meanwhile (`CLOCK_BOOTTIME`), that of systemd's timers
    /// does not (`CLOCK_MONOTONIC`).
    pub fn sleep(&mut self, time: Duration) {
        self.log.note(format!("it sleeps for {} s", time.as_secs()));
        self.now = self.now + time;
        self.slept += time;
        if let Some((_, at)) = &mut self.dead_man {
            *at = *at + time;
        }
        if let Some(at) = &mut self.boot_deadline {
            *at = *at + time;
        }
        self.due();
    }

    fn due(&mut self) {
        if !self.guards_fire() && self.deadline().is_some_and(|at| at <= self.now) {
            self.feed(Event::Tick);
        }
    }

    /// Until the robot is idle and has polled once more since.
    ///
    /// # Panics
    /// It never is.
    pub fn settle(&mut self) {
        for _ in 0..2_000 {
            if self.is_quiet() {
                return;
            }
            if !self.advance() {
                // A reboot, or a kill: systemd starts the agent again.
                self.start();
            }
            self.start();
        }
        panic!("does not settle:\n{}", self.log);
    }

    /// Until something is so.
    ///
    /// # Panics
    /// It never is.
    pub fn settle_until(&mut self, so: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if so(self) {
                return;
            }
            self.start();
            self.advance();
        }
        panic!("never happens:\n{}", self.log);
    }
}
