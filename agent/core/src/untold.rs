//! Requests of which nothing may come before whoever asked was told.
//!
//! What such a request leads to is written with a mark, then its caller is answered, and then it is written
//! again without the mark. A journal that is found with its mark is passed over, for the one before it.
//! Between the answer and the second write the caller may have heard a yes, so that is not silent: it stands
//! in the history and in the status, and a trial that was to be left is left.

use crate::{StorePath, word::Word};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Untold {
    /// What.
    pub what: Word<Asked>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Once it was passed over: the unproven system that they wanted to leave. It proves nothing any more,
    /// and is not tried again before somebody says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves: Option<StorePath>,
}

/// The requests that are told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Asked {
    /// Look for an update.
    Update,
    /// Go back.
    Rollback,
    /// Keep a system, or no longer.
    Keep,
    /// Have a release tried again.
    Unblock,
    /// End a hold.
    Resume,
}

impl Untold {
    /// Whether they wanted to leave what runs, as far as this version can tell.
    #[must_use]
    pub fn leads_back(&self) -> bool {
        self.what.known().is_none_or(|what| what == Asked::Rollback)
    }

    /// What people have to know of it.
    #[must_use]
    pub fn message(&self) -> String {
        let by = self.by.as_deref().unwrap_or("somebody");
        let why = self.why.as_ref().map(|why| format!(" ({why})"));
        let done = match &self.leaves {
            Some(system) => format!(
                "the agent ended before it was carried out, so the robot leaves {system} by itself, without a \
                 verdict, and `surefoot update` has it tried again"
            ),
            None => "the agent ended before it was carried out: look whether it happened, and ask again if \
                     it did not and is still wanted"
                .to_owned(),
        };
        format!(
            "{by} asked for {}{} and may have been told that it happens; {done}",
            Words(&self.what),
            why.unwrap_or_default()
        )
    }
}

/// What was asked for, in words.
struct Words<'a>(&'a Word<Asked>);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Word::Known(Asked::Update) => "an update",
            Word::Known(Asked::Rollback) => "a rollback",
            Word::Known(Asked::Keep) => "what is kept to change",
            Word::Known(Asked::Unblock) => "a release to be unblocked",
            Word::Known(Asked::Resume) => "a hold to end",
            Word::Other(word) => return write!(f, "'{word}'"),
        })
    }
}
