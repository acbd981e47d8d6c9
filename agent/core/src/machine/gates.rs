//! What keeps the robot from the next step: holds, leases, and the gates outside.

use super::{
    decision::Decision,
    effect::Effect,
    event::{Answer, Refusal},
};
use crate::{
    gate::{Closed, Stage},
    lease::Lease,
    machine::state::{Fetching, Ready, State},
    release::Name,
};

impl Decision<'_> {
    /// The outer gates of a stage have answered.
    pub(super) fn on_gates(&mut self, stage: Stage, closed: Vec<Closed>) {
        let waits = match stage {
            Stage::Check => self.memory.polling,
            Stage::Download => matches!(self.journal.state, State::Fetching(_)),
            Stage::Activate | Stage::Reboot => self.journal.state.waits_for() == Some(stage),
        };
        if !waits {
            return;
        }
        let open = closed.is_empty();
        self.memory.closed.insert(stage, closed);
        let again = self.cx.now + self.cx.policy.gate_interval;
        match (stage, &self.journal.state) {
            (Stage::Check, State::Idle | State::Fetching(_) | State::Ready(_)) if open => {
                self.effects.push(Effect::Poll);
            }
            // Or something has begun meanwhile, and goes first.
            (Stage::Check, _) => {
                self.memory.polling = false;
                self.memory.next_poll = Some(again);
            }
            (Stage::Download, State::Fetching(Fetching { target })) if open => {
                self.effects.push(Effect::Fetch(target.clone()));
            }
            (Stage::Download, _) => {
                // It may have closed on the way.
                self.effects.push(Effect::CancelFetch);
                self.memory.retry = Some(again);
            }
            (Stage::Activate, State::Ready(Ready { target })) if open => {
                self.effects.push(Effect::Inspect(target.clone()));
            }
            (Stage::Reboot, _) if open => self.aim_boot(),
            (Stage::Activate | Stage::Reboot, _) => self.memory.retry = Some(again),
        }
    }

    /// Whether somebody says that nothing may be switched or rebooted now.
    pub(super) fn is_held_back(&mut self) -> bool {
        self.expire();
        !self.journal.holds.is_empty() || !self.busy().is_empty()
    }

    /// The leases that say no.
    pub(super) fn busy(&self) -> Vec<Closed> {
        let leases = &self.memory.leases;
        leases.closed(&self.cx.policy.leases, self.cx.now)
    }

    /// Drops holds and leases that have ended; says whether one of them held the robot back.
    pub(super) fn expire(&mut self) -> bool {
        let now = self.cx.now;
        let lapsed = self.memory.leases.expire(now);
        let holds = &mut self.journal.holds;
        let before = holds.len();
        holds.retain(|hold| hold.ends().is_none_or(|end| end > now));
        holds.len() < before || lapsed
    }

    /// Asks the gates of what waits, if nobody holds it back: the robot may have changed since.
    pub(super) fn ask_gates_if_free(&mut self) {
        if let Some(stage) = self.journal.state.waits_for()
            && !self.is_held_back()
        {
            self.memory.retry = None;
            self.effects.push(Effect::AskGates(stage));
        }
    }

    pub(super) fn on_lease_request(&mut self, lease: Lease) -> Answer {
        // Whoever takes something into the hand now could not be kept from a reboot any more.
        if lease.busy && self.journal.state.is_underway() {
            return Err(Refusal::Refused(format!(
                "an update is under way ({}): the robot must stay free until it has ended",
                self.journal.state.name()
            )));
        }
        let answer = format!(
            "{} is {} for {} s",
            lease.name,
            if lease.busy { "busy" } else { "free" },
            lease.until.since(self.cx.now).as_secs()
        );
        let held_back = self.is_held_back();
        let put = self.memory.leases.put(lease);
        put.map_err(|error| Refusal::Refused(error.to_string()))?;
        if held_back {
            self.ask_gates_if_free();
        }
        Ok(answer)
    }

    pub(super) fn on_end_lease_request(&mut self, name: &Name, by: Option<&str>) -> Answer {
        let held_back = self.is_held_back();
        match self.memory.leases.end(name, by) {
            Ok(true) => {
                if held_back {
                    self.ask_gates_if_free();
                }
                Ok(format!("the lease '{name}' has ended"))
            }
            Ok(false) => Err(Refusal::NothingToDo(format!("there is no lease '{name}'"))),
            Err(error) => Err(Refusal::Refused(error.to_string())),
        }
    }
}
