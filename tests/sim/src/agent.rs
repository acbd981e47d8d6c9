//! The agent's loop: decide, write, act. What the daemon's own loop does, with its disk.

use crate::{
    properties::Change,
    robot::{Pending, Robot},
};
use std::time::Duration;
use surefoot_core::{
    StorePath,
    gate::Stage,
    journal::Journal,
    machine::{Context, Decided, Event, Machine, Request, Step},
};

/// The disk refuses a save.
#[derive(Debug)]
struct Refused;

impl Robot {
    /// Starts the agent, if it does not run.
    pub fn start(&mut self) {
        if self.machine.is_none() {
            self.log.note("start");
            self.agent_of = self.current.clone();
            self.look();
        }
    }

    /// The agent looks at the robot, with nothing but its journal and what was said in this boot.
    fn look(&mut self) {
        let leases = self.leases.clone().restarted(self.now);
        self.machine = Some(Machine::new(self.journal.clone(), leases));
        self.witness.starts(self.boots, self.now);
        let world = self.world();
        self.feed(Event::Started(world));
    }

    /// Gives the agent an event; its effects happen. Nothing, if it does not run.
    pub fn feed(&mut self, event: Event) {
        let Some(machine) = self.machine.clone() else {
            return;
        };
        let (random, boot, policy) = (self.chance.next(), self.boot(), self.policy.clone());
        let by_boot = self.by_boot();
        let cx = Context {
            by_boot: &by_boot,
            put_aside: None,
            now: self.now,
            slept: self.slept,
            boot: &boot,
            wall: self.wall,
            random,
            policy: &policy,
        };
        let name = name_of(&event);
        // Gates that close while the new system is being looked at do not keep its trial from beginning:
        // the agent relies on their answer before that. Were they asked again after it, this could be
        // left out.
        let asked_again = matches!(
            &event,
            Event::Gates {
                stage: Stage::Activate,
                ..
            }
        );
        let too_late = asked_again && self.is_inspecting();
        if !too_late {
            self.witness.sees(&event, self.now, &self.current);
        }
        let step = machine.step(event.clone(), &cx);
        let untold = match &event {
            Event::Asked(request) if step.grants() => request.untold(self.wall),
            _ => None,
        };
        self.check_wall_clock(&machine, &event, &cx);
        if self.struck() {
            return;
        }
        let Ok((decided, written)) = self.persist(step) else {
            self.not_written(&event);
            return;
        };
        // What somebody asked for is in force once they were told: until then the journal before is.
        if let Some(untold) = untold {
            let before = machine.passing_over(untold, machine.journal().state.clone());
            let told = std::mem::replace(&mut self.journal, before.journal().clone());
            let roots = machine.journal().roots().into_values();
            self.roots.extend(roots);
            if self.struck() {
                return;
            }
            if std::mem::take(&mut self.refuses_what_was_told) {
                self.log.note("the disk refuses what was told");
                self.answers.extend(decided.answer);
                self.machine = Some(before);
                self.feed(Event::Tick);
                return;
            }
            self.roots = told.roots().into_values().collect();
            self.journal = told;
        }
        // It is written, whatever strikes now.
        self.witness
            .reads(machine.journal(), decided.machine.journal());
        if self.struck() {
            return;
        }
        let change = Change {
            event: &event,
            before: machine.journal(),
            now: cx.now,
            policy: &policy,
            decided: &decided,
            written: written.as_ref(),
        };
        self.check_change(&change);
        let before = machine.journal().state.name();
        let after = decided.machine.journal().state.name();
        if before != after {
            self.transitions.insert((before, name, after));
        }
        self.log.step(name, after);
        self.witness
            .answered(&event, decided.answer.as_ref(), self.boots, change.now);
        self.leases = decided.machine.leases().clone();
        self.machine = Some(decided.machine);
        self.answers.extend(decided.answer);
        let boots = self.boots;
        for effect in decided.effects {
            if self.struck() || self.machine.is_none() || self.boots != boots {
                break;
            }
            self.carry_out(effect);
        }
        self.check();
    }

    /// Writes the journal. The roots are there before it, and those of before go after it.
    fn persist(&mut self, step: Step) -> Result<(Decided, Option<Journal>), Refused> {
        let refuses = self.refused_saves > 0;
        let mut written = None;
        let decided = step.persisted(|journal| {
            if refuses {
                return Err(Refused);
            }
            // Through its text, as on the disk.
            let text = journal.to_bytes().expect("it is JSON");
            written = Journal::parse(&text).ok();
            Ok(())
        })?;
        if let Some(journal) = &written {
            self.journal = journal.clone();
            self.roots = journal.roots().into_values().collect();
        }
        Ok((decided, written))
    }

    /// The disk refused what came of an event. What was asked for is answered so, and dead; what
    /// happened by itself is found by a look at the robot, once the disk takes the journal again.
    fn not_written(&mut self, event: &Event) {
        self.log.note("the disk refuses the journal");
        let boots = self.boots;
        let lost = !matches!(event, Event::Asked(_) | Event::Tick);
        while self.refused_saves > 0 {
            self.refused_saves -= 1;
            self.now = self.now + Duration::from_secs(1);
            self.guards_fire();
            if self.machine.is_none() || self.boots != boots {
                return;
            }
            // The time may come again, and somebody may ask again, while it still refuses.
            if !lost {
                return;
            }
        }
        // What the agent's own work answered meanwhile was dropped, or comes after the look.
        if self.chance.next().is_multiple_of(2) {
            self.pending
                .retain(|pending| !matches!(pending, Pending::Event(_)));
        }
        self.machine = None;
        self.start();
    }

    /// The kept systems that only a boot leads to: a system with the kernel that was booted can be
    /// switched to.
    pub(crate) fn by_boot(&self) -> Vec<StorePath> {
        let booted = self.needs_reboot.contains(&self.booted);
        let kept = self.journal.fallbacks.iter().chain(&self.journal.confirmed);
        kept.map(|generation| generation.system.clone())
            .filter(|system| self.needs_reboot.contains(system) != booted)
            .collect()
    }

    /// The answer of the agent's own work has come, unless the agent is gone.
    pub(crate) fn will_answer(&mut self, event: Event) {
        if self.machine.is_some() {
            self.pending.push_back(Pending::Event(event));
        }
    }
}

/// An event's name, as the documentation's diagram has it.
#[must_use]
pub const fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Started(_) => "Started",
        Event::Tick => "Tick",
        Event::Gates { closed, .. } if closed.is_empty() => "Gates(open)",
        Event::Gates { .. } => "Gates(closed)",
        Event::Polled(_) => "Polled",
        Event::PollFailed(_) => "PollFailed",
        Event::Observed(_) => "Observed",
        Event::InItsOwnWay(_) => "InItsOwnWay",
        Event::Fetched => "Fetched",
        Event::FetchFailed(_) => "FetchFailed",
        Event::Moved { .. } => "Moved",
        Event::NetworkChanged => "NetworkChanged",
        Event::Looked(_) => "Looked",
        Event::Inspected { .. } => "Inspected",
        Event::InspectFailed(_) => "InspectFailed",
        Event::Vanished => "Vanished",
        Event::DeadManArmed => "DeadManArmed",
        Event::DeadManFailed(_) => "DeadManFailed",
        Event::BootAimed => "BootAimed",
        Event::AimFailed(_) => "AimFailed",
        Event::SwitchEnded { .. } => "SwitchEnded",
        Event::Pruned { .. } => "Pruned",
        Event::Installed(_) => "Installed",
        Event::Recalled(_) => "Recalled",
        Event::Scrubbed { .. } => "Scrubbed",
        Event::Stalled { .. } => "Stalled",
        Event::Collected { .. } => "Collected",
        Event::Probed(_) => "Probed",
        Event::HolderLost(_) => "HolderLost",
        Event::Asked(Request::Update) => "Asked(Update)",
        Event::Asked(Request::Rollback { .. }) => "Asked(Rollback)",
        Event::Asked(Request::Lease { .. }) => "Asked(Lease)",
        Event::Asked(Request::EndLease { .. }) => "Asked(EndLease)",
        Event::Asked(Request::Keep { .. }) => "Asked(Keep)",
        Event::Asked(Request::Unblock { .. }) => "Asked(Unblock)",
        Event::Asked(Request::Hold { .. }) => "Asked(Hold)",
        Event::Asked(Request::Resume { .. }) => "Asked(Resume)",
    }
}
