//! What the machine wants done. Each effect is answered by an event, or by none.

use crate::{
    StorePath, baseline::Against, gate::Stage, health::Beside, machine::state::Mode,
    release::Target, switch::Order, time::Instant,
};
use std::time::Duration;

/// Something to be done. Each is answered by the event in brackets.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask the gates of a stage that are outside: holds and leases are known here (`Gates`).
    AskGates(Stage),
    /// Read the repository (`Polled`, `PollFailed`).
    Poll,
    /// Look at what runs and what would be started (`Observed`).
    Observe,
    /// Bring a closure into the store (`Fetched`, `FetchFailed`; `Gates`, if one closes on the way).
    Fetch(Target),
    /// Stop bringing it; what was verified stays staged.
    CancelFetch,
    /// Compare a system with the running one, and look at the robot as it is before a trial (`Looked`,
    /// then `Inspected`; `InspectFailed`, `Vanished`).
    Inspect(Target),
    /// Arm a timer outside the agent that reverts to `previous` after `after`, and reboots if that
    /// fails (`DeadManArmed`, `DeadManFailed`).
    ArmDeadMan {
        /// What is tried.
        system: StorePath,
        /// Where it reverts to.
        previous: StorePath,
        /// When, from now.
        after: Duration,
    },
    /// Have the guard of the trial that runs act after this time, and not before (`DeadManFailed` if that
    /// cannot be).
    Prolong {
        /// Which guard it has.
        mode: Mode,
        /// What is tried.
        system: StorePath,
        /// Where the guard leads.
        previous: StorePath,
        /// When, from now.
        after: Duration,
    },
    /// Take back these guards of a trial. Those that are not there are fine (no answer).
    Disarm(Guards),
    /// Make `system` what the next boot starts, once, and have it reset the robot `within` this time
    /// after its start unless the agent disarms that: outside the agent, and not relying on what
    /// `system` contains. The loader's default must be `previous` (`BootAimed`, `AimFailed`).
    AimBoot {
        /// What is tried.
        system: StorePath,
        /// What every other boot starts.
        previous: StorePath,
        /// Its deadline, from the start of its kernel.
        within: Duration,
    },
    /// Carry out a switch, or wait for it if its unit exists already (`SwitchEnded`).
    Switch(Order),
    /// Look whether what keeps a system from being installed is a part of that system itself, and of one
    /// that `before` does not have (`InItsOwnWay`).
    FindOwn {
        /// What cannot be installed.
        system: StorePath,
        /// The system that ran before it.
        before: StorePath,
    },
    /// Look at the robot as it is before a trial (`Looked`).
    Look,
    /// Look at the health (`Probed`).
    Probe {
        /// What has to run.
        system: StorePath,
        /// What the look is compared with.
        against: Box<Against>,
        /// When the look begins.
        at: Instant,
        /// What is asked beside its health.
        beside: Beside,
    },
    /// End a switch that still runs; nobody waits for its answer any more.
    StopSwitch(Order),
    /// Reboot: the boot loader's default is the confirmed system.
    Reboot(String),
    /// Exit if the confirmed system has another agent: systemd starts that one.
    Renew,
}

/// What keeps a trial from outlasting its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// The timer outside the agent that reverts a live trial.
    pub dead_man: bool,
    /// The boot loader's one-shot, where it has not been used: with it a further boot would be a
    /// trial.
    pub one_shot: bool,
    /// The deadline that resets the robot after a boot on trial.
    pub boot_deadline: bool,
}

impl Guards {
    /// All of them.
    pub const ALL: Self = Self {
        dead_man: true,
        one_shot: true,
        boot_deadline: true,
    };
}
