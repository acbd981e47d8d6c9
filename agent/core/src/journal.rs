//! What the agent remembers over restarts and power cuts.
//!
//! The journal is small, and JSON, so that a technician can read it. It is written whole and fsynced
//! before any effect of the state that it names. Fields that this version does
//! not know are kept: in a boot trial two versions of the agent write the same journal.

use crate::{
    RollbackTo, StorePath,
    baseline::Baseline,
    disturbance::Disturbances,
    foreign::{self, Foreign},
    health::{Check, Failure},
    hold::Hold,
    keep::Kept,
    machine::state::{Cause, Evidence, Generation, MAX_MESSAGE, Origin, State, UNTOLD, shorten},
    profile::Profile,
    release::{Name, Target},
    spec::{self, Unreadable},
    untold::Untold,
    word::Word,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the journal's format that is written and read here.
pub const SPEC: u32 = 1;

/// Journals above this size are refused before they are parsed, in bytes.
pub const MAX_JOURNAL_BYTES: u64 = 8 << 20;

/// Blocked releases remembered, newest last.
pub const MAX_BLOCKED: usize = 64;

/// Blocked releases that are remembered with logs and failed checks, newest last; of older ones only the
/// sentence is.
pub const MAX_IN_FULL: usize = 8;

/// Holds of different owners that are remembered at a time.
pub const MAX_HOLDS: usize = 64;

/// How many of them the robot's own software may have: the others are for technicians and root.
pub const MAX_HOLDS_OF_APPS: usize = 48;

/// How many of them one user of the robot's own software may have, so that none takes all of them.
pub const MAX_HOLDS_OF_ONE: usize = 4;

/// Releases remembered that were there before the memory was lost, newest last.
pub const MAX_SEEN: usize = 64;

/// Past events remembered, newest last.
pub const MAX_HISTORY: usize = 200;

/// Everything that survives a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// Version of the format, [`SPEC`].
    pub spec: u32,
    /// The system that the robot has proven and returns to. `None` only before the first start.
    pub confirmed: Option<Generation>,
    /// Systems that were confirmed before, newest first: where a rollback goes.
    #[serde(default)]
    pub fallbacks: Vec<Generation>,
    /// What is going on.
    pub state: State,
    /// Releases that failed here and are not tried again.
    #[serde(default)]
    pub blocked: Vec<Blocked>,
    /// A release that failed only in reaching the repository, or the Nix daemon. Whether the system before
    /// reaches it again tells whose fault that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<Blocked>,
    /// The robot as it was before the present trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// What the way back from the last trial left, until the robot is known to be as it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aftermath: Option<Aftermath>,
    /// Trials that ended with nothing but a doubt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Attempts>,
    /// How often the robot was disturbed by what was begun with last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbances: Option<Disturbances>,
    /// A system that failed, or that somebody installed during a trial. Should profile or boot loader name
    /// it when the trial is left, the next look puts that right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_in_profile: Option<StorePath>,
    /// What profile and boot loader named, besides the confirmed system, when the last trial began;
    /// `None` once it was looked at what they name after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_before: Option<Vec<StorePath>>,
    /// Who says that nothing may be switched.
    #[serde(default)]
    pub holds: Vec<Hold>,
    /// Which generations of the system's profile the agent made.
    #[serde(default, skip_serializing_if = "Profile::is_empty")]
    pub profile: Profile,
    /// Systems that people want to keep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
    /// What happened, newest last.
    #[serde(default)]
    pub history: Vec<Record>,
    /// That all this was lost once, and is not yet known anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Loss>,
    /// Whether the boot partition may have a copy of a memory from before this one that was not read:
    /// nothing is written over it until it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy_unread: bool,
    /// What led to what stands here, and whoever asked for it has not been told yet. Found after a restart
    /// the journal before it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untold: Option<Untold>,
    /// What somebody asked for who may have been told, and of which nothing came. Until somebody asks for
    /// something anew it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unheard: Option<Untold>,
    /// Numbers the transient units.
    #[serde(default)]
    pub units: u64,
    /// What other versions wrote and this one does not know.
    #[serde(skip)]
    pub foreign: Foreign,
}

/// The robot's memory was lost. Until a release is confirmed or a technician asks for an update, nothing that may have failed here before is tried, and no guard is disarmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// What was found, in a sentence.
    pub why: String,
    /// The releases that were there before the loss, or else the one that was offered first since
    /// then, at most [`MAX_SEEN`]. They may have failed here, so the robot waits for another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<Seen>,
}

/// A release with its system on this robot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The release.
    pub release: Name,
    /// Its system.
    pub system: StorePath,
}

impl Loss {
    /// A loss with what the disk said.
    #[must_use]
    pub fn because(why: &str) -> Self {
        Self {
            why: format!(
                "the robot's memory was lost ({why}): which releases failed here is unknown; it waits for `surefoot update`, or, unless \
                 `memory.lost` is \"technician\", for a release that was not there before"
            ),
            seen: Vec::new(),
        }
    }
}

/// What a way back left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Aftermath {
    /// The system that the robot went back to.
    pub system: StorePath,
    /// The system that it left.
    pub failed: StorePath,
    /// The robot as it was before the trial.
    pub baseline: Baseline,
    /// What is worse than that; empty while nobody knows of anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worse: Vec<Failure>,
    /// Whether it was rebooted for that.
    #[serde(default)]
    pub rebooted: bool,
}

/// A release that is not tried again until something about it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// The release.
    pub release: Name,
    /// Its system: published with another one, it is another release.
    pub system: StorePath,
    /// Why.
    pub evidence: Evidence,
    /// When. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Trials of one release that leave a doubt: that did not reach the repository, which the system before
/// reached again; whose switch something else ended; or that another version of the agent began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempts {
    /// The release.
    pub release: Name,
    /// Its system.
    pub system: StorePath,
    /// How many, whatever they failed in.
    pub count: u32,
    /// How many failed in which check: each counts by itself. Those that an older agent counted are in
    /// none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<Check, u32>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// What.
    pub what: Word<What>,
    /// The system that it is about.
    pub system: StorePath,
    /// The release, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Name>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who asked, if a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When. For people: a robot's clock may be wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// The system that was found running became the confirmed one.
    Adopted,
    /// A trial began.
    Tried,
    /// A release became the confirmed system.
    Confirmed,
    /// A trial ended on the system before it.
    Reverted,
    /// A trial ended without a verdict and may be tried again.
    Interrupted,
    /// A release was refused before it was tried; or nothing came of what a person asked for.
    Refused,
    /// A person went back to an earlier system.
    RolledBack,
    /// The confirmed system was put back.
    Restored,
    /// The robot was rebooted to get back.
    Rebooted,
    /// After a way back the robot is worse than it was before the trial.
    Worse,
    /// A trial or a way back started what somebody had stopped.
    Started,
    /// A generation of a system left the profile, so that there is room.
    Pruned,
    /// Paths of the store are not what they should be.
    Damaged,
    /// Damaged paths of the store were brought anew.
    Repaired,
    /// Nothing came of something that the agent waited for.
    Stalled,
    /// Paths that nothing kept left the store, so that there is room.
    Collected,
    /// A trial left a doubt, which counts once it was left often enough.
    Doubted,
    /// A person's way back blocked a release.
    Blocked,
    /// A release is not blocked any more.
    Unblocked,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            spec: SPEC,
            confirmed: None,
            fallbacks: Vec::new(),
            state: State::Idle,
            blocked: Vec::new(),
            suspect: None,
            baseline: None,
            aftermath: None,
            attempts: None,
            disturbances: None,
            left_in_profile: None,
            named_before: None,
            holds: Vec::new(),
            profile: Profile::default(),
            kept: Vec::new(),
            history: Vec::new(),
            lost: None,
            copy_unread: false,
            untold: None,
            unheard: None,
            units: 0,
            foreign: Foreign::default(),
        }
    }
}

impl Journal {
    /// Reads a journal.
    ///
    /// # Errors
    /// [`JournalError`] if it is too large, broken, or of an unknown format. Such a journal must
    /// not be overwritten.
    pub fn parse(bytes: &[u8]) -> Result<Self, JournalError> {
        let (mut journal, foreign) = spec::read_to_keep::<Self>(bytes, MAX_JOURNAL_BYTES, SPEC)?;
        journal.foreign = foreign;
        Ok(journal)
    }

    /// The text of the journal, as [`Self::parse`] reads it, with what other versions wrote in it.
    ///
    /// # Errors
    /// None that is known of: every field can be written as JSON.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        foreign::to_bytes(self, &self.foreign)
    }

    /// This journal is in force, and not the one after it: that says what somebody asked for who may have
    /// been told.
    pub fn pass_over(&mut self, mut asked: Untold) {
        asked.leaves = match &self.state {
            State::Trial(trial) if asked.leads_back() => Some(trial.system.clone()),
            // A person can leave only a commit that waits.
            State::Committing(committing)
                if asked.leads_back() && committing.origin == Origin::Trial =>
            {
                Some(committing.goal.system.clone())
            }
            _ => None,
        };
        if let Some(confirmed) = &self.confirmed {
            let mut why = asked.message();
            shorten(&mut why, MAX_MESSAGE);
            let about = asked.leaves.as_ref().unwrap_or(&confirmed.system);
            let target = self.state.target();
            let target = target.filter(|target| asked.leaves.as_ref() == Some(&target.system));
            self.history.push(Record {
                what: What::Refused.into(),
                system: about.clone(),
                release: target.map(|target| target.release.clone()),
                why: Some(why),
                by: asked.by.clone(),
                at: asked.at,
            });
            let surplus = self.history.len().saturating_sub(MAX_HISTORY);
            self.history.drain(..surplus);
        }
        self.unheard = Some(asked);
    }

    /// What is in force of a journal that nobody was told of, where the one before it cannot be read: nobody
    /// knows what was under way before. Nothing is assumed of it, and the robot goes back.
    #[must_use]
    pub fn without_what_is_untold(mut self) -> Self {
        let Some(asked) = self.untold.take() else {
            return self;
        };
        self.unheard = Some(asked);
        if self.state != State::Idle {
            let mut read = match serde_json::to_value(&self.state) {
                Ok(serde_json::Value::Object(read)) => read,
                _ => serde_json::Map::new(),
            };
            read.insert("name".to_owned(), UNTOLD.into());
            self.state = State::Unknown(read.into());
        }
        self
    }

    /// The systems that were confirmed and can be gone back to, the present one first.
    pub fn proven(&self) -> impl Iterator<Item = &Generation> {
        self.confirmed.iter().chain(&self.fallbacks)
    }

    /// Whether a system is the one that somebody named.
    pub(crate) fn is_named(&self, to: &RollbackTo, system: &StorePath) -> bool {
        let mut kept = self.proven();
        let kept = kept.find(|generation| generation.system == *system);
        to.names(system, kept.and_then(|kept| kept.release.as_ref()))
    }

    /// Why this target is not to be tried, if so: it failed, or a person rolled its system back, perhaps
    /// under another name, and the publisher does not say that it may be tried again.
    #[must_use]
    pub fn blocked(&self, target: &Target) -> Option<&Blocked> {
        self.blocked_as(&target.release, &target.system, target.again)
    }

    /// The same of a system under the name of a release.
    pub(crate) fn blocked_as(
        &self,
        release: &Name,
        system: &StorePath,
        again: bool,
    ) -> Option<&Blocked> {
        self.blocked.iter().find(|blocked| {
            let left = blocked.evidence.cause == Cause::Rollback && !again;
            blocked.system == *system && (blocked.release == *release || left)
        })
    }

    /// Whether it knows what every guard and every system is for: it was neither lost nor never there, and
    /// its state can be read.
    #[must_use]
    pub const fn knows_all(&self) -> bool {
        self.lost.is_none() && self.confirmed.is_some() && !matches!(self.state, State::Unknown(_))
    }

    /// Every system that must not be garbage collected, by the name of its root: the confirmed one,
    /// the fallbacks, what people keep, what is being brought in or tried, and where a revert goes.
    #[must_use]
    pub fn roots(&self) -> BTreeMap<String, StorePath> {
        let mut roots = BTreeMap::new();
        if let Some(confirmed) = &self.confirmed {
            roots.insert("confirmed".to_owned(), confirmed.system.clone());
        }
        for (n, fallback) in self.fallbacks.iter().enumerate() {
            roots.insert(format!("fallback-{}", n + 1), fallback.system.clone());
        }
        for (n, kept) in self.kept.iter().enumerate() {
            roots.insert(format!("kept-{}", n + 1), kept.system.clone());
        }
        for (name, system) in [
            ("next", self.state.next()),
            ("previous", self.state.previous()),
        ] {
            if let Some(system) = system {
                roots.insert(name.to_owned(), system.clone());
            }
        }
        roots
    }
}

/// Why a journal was refused.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Larger than [`MAX_JOURNAL_BYTES`].
    #[error("it has {0} bytes; at most {MAX_JOURNAL_BYTES} are read")]
    TooLarge(usize),
    /// Not JSON, or of another shape.
    #[error("it cannot be read: {0}")]
    Json(serde_json::Error),
    /// A format of the future.
    #[error(
        "it has format {0}, this program reads format {SPEC}; start the Surefoot that wrote it"
    )]
    Spec(u32),
}

impl From<Unreadable> for JournalError {
    fn from(why: Unreadable) -> Self {
        match why {
            Unreadable::TooLarge(bytes) => Self::TooLarge(bytes),
            Unreadable::Json(error) => Self::Json(error),
            Unreadable::Spec(spec) => Self::Spec(spec),
        }
    }
}
