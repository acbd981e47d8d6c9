//! What a look at the robot's health found.

use crate::{StorePath, time::Instant};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Lines of journal kept per failure: enough to see why, small enough for a metered link.
pub const JOURNAL_LINES: usize = 20;

/// One check, in the journal and for people by its words: `unit ros.service`, `manifest server`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Check {
    /// The system under trial still runs: `running system`.
    RunningSystem,
    /// systemd says how its units are: `units`.
    Units,
    /// A unit: `unit NAME`.
    Unit(String),
    /// A configured command: `command NAME`.
    Command(String),
    /// A configured port: `tcp NAME`.
    Tcp(String),
    /// A configured page: `http NAME`.
    Http(String),
    /// The repository is reached: `manifest server`.
    ManifestServer,
    /// The agent on trial could bring the robot the next release: `agent`.
    Agent,
    /// The Nix daemon answers: `nix daemon`. It serves every system alike.
    NixDaemon,
    /// Its switch came to an end by itself: `switch`. No look finds this; it is what a trial is said to
    /// have failed in.
    Switch,
    /// A check of another version of the agent, in its words.
    Other(String),
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunningSystem => f.write_str("running system"),
            Self::Units => f.write_str("units"),
            Self::Unit(name) => write!(f, "unit {name}"),
            Self::Command(name) => write!(f, "command {name}"),
            Self::Tcp(name) => write!(f, "tcp {name}"),
            Self::Http(name) => write!(f, "http {name}"),
            Self::ManifestServer => f.write_str("manifest server"),
            Self::Agent => f.write_str("agent"),
            Self::NixDaemon => f.write_str("nix daemon"),
            Self::Switch => f.write_str("switch"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

impl Check {
    /// Whether it says nothing of a system by itself, but of what the robot stands in: nothing is a failure of
    /// it before the deadline.
    #[must_use]
    pub const fn is_of_surroundings(&self) -> bool {
        matches!(self, Self::ManifestServer | Self::NixDaemon)
    }

    /// Whether somebody wrote it: a command, a port or a page.
    #[must_use]
    pub const fn is_written(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Tcp(_) | Self::Http(_))
    }
}

impl From<Check> for String {
    fn from(check: Check) -> Self {
        check.to_string()
    }
}

impl From<String> for Check {
    fn from(words: String) -> Self {
        match (words.as_str(), words.split_once(' ')) {
            ("running system", _) => Self::RunningSystem,
            ("units", _) => Self::Units,
            ("manifest server", _) => Self::ManifestServer,
            ("agent", _) => Self::Agent,
            ("nix daemon", _) => Self::NixDaemon,
            ("switch", _) => Self::Switch,
            (_, Some(("unit", name))) => Self::Unit(name.to_owned()),
            (_, Some(("command", name))) => Self::Command(name.to_owned()),
            (_, Some(("tcp", name))) => Self::Tcp(name.to_owned()),
            (_, Some(("http", name))) => Self::Http(name.to_owned()),
            _ => Self::Other(words),
        }
    }
}

impl From<&str> for Check {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

/// What is asked beside the health of a system: whether it can be followed by another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing more.
    Nothing,
    /// Whether its own agent could bring the next release. It is asked only if all else is well.
    Agent,
    /// Whether the Nix daemon answers.
    NixDaemon,
}

/// One check that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Which check.
    pub check: Check,
    /// What was wrong.
    pub message: String,
    /// The last lines of the unit's journal, at most [`JOURNAL_LINES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub journal: Vec<String>,
}

/// The runs of services that systemd has started again, by their names.
pub type Runs = BTreeMap<String, Run>;

/// A run of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// How often systemd had started it again.
    pub restarts: u32,
    /// Its name.
    pub invocation: String,
}

/// The answer of one round of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The system that had to run; `None` where nobody says. An answer may come when another one is
    /// looked at already.
    #[serde(skip)]
    pub system: Option<StorePath>,
    /// When the look began; `None` where nobody says.
    #[serde(skip)]
    pub began: Option<Instant>,
    /// What failed.
    pub failures: Vec<Failure>,
    /// What is not done yet, but may still come to a good end: units that a boot waits for. No
    /// failure before the deadline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Failure>,
    /// What is wrong and was no better before the trial. It is shown, and does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excused: Vec<Failure>,
    /// How often which service was started again by systemd since the look before.
    #[serde(skip)]
    pub again: BTreeMap<String, u32>,
    /// The runs of services at this look.
    #[serde(skip)]
    pub runs: Runs,
    /// Checks that are judged with the repository: see [`crate::offline`].
    #[serde(skip)]
    pub aside: BTreeSet<Check>,
    /// Units that had been stopped before the trial and run now.
    #[serde(skip)]
    pub started: Vec<String>,
}

impl Report {
    /// Whether every check passed.
    #[must_use]
    pub const fn healthy(&self) -> bool {
        self.failures.is_empty() && self.pending.is_empty()
    }

    /// The same, where the repository need not be reached now: the network is judged at the deadline,
    /// and only by what the system before reaches. Nor need the Nix daemon answer now.
    #[must_use]
    pub fn with_network_pending(mut self) -> Self {
        let mut network: Vec<Failure> = (self.failures)
            .extract_if(.., |failure| failure.check.is_of_surroundings())
            .collect();
        self.pending.append(&mut network);
        self
    }

    /// Whether all that is not as it should be is that the repository is not reached, or that the Nix daemon
    /// does not answer.
    #[must_use]
    pub fn misses_only_its_surroundings(&self) -> bool {
        let mut found = self.failures.iter().chain(&self.pending);
        !self.healthy() && found.all(|found| found.check.is_of_surroundings())
    }

    /// Whether the repository is not reached.
    #[must_use]
    pub fn misses_the_repository(&self) -> bool {
        let mut found = self.failures.iter().chain(&self.pending);
        found.any(|found| found.check == Check::ManifestServer)
    }

    /// Whether another system runs than the one that is looked at: somebody has switched.
    #[must_use]
    pub fn names_another_system(&self) -> bool {
        names_another_system(&self.failures)
    }

    /// The same, where it does not matter whether the repository is reached: unless units were set aside for
    /// that. Nobody knows how those are, which is not the same as well. What checks look at lies beyond the
    /// network. The Nix daemon is waited for all the same.
    #[must_use]
    pub fn without_network(mut self) -> Self {
        let is_unit = |check: &Check| matches!(check, Check::Unit(_));
        if !self.aside.iter().any(is_unit) {
            self.failures.retain(|f| f.check != Check::ManifestServer);
        }
        self.with_network_pending()
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

/// Whether one of these says that another system runs.
pub(crate) fn names_another_system(failures: &[Failure]) -> bool {
    (failures.iter()).any(|failure| failure.check == Check::RunningSystem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_check_keeps_its_words(
            words in prop_oneof![
                "(running system|units|manifest server|agent|nix daemon|switch)",
                "(unit|command|tcp|http) ?[a-z. ]{0,6}",
                any::<String>(),
            ],
        ) {
            let check = Check::from(words.clone());
            prop_assert_eq!(check.to_string(), words.clone());
            let json = serde_json::to_string(&check).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&words).unwrap());
            prop_assert_eq!(serde_json::from_str::<Check>(&json).unwrap(), check);
        }
    }

    #[test]
    fn what_decides_is_known_by_its_words() {
        assert_eq!(Check::from("manifest server"), Check::ManifestServer);
        assert_eq!(
            Check::from("unit a.service"),
            Check::Unit("a.service".into())
        );
        assert_eq!(Check::from("later"), Check::Other("later".into()));
    }
}
