//! Switches: what `nixos-rebuild` and `switch-to-configuration` do to profile, loader and services,
//! for the agent and for somebody else.

use crate::robot::{Generation, Pending, Robot};
use surefoot_core::{
    StorePath,
    machine::Event,
    resolver::SwitchUnit,
    switch::{Action, Order, Outcome, Purpose},
};

impl Robot {
    /// Whether the switch of an order has not begun yet.
    pub(crate) fn is_new(&self, order: &Order) -> bool {
        let unit = self.unit.as_ref();
        unit.is_none_or(|(unit, _)| *unit != order.unit)
    }

    /// Begins the switch of an order, or finds the one that was begun before.
    pub(crate) fn switch(&mut self, order: Order) {
        if self.is_new(&order) {
            if !self.make_room(&order) {
                return;
            }
            self.unit = Some((order.unit.clone(), SwitchUnit::Running));
            self.pending.push_back(Pending::Switch(order));
        } else if let Some((unit, SwitchUnit::Ended { outcome, log })) = self.unit.clone() {
            self.pending.push_back(Pending::Event(Event::SwitchEnded {
                unit,
                outcome,
                log,
                failures: vec![],
            }));
        }
    }

    /// A switch ends: what it was to do is done, as far as it went well.
    pub(crate) fn finish(&mut self, order: Order) {
        let live = matches!(order.action, Action::Test | Action::Switch);
        let outcome = match self.outcomes.get(&order.system) {
            _ if !self.store.contains(&order.system) => Outcome::NotStarted,
            _ if self.locked || self.lockers.contains(&self.current) => Outcome::Locked,
            _ if self.read_only && order.action != Action::Test => Outcome::Refused,
            // What only activating brings to light.
            Some(Outcome::NeedsReboot | Outcome::UnitsFailed | Outcome::ActivationFailed)
                if !live =>
            {
                Outcome::Done
            }
            Some(outcome) => outcome.clone(),
            None => Outcome::Done,
        };
        if order.action != Action::Test && order.no_check && self.installer_drops {
            self.log.note("installing it takes the robot down");
            self.power_cut();
            return;
        }
        // Profile and boot loader come before the activation.
        let installed = outcome.activated()
            || matches!(outcome, Outcome::NeedsReboot | Outcome::ActivationFailed);
        let unread = self.silent && order.action != Action::Test && !order.no_check;
        if order.action != Action::Test && installed {
            self.set_profile(&order);
            self.default = order
                .default
                .clone()
                .unwrap_or_else(|| order.system.clone());
            // To the agent it may still be what somebody else made it.
            self.meddled &= unread;
        }
        if order.action != Action::Test {
            self.feed(Event::Installed(self.links()));
        }
        if live && self.drops.contains(&order.system) && self.store.contains(&order.system) {
            self.log.note("activating it takes the robot down");
            self.power_cut();
            return;
        }
        if !live {
            // Nothing is activated.
        } else if outcome.activated() || matches!(outcome, Outcome::ActivationFailed) {
            self.activated(&order);
            self.current = order.system.clone();
            self.leftovers = false;
        }
        // What cannot be read back is done as far as a way back goes.
        let outcome = if unread && outcome.activated() {
            unread_outcome(order.action)
        } else {
            outcome
        };
        self.end_unit(order.unit, outcome);
        self.check();
    }

    /// The unit of a switch has ended; the agent is told, if it runs.
    fn end_unit(&mut self, unit: String, outcome: Outcome) {
        let log = vec![outcome.to_string()];
        self.unit = Some((
            unit.clone(),
            SwitchUnit::Ended {
                outcome: outcome.clone(),
                log: log.clone(),
            },
        ));
        self.feed(Event::SwitchEnded {
            unit,
            outcome,
            log,
            failures: vec![],
        });
    }

    /// The robot goes down in the middle of a switch: it got as far as it got.
    pub(crate) fn cut_switches_off(&mut self) {
        let running: Vec<_> = self.pending.drain(..).collect();
        for pending in running {
            if let Pending::Switch(order) = pending
                && order.action != Action::Test
                && !self.read_only
                && self.chance.next().is_multiple_of(2)
            {
                self.set_profile(&order);
                if order.action != Action::Stage && self.chance.next().is_multiple_of(2) {
                    self.default = order.system;
                }
            }
        }
    }

    fn set_profile(&mut self, order: &Order) {
        self.set_generation(&order.system, true);
        if let Some(surplus) = &order.remove {
            self.generations.retain(|_, found| found.system != *surplus);
        }
    }

    /// The profile names a system, as one of its generations or a new one.
    fn set_generation(&mut self, system: &StorePath, by_agent: bool) {
        self.profile = system.clone();
        if !self.has_entry(system) {
            let number = self.generations.keys().max().map_or(1, |newest| newest + 1);
            let new = Generation::new(system.clone(), by_agent);
            self.generations.insert(number, new);
        }
    }

    /// The dead-man timer ends whatever trial runs and goes back to this system; if that fails, it
    /// reboots.
    pub(crate) fn dead_man_goes_back(&mut self, system: StorePath) {
        let mut stopped = Vec::new();
        self.pending.retain(|pending| match pending {
            Pending::Switch(order) if order.unit.starts_with(Purpose::Trial.prefix()) => {
                stopped.push(order.unit.clone());
                false
            }
            _ => true,
        });
        let goes = self.outcomes.get(&system).is_none_or(Outcome::activated);
        if goes && self.store.contains(&system) {
            self.hurt = self.hurts.contains(&self.current);
            self.spent = false;
            self.current = system;
        } else {
            self.power_cut();
        }
        for unit in stopped {
            self.end_unit(unit, Outcome::Killed(15));
        }
    }

    /// systemd forgets how the agent's switches ended, as the agent has it do now and then.
    pub fn forget_units(&mut self) {
        (self.unit).take_if(|(_, state)| *state != SwitchUnit::Running);
    }

    /// The switch runs right now.
    fn is_switching(&self) -> bool {
        self.pending.iter().any(|p| matches!(p, Pending::Switch(_)))
    }

    /// Somebody else runs an installer: `nixos-rebuild test`, `boot` or `switch`, or a program that
    /// writes the boot entries and the default anew. While a switch of the agent runs, they find the
    /// lock taken. Says whether they did anything.
    pub fn meddle(&mut self, action: Action, system: StorePath) -> bool {
        if self.is_switching() {
            return false;
        }
        self.log.note(format!("somebody runs: {action} {system}"));
        self.witness.meddled = true;
        self.store.insert(system.clone());
        self.by_hand.insert(system.clone());
        if action != Action::Test {
            self.meddled = true;
            self.set_generation(&system, false);
            self.default = system.clone();
        }
        if matches!(action, Action::Test | Action::Switch) {
            self.current = system;
            self.leftovers = false;
            self.hurt = false;
            self.spent = false;
        }
        true
    }
}

/// What the agent makes of a switch whose work on the boot loader it cannot read back.
const fn unread_outcome(action: Action) -> Outcome {
    match action {
        Action::Stage => Outcome::NotStarted,
        Action::Test | Action::Boot | Action::Switch => Outcome::Refused,
    }
}
