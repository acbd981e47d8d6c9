//! What keeps the robot from the next step: holds, leases, and the gates outside.

use super::{
    context::REBOOT_PATIENCE,
    decision::Decision,
    effect::Effect,
    event::{Answer, Refusal},
};
use crate::{
    events::Kind,
    gate::{Closed, Stage, is_obstacle},
    hold::Hold,
    lease::{Ender, Holder, Kept, Lease, Loss, Owner},
    machine::state::{Fetching, Phase, Ready, State, Trial},
    release::Name,
};
use std::time::Duration;

/// What somebody says of the robot.
pub(super) struct Said {
    pub(super) name: Name,
    pub(super) busy: bool,
    pub(super) why: Option<String>,
    pub(super) by: Owner,
}

impl Decision<'_> {
    /// The outer gates of a stage have answered.
    pub(super) fn on_gates(&mut self, stage: Stage, closed: Vec<Closed>) {
        if !closed.is_empty() {
            self.happened(Kind::GatesClosed {
                stage,
                closed: closed.clone(),
            });
        }
        let waits = match stage {
            Stage::Check => self.memory.polling,
            Stage::Download => matches!(self.journal.state, State::Fetching(_)),
            Stage::Activate if self.memory.leaves.is_some() => self.commit_waits(),
            Stage::Reboot if self.wants_to_reboot_back() => true,
            Stage::Activate | Stage::Reboot => self.journal.state.waits_for() == Some(stage),
        };
        if !waits {
            return;
        }
        let open = match self.journal.state {
            // What keeps a system from being installed keeps the robot from no way back.
            State::Committing(_) | State::Trial(Trial { late: Some(_), .. }) => {
                closed.iter().all(|closed| is_obstacle(&closed.gate))
            }
            _ => closed.is_empty(),
        };
        self.memory.closed.insert(stage, closed);
        // It is as old as these gates; after a "no" it has to be looked at anew.
        let inspected = self.memory.inspected.take_if(|_| stage == Stage::Activate);
        let looked = self.memory.baseline.take_if(|_| stage == Stage::Reboot);
        let again = self.cx.now + self.cx.policy.gate_interval;
        match (stage, &self.journal.state) {
            (
                Stage::Check,
                State::Idle
                | State::Fetching(_)
                | State::Ready(_)
                | State::Trial(Trial {
                    phase: Phase::Staged,
                    ..
                }),
            ) if open => {
                self.effects.push(Effect::Poll);
            }
            (Stage::Check, State::Committing(_)) if open && self.commit_waits() => {
                self.effects.push(Effect::Poll);
            }
            (Stage::Check, State::Reverting(_)) if open && self.only_entries_wait() => {
                self.effects.push(Effect::Poll);
            }
            // Or something has begun meanwhile, and goes first.
            (Stage::Check, _) => {
                if self.journal.named_before.is_some() {
                    // What a trial left is looked at all the same.
                    self.effects.push(Effect::Observe);
                }
                self.memory.next_poll = Some(again);
                self.has_asked();
            }
            (Stage::Download, State::Fetching(Fetching { target })) if open => {
                let fetch = Effect::Fetch(target.clone());
                if !self.waits_for_tomorrow() {
                    self.effects.push(fetch);
                }
            }
            (Stage::Download, _) => {
                // It may have closed on the way.
                self.effects.push(Effect::CancelFetch);
                self.memory.retry = Some(again);
            }
            (Stage::Activate, State::Ready(Ready { target })) if open => {
                let target = target.clone();
                match inspected {
                    None if self.comes_back() => {
                        self.report(format!(
                            "release {} waits until it is known how the robot came back from the last trial",
                            target.release
                        ));
                    }
                    None if self.asks_repository_first() => {}
                    _ if self.waits_for_answer(&target) => {}
                    Some(inspected) => self.begin_trial(target, inspected),
                    None => self.effects.push(Effect::Inspect(target)),
                }
            }
            (Stage::Activate, State::Committing(_)) => {
                // If somebody minds, it is asked again with the next poll.
                if open && !self.is_held_back() {
                    self.leave_waiting();
                }
            }
            (Stage::Activate | Stage::Reboot, State::Trial(Trial { late: Some(_), .. }))
                if open =>
            {
                self.leave_late();
            }
            (Stage::Reboot, State::Idle) if open => self.reboot_back(),
            (Stage::Reboot, State::Idle) => self.memory.reboot_back = Some(again),
            (Stage::Reboot, state) if open => {
                let target = state.target().cloned();
                let waits = |this: &mut Self| target.is_some_and(|it| this.waits_for_answer(&it));
                match looked {
                    None if self.asks_repository_first() => {}
                    _ if waits(self) => {}
                    Some(looked) => self.aim_boot(looked),
                    None => self.effects.push(Effect::Look),
                }
            }
            (Stage::Activate | Stage::Reboot, _) => self.memory.retry = Some(again),
        }
    }

    /// Whether somebody says that nothing may be switched or rebooted now.
    pub(super) fn is_held_back(&mut self) -> bool {
        self.expire();
        !self.journal.holds.is_empty() || !self.busy().is_empty()
    }

    /// What says that nothing may be switched or rebooted now, for people.
    pub(super) fn held_by(&mut self) -> Vec<String> {
        self.expire();
        let holds = self.journal.holds.iter();
        let holds = holds.map(|hold| format!("the hold of {}", hold.owner));
        let leases = self.busy().into_iter().map(|closed| closed.to_string());
        holds.chain(leases).collect()
    }

    /// The leases that say no.
    pub(super) fn busy(&self) -> Vec<Closed> {
        let leases = &self.memory.leases;
        leases.closed(&self.cx.policy.leases, self.cx.now)
    }

    /// Drops holds that have ended, and free leases that were not said again; what was busy stays so.
    /// Whatever step finds that goes on with what waited for it.
    pub(super) fn expire(&mut self) {
        let now = self.cx.now;
        for lease in self.memory.leases.expire(now) {
            self.let_go(lease, Loss::Silent);
        }
        let over = |hold: &mut Hold| hold.ends().is_some_and(|end| end <= now);
        let holds: Vec<Hold> = self.journal.holds.extract_if(.., over).collect();
        self.freed |= !holds.is_empty();
        for hold in holds {
            self.happened(Kind::HoldEnded { owner: hold.owner });
        }
    }

    /// A hold or a lease has ended: goes on with what waited for it.
    pub(super) fn on_freed(&mut self) {
        if matches!(self.journal.state, State::Unknown(_)) {
            self.look_again();
        } else {
            self.ask_gates_if_free();
        }
    }

    /// A connection that may have held leases has ended.
    pub(super) fn on_holder_lost(&mut self, holder: Holder) {
        for lease in self.memory.leases.lose(holder, self.cx.now) {
            self.let_go(lease, Loss::Died);
        }
    }

    /// Nobody stands behind a lease any more.
    fn let_go(&mut self, lease: Lease, loss: Loss) {
        let Lease {
            name, owner, busy, ..
        } = lease;
        let counted = owner.counted;
        self.happened(if busy {
            Kind::LeaseOrphaned {
                name,
                loss,
                counted,
            }
        } else {
            Kind::LeaseEnded { name }
        });
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

    /// Somebody says whether the robot is busy, over a connection: for so long, or for as long as that
    /// lasts.
    pub(super) fn on_lease_request(
        &mut self,
        said: Said,
        ttl: Option<Duration>,
        over: Holder,
    ) -> Answer {
        let Said {
            name,
            busy,
            why,
            by,
        } = said;
        let is_busy = self.memory.leases.is_busy(&name, &by);
        // Whoever takes something into the hand now could not be saved from a reboot any more. Who has
        // something there already may say so.
        let reboots = self.memory.reboots_back.is_some();
        if busy && !is_busy && reboots {
            return Err(Refusal::Refused(
                "the robot is about to reboot: it must stay free until then".to_owned(),
            ));
        }
        if busy && !is_busy && self.journal.state.is_underway() {
            return Err(Refusal::Refused(format!(
                "an update is under way ({}): the robot must stay free until it has ended",
                self.journal.state.name()
            )));
        }
        // What nobody has looked at for long says nothing: an agent that stands still does not look again.
        let guarded = self
            .memory
            .guarded
            .filter(|at| self.cx.now < *at + REBOOT_PATIENCE);
        if busy && !is_busy && guarded.is_some() {
            return Err(Refusal::Refused(
                "a guard is armed for an update that is not remembered, and switches or reboots the robot \
                 by itself: it must stay free until then"
                    .to_owned(),
            ));
        }
        let answer = format!(
            "{name} is {} for {}",
            if busy { "busy" } else { "free" },
            match ttl {
                Some(ttl) => format!("{} s", ttl.as_secs()),
                None => "as long as this connection lasts".to_owned(),
            }
        );
        let held_back = self.is_held_back();
        let stood = |old: &Lease| old.busy == busy && old.orphan().is_none();
        let renewed = self.memory.leases.get(&name).is_some_and(stood);
        let lease = Lease {
            name: name.clone(),
            owner: by,
            busy,
            why,
            kept: ttl.map_or(Kept::By(over), |ttl| Kept::Until(self.cx.now + ttl)),
        };
        let put = (self.memory.leases).put(lease, over, &self.cx.policy.leases);
        put.map_err(|error| Refusal::Refused(error.to_string()))?;
        if !renewed {
            self.happened(Kind::Leased { name, busy });
        }
        if held_back {
            self.ask_gates_if_free();
        }
        Ok(answer)
    }

    pub(super) fn on_end_lease_request(&mut self, name: &Name, by: Ender) -> Answer {
        let held_back = self.is_held_back();
        match self.memory.leases.end(name, by) {
            Ok(true) => {
                self.happened(Kind::LeaseEnded { name: name.clone() });
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
