//! What happened to the robot's systems.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use surefoot_core::{
    StorePath,
    journal::{self, What},
    release::Name,
    word::Word,
};

/// Something that happened to a system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// When. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Timestamp>,
    /// What.
    pub what: Word<What>,
    /// The release, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Name>,
    /// The system.
    pub system: StorePath,
    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who asked for it, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl From<&journal::Record> for HistoryEntry {
    fn from(record: &journal::Record) -> Self {
        Self {
            when: record.at,
            what: record.what.clone(),
            release: record.release.clone(),
            system: record.system.clone(),
            why: record.why.clone(),
            by: record.by.clone(),
        }
    }
}
