//! What a restart means: the world as it was found, and the journal, give one answer.
//!
//! The rules are few. Before the switch of a trial: begin again. In a trial: unknown means revert.
//! In a commit: only forward. And what the dead-man timer or a reboot has already done is not done
//! again.

use crate::{
    StorePath,
    journal::Journal,
    machine::state::{Cause, Committing, Live, Mode, Origin, Phase, Reverting, State, Trial},
    switch::{Action, Outcome},
    time::BootId,
};
use serde::{Deserialize, Serialize};

/// What was found on the robot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct World {
    /// This boot.
    pub boot: BootId,
    /// `/run/booted-system`; `None` where it is missing or is not a store path.
    pub booted: Option<StorePath>,
    /// `/run/current-system`, likewise.
    pub current: Option<StorePath>,
    /// `/nix/var/nix/profiles/system`, likewise.
    pub profile: Option<StorePath>,
    /// What the boot loader starts by default, where that can be told.
    pub default: Option<StorePath>,
    /// Whether it could not be asked for that: its partition does not answer. Then nothing may be decided
    /// from what is missing.
    #[serde(default)]
    pub silent: bool,
    /// Whether what runs is a specialisation of the system on trial, which may be that one's own doing. Only
    /// looked for at a start.
    #[serde(default)]
    pub variant: bool,
    /// Whether a guard outside the agent is armed: the dead-man timer, or in a system that was
    /// booted on trial the boot's deadline.
    pub dead_man: bool,
    /// The transient unit that the journal names, if it names one.
    pub switch: SwitchUnit,
    /// Traces of a switch that was cut off: `/run/nixos/{start,restart,reload}-list` while nobody
    /// holds the switcher's lock.
    pub leftovers: bool,
    /// Whether somebody holds the switcher's lock, the agent's own switch included.
    #[serde(default)]
    pub locked: bool,
    /// What became of a trial in an earlier boot; only looked for where the journal speaks of one.
    #[serde(default)]
    pub trace: Trace,
}

/// What a trial left behind that a restart ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// Whether the boot loader started it; `None` where that cannot be told.
    pub started: Option<bool>,
    /// What ended it, if something left its mark: [`Cause::Panic`], [`Cause::Watchdog`] or
    /// [`Cause::Deadline`].
    pub ended: Option<Cause>,
    /// The last lines that it wrote.
    #[serde(default)]
    pub log: Vec<String>,
    /// Whether something else than the trial kept the agent from answering in it: somebody stopped it, or
    /// the disk could not be written.
    #[serde(default)]
    pub kept_away: bool,
}

/// A transient unit, looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum SwitchUnit {
    /// There is none.
    Gone,
    /// It runs.
    Running,
    /// It ended, and systemd still knows how.
    Ended {
        /// How.
        outcome: Outcome,
        /// Its last lines.
        log: Vec<String>,
    },
}

/// What to do after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// First start: this system becomes the confirmed one.
    Adopt(StorePath),
    /// Nobody can tell which system runs: this is not NixOS, or not yet.
    Unknown,
    /// A guard is armed of which nothing is remembered, and the boot partition does not say where it leads.
    Unread,
    /// Nothing was going on, and the confirmed system runs.
    Settled,
    /// Another system than the confirmed one runs, and it was not the agent.
    Drift(StorePath),
    /// A switch to the confirmed system was cut off and left services stopped.
    FinishSwitch,
    /// A download, or a trial that had not begun: go on with the download, which costs nothing if
    /// all is there.
    Refetch,
    /// The trial's switch still runs: wait for it.
    Attach,
    /// The trial's switch ended while nobody looked.
    Ended(Outcome, Vec<String>),
    /// The trial is live and guarded: prove it from the start.
    Soak,
    /// The trial ended without a verdict, on the system before it.
    Interrupted(&'static str),
    /// The system is staged: go on with the trial by booting it.
    WaitForReboot,
    /// The reboot into the trial has not happened yet.
    RebootAgain,
    /// The robot has booted into the trial.
    TrialBooted,
    /// The robot was to boot into the trial, and came up on the system before.
    FellBack(Trace),
    /// The commit did not reach the boot loader before the robot restarted: it runs the system
    /// before, and a boot would prove the new one again.
    CommitLost,
    /// The dead-man timer has reverted the trial.
    DeadManReverted {
        /// Whether something else than the trial may have kept the agent from answering.
        kept_away: bool,
    },
    /// The trial's traces do not fit together: go back.
    Revert(&'static str),
    /// The system on trial was booted outside its trial, or once more, or somebody activated the one before on
    /// its kernel: only a reboot leads back. Power that was cut, or whoever chose that, says nothing of it.
    Leave(&'static str),
    /// Somebody has another system run than the one under trial or the one before. That is their choice, and
    /// says nothing of the trial.
    Elsewhere {
        /// Which one.
        system: StorePath,
        /// Whether this boot is the trial's all the same: its kernel has not been proven.
        booted: bool,
    },
    /// Go on with the commit.
    CommitAgain {
        /// Whether the system runs.
        there: bool,
    },
    /// Go on with the revert.
    RevertAgain {
        /// Whether somebody has another system run than the one before and the one that is left.
        elsewhere: bool,
    },
    /// The revert is complete: a reboot did it.
    Reverted,
    /// The state is one that only another version of the agent knows, and the confirmed system runs.
    Forget,
    /// The state is one that only another version of the agent knows, and another system runs.
    GoBack {
        /// Which one.
        system: StorePath,
        /// Whether it was booted: then only a boot leads back.
        booted: bool,
    },
}

/// Finds what a restart means. Total: every journal and every world has an answer.
#[must_use]
pub fn resolve(journal: &Journal, world: &World) -> Resolution {
    let Some(confirmed) = &journal.confirmed else {
        // Unless this very boot is a trial whose journal was lost.
        if let (true, Some(default)) = (world.dead_man, &world.default) {
            return Resolution::Adopt(default.clone());
        }
        // Nor while nobody can tell where its guard leads.
        if world.dead_man && world.silent {
            return Resolution::Unread;
        }
        // What was booted was started by the boot loader and came up; what somebody switched to
        // since then has not proven that much. Where the memory was lost, the agent itself may have
        // switched: an update without a reboot.
        let (first, second) = if journal.lost.is_some() {
            (&world.current, &world.booted)
        } else {
            (&world.booted, &world.current)
        };
        return first
            .clone()
            .or_else(|| second.clone())
            .map_or(Resolution::Unknown, Resolution::Adopt);
    };
    if let (State::Trial(trial), Some(current)) = (&journal.state, &world.current)
        && trial.target.is_some()
        && ![&trial.system, &trial.previous].contains(&current)
        && !world.variant
        && world.switch != SwitchUnit::Running
    {
        return elsewhere(trial, world, current);
    }
    match &journal.state {
        State::Idle if journal.lost.is_some() => lost(&confirmed.system, world),
        State::Idle => idle(&confirmed.system, world),
        State::Unknown(_) => unknown(&confirmed.system, world),
        State::Fetching(_) | State::Ready(_) => Resolution::Refetch,
        State::Trial(trial) => match trial.mode {
            Mode::Boot => boot_trial(trial, world),
            Mode::Live => live_trial(trial, &confirmed.system, world),
        },
        State::Committing(committing) => commit(committing, world),
        State::Reverting(reverting) => revert(reverting, world),
    }
}

/// A live trial: does it still run, and what guards it?
fn live_trial(trial: &Trial, confirmed: &StorePath, world: &World) -> Resolution {
    let (new, old) = which(trial, world);
    if trial.boot != world.boot {
        return if old {
            match trial.phase {
                // It had begun, and something knows what ended it.
                Phase::Switching { .. } | Phase::Soaking { .. } if world.trace.ended.is_some() => {
                    Resolution::FellBack(world.trace.clone())
                }
                _ => Resolution::Interrupted("the robot restarted during the trial"),
            }
        } else {
            Resolution::Revert("the robot restarted during the trial into another system")
        };
    }
    if trial.target.is_none() {
        // Somebody else's switch, looked at: no dead-man timer, nothing to revert.
        return idle(confirmed, world);
    }
    match (&trial.phase, &world.switch) {
        (Phase::Arming, _) if old => Resolution::Refetch,
        (Phase::Arming, _) => elsewhere_or(
            trial,
            world,
            "the trial had not begun, and what runs cannot be told",
        ),
        (Phase::Switching { .. }, SwitchUnit::Running) => Resolution::Attach,
        (Phase::Switching { .. } | Phase::Soaking { .. }, _)
            if old && trial.previous != trial.system && !world.dead_man =>
        {
            Resolution::DeadManReverted {
                kept_away: world.trace.kept_away,
            }
        }
        (Phase::Switching { .. }, SwitchUnit::Ended { outcome, log }) => {
            Resolution::Ended(outcome.clone(), log.clone())
        }
        // systemd keeps the unit of a switch that ended: this one never began.
        (Phase::Switching { .. }, SwitchUnit::Gone) if old => {
            Resolution::Interrupted("the agent ended before the switch began")
        }
        (Phase::Switching { .. }, SwitchUnit::Gone) => {
            Resolution::Revert("the switch vanished without an answer")
        }
        (Phase::Soaking { .. }, _) if old && trial.previous != trial.system => {
            Resolution::Interrupted("somebody went back to the system before it")
        }
        (Phase::Soaking { .. }, _) if new && (world.dead_man || trial.late.is_some()) => {
            // One that waits to be left gets its guard anew.
            Resolution::Soak
        }
        (Phase::Soaking { .. }, _) => {
            Resolution::Revert("the trial runs without its dead-man timer")
        }
        (_, _) => Resolution::Revert("a live trial is where only a boot leads"),
    }
}

fn commit(committing: &Committing, world: &World) -> Resolution {
    match &world.switch {
        SwitchUnit::Running => Resolution::Attach,
        SwitchUnit::Ended { outcome, log } => Resolution::Ended(outcome.clone(), log.clone()),
        SwitchUnit::Gone => {
            let there = world.current.as_ref() == Some(&committing.goal.system);
            // What was proven runs, unless the robot restarted; then it has to be proven anew.
            let booted = committing.order.action == Action::Boot && !committing.reboot;
            let lost = booted && committing.live.is_none() || committing.origin == Origin::Trial;
            if lost && !there {
                Resolution::CommitLost
            } else {
                Resolution::CommitAgain { there }
            }
        }
    }
}

fn revert(reverting: &Reverting, world: &World) -> Resolution {
    let order = &reverting.order;
    let goal = Some(&order.system);
    let there = is_there(reverting, world);
    // Somebody has another system run, which a reboot would end.
    let of_somebody = |system: &Option<StorePath>| {
        (system.as_ref()).is_some_and(|system| *system != reverting.failed)
    };
    let elsewhere = !there && of_somebody(&world.current) && of_somebody(&world.booted);
    match &world.switch {
        SwitchUnit::Running => Resolution::Attach,
        SwitchUnit::Ended { outcome, log } => Resolution::Ended(outcome.clone(), log.clone()),
        SwitchUnit::Gone => {
            // Where a commit may have changed what the loader starts, it is not enough that nobody can tell.
            let by_default = world.default.as_ref() == goal
                || world.default.is_none() && !reverting.has_entries();
            let named = world.profile.as_ref() == goal && by_default;
            let done = match order.action {
                Action::Boot => named,
                _ => came_up(reverting, world) && (named || !reverting.has_entries()),
            };
            if there && done {
                Resolution::Reverted
            } else {
                Resolution::RevertAgain { elsewhere }
            }
        }
    }
}

/// Whether the way back has led to its system. Whoever activated that on the kernel of what is left is not there
/// yet.
pub(crate) fn is_there(reverting: &Reverting, world: &World) -> bool {
    let (goal, failed) = (Some(&reverting.order.system), Some(&reverting.failed));
    let on_its_kernel = reverting.reboot && world.booted.as_ref() == failed && failed != goal;
    world.current.as_ref() == goal && !on_its_kernel
}

/// Whether a boot since the last try has led back, and no switch has.
pub(crate) fn came_up(reverting: &Reverting, world: &World) -> bool {
    let goal = Some(&reverting.order.system);
    let since = |live: &Live| live.boot != world.boot;
    world.current.as_ref() == goal
        && world.booted.as_ref() == goal
        && (reverting.reboots > 0 || reverting.live.as_ref().is_some_and(since))
}

/// A trial by booting: which side of the boot is this?
fn boot_trial(trial: &Trial, world: &World) -> Resolution {
    let (new, old) = which(trial, world);
    let same_boot = trial.boot == world.boot;
    // Staged in this boot, it has not been booted on trial.
    let in_its_boot = !same_boot || matches!(trial.phase, Phase::Soaking { .. });
    if old && in_its_boot && world.booted.as_ref() == Some(&trial.system) {
        return Resolution::Leave("the system before it was activated on its kernel");
    }
    match trial.phase {
        // What it still writes is for its end to judge, whatever runs meanwhile.
        Phase::Staging { .. } if same_boot && world.switch == SwitchUnit::Running => {
            Resolution::Attach
        }
        Phase::Staging { .. } if same_boot && old => match &world.switch {
            SwitchUnit::Ended { outcome, log } => Resolution::Ended(outcome.clone(), log.clone()),
            _ => Resolution::Interrupted("the agent ended before the staging began"),
        },
        Phase::Staging { .. } | Phase::Staged if !same_boot && old => {
            Resolution::Interrupted("the robot restarted before the boot on trial")
        }
        Phase::Staged | Phase::Aiming if same_boot && old => Resolution::WaitForReboot,
        Phase::Booting if same_boot && old => Resolution::RebootAgain,
        // Once the one-shot may have been set, any boot may be the trial's.
        Phase::Aiming | Phase::Booting if new && world.dead_man => Resolution::TrialBooted,
        Phase::Aiming | Phase::Booting if new => {
            Resolution::Revert("the trial was booted without its deadline")
        }
        Phase::Soaking { .. } if same_boot && new && (world.dead_man || trial.late.is_some()) => {
            Resolution::Soak
        }
        Phase::Soaking { .. } if same_boot && new => {
            Resolution::Revert("the trial runs without its deadline")
        }
        Phase::Aiming | Phase::Booting | Phase::Soaking { .. } if old => {
            Resolution::FellBack(world.trace.clone())
        }
        // The boot loader starts it by default, or somebody chose it in the menu: nothing more is proven by that.
        Phase::Staging { .. } | Phase::Staged | Phase::Soaking { .. } if !same_boot && new => {
            Resolution::Leave("it was booted outside its trial, or once more")
        }
        // Somebody activated it, or another system, before its trial.
        _ => elsewhere_or(
            trial,
            world,
            "it cannot be told whether what is under trial or what was before it runs",
        ),
    }
}

/// Whether the system on trial runs, and whether the one before. A specialisation of the one on trial is
/// looked at like that one, and then found to be another.
fn which(trial: &Trial, world: &World) -> (bool, bool) {
    let runs = world.current.as_ref();
    let old = runs == Some(&trial.previous);
    (runs == Some(&trial.system) || world.variant && !old, old)
}

/// What runs is somebody's choice.
fn elsewhere(trial: &Trial, world: &World, system: &StorePath) -> Resolution {
    Resolution::Elsewhere {
        system: system.clone(),
        booted: trial.mode == Mode::Boot && world.booted.as_ref() == Some(&trial.system),
    }
}

/// What runs is somebody's choice; `why` where nobody can tell what that is.
fn elsewhere_or(trial: &Trial, world: &World, why: &'static str) -> Resolution {
    let current = world.current.as_ref();
    current.map_or(Resolution::Revert(why), |it| elsewhere(trial, world, it))
}

/// The memory was lost: what runs is what there is, unless a guard is about to move it away.
fn lost(confirmed: &StorePath, world: &World) -> Resolution {
    match &world.current {
        Some(current) if current != confirmed && world.dead_man => Resolution::Settled,
        Some(current) if current != confirmed => Resolution::Adopt(current.clone()),
        _ => idle(confirmed, world),
    }
}

/// Another version's state: while a switch runs nothing is touched, and then the robot goes back.
fn unknown(confirmed: &StorePath, world: &World) -> Resolution {
    match &world.current {
        _ if world.switch == SwitchUnit::Running => Resolution::Attach,
        None => Resolution::Unknown,
        Some(current) if current == confirmed => Resolution::Forget,
        Some(current) => Resolution::GoBack {
            system: current.clone(),
            booted: world.booted.as_ref() == Some(current),
        },
    }
}

/// Nothing was going on: does the confirmed system run, whole?
fn idle(confirmed: &StorePath, world: &World) -> Resolution {
    match &world.current {
        None => Resolution::Unknown,
        Some(current) if current != confirmed => Resolution::Drift(current.clone()),
        Some(_) if world.leftovers => Resolution::FinishSwitch,
        Some(_) => Resolution::Settled,
    }
}
