//! Which formats of what lies on a robot an agent reads. Each system says it of its agent in a file, so
//! that another agent knows it without starting that one.

use crate::journal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The file, below a system's toplevel.
pub const FILE: &str = "etc/surefoot/formats.json";

/// Files above this size are not read, bytes.
pub const MAX_BYTES: u64 = 64 << 10;

/// The formats that an agent reads, of each kind of file that agents hand on to each other.
///
/// What is not said is what version 0.2 reads, whose systems may lack the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Formats {
    /// The journal.
    pub journal: Vec<u32>,
    /// A hold.
    pub hold: Vec<u32>,
    /// The trusted set.
    pub trust: Vec<u32>,
}

impl Default for Formats {
    fn default() -> Self {
        Self {
            journal: vec![1],
            hold: vec![1],
            trust: vec![2],
        }
    }
}

impl Formats {
    /// Those of this agent: it writes what it reads.
    #[must_use]
    pub fn ours() -> Self {
        Self {
            journal: vec![journal::SPEC],
            ..Self::default()
        }
    }

    /// Reads the file of a system.
    ///
    /// # Errors
    /// It is not JSON, or of another shape.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        let said: Map<String, Value> = serde_json::from_slice(bytes)?;
        Self::deserialize(Value::Object(said))
    }

    /// Why an agent that reads `theirs` could not go on from what one with these formats writes, if so.
    #[must_use]
    pub fn lost_on(&self, theirs: &Self) -> Option<String> {
        [
            ("the journal", &self.journal, &theirs.journal),
            ("holds", &self.hold, &theirs.hold),
            ("the trusted set", &self.trust, &theirs.trust),
        ]
        .into_iter()
        .find(|(_, ours, theirs)| common(ours, [theirs.as_slice()]).is_none())
        .map(|(what, ours, theirs)| {
            format!(
                "its agent reads format {} of {what}, and this one writes format {}: it would not know \
                 what this robot remembers. A release between the two has to come first, whose agent \
                 knows both",
                listed(theirs),
                listed(ours)
            )
        })
    }
}

/// The newest of these formats that each of some agents reads: what may be written where any of them may
/// be the next to read it.
#[must_use]
pub fn common<'a>(ours: &[u32], agents: impl IntoIterator<Item = &'a [u32]>) -> Option<u32> {
    let mut left = ours.to_vec();
    for reads in agents {
        left.retain(|format| reads.contains(format));
    }
    left.into_iter().max()
}

fn listed(formats: &[u32]) -> String {
    const SHOWN: usize = 8;
    match formats {
        [] => "none".to_owned(),
        many => {
            let words = many.iter().take(SHOWN).map(u32::to_string);
            words.collect::<Vec<_>>().join(" or ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the package installs.
    const INSTALLED: &str = include_str!("../formats.json");

    fn reading(journal: &[u32]) -> Formats {
        Formats {
            journal: journal.to_vec(),
            ..Formats::ours()
        }
    }

    #[test]
    fn what_is_installed_is_what_this_agent_reads() {
        assert_eq!(
            Formats::parse(INSTALLED.as_bytes()).unwrap(),
            Formats::ours()
        );
    }

    #[test]
    fn what_a_system_does_not_say_is_what_version_0_2_reads() {
        for (said, journal) in [
            ("{}", [1].as_slice()),
            (r#"{"weather": {"fine": true}}"#, &[1]),
            (r#"{"journal": [1, 2]}"#, &[1, 2]),
            (r#"{"journal": []}"#, &[]),
        ] {
            let formats = Formats::parse(said.as_bytes()).unwrap();
            assert_eq!(
                formats,
                Formats {
                    journal: journal.to_vec(),
                    ..Formats::default()
                }
            );
        }
        for damaged in ["", "{", "[]", r#"{"journal": 1}"#, r#"{"journal": [-1]}"#] {
            Formats::parse(damaged.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn an_agent_that_could_not_go_on_is_named_with_what_is_missing() {
        let (old, both, new) = (reading(&[1]), reading(&[1, 2]), reading(&[2]));
        assert_eq!(old.lost_on(&old), None);
        assert_eq!(old.lost_on(&both), None);
        assert_eq!(both.lost_on(&new), None);
        let why = old.lost_on(&new).unwrap();
        assert!(
            why.contains("reads format 2 of the journal, and this one writes format 1"),
            "{why}"
        );
        let none = Formats {
            trust: vec![],
            ..Formats::ours()
        };
        let why = old.lost_on(&none).unwrap();
        assert!(why.contains("format none of the trusted set"), "{why}");
    }

    #[test]
    fn what_is_written_can_be_read_by_all_that_are_kept() {
        let kept: [(&[&[u32]], Option<u32>); 5] = [
            (&[], Some(2)),
            (&[&[1, 2]], Some(2)),
            (&[&[1, 2], &[1]], Some(1)),
            (&[&[2], &[3, 2]], Some(2)),
            (&[&[1], &[2]], None),
        ];
        for (agents, written) in kept {
            assert_eq!(
                common(&[1, 2], agents.iter().copied()),
                written,
                "{agents:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Formats::parse(&bytes).map(|said| Formats::ours().lost_on(&said));
        }
    }
}
