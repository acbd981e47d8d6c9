//! The systems that are on a robot, and what each of them is there.

use crate::{
    RollbackTo, StorePath,
    journal::{Journal, What},
    profile::Link,
    release::Name,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Systems that are listed, at most. Of a longer profile the oldest generations are left out.
pub const MAX_LISTED: usize = 64;

/// What a system is on a robot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// It runs.
    Running,
    /// It was started last.
    Booted,
    /// It is where every trouble ends.
    Confirmed,
    /// It was confirmed before, and is kept for a way back.
    Fallback,
    /// A person wants to keep it.
    Kept,
    /// The profile names it: the boot loader starts it by itself.
    Default,
    /// It is on its way, waits, or is tried.
    Next,
}

/// What is remembered of the systems of a robot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remembered(BTreeMap<StorePath, Memory>);

/// What is remembered of a system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Memory {
    release: Option<Name>,
    since: Option<Timestamp>,
    parts: BTreeSet<Part>,
    /// Whether it was confirmed here, once.
    proven: bool,
}

impl Remembered {
    /// What a journal remembers.
    #[must_use]
    pub fn of(journal: &Journal) -> Self {
        let mut all: BTreeMap<StorePath, Memory> = BTreeMap::new();
        // Oldest first: what is said last counts.
        for made in journal.profile.made() {
            all.entry(made.system.clone()).or_default().release = made.release.clone();
        }
        for record in &journal.history {
            let proves = matches!(
                record.what.known(),
                Some(What::Adopted | What::Confirmed | What::RolledBack)
            );
            if proves {
                let memory = all.entry(record.system.clone()).or_default();
                memory.proven = true;
                memory.since = record.at.or(memory.since);
                memory.release = record.release.clone().or(memory.release.take());
            }
        }
        let proven = journal.fallbacks.iter().map(|one| (one, Part::Fallback));
        for (one, part) in proven.chain(journal.confirmed.iter().map(|one| (one, Part::Confirmed)))
        {
            let memory = all.entry(one.system.clone()).or_default();
            memory.proven = true;
            memory.since = one.since.or(memory.since);
            memory.release = one.release.clone().or(memory.release.take());
            memory.parts.insert(part);
        }
        for kept in &journal.kept {
            let memory = all.entry(kept.system.clone()).or_default();
            memory.release = kept.release.clone().or(memory.release.take());
            memory.parts.insert(Part::Kept);
        }
        if let Some(target) = journal.state.target() {
            let memory = all.entry(target.system.clone()).or_default();
            memory.release = Some(target.release.clone());
            memory.parts.insert(Part::Next);
        }
        Self(all)
    }

    /// Whether a system was confirmed here.
    #[must_use]
    pub fn proven(&self, system: &StorePath) -> bool {
        self.0.get(system).is_some_and(|memory| memory.proven)
    }
}

/// What a look at the robot gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// The generations of the profile, and when each was made, for people.
    pub links: Vec<(Link, Option<Timestamp>)>,
    /// What runs.
    pub running: Option<StorePath>,
    /// What was booted.
    pub booted: Option<StorePath>,
    /// What the profile names.
    pub default: Option<StorePath>,
}

/// A system that is on a robot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its toplevel.
    pub system: StorePath,
    /// The release that brought it, if that is known.
    pub release: Option<Name>,
    /// The numbers of its generations in the profile, oldest first.
    pub generations: Vec<u64>,
    /// What it is.
    pub parts: BTreeSet<Part>,
    /// Whether it was confirmed here, now or before.
    pub proven: bool,
    /// When it was confirmed last, or else when its newest generation was made. For people.
    pub since: Option<Timestamp>,
}

/// The systems that are on a robot, newest first: what is in no generation of the profile comes first.
#[must_use]
pub fn list(remembered: &Remembered, look: &Look) -> Vec<Listed> {
    let mut all: BTreeMap<&StorePath, Listed> = BTreeMap::new();
    let listed = |system: &StorePath| {
        let memory = remembered.0.get(system).cloned().unwrap_or_default();
        Listed {
            system: system.clone(),
            release: memory.release,
            generations: Vec::new(),
            parts: memory.parts,
            proven: memory.proven,
            since: memory.since,
        }
    };
    for (link, made) in &look.links {
        let one = all
            .entry(&link.system)
            .or_insert_with(|| listed(&link.system));
        one.generations.push(link.number);
        one.generations.sort_unstable();
        if !one.proven {
            one.since = one.since.max(*made);
        }
    }
    for (system, memory) in &remembered.0 {
        // What was only proven once may be gone since.
        if !memory.parts.is_empty() {
            all.entry(system).or_insert_with(|| listed(system));
        }
    }
    for (system, part) in [
        (&look.running, Part::Running),
        (&look.booted, Part::Booted),
        (&look.default, Part::Default),
    ] {
        if let Some(system) = system {
            let one = all.entry(system).or_insert_with(|| listed(system));
            one.parts.insert(part);
        }
    }
    let mut all: Vec<Listed> = all.into_values().collect();
    let newest = |one: &Listed| one.generations.last().copied().unwrap_or(u64::MAX);
    all.sort_by(|a, b| newest(b).cmp(&newest(a)).then(b.since.cmp(&a.since)));
    // What is something here stays in the list, however old.
    let mut others =
        MAX_LISTED.saturating_sub(all.iter().filter(|one| !one.parts.is_empty()).count());
    all.retain(|one| {
        let stays = !one.parts.is_empty() || others > 0;
        if one.parts.is_empty() {
            others = others.saturating_sub(1);
        }
        stays
    });
    all
}

/// The system that somebody named: by its store path, its release, or the number of one of its
/// generations. Of two that came with one release it is the newer one.
#[must_use]
pub fn named<'a>(to: &RollbackTo, listed: &'a [Listed]) -> Option<&'a Listed> {
    let mut all = listed.iter();
    let by_name = all.find(|one| to.names(&one.system, one.release.as_ref()));
    by_name.or_else(|| {
        let number = to.number()?;
        let mut all = listed.iter();
        all.find(|one| one.generations.contains(&number))
    })
}

/// How much of each of these closures is in no other of them, bytes. `None` for one that is not known.
#[must_use]
pub fn own_sizes(closures: &[Option<BTreeMap<StorePath, u64>>]) -> Vec<Option<u64>> {
    let mut users: BTreeMap<&StorePath, usize> = BTreeMap::new();
    for path in closures.iter().flatten().flat_map(BTreeMap::keys) {
        *users.entry(path).or_default() += 1;
    }
    let own = |closure: &BTreeMap<StorePath, u64>| {
        let own = closure
            .iter()
            .filter(|(path, _)| users.get(path) == Some(&1));
        own.map(|(_, size)| *size).fold(0, u64::saturating_add)
    };
    closures
        .iter()
        .map(|closure| closure.as_ref().map(own))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{journal::Record, machine::state::Generation};

    fn system(c: char) -> StorePath {
        StorePath::from_base_name(&format!("{}-s", c.to_string().repeat(32))).unwrap()
    }

    fn generation(c: char, release: &str) -> Generation {
        Generation {
            system: system(c),
            release: Some(release.parse().unwrap()),
            since: None,
        }
    }

    fn look(links: &[(u64, char)]) -> Look {
        let link = |&(number, c): &(u64, char)| {
            let link = Link {
                number,
                system: system(c),
            };
            (link, None)
        };
        Look {
            links: links.iter().map(link).collect(),
            running: Some(system('c')),
            booted: Some(system('c')),
            default: Some(system('c')),
        }
    }

    fn journal() -> Journal {
        Journal {
            confirmed: Some(generation('c', "3")),
            fallbacks: vec![generation('b', "2")],
            history: vec![Record {
                what: What::Confirmed.into(),
                system: system('a'),
                release: Some("1".parse().unwrap()),
                why: None,
                by: None,
                at: None,
            }],
            ..Journal::default()
        }
    }

    #[test]
    fn every_system_is_listed_with_what_it_is() {
        let all = list(
            &Remembered::of(&journal()),
            &look(&[(1, 'x'), (2, 'a'), (3, 'b'), (4, 'c'), (5, 'b')]),
        );
        let said: Vec<(&StorePath, bool, usize)> = (all.iter())
            .map(|one| (&one.system, one.proven, one.parts.len()))
            .collect();
        assert_eq!(
            said,
            [
                (&system('b'), true, 1),
                (&system('c'), true, 4),
                (&system('a'), true, 0),
                (&system('x'), false, 0),
            ]
        );
        assert_eq!(all[0].generations, [3, 5]);
        assert_eq!(all[2].release.as_ref().map(Name::as_str), Some("1"));
        // What was confirmed once and is not there any more is not on the robot.
        let all = list(&Remembered::of(&journal()), &look(&[(4, 'c')]));
        assert!(all.iter().all(|one| one.system != system('a')));
        assert!(all.iter().any(|one| one.system == system('b')));
    }

    #[test]
    fn a_long_profile_is_cut_but_nothing_that_is_something() {
        let many = Look {
            links: (0..500)
                .map(|number| {
                    let base = format!("{number:032}-s");
                    let system = StorePath::from_base_name(&base).unwrap();
                    (Link { number, system }, None)
                })
                .collect(),
            ..look(&[])
        };
        let all = list(&Remembered::of(&journal()), &many);
        assert_eq!(all.len(), MAX_LISTED);
        assert!(all.iter().any(|one| one.parts.contains(&Part::Fallback)));
        assert!(all.iter().any(|one| one.generations == [499]));
    }

    #[test]
    fn a_system_is_named_by_path_release_or_generation() {
        let all = list(&Remembered::of(&journal()), &look(&[(1, 'x'), (7, 'b')]));
        let named = |text: &str| {
            let named = named(&text.parse().unwrap(), &all);
            named.map(|one| one.system.clone())
        };
        assert_eq!(named("2"), Some(system('b')));
        assert_eq!(named("7"), Some(system('b')));
        // A release before a number.
        assert_eq!(named("3"), Some(system('c')));
        assert_eq!(named("1"), Some(system('x')));
        assert_eq!(named(&system('x').to_string()), Some(system('x')));
        assert_eq!(named("99"), None);
    }

    #[test]
    fn what_only_one_needs_is_its_own() {
        let closure = |paths: &[(char, u64)]| -> Option<BTreeMap<StorePath, u64>> {
            Some(paths.iter().map(|&(c, size)| (system(c), size)).collect())
        };
        let all = [
            closure(&[('a', 1), ('b', 2), ('c', 4)]),
            None,
            closure(&[('b', 2), ('d', 8), ('f', 16)]),
        ];
        assert_eq!(own_sizes(&all), [Some(5), None, Some(24)]);
    }
}
