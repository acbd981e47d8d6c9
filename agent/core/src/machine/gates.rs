//! What keeps the robot from the next step: holds, leases, and the gates outside.

use super::{Answer, Decision, Effect, Refusal};
use crate::{
    gate::{Closed, Stage},
    lease::Lease,
    machine::state::{Phase, State},
    release::Name,
};

impl Decision<'_> {
    /// The outer gates of a stage have answered.
    pub(super) fn gates(&mut self, stage: Stage, closed: Vec<Closed>) {
        let state = self.machine.journal.state.clone();
        let waits = match stage {
            Stage::Check => self.machine.memory.polling,
            Stage::Download => matches!(state, State::Fetching { .. }),
            Stage::Activate | Stage::Reboot => self.machine.next_stage() == Some(stage),
        };
        if !waits {
            return;
        }
        let open = closed.is_empty();
        self.machine.memory.closed.insert(stage, closed);
        let again = self.cx.now + self.cx.policy.gate_interval;
        match (stage, state) {
            (Stage::Check, State::Idle | State::Fetching { .. } | State::Ready { .. }) if open => {
                self.effects.push(Effect::Poll)
            }
            // Or something has begun meanwhile, and goes first.
            (Stage::Check, _) => {
                self.machine.memory.polling = false;
                self.machine.memory.next_poll = Some(again);
            }
            (Stage::Download, State::Fetching { target }) if open => {
                self.effects.push(Effect::Fetch(target));
            }
            (Stage::Download, _) => {
                // It may have closed on the way.
                self.effects.push(Effect::CancelFetch);
                self.machine.memory.retry = Some(again);
            }
            (Stage::Activate, State::Ready { target }) if open => {
                self.effects.push(Effect::Inspect(target));
            }
            (Stage::Reboot, _) if open => self.aim(),
            (Stage::Activate | Stage::Reboot, _) => self.machine.memory.retry = Some(again),
        }
    }

    /// Whether somebody says that nothing may be switched or rebooted now.
    pub(super) fn kept(&mut self) -> bool {
        self.expire();
        !self.machine.journal.holds.is_empty() || !self.busy().is_empty()
    }

    /// The leases that say no.
    pub(super) fn busy(&self) -> Vec<Closed> {
        let leases = &self.machine.memory.leases;
        leases.closed(&self.cx.policy.leases, self.cx.now)
    }

    /// Drops holds and leases that have ended; says whether one of them kept the robot.
    pub(super) fn expire(&mut self) -> bool {
        let now = self.cx.now;
        let lapsed = self.machine.memory.leases.expire(now);
        let holds = &mut self.machine.journal.holds;
        let before = holds.len();
        holds.retain(|hold| hold.ends().is_none_or(|end| end > now));
        holds.len() < before || lapsed
    }

    /// Looks again at what waits, if nobody keeps it back: the robot may have changed since.
    pub(super) fn begin_if_free(&mut self) {
        if let Some(stage) = self.machine.next_stage()
            && !self.kept()
        {
            self.machine.memory.retry = None;
            self.effects.push(Effect::AskGates(stage));
        }
    }

    pub(super) fn asked_lease(&mut self, lease: Lease) -> Answer {
        // Whoever takes something into the hand now could not be kept from a reboot any more.
        if lease.busy && self.is_underway() {
            return Err(Refusal::Refused(format!(
                "an update is under way ({}): the robot must stay free until it has ended",
                self.machine.journal.state.name()
            )));
        }
        let answer = format!(
            "{} is {} for {} s",
            lease.name,
            if lease.busy { "busy" } else { "free" },
            lease.until.since(self.cx.now).as_secs()
        );
        let kept = self.kept();
        let put = self.machine.memory.leases.put(lease);
        put.map_err(|error| Refusal::Refused(error.to_string()))?;
        if kept {
            self.begin_if_free();
        }
        Ok(answer)
    }

    pub(super) fn asked_end_lease(&mut self, name: &Name, by: Option<&str>) -> Answer {
        let kept = self.kept();
        match self.machine.memory.leases.end(name, by) {
            Ok(true) => {
                if kept {
                    self.begin_if_free();
                }
                Ok(format!("the lease '{name}' has ended"))
            }
            Ok(false) => Err(Refusal::NothingToDo(format!("there is no lease '{name}'"))),
            Err(error) => Err(Refusal::Refused(error.to_string())),
        }
    }

    /// Whether what runs changes now, or is about to.
    fn is_underway(&self) -> bool {
        match &self.machine.journal.state {
            State::Idle | State::Fetching { .. } | State::Ready { .. } => false,
            // What somebody switched to by hand is only looked at.
            State::Trial { target: None, .. } => false,
            State::Trial { phase, .. } => {
                !matches!(phase, Phase::Staging { .. } | Phase::Staged | Phase::Aiming)
            }
            State::Committing { .. } | State::Reverting { .. } => true,
        }
    }
}
