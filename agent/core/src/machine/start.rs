//! Starting and finding one's feet: what a look at the robot leads to.

use super::{Decision, DriftPolicy, Effect};
use crate::{
    StorePath,
    journal::What,
    machine::state::{Cause, Evidence, Generation, Mode, Origin, Phase, State},
    resolver::{Resolution, World, resolve},
    switch::Action,
};

impl Decision<'_> {
    pub(super) fn started(&mut self, world: &World) {
        let (boot, now) = (self.cx.boot, self.cx.now);
        for hold in &mut self.machine.journal.holds {
            hold.rebase(boot, now);
        }
        let resolution = resolve(&self.machine.journal, world);
        self.resolved(resolution);
        if matches!(
            self.machine.journal.state,
            State::Idle | State::Fetching { .. } | State::Ready { .. }
        ) {
            // Nothing is under trial: a dead-man timer can only be a leftover.
            self.effects.insert(0, Effect::DisarmDeadMan);
            self.poll();
        }
    }

    pub(super) fn resolved(&mut self, resolution: Resolution) {
        self.machine.memory.drift = None;
        match resolution {
            Resolution::Adopt(system) => {
                self.machine.journal.confirmed = Some(Generation {
                    system: system.clone(),
                    release: None,
                    since: self.cx.wall,
                });
                self.record(What::Adopted, system, None, None, None);
            }
            Resolution::Unknown => {
                self.machine.memory.problem = Some(
                    "cannot tell which system runs: /run/booted-system and /run/current-system \
                     name no store path"
                        .to_owned(),
                );
            }
            Resolution::Settled => {
                if matches!(self.machine.journal.state, State::Trial { .. }) {
                    self.go(State::Idle);
                }
            }
            Resolution::Drift(system) => self.drifted(system),
            Resolution::FinishSwitch => {
                self.restore("a switch was cut off and left services stopped");
            }
            Resolution::Refetch => {
                if let Some(target) = self.machine.journal.state.target().cloned() {
                    self.fetch(target);
                }
            }
            Resolution::Attach => {
                if let Some(order) = self.machine.journal.state.order().cloned() {
                    self.effects.push(Effect::Switch(order));
                }
            }
            Resolution::Ended(outcome, log) => self.switch_ended(&outcome, log, Vec::new()),
            Resolution::Soak => self.probe(),
            Resolution::Interrupted(why) => {
                self.unstage(Evidence::plain(Cause::Interrupted, why.to_owned()));
            }
            Resolution::Staged => self.staged(),
            Resolution::RebootAgain => self.boot_trial(),
            Resolution::Arrived => self.arrived(),
            Resolution::FellBack(trace) => self.fell_back(trace),
            Resolution::CommitLost => {
                let why = "the robot restarted before the boot loader had the proven system";
                self.unstage(Evidence::plain(Cause::Interrupted, why.to_owned()));
            }
            Resolution::DeadManReverted => {
                let evidence = Evidence::plain(
                    Cause::DeadMan,
                    "the dead-man timer reverted the trial: the agent had not answered in time"
                        .to_owned(),
                );
                self.left_behind(evidence);
            }
            Resolution::Revert(why) => {
                self.revert(Evidence::plain(Cause::Unknown, why.to_owned()));
            }
            Resolution::Forward { reboot: needed } => self.forward(needed),
            Resolution::Backward { reboot: needed } => {
                if let State::Reverting { reboot, .. } = &mut self.machine.journal.state {
                    *reboot = needed;
                }
                self.revert_again();
            }
            Resolution::Reverted => self.reverted(),
        }
    }

    pub(super) fn drifted(&mut self, system: StorePath) {
        let Some(confirmed) = self.machine.journal.confirmed.clone() else {
            return;
        };
        match self.cx.policy.drift {
            DriftPolicy::Report => {
                self.machine.memory.drift = Some(system);
                if matches!(self.machine.journal.state, State::Trial { .. }) {
                    self.go(State::Idle);
                }
            }
            DriftPolicy::Adopt => {
                self.machine.memory.drift = Some(system.clone());
                self.go(State::Trial {
                    target: None,
                    system,
                    previous: confirmed.system,
                    boot: self.cx.boot.clone(),
                    mode: Mode::Live,
                    phase: Phase::Soaking {
                        deadline: self.cx.now + self.cx.policy.health_deadline,
                    },
                });
                self.probe();
            }
            DriftPolicy::Restore => {
                let why = format!("{system} ran instead, and it was not the agent");
                self.restore(&why);
            }
        }
    }

    /// Switches to the confirmed system again.
    pub(super) fn restore(&mut self, why: &str) {
        self.expire();
        let holds = self.machine.journal.holds.iter();
        let holds = holds.map(|hold| format!("the hold of {}", hold.owner));
        let leases = self.busy().into_iter().map(|closed| closed.to_string());
        let kept: Vec<String> = holds.chain(leases).collect();
        if !kept.is_empty() {
            self.machine.memory.problem = Some(format!(
                "{why}; the confirmed system will be put back when this has ended: {}",
                kept.join(", ")
            ));
            return;
        }
        if let Some(goal) = self.machine.journal.confirmed.clone() {
            let previous = goal.system.clone();
            self.commit(
                goal,
                None,
                previous,
                Origin::Restore {
                    why: why.to_owned(),
                },
                (Action::Switch, false),
            );
        }
    }
}
