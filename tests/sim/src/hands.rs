//! The agent's hands: what its effects do to the robot, and what they answer.

use crate::{
    properties,
    robot::{Pending, Robot},
};
use surefoot_core::{
    StorePath,
    baseline::{Against, judge},
    gate::Closed,
    health::{Beside, Check, Failure, Report},
    machine::{
        Effect, Event, Guards,
        state::{Mode, State},
    },
    reboot::Reason,
    release::Target,
    switch::{Order, Purpose},
};

impl Robot {
    /// An effect happens.
    pub(crate) fn carry_out(&mut self, effect: Effect) {
        self.log.effect(&effect);
        self.check_effect(&effect);
        self.witness.does(&effect);
        match effect {
            Effect::AskGates(stage) => {
                let closed = self.closed.contains(&stage).then(no).into_iter().collect();
                self.will_answer(Event::Gates { stage, closed });
            }
            Effect::Poll => self.poll(),
            Effect::Fetch(target) => {
                self.store.insert(target.system);
                self.will_answer(Event::Fetched);
            }
            Effect::CancelFetch => {
                self.pending.retain(|p| {
                    !matches!(p, Pending::Event(Event::Fetched | Event::FetchFailed(_)))
                });
            }
            Effect::Look => {
                let looked = self.look_before();
                self.will_answer(looked);
            }
            Effect::Inspect(target) => {
                let looked = self.look_before();
                self.will_answer(looked);
                let event = self.inspect(&target);
                self.will_answer(event);
            }
            Effect::ArmDeadMan {
                previous, after, ..
            } => {
                self.trace.kept_away = false;
                self.dead_man = Some((previous, self.now + after));
                self.will_answer(Event::DeadManArmed);
            }
            Effect::Prolong { .. } if std::mem::take(&mut self.refuses_more_time) => {
                self.will_answer(Event::DeadManFailed("systemd does not answer".into()));
            }
            Effect::Prolong {
                mode: Mode::Live,
                previous,
                after,
                ..
            } => self.dead_man = Some((previous, self.now + after)),
            Effect::Prolong { after, .. } => self.boot_deadline = Some(self.now + after),
            Effect::Observe => {
                let world = self.world();
                self.will_answer(Event::Observed(world));
            }
            Effect::FindOwn { system, before } => {
                let own = self.current == system
                    && self.lockers.contains(&system)
                    && !self.lockers.contains(&before);
                let own = own.then(|| "its own unit holds the lock".to_owned());
                self.will_answer(Event::InItsOwnWay(own));
            }
            Effect::Disarm(guards) => self.disarm(guards),
            Effect::AimBoot {
                system,
                previous,
                within,
            } => {
                let event = self.aim(system, &previous, within);
                self.will_answer(event);
            }
            Effect::Switch(order) => {
                let is_new = self.is_new(&order);
                let puts_back = match &self.journal.state {
                    State::Committing(commit) => properties::puts_back(&order, commit),
                    _ => false,
                };
                if is_new && (puts_back || order.unit.starts_with(Purpose::Trial.prefix())) {
                    self.witness.is_disturbed(&order.system);
                }
                self.switch(order);
            }
            Effect::StopSwitch(Order { unit, .. }) => {
                self.pending
                    .retain(|p| !matches!(p, Pending::Switch(order) if order.unit == unit));
            }
            Effect::Probe {
                system,
                against,
                at,
                beside,
            } => {
                let mut report = self.probe(&system, &against);
                report.began = Some(at);
                let asked = match beside {
                    Beside::Agent => report.healthy(),
                    Beside::NixDaemon => true,
                    Beside::Nothing => false,
                };
                let stuck = asked && self.nix_hangs.contains(&self.current);
                report.failures.extend(stuck.then(|| Failure {
                    check: Check::NixDaemon,
                    message: "no answer".into(),
                    journal: Vec::new(),
                }));
                self.will_answer(Event::Probed(report));
            }
            Effect::Reboot(_) if self.lost_reboots > 0 => {
                self.lost_reboots -= 1;
                self.log.note("it does not reboot");
            }
            Effect::Reboot(_) => {
                if let State::Trial(trial) = &self.journal.state {
                    self.witness.is_disturbed(&trial.system);
                }
                self.power_cut();
            }
            Effect::Renew => self.renew = self.renews && self.agent_of != self.current,
        }
    }

    /// Looks at the robot, then at the repository.
    fn poll(&mut self) {
        let world = self.world();
        self.will_answer(Event::Observed(world));
        let event = if self.cut_off() {
            Event::PollFailed("no route".into())
        } else {
            Event::Polled(self.published.clone().into())
        };
        self.will_answer(event);
    }

    fn inspect(&mut self, target: &Target) -> Event {
        if std::mem::take(&mut self.collected) || !self.store.contains(&target.system) {
            return Event::Vanished;
        }
        if self.silent {
            return Event::InspectFailed("the boot partition does not answer".into());
        }
        Event::Inspected {
            current: self.current.clone(),
            named: vec![self.profile.clone(), self.default.clone()],
            reboot: if self.needs_reboot.contains(&target.system) {
                vec![Reason::Kernel]
            } else {
                vec![]
            },
            unfit: self
                .unfit
                .contains(&target.system)
                .then(|| "it has no agent".to_owned()),
            no_boot: self.no_boot.clone(),
            no_room: self.no_room.clone(),
        }
    }

    fn disarm(&mut self, guards: Guards) {
        if guards.dead_man {
            self.dead_man = None;
        }
        if guards.boot_deadline {
            self.boot_guard = None;
            self.boot_deadline = None;
        }
        if guards.one_shot {
            self.one_shot = None;
        }
    }

    fn probe(&self, expected: &StorePath, against: &Against) -> Report {
        let mut report = judge(self.look_at_units(), against, |_| false);
        if self.current != *expected {
            report.failures.push(Failure {
                check: if self.variants.get(&self.current) == Some(expected) {
                    Check::Other("specialisation".into())
                } else {
                    Check::RunningSystem
                },
                message: format!("{} runs", self.current),
                journal: Vec::new(),
            });
        }
        if self.slow.contains(&self.current) {
            report.pending.push(Failure {
                check: Check::Unit("arm.service".into()),
                message: "still starting".into(),
                journal: Vec::new(),
            });
        }
        let unreached = self.cut_off();
        if self.by_network.contains(&self.current) {
            let is_set_aside = |failure: &mut Failure| {
                matches!(failure.check, Check::Unit(_))
                    && (unreached || against.aside.contains(&failure.check))
            };
            let aside = report.failures.extract_if(.., is_set_aside);
            report.aside = aside.map(|failure| failure.check).collect();
        }
        if unreached || !report.aside.is_empty() {
            report.failures.push(Failure {
                check: Check::ManifestServer,
                message: "no route".into(),
                journal: Vec::new(),
            });
        }
        report
    }
}

fn no() -> Closed {
    Closed {
        gate: "command docked".into(),
        why: "it is not".into(),
    }
}
