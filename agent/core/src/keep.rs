//! Systems that a person wants to keep: their generations stay in the profile, and nothing collects
//! them.

use crate::{StorePath, release::Name};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Systems that are kept at a time.
pub const MAX_KEPT: usize = 16;

/// A system that a person wants to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Which one.
    pub system: StorePath,
    /// The release that brought it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Name>,
    /// Who wants that.
    pub by: String,
    /// Since when. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}
