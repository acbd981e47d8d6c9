//! A mark that something else than a trial kept the agent from answering in it: somebody stopped the agent,
//! or the journal could not be written. It lies where nothing outlasts this boot, and no disk is needed; and
//! for the boot that ends a trial by booting on the disk, should that take it.

use crate::config::Config;
use std::{
    fs,
    path::{Path, PathBuf},
};
use surefoot_core::machine::state::{Phase, State, Trial};

const FILE: &str = "kept-away";

/// The mark in the state directory.
const ON_DISK: &str = "boot-trial.kept-away";

/// What the deadline of a boot on trial leaves there before it reboots the robot, which ends the agent as
/// well.
pub(crate) const DEADLINE: &str = "boot-trial.deadline";

fn place(config: &Config) -> PathBuf {
    config.socket.with_file_name(FILE)
}

/// Leaves the mark, if what the agent is kept from is to prove a system. What ends it before, most likely the
/// switch itself, says nothing. Where the mark cannot be left, the trial is judged as without it.
pub(crate) fn mark(config: &Config, state: &State) {
    let proves = matches!(
        state,
        State::Trial(Trial {
            phase: Phase::Soaking { .. },
            ..
        })
    );
    if !proves || config.state_dir.join(DEADLINE).exists() {
        return;
    }
    for place in [place(config), config.state_dir.join(ON_DISK)] {
        if let Err(error) = fs::write(&place, "") {
            tracing::warn!("cannot write {}: {error}", place.display());
        }
    }
}

/// Takes the mark away: another trial begins, or the agent answers again.
pub(crate) fn forget(config: &Config) {
    let _ = fs::remove_file(place(config));
    forget_on_disk(&config.state_dir);
}

/// Takes the mark on the disk away.
pub(crate) fn forget_on_disk(state_dir: &Path) {
    let _ = fs::remove_file(state_dir.join(ON_DISK));
}

/// Whether it is there from this boot.
pub(crate) fn is_marked(config: &Config) -> bool {
    place(config).exists()
}

/// Whether it is there from the boot before.
pub(crate) fn is_on_disk(state_dir: &Path) -> bool {
    state_dir.join(ON_DISK).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::time::Duration;
    use surefoot_core::{
        StorePath,
        machine::state::Mode,
        switch::{Action, Order},
        time::{BootId, Instant},
    };

    #[test]
    fn only_what_keeps_the_agent_from_proving_a_system_is_marked_until_it_answers_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config::tests::good(&[config::tests::MINIMAL]);
        config.socket = dir.path().join("control.socket");
        config.state_dir = dir.path().to_owned();
        let system = StorePath::from_base_name(&format!("{}-nixos", "1".repeat(32))).unwrap();
        let trial = |phase| {
            State::Trial(Trial {
                target: None,
                system: system.clone(),
                previous: system.clone(),
                boot: BootId("boot".to_owned()),
                mode: Mode::Boot,
                reached: true,
                late: None,
                phase,
            })
        };
        let soaks = trial(Phase::Soaking {
            deadline: Instant::default() + Duration::from_secs(300),
        });
        let switches = trial(Phase::Switching {
            order: Order {
                unit: "surefoot-trial-1.service".into(),
                system: system.clone(),
                action: Action::Test,
                default: None,
                remove: None,
                timeout: Duration::from_secs(900),
                no_check: false,
            },
        });
        let marked = || (is_marked(&config), is_on_disk(dir.path()));
        // The live switch restarts the agent of a release that changed its unit.
        for (state, is) in [(&switches, false), (&State::Idle, false), (&soaks, true)] {
            mark(&config, state);
            assert_eq!(marked(), (is, is));
        }
        forget(&config);
        assert_eq!(marked(), (false, false));
        // Nobody stops it but the deadline itself.
        fs::write(dir.path().join(DEADLINE), "").unwrap();
        mark(&config, &soaks);
        assert_eq!(marked(), (false, false));
    }
}
