//! What of the journal is kept a second time, elsewhere: the confirmed system, and what failed here. It
//! is read only where the journal is lost.

use crate::{
    StorePath,
    journal::{Blocked, Journal, Loss, MAX_BLOCKED},
    machine::state::{Evidence, Generation},
    spec::{self, Unreadable},
};
use serde::{Deserialize, Serialize};
use surefoot_base::text;

/// The version of the format that is written and read here.
pub const SPEC: u32 = 1;

/// Its text has at most so many bytes: the oldest of what failed is left out above that.
pub const MAX_BYTES: usize = 31 << 10;

/// Characters of a reason that are kept.
const MAX_REASON: usize = 160;

/// The essentials of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Essentials {
    /// Version of the format, [`SPEC`].
    spec: u32,
    /// The system that the robot has proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confirmed: Option<Generation>,
    /// What failed here, newest last, with a short reason and nothing that services printed: where this
    /// lies others may read it.
    #[serde(default)]
    blocked: Vec<Blocked>,
}

impl Essentials {
    /// Those of a journal.
    #[must_use]
    pub fn of(journal: &Journal) -> Self {
        let mut essentials = Self {
            spec: SPEC,
            confirmed: journal.confirmed.clone(),
            blocked: journal.blocked.iter().map(brief).collect(),
        };
        while essentials
            .to_bytes()
            .is_ok_and(|bytes| bytes.len() > MAX_BYTES)
            && !essentials.blocked.is_empty()
        {
            essentials.blocked.remove(0);
        }
        essentials
    }

    /// Reads what [`Self::to_bytes`] wrote, or a later version.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, EssentialsError> {
        let mut read: Self =
            spec::read(bytes, MAX_BYTES as u64, SPEC).map_err(|why| match why {
                Unreadable::TooLarge(bytes) => EssentialsError::TooLarge(bytes),
                Unreadable::Json(error) => EssentialsError::Broken(error),
                Unreadable::Spec(spec) => EssentialsError::Spec(spec),
            })?;
        let surplus = read.blocked.len().saturating_sub(MAX_BLOCKED);
        read.blocked.drain(..surplus);
        Ok(read)
    }

    /// Its text.
    ///
    /// # Errors
    /// None that is known of: every field can be written as JSON.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// These without a confirmed system that is gone.
    #[must_use]
    pub fn with_what_is_there(mut self, is_there: impl Fn(&StorePath) -> bool) -> Self {
        self.confirmed = self.confirmed.filter(|known| is_there(&known.system));
        self
    }

    /// Puts back into a journal that does not go on from these what is known here: what failed stays
    /// blocked, and what was confirmed is the first of the fallbacks. That there are any shows that a
    /// journal without a release of its own is one after a loss.
    fn restore(self, journal: &mut Journal) {
        let confirmed = journal.confirmed.as_ref();
        if confirmed.is_none_or(|confirmed| confirmed.release.is_none()) {
            let loss = journal
                .lost
                .get_or_insert_with(|| Loss::because("there is none"));
            loss.why += &format!(
                "; a copy of its essentials was found, and releases that failed in it: {}",
                self.blocked.len()
            );
        }
        if let Some(known) = self.confirmed
            && confirmed.is_none_or(|confirmed| confirmed.system != known.system)
        {
            let fallbacks = &mut journal.fallbacks;
            fallbacks.retain(|fallback| fallback.system != known.system);
            fallbacks.insert(0, known);
        }
        let mut blocked = self.blocked;
        blocked.retain(|old| {
            let same = |new: &Blocked| new.release == old.release && new.system == old.system;
            !journal.blocked.iter().any(same)
        });
        blocked.append(&mut journal.blocked);
        blocked.drain(..blocked.len().saturating_sub(MAX_BLOCKED));
        journal.blocked = blocked;
    }
}

impl Journal {
    /// Takes over what was found where the essentials of the memory before this one would lie.
    pub fn recall(&mut self, found: Option<Essentials>) {
        self.copy_unread = false;
        if let Some(essentials) = found {
            essentials.restore(self);
        }
    }
}

/// Why essentials are not used.
#[derive(Debug, thiserror::Error)]
pub enum EssentialsError {
    /// Larger than allowed.
    #[error("it has {0} bytes")]
    TooLarge(usize),
    /// Not JSON, or not these.
    #[error("it cannot be read: {0}")]
    Broken(serde_json::Error),
    /// Written by an agent with another format.
    #[error("it has format {0}, which this agent does not know")]
    Spec(u32),
}

/// What is kept of a release that failed.
fn brief(blocked: &Blocked) -> Blocked {
    Blocked {
        evidence: Evidence {
            cause: blocked.evidence.cause.clone(),
            message: text::shown_within(&blocked.evidence.message, MAX_REASON).to_string(),
            failures: Vec::new(),
            log: Vec::new(),
        },
        ..blocked.clone()
    }
}

#[cfg(test)]
#[path = "../../../tests/recorded/next.rs"]
mod next;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        health::{Check, Failure},
        journal::Loss,
        machine::state::Cause,
    };
    use proptest::prelude::*;

    fn system(n: usize) -> StorePath {
        StorePath::from_base_name(&format!("{n:032}-nixos-system")).unwrap()
    }

    fn generation(n: usize) -> Generation {
        Generation {
            system: system(n),
            release: Some(format!("r-{n}").parse().unwrap()),
            since: None,
        }
    }

    fn blocked(n: usize, message: &str) -> Blocked {
        let mut evidence = Evidence::plain(Cause::Unhealthy, message.to_owned());
        evidence.log = vec!["secret".into()];
        evidence.failures = vec![Failure {
            check: Check::ManifestServer,
            message: "secret".into(),
            journal: vec!["secret".into()],
        }];
        Blocked {
            release: format!("r-{n}").parse().unwrap(),
            system: system(n),
            evidence,
            since: None,
        }
    }

    fn journal(failed: usize, message: &str) -> Journal {
        Journal {
            confirmed: Some(generation(1)),
            blocked: (0..failed).map(|n| blocked(n, message)).collect(),
            ..Journal::default()
        }
    }

    /// A journal that was lost, with what its roots know.
    fn lost() -> Journal {
        Journal {
            fallbacks: vec![generation(3), generation(1)],
            lost: Some(Loss::because("rust")),
            ..Journal::default()
        }
    }

    #[test]
    fn what_failed_stays_blocked_and_what_was_confirmed_is_the_first_fallback() {
        let before = journal(2, "it fell over");
        let bytes = Essentials::of(&before).to_bytes().unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("secret"));
        for is_there in [true, false] {
            let mut after = lost();
            let essentials = Essentials::parse(&bytes).unwrap();
            after.recall(Some(essentials.with_what_is_there(|_| is_there)));
            let fallbacks: Vec<_> = after.fallbacks.iter().map(|g| g.system.clone()).collect();
            let expected = if is_there { [1, 3] } else { [3, 1] };
            assert_eq!(fallbacks, expected.map(system));
            let failed: Vec<_> = after.blocked.iter().map(|b| b.release.as_str()).collect();
            assert_eq!(failed, ["r-0", "r-1"]);
            assert_eq!(after.blocked[0].evidence.cause, Cause::Unhealthy);
            assert!(after.lost.unwrap().why.ends_with("failed in it: 2"));
            assert_eq!(after.confirmed, None);
        }
    }

    #[test]
    fn a_recorded_copy_is_read_and_nothing_that_a_later_version_adds_has_a_release_tried_again() {
        let recorded = include_bytes!("../../../tests/recorded/0.2/essentials.json");
        let before = Essentials::parse(recorded).unwrap();
        assert_eq!(before.to_bytes().unwrap(), recorded);
        let text = serde_json::from_slice(recorded).unwrap();
        let later = next::versions(&text, &["cause"]);
        assert!(later.len() > 3 * before.blocked.len());
        for (at, text) in later {
            let after = Essentials::parse(text.to_string().as_bytes()).unwrap();
            assert_eq!(after.confirmed, before.confirmed, "{at}");
            for (before, after) in before.blocked.iter().zip(&after.blocked) {
                assert_eq!(
                    (&after.release, &after.system, &after.evidence.message),
                    (&before.release, &before.system, &before.evidence.message),
                    "{at}"
                );
            }
            assert_eq!(after.blocked.len(), before.blocked.len(), "{at}");
        }
    }

    #[test]
    fn a_copy_that_is_read_late_adds_to_what_is_known_by_then() {
        let copy = Essentials::of(&journal(MAX_BLOCKED, "x"));
        // A first start, as it seemed: the system that runs is the one that was confirmed, or another.
        for runs in [1, 2] {
            let mut after = Journal {
                confirmed: Some(Generation {
                    release: None,
                    ..generation(runs)
                }),
                blocked: vec![blocked(5, "new"), blocked(99, "new")],
                copy_unread: true,
                ..Journal::default()
            };
            after.recall(Some(copy.clone()));
            assert!(!after.copy_unread);
            assert!(after.lost.is_some());
            assert_eq!(after.fallbacks.len(), usize::from(runs == 2));
            assert_eq!(after.blocked.len(), MAX_BLOCKED);
            let newest: Vec<_> = after.blocked.iter().rev().take(2).collect();
            assert_eq!(*newest[0], blocked(99, "new"));
            assert_eq!(*newest[1], blocked(5, "new"));
            let fives = after.blocked.iter().filter(|b| b.system == system(5));
            assert_eq!(fives.count(), 1);
        }
        // One that has proven a release since is no less sure of it, and knows more.
        let mut after = Journal {
            confirmed: Some(generation(2)),
            copy_unread: true,
            ..Journal::default()
        };
        after.recall(Some(copy));
        assert_eq!(
            (after.lost.is_some(), after.blocked.len()),
            (false, MAX_BLOCKED)
        );
        let mut nothing = Journal {
            copy_unread: true,
            ..Journal::default()
        };
        nothing.recall(None);
        assert_eq!(nothing, Journal::default());
    }

    #[test]
    fn they_are_never_larger_than_what_is_read() {
        for message in ["", "x", "\u{1b}\u{202e}ä😀\"\\"] {
            let journal = journal(MAX_BLOCKED, &message.repeat(1000));
            let essentials = Essentials::of(&journal);
            let bytes = essentials.to_bytes().unwrap();
            assert!(bytes.len() <= MAX_BYTES, "{}", bytes.len());
            assert_eq!(Essentials::parse(&bytes).unwrap(), essentials);
            assert_eq!(
                essentials.blocked.last().unwrap().system,
                system(MAX_BLOCKED - 1)
            );
        }
    }

    #[test]
    fn a_later_version_may_add_words_and_fields() {
        let bytes = Essentials::of(&journal(1, "x")).to_bytes().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let newer = text
            .replace("unhealthy", "fellOver")
            .replacen('{', r#"{"weather":"fine","#, 1);
        let read = Essentials::parse(newer.as_bytes()).unwrap();
        assert!(read.blocked[0].evidence.is_verdict());
        let newer = text.replace("\"spec\":1", "\"spec\":2");
        assert!(matches!(
            Essentials::parse(newer.as_bytes()),
            Err(EssentialsError::Spec(2))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Essentials::parse(&bytes);
        }
    }
}
