//! What a look at the robot found: whether it could come back from a bad system, and whether it can
//! be updated at all.
//!
//! A finding is about the robot, never about a release: what is wrong here is mended here, and no
//! release is blocked for it.

use serde::{Deserialize, Serialize};
use std::fmt;
use surefoot_core::word::Word;

/// How bad it is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// As it should be.
    #[default]
    Ok,
    /// It works, but something is missing on the day when much goes wrong.
    Warn,
    /// It does not work.
    Fail,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// The boot loader, and what else a boot on trial needs.
    Loader,
    /// The hardware watchdog.
    Watchdog,
    /// What the kernel does when it cannot go on.
    Panic,
    /// The Nix store, its roots and its room.
    Store,
    /// What the robot believes, and how fresh that is.
    Trust,
    /// The clock.
    Clock,
    /// Where updates come from.
    Repository,
    /// The agent itself.
    Agent,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loader => "boot loader",
            Self::Watchdog => "watchdog",
            Self::Panic => "panic",
            Self::Store => "store",
            Self::Trust => "trust",
            Self::Clock => "clock",
            Self::Repository => "repository",
            Self::Agent => "agent",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is about.
    pub subject: Word<Subject>,
    /// How bad it is.
    pub level: Word<Level>,
    /// What was looked at, in a few words.
    pub what: String,
    /// What was found there, and what follows from it.
    pub found: String,
    /// What to do about it; nothing where all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(subject: Subject, what: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            level: Level::Ok.into(),
            what: what.into(),
            found: found.into(),
            advice: None,
        }
    }

    /// Something is missing.
    pub fn warn(
        subject: Subject,
        what: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Warn.into(),
            advice: Some(advice.into()),
            ..Self::ok(subject, what, found)
        }
    }

    /// It does not work.
    pub fn fail(
        subject: Subject,
        what: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Fail.into(),
            ..Self::warn(subject, what, found, advice)
        }
    }

    /// How bad it is; a word that only a newer agent knows is taken for the worst.
    #[must_use]
    pub fn severity(&self) -> Level {
        self.level.known().unwrap_or(Level::Fail)
    }

    /// The same, but where the configuration demands it a warning is a failure.
    #[must_use]
    pub fn demanded(mut self, demanded: bool) -> Self {
        if demanded && self.level == Level::Warn {
            self.level = Level::Fail.into();
        }
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.found)?;
        match &self.advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

/// The worst of all levels; [`Level::Ok`] if nothing was found at all.
#[must_use]
pub fn worst(findings: &[Finding]) -> Level {
    findings
        .iter()
        .map(Finding::severity)
        .max()
        .unwrap_or_default()
}

/// What does not work, in one sentence; `None` if everything does.
#[must_use]
pub fn obstacle(findings: &[Finding]) -> Option<String> {
    let failed: Vec<String> = findings
        .iter()
        .filter(|finding| finding.severity() == Level::Fail)
        .map(ToString::to_string)
        .collect();
    (!failed.is_empty()).then(|| failed.join("; and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_are_in_the_way() {
        let fine = Finding::ok(Subject::Panic, "kernel.panic", "10 s");
        let weak = Finding::warn(Subject::Watchdog, "device", "there is none", "get one");
        let both = [fine, weak.clone()];
        assert_eq!(worst(&both), Level::Warn);
        assert_eq!(obstacle(&both), None);
        let demanded = [weak.demanded(true)];
        assert_eq!(
            obstacle(&demanded).as_deref(),
            Some("device: there is none; get one")
        );
        assert_eq!(worst(&[]), Level::Ok);
    }
}
