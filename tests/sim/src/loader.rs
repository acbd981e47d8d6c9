//! The firmware and the boot loader: one default, and one system that is started once.

use crate::robot::Robot;
use std::time::Duration;
use surefoot_core::{StorePath, machine::Event, resolver::Trace};

impl Robot {
    /// What is started once, if anything is; it is used up, or the firmware has lost it.
    pub(crate) fn take_one_shot(&mut self) -> Option<StorePath> {
        let system = self.one_shot.take()?;
        let startable = self.has_entry(&system) && self.store.contains(&system);
        if self.lost_one_shots == 0 && startable {
            return Some(system);
        }
        self.lost_one_shots = self.lost_one_shots.saturating_sub(1);
        self.trace.started = Some(false);
        None
    }

    /// Whether a system has a boot entry: its generation is in the profile.
    #[must_use]
    pub fn has_entry(&self, system: &StorePath) -> bool {
        self.generations
            .values()
            .any(|found| found.system == *system)
    }

    /// Arms the deadline of a boot, then has the loader start this system once; unless the system
    /// that would be started otherwise is not `previous`.
    pub(crate) fn aim(
        &mut self,
        system: StorePath,
        previous: &StorePath,
        within: Duration,
    ) -> Event {
        if self.default != *previous {
            return Event::AimFailed(format!("the boot loader's default is {}", self.default));
        }
        if self.silent {
            return Event::AimFailed("the boot partition does not answer".into());
        }
        if self.read_only {
            return Event::AimFailed("the boot loader cannot be written".into());
        }
        if self.full_variables {
            return Event::AimFailed("the firmware has no room for the one-shot".into());
        }
        self.trace = Trace::default();
        self.boot_guard = Some((system.clone(), within));
        if self.struck() {
            // The deadline is on the disk, the one-shot is not.
            return Event::BootAimed;
        }
        self.one_shot = Some(system);
        Event::BootAimed
    }
}
