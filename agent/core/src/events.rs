//! What happened, as values: for the history, the log, and whoever watches the robot.
//!
//! [`Event`](crate::machine::Event) is what the machine is told, and is often ignored; an
//! [`Occurrence`] is what came of it. Every step yields its occurrences, and whoever wants to know
//! something subscribes to them instead of to the place where it happens.

use crate::{
    StorePath,
    gate::{Closed, Stage},
    health::Report,
    journal::{Record, What},
    lease::Loss,
    machine::state::{Cause, Evidence},
    release::Name,
    switch::Outcome,
    word::Word,
};
use std::time::Duration;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Occurrence {
    /// Its number. The agent counts from 1 when it starts, without a gap; a restart begins anew, for
    /// the journal does not keep it.
    pub seq: u64,
    /// What it was.
    pub kind: Kind,
}

/// What it was.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A system was adopted, tried, confirmed, reverted, refused, restored, or a person went back to
    /// it: what the history keeps.
    Milestone(Record),
    /// The step left another state than it found. The last occurrence of its step.
    StateChanged {
        /// The state's name before.
        from: &'static str,
        /// Its name now.
        to: &'static str,
        /// The release that it is about now.
        release: Option<Name>,
    },
    /// A trial ended. The milestone of the same step says it for people, this one for programs.
    TrialEnded {
        /// The system that was tried.
        system: StorePath,
        /// Its release, if it has one.
        release: Option<Name>,
        /// [`What::Confirmed`], [`What::Reverted`], or [`What::Interrupted`]: without a verdict.
        outcome: What,
        /// What ended it, unless it was confirmed.
        evidence: Option<Evidence>,
    },
    /// A release is not tried again until something about it changes.
    Blocked {
        /// Which one.
        release: Name,
        /// Its system.
        system: StorePath,
        /// Why, in one word.
        cause: Word<Cause>,
    },
    /// The repository was read.
    Checked {
        /// What it has for this robot.
        release: Option<Name>,
    },
    /// It could not be.
    CheckFailed {
        /// Why.
        why: String,
    },
    /// Gates said no.
    GatesClosed {
        /// To which stage.
        stage: Stage,
        /// Which ones.
        closed: Vec<Closed>,
    },
    /// A release could not be brought.
    FetchFailed {
        /// Why.
        why: String,
    },
    /// A trial could not be prepared: the system could not be looked at, or a guard not be armed.
    PreparationFailed {
        /// Why.
        why: String,
    },
    /// A switch ended.
    SwitchEnded {
        /// Its unit.
        unit: String,
        /// How.
        outcome: Outcome,
    },
    /// A look at the health found something.
    Unhealthy {
        /// What.
        report: Report,
    },
    /// Another system runs than the confirmed one, and it was not the agent.
    Drifted {
        /// Which one.
        system: StorePath,
    },
    /// Somebody holds the robot.
    Held {
        /// Who.
        owner: String,
        /// Why, in their words.
        why: String,
        /// For how long; `None` until somebody resumes.
        length: Option<Duration>,
    },
    /// A hold has ended.
    HoldEnded {
        /// Whose it was.
        owner: String,
    },
    /// A person keeps a system.
    Kept {
        /// Which one.
        system: StorePath,
        /// Who.
        by: String,
    },
    /// It is not kept any more.
    KeepEnded {
        /// Which one.
        system: StorePath,
        /// Who says so.
        by: String,
    },
    /// The robot's software said whether it is busy.
    Leased {
        /// What spoke.
        name: Name,
        /// Whether the robot must not be touched.
        busy: bool,
    },
    /// It says nothing more: it was ended, or a free one was not said again.
    LeaseEnded {
        /// What spoke.
        name: Name,
    },
    /// It said "busy", and nobody stands behind that any more. The robot stays busy.
    LeaseOrphaned {
        /// What spoke.
        name: Name,
        /// What became of its holder.
        loss: Loss,
        /// Whom its owner is counted with.
        counted: String,
    },
}
