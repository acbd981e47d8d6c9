//! What is known of the store and of what hangs, for the history.

use super::decision::Decision;
use crate::{StorePath, journal::What, release::Name};
use surefoot_base::units::short_bytes;

/// Paths that are named at once.
const NAMED: usize = 3;

impl Decision<'_> {
    /// Some of the store was read. What is found again, as by a fetch that is tried again and again, is
    /// written once, until something of it is repaired.
    pub(super) fn on_scrubbed(&mut self, damaged: Vec<String>, repaired: Vec<String>) {
        for (what, found) in [(What::Damaged, damaged), (What::Repaired, repaired)] {
            let why = named(&found);
            let again = (self.journal.history.iter().rev())
                .take_while(|record| record.what != What::Repaired)
                .any(|record| record.what == what && record.why.as_ref() == Some(&why));
            if !found.is_empty() && !again {
                self.note(what, why);
            }
        }
    }

    /// Nothing has come of something for long. As long as nothing else happens it is written once: a fetch
    /// that is tried again and again would push out all else.
    pub(super) fn on_stalled(&mut self, what: &str, why: Option<String>) {
        let again = (self.journal.history.iter().rev())
            .take_while(|record| record.what == What::Stalled)
            .any(|record| record.why.as_ref().is_some_and(|why| why.starts_with(what)));
        if !again {
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            self.note(What::Stalled, format!("{what} brought nothing{why}"));
        }
    }

    /// Paths that nothing kept were removed so that a fetch has room.
    pub(super) fn on_collected(&mut self, paths: u64, bytes: u64) {
        let bytes = short_bytes(bytes);
        self.note(
            What::Collected,
            format!("{bytes} of {paths} paths that nothing kept were freed"),
        );
    }

    /// Writes what is about no system in particular: what the robot is on its way to has it, or else the
    /// confirmed one.
    fn note(&mut self, what: What, why: String) {
        let target = self.journal.state.target();
        let target = target.map(|target| (target.system.clone(), Some(target.release.clone())));
        let confirmed = self.journal.confirmed.as_ref();
        let confirmed = confirmed.map(|now| (now.system.clone(), now.release.clone()));
        let about: Option<(StorePath, Option<Name>)> = target.or(confirmed);
        if let Some((system, release)) = about {
            self.record(what, system, release, Some(why), None);
        }
    }
}

/// The first of them, and how many there are beside.
fn named(all: &[String]) -> String {
    let first: Vec<&str> = all.iter().take(NAMED).map(String::as_str).collect();
    let more = all.len().saturating_sub(NAMED);
    match more {
        0 => first.join("; "),
        more => format!("{}; and {more} more", first.join("; ")),
    }
}
