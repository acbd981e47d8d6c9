//! What the agent waits for, and since when nothing has come of it.
//!
//! A wait that is cut short by a limit of its own ends as every other does. This is about the time until
//! then, in which nobody would hear of it.

use crate::{
    gate::Stage,
    machine::{Effect, Event},
    time::Instant,
};
use std::{collections::BTreeMap, fmt, time::Duration};

/// Something that was begun and has not been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// A check of the repository.
    Check,
    /// A look at the gates outside.
    Gates,
    /// A fetch.
    Fetch,
    /// A look at the new system.
    Inspection,
    /// Arming the dead-man timer.
    DeadMan,
    /// Aiming the boot loader.
    Aim,
    /// A switch.
    Switch,
    /// A look at the robot before its reboot into a trial.
    Look,
    /// A round of health checks.
    Health,
    /// A look at the boot partition.
    Partition,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Check => "the check of the repository",
            Self::Gates => "the look at the gates",
            Self::Fetch => "the fetch",
            Self::Inspection => "the look at the new system",
            Self::DeadMan => "arming the dead-man timer",
            Self::Aim => "preparing the boot loader",
            Self::Switch => "the switch",
            Self::Look => "the look at the robot before the trial",
            Self::Health => "the round of health checks",
            Self::Partition => "the look at the boot partition",
        })
    }
}

/// All that is waited for, with the time of the last news of each.
///
/// The instants are any clock's that stands still while the robot is suspended: what sleeps does not
/// stall.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waits(BTreeMap<Task, Instant>);

impl Waits {
    /// An effect goes out.
    pub fn asked(&mut self, effect: &Effect, now: Instant) {
        let task = match effect {
            Effect::Poll => Task::Check,
            Effect::AskGates(_) => Task::Gates,
            Effect::Fetch(_) => Task::Fetch,
            Effect::Inspect(_) => Task::Inspection,
            Effect::ArmDeadMan { .. } => Task::DeadMan,
            Effect::AimBoot { .. } => Task::Aim,
            Effect::Switch(_) => Task::Switch,
            Effect::Look => Task::Look,
            Effect::Probe { .. } => Task::Health,
            Effect::CancelFetch => return self.end(Task::Fetch),
            // Nobody waits for its answer any more.
            Effect::StopSwitch(_) => return self.end(Task::Switch),
            Effect::Disarm(_)
            | Effect::Prolong { .. }
            | Effect::Observe
            | Effect::FindOwn { .. }
            | Effect::Reboot(_)
            | Effect::Renew => return,
        };
        self.0.insert(task, now);
    }

    /// An event has come.
    pub fn answered(&mut self, event: &Event) {
        let task = match event {
            Event::Polled(_) | Event::PollFailed(_) => Task::Check,
            Event::Gates { stage, .. } => {
                // One that closes on the way ends the fetch.
                if *stage == Stage::Download {
                    self.end(Task::Fetch);
                }
                Task::Gates
            }
            Event::Fetched | Event::FetchFailed(_) => Task::Fetch,
            Event::Inspected { .. } | Event::InspectFailed(_) | Event::Vanished => Task::Inspection,
            Event::DeadManArmed | Event::DeadManFailed(_) => Task::DeadMan,
            Event::BootAimed | Event::AimFailed(_) => Task::Aim,
            Event::SwitchEnded { .. } => Task::Switch,
            Event::Looked(_) => Task::Look,
            Event::Probed(_) => Task::Health,
            Event::Started(_)
            | Event::Tick
            | Event::Observed(_)
            | Event::InItsOwnWay(_)
            | Event::Moved { .. }
            | Event::NetworkChanged
            | Event::HolderLost(_)
            | Event::Pruned { .. }
            | Event::Installed(_)
            | Event::Recalled(_)
            | Event::Scrubbed { .. }
            | Event::Stalled { .. }
            | Event::Collected { .. }
            | Event::Asked(_) => return,
        };
        self.end(task);
    }

    fn end(&mut self, task: Task) {
        self.0.remove(&task);
    }

    /// Something has moved in it. Whether it had stalled before.
    pub fn moved(&mut self, task: Task, after: Duration, now: Instant) -> bool {
        let last = self.0.get_mut(&task);
        last.is_some_and(|last| now.since(std::mem::replace(last, now)) >= after)
    }

    /// What has brought nothing for at least this long, and for how long.
    pub fn stalled(&self, after: Duration, now: Instant) -> BTreeMap<Task, Duration> {
        let since = self.0.iter().map(|(task, last)| (*task, now.since(*last)));
        since.filter(|(_, silent)| *silent >= after).collect()
    }

    /// When the next of them will have stalled, if nothing comes of it until then.
    #[must_use]
    pub fn next(&self, after: Duration, now: Instant) -> Option<Instant> {
        let ends = self.0.values().map(|last| *last + after);
        ends.filter(|end| *end > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StorePath;
    use crate::health::Beside;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1000)
    }

    fn system() -> StorePath {
        StorePath::from_base_name(&format!("{}-x", "0".repeat(32))).unwrap()
    }

    #[test]
    fn what_brings_nothing_for_a_minute_has_stalled_until_it_moves() {
        let mut waits = Waits::default();
        assert_eq!(waits.next(MINUTE, at(0)), None, "nothing is waited for");
        waits.asked(&Effect::Poll, at(0));
        let probe = Effect::Probe {
            system: system(),
            against: Box::default(),
            at: at(10),
            beside: Beside::Agent,
        };
        waits.asked(&probe, at(10));
        assert_eq!(waits.next(MINUTE, at(10)), Some(at(60)));
        assert!(!waits.moved(Task::Check, MINUTE, at(50)));
        assert_eq!(waits.stalled(MINUTE, at(69)), BTreeMap::new());
        let stalled = [(Task::Health, MINUTE)].into();
        assert_eq!(waits.stalled(MINUTE, at(70)), stalled);
        assert_eq!(waits.next(MINUTE, at(70)), Some(at(110)));
        assert_eq!(waits.stalled(MINUTE, at(200)).len(), 2);
        assert_eq!(waits.next(MINUTE, at(200)), None, "all are known to stall");
        assert!(waits.moved(Task::Check, MINUTE, at(200)), "it goes on");
        assert_eq!(waits.stalled(MINUTE, at(201)).len(), 1);
        waits.answered(&Event::PollFailed("no route".into()));
        assert!(
            !waits.moved(Task::Check, MINUTE, at(300)),
            "nobody waits for it"
        );
    }

    #[test]
    fn a_gate_that_closes_ends_the_fetch_of_its_stage() {
        let mut waits = Waits(BTreeMap::from([(Task::Fetch, at(0)), (Task::Gates, at(0))]));
        let gates = |stage| Event::Gates {
            stage,
            closed: vec![],
        };
        waits.answered(&gates(Stage::Check));
        assert!(waits.0.contains_key(&Task::Fetch));
        waits.answered(&gates(Stage::Download));
        assert_eq!(waits, Waits::default());
    }
}
