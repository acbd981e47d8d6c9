//! What a look at the robot's health found.

use serde::{Deserialize, Serialize};

/// Lines of journal kept per failure: enough to see why, small enough for a metered link.
pub const JOURNAL_LINES: usize = 20;

/// The name of the check that reaches for the repository.
pub const REPOSITORY: &str = "manifest server";

/// One check that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Which check: `unit NAME`, `command NAME`, `tcp NAME`, `http NAME`, [`REPOSITORY`].
    pub check: String,
    /// What was wrong.
    pub message: String,
    /// The last lines of the unit's journal, at most [`JOURNAL_LINES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub journal: Vec<String>,
}

/// The answer of one round of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What failed.
    pub failures: Vec<Failure>,
    /// What is not done yet, but may still come to a good end: units that a boot waits for. No
    /// failure before the deadline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Failure>,
}

impl Report {
    /// Whether every check passed.
    #[must_use]
    pub const fn healthy(&self) -> bool {
        self.failures.is_empty() && self.pending.is_empty()
    }

    /// What is not as it should be in one line, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.healthy() {
            return "every check passed".to_owned();
        }
        self.failures
            .iter()
            .chain(&self.pending)
            .map(|failure| format!("{}: {}", failure.check, failure.message))
            .collect::<Vec<_>>()
            .join("; ")
    }
}
