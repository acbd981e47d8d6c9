//! The units of the running system, and what a look at them finds.

use crate::robot::Robot;
use surefoot_core::{
    StorePath,
    baseline::{Activity, Baseline, Look, Unit},
    machine::Event,
};

/// A timer's job, which fails on some systems.
pub(crate) const JOB: &str = "backup.service";

/// A service, which runs on some systems no more.
pub(crate) const SERVICE: &str = "gripper.service";

impl Robot {
    /// Whether a system does worse than another one.
    pub(crate) fn is_worse(&self, system: &StorePath, than: &StorePath) -> bool {
        let worse = |have: fn(&Self, &StorePath) -> bool| have(self, system) && !have(self, than);
        worse(Self::job_fails) || worse(Self::service_ends)
    }

    fn job_fails(&self, system: &StorePath) -> bool {
        self.broken.contains(system)
    }

    fn service_ends(&self, system: &StorePath) -> bool {
        self.idle.contains(system)
    }

    /// The robot as it is before a trial.
    pub(crate) fn look_before(&self) -> Event {
        Event::Looked(Baseline::of(&self.look_at_units(), self.policy.soak))
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
        let job = if self.job_fails(&self.current) {
            Activity::Failed
        } else {
            Activity::Active
        };
        let service = if self.service_ends(&self.current) {
            Activity::Inactive
        } else {
            Activity::Active
        };
        let goal = Unit {
            needs: vec![JOB.into(), SERVICE.into()],
            ..unit("default.target", Activity::Active)
        };
        Look {
            units: vec![goal, unit(JOB, job), unit(SERVICE, service)],
            ..Look::default()
        }
    }
}
