//! What the machine is told: what happened, and what people and programs ask for.

use crate::{
    RollbackTo, StorePath,
    baseline::Baseline,
    essentials::Essentials,
    gate::{Closed, Stage},
    health::{Failure, Report},
    lease::{Ender, Holder, Owner},
    offers::Offers,
    profile::Link,
    reboot,
    release::Name,
    resolver::World,
    switch::Outcome,
    untold::{Asked, Untold},
};
use jiff::Timestamp;
use std::time::Duration;

/// Something that the machine is told. What comes of it is an
/// [`Occurrence`](crate::events::Occurrence).
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The agent started and looked around. Always the first event.
    Started(World),
    /// A time returned by [`Machine::deadline`](super::Machine::deadline) has come.
    Tick,
    /// The gates of a stage were asked: these say no.
    Gates {
        /// Which stage.
        stage: Stage,
        /// Empty if it may go on.
        closed: Vec<Closed>,
    },
    /// The repository was read: this is what it has for the robot.
    Polled(Offers),
    /// The repository could not be read, or nothing in it is to be believed.
    PollFailed(Unserved),
    /// The robot was looked at again.
    Observed(World),
    /// The whole closure is in the store, and rooted.
    Fetched,
    /// It could not be brought. Never the release's fault: a cache may be wrong today.
    FetchFailed(Unserved),
    /// A fetch has moved bytes since this was said last.
    Moved {
        /// So many.
        bytes: u64,
        /// So many of all were thrown away.
        wasted: u64,
        /// Whether more are to come.
        more: bool,
    },
    /// The robot has a new address or route.
    NetworkChanged,
    /// The robot as it is before a trial.
    Looked(Baseline),
    /// The new system was compared with what runs.
    Inspected {
        /// What runs now: where a revert will go.
        current: StorePath,
        /// What profile and boot loader name now, as far as that can be told.
        named: Vec<StorePath>,
        /// Why it cannot be tried live; empty if it can.
        reboot: Vec<reboot::Reason>,
        /// Why it must not be tried on this robot at all, if so: its own fault.
        unfit: Option<String>,
        /// Why the robot cannot boot it on trial now, if so: not the release's fault.
        no_boot: Option<String>,
        /// Why what it has put on the boot partition has no room there now, if so: its commit would not end.
        no_room: Option<String>,
    },
    /// The new system could not be looked at.
    InspectFailed(String),
    /// The new system is not in the store any more: somebody collected it.
    Vanished,
    /// The dead-man timer is armed.
    DeadManArmed,
    /// It could not be armed.
    DeadManFailed(String),
    /// The next boot is the trial's: its deadline and the loader's one-shot are set and read back.
    BootAimed,
    /// They could not be set.
    AimFailed(String),
    /// A switch ended.
    SwitchEnded {
        /// The unit of its order; an answer of another one is ignored.
        unit: String,
        /// How.
        outcome: Outcome,
        /// Its last lines.
        log: Vec<String>,
        /// Units that are failed now, if it went wrong.
        failures: Vec<Failure>,
    },
    /// What keeps a system from being installed is a part of its own, in words, that the system before
    /// does not have; `None`: it is not, or nobody can tell.
    InItsOwnWay(Option<String>),
    /// These generations have left the profile so that there is room, and these are left in it.
    Pruned {
        /// The system of an order that an installer is about to run for; `None` if it was done for a fetch.
        system: Option<StorePath>,
        /// What has left.
        gone: Vec<Link>,
        /// What is left.
        links: Vec<Link>,
    },
    /// An installer of the agent has run, and the profile has these generations now.
    Installed(Vec<Link>),
    /// The copy on the boot partition, which nobody had read since this memory began, was read: this is
    /// what it has, if anything.
    Recalled(Option<Essentials>),
    /// Paths of the store were read: over a while, or before a trial.
    Scrubbed {
        /// Paths that are damaged and were not before, each with what was found.
        damaged: Vec<String>,
        /// Paths that were damaged and are whole again.
        repaired: Vec<String>,
    },
    /// Nothing has come of something that is waited for.
    Stalled {
        /// What, in words: "the fetch".
        what: String,
        /// Whom it may wait for itself.
        why: Option<String>,
    },
    /// Paths that nothing kept were removed so that a fetch has room.
    Collected {
        /// How many.
        paths: u64,
        /// What was freed, bytes.
        bytes: u64,
    },
    /// A round of health checks is done.
    Probed(Report),
    /// A connection that may have held leases has ended.
    HolderLost(Holder),
    /// A person or program asks for something.
    Asked(Request),
}

/// Why a server could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    /// In words.
    pub why: String,
    /// How long it asks to be left alone, if it does.
    pub pause: Option<Duration>,
}

impl<T: Into<String>> From<T> for Unserved {
    fn from(why: T) -> Self {
        Self {
            why: why.into(),
            pause: None,
        }
    }
}

/// What people and programs ask for. Whether they may was decided before.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Look for an update now.
    Update,
    /// Go back to an earlier confirmed system, or end a trial.
    Rollback {
        /// Which system; `None` for the newest fallback.
        to: Option<RollbackTo>,
        /// Although leases say that the robot is busy.
        force: bool,
        /// All holds end for it, whoever holds, if it is granted.
        end_holds: bool,
        /// Why, in their words.
        why: String,
        /// Who.
        by: String,
    },
    /// Switch nothing for now.
    Hold {
        /// For how long; `None` until somebody resumes.
        length: Option<Duration>,
        /// Why, in their words.
        why: String,
        /// Who.
        by: String,
        /// Whom it is counted with, if it is the robot's own software.
        counted: Option<String>,
    },
    /// Say whether the robot is busy.
    Lease {
        /// What speaks.
        name: Name,
        /// Whether the robot must not be touched.
        busy: bool,
        /// Why, in their words.
        why: Option<String>,
        /// How long it is believed; `None` for as long as the connection lasts.
        ttl: Option<Duration>,
        /// Who.
        by: Owner,
        /// The connection that it is said over.
        over: Holder,
    },
    /// Say nothing more.
    EndLease {
        /// Which one.
        name: Name,
        /// Who.
        by: Ender,
    },
    /// Keep a system, or no longer.
    Keep {
        /// Which one: its store path, its release, or the number of its generation.
        what: RollbackTo,
        /// No longer.
        undo: bool,
        /// Who.
        by: String,
    },
    /// Have a blocked release tried again.
    Unblock {
        /// Which one: its release or its store path.
        what: RollbackTo,
        /// Why, in their words.
        why: String,
        /// Who.
        by: String,
    },
    /// End a hold.
    Resume {
        /// Whose; `None` for everybody's.
        by: Option<String>,
    },
}

impl Request {
    /// Whether nothing may come of it unless its caller was told so: it moves the robot, or lets it be
    /// moved. Whoever was told nothing looks after the robot as if nothing had been asked.
    ///
    /// A hold keeps it from being moved, which is safe whoever knows of it; what is said of leases stands in
    /// no journal.
    #[must_use]
    pub const fn is_told_first(&self) -> bool {
        self.asked().is_some()
    }

    const fn asked(&self) -> Option<Asked> {
        match self {
            Self::Update => Some(Asked::Update),
            Self::Rollback { .. } => Some(Asked::Rollback),
            Self::Keep { .. } => Some(Asked::Keep),
            Self::Unblock { .. } => Some(Asked::Unblock),
            Self::Resume { .. } => Some(Asked::Resume),
            Self::Hold { .. } | Self::Lease { .. } | Self::EndLease { .. } => None,
        }
    }

    /// How it is remembered until its caller was told, if it is [told first](Self::is_told_first).
    #[must_use]
    pub fn untold(&self, at: Option<Timestamp>) -> Option<Untold> {
        let (by, why) = match self {
            Self::Rollback { by, why, .. } | Self::Unblock { by, why, .. } => {
                (Some(by.clone()), Some(why.clone()))
            }
            Self::Keep { by, .. } => (Some(by.clone()), None),
            Self::Resume { by } => (by.clone(), None),
            _ => (None, None),
        };
        Some(Untold {
            what: self.asked()?.into(),
            by,
            why,
            at,
            leaves: None,
        })
    }
}

/// The answer to a [`Request`].
pub type Answer = Result<String, Refusal>;

/// Why a request was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A gate or the present state says no.
    #[error("{0}")]
    Refused(String),
    /// There is nothing that it could do.
    #[error("{0}")]
    NothingToDo(String),
}
