//! The units of the running system, and what a look at them finds.

use crate::{robot::Robot, witness::Before};
use surefoot_core::{
    StorePath,
    baseline::{Activity, Baseline, Look, Unit},
    health::{Check, Failure},
    machine::Event,
    switch::{Order, Purpose},
};

/// A timer's job, which fails on some systems.
pub(crate) const JOB: &str = "backup.service";

/// A service, which runs on some systems no more.
pub(crate) const SERVICE: &str = "gripper.service";

/// A machine beside the robot.
const BESIDE: &str = "plc";

impl Robot {
    /// Whether a system does worse than what ran when the robot was looked at last before a trial.
    pub(crate) fn is_worse(&self, system: &StorePath) -> bool {
        let before = self.witness.before;
        (self.job_fails(system) && !before.job_failed)
            || (self.service_ends(system) && !before.service_ended)
    }

    /// Whether a job fails since the commit's switch, which did not before the trial.
    pub(crate) const fn is_worse_since_its_commit(&self) -> bool {
        self.spent && !self.witness.before.job_failed
    }

    /// Whether a service does not run that this system has run before.
    pub(crate) fn has_lost_its_service(&self) -> bool {
        self.hurt && !self.service_ends(&self.current)
    }

    fn job_fails(&self, system: &StorePath) -> bool {
        self.broken.contains(system)
    }

    fn service_ends(&self, system: &StorePath) -> bool {
        self.idle.contains(system)
    }

    /// A switch has activated a system: what it does to the units.
    pub(crate) fn activated(&mut self, order: &Order) {
        let is = |purpose: Purpose| order.unit.starts_with(purpose.prefix());
        self.spent = is(Purpose::Commit) && self.fails_again.contains(&order.system);
        self.hurt = is(Purpose::Revert) && self.hurts.contains(&self.current);
    }

    /// The robot as it is before a trial.
    pub(crate) fn look_before(&mut self) -> Event {
        self.witness.before = Before {
            job_failed: self.spent || self.job_fails(&self.current),
            service_ended: self.hurt || self.service_ends(&self.current),
        };
        let mut look = self.look_at_units();
        if self.unasked {
            (look.failures).retain(|failure| !failure.check.is_written());
        }
        Event::Looked(Baseline {
            unasked: self.unasked,
            alone: (self.cut_off() && !self.lan_gone)
                .then(|| Check::Tcp(BESIDE.into()))
                .into_iter()
                .collect(),
            ..Baseline::of(&look, self.policy.soak)
        })
    }

    /// A look at the units of the running system.
    pub(crate) fn look_at_units(&self) -> Look {
        let unit = |name: &str, activity| Unit {
            name: name.into(),
            activity,
            result: "success".into(),
            since: self.policy.soak,
            began: true,
            ..Unit::default()
        };
        let job = if self.spent || self.job_fails(&self.current) {
            Activity::Failed
        } else {
            Activity::Active
        };
        let service = if self.hurt || self.service_ends(&self.current) {
            Activity::Inactive
        } else {
            Activity::Active
        };
        let goal = Unit {
            needs: vec![JOB.into(), SERVICE.into()],
            ..unit("default.target", Activity::Active)
        };
        let sick = self.sick.contains(&self.current);
        let failures = sick.then(|| Failure {
            check: Check::Unit("arm.service".into()),
            message: "failed".into(),
            journal: vec!["no arm found".into()],
        });
        let written = self.check_fails.then(|| Failure {
            check: Check::Command("estop".into()),
            message: "exit status: 1".into(),
            journal: Vec::new(),
        });
        let beside = self.lan_gone.then(|| Failure {
            check: Check::Tcp(BESIDE.into()),
            message: "no route".into(),
            journal: Vec::new(),
        });
        Look {
            units: vec![goal, unit(JOB, job), unit(SERVICE, service)],
            failures: failures.into_iter().chain(written).chain(beside).collect(),
            pending: Vec::new(),
        }
    }
}
