//! The garbage collector, run by somebody else: what nothing roots is gone.

use crate::robot::Robot;
use std::collections::BTreeSet;

impl Robot {
    /// `nix-collect-garbage`; with `old`, `-d`: all generations but the profile's go first. What
    /// lives: what the agent has rooted, what was booted, what runs, and the generations.
    pub fn collect_garbage(&mut self, old: bool) {
        self.log.note(if old {
            "garbage is collected, with old generations"
        } else {
            "garbage is collected"
        });
        if old {
            let profile = self.profile.clone();
            self.generations.retain(|_, found| found.system == profile);
        }
        let alive: BTreeSet<_> = self
            .roots
            .iter()
            .chain(self.generations.values().map(|found| &found.system))
            .chain([&self.booted, &self.current, &self.profile])
            .cloned()
            .collect();
        self.store.retain(|system| alive.contains(system));
    }
}
