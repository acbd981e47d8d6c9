//! Which generations of the profile go: the oldest that the agent made, and nothing that is needed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use proptest::{collection, prelude::*, sample::select};
use std::collections::BTreeSet;
use surefoot_core::{
    StorePath,
    journal::{Journal, Loss},
    keep::Kept,
    machine::{
        Policy,
        state::{Fetching, Generation, Ready, State},
    },
    profile::{Link, Profile},
    prune::Prune,
    release::{RebootPolicy, Target},
};

const LETTERS: [char; 6] = ['a', 'b', 'c', 'd', 'f', 'g'];

fn system(c: char) -> StorePath {
    StorePath::from_base_name(&format!("{}-s", c.to_string().repeat(32))).unwrap()
}

fn generation(c: char) -> Generation {
    Generation {
        system: system(c),
        release: None,
        since: None,
    }
}

fn target(c: char) -> Target {
    Target {
        release: format!("r-{c}").parse().unwrap(),
        system: system(c),
        index: String::new(),
        reboot: RebootPolicy::Auto,
        again: false,
        moves: false,
        in_steps: false,
        back: None,
    }
}

fn policy(prune: bool, generations: usize) -> Policy {
    Policy {
        prune,
        generations,
        ..common::policy()
    }
}

/// A profile whose generations are made one after the other, by the agent or by somebody else.
fn profile(generations: &[(char, bool)]) -> (Profile, Vec<Link>) {
    let (mut profile, mut links) = (Profile::default(), Vec::new());
    for (number, &(c, ours)) in (1..).zip(generations) {
        let system = system(c);
        if ours {
            profile.installs(system.clone(), None, &links);
        }
        links.push(Link { number, system });
        profile.look(&links);
    }
    (profile, links)
}

fn numbers(links: &[Link]) -> Vec<u64> {
    links.iter().map(|link| link.number).collect()
}

#[test]
fn the_oldest_go_and_the_newest_stay() {
    let made = LETTERS.map(|c| (c, true));
    let (profile, links) = profile(&made);
    let journal = Journal {
        confirmed: Some(generation('g')),
        fallbacks: vec![generation('b')],
        profile,
        ..Journal::default()
    };
    let gone = |generations, lacking: fn(&[Link]) -> bool| {
        let prune = Prune::of(&journal, &policy(true, generations));
        numbers(&prune.surplus(&links, &BTreeSet::new(), lacking))
    };
    // The second is a fallback.
    assert_eq!(gone(3, |_| false), [1, 3]);
    assert_eq!(gone(1, |_| false), [1, 3, 4, 5]);
    assert_eq!(gone(9, |_| false), [0; 0]);
    // For room one more goes, but not for room that none of them makes.
    assert_eq!(gone(3, |gone| gone.len() < 3), [1, 3, 4]);
    assert_eq!(gone(9, |gone| gone.is_empty()), [1]);
    assert_eq!(gone(3, |_| true), [1, 3]);
    let off = Prune::of(&journal, &policy(false, 1));
    assert_eq!(off.surplus(&links, &BTreeSet::new(), |_| true), []);
}

#[test]
fn what_was_chosen_stays_once_somebody_wants_one_of_it_or_has_installed_it() {
    let made = LETTERS.map(|c| (c, true));
    let (profile, links) = profile(&made);
    let mut journal = Journal {
        confirmed: Some(generation('g')),
        profile,
        ..Journal::default()
    };
    let policy = policy(true, 9);
    let nothing = BTreeSet::new();
    let chosen = &links[..2];
    let prune = Prune::of(&journal, &policy);
    assert!(prune.may_all_go(chosen, &links, &nothing));
    assert!(!prune.may_all_go(chosen, &links, &BTreeSet::from([system('b')])));
    assert!(!prune.may_all_go(chosen, &links[1..], &nothing));
    journal.kept.push(Kept {
        system: system('b'),
        release: None,
        by: String::new(),
        since: None,
    });
    assert!(!Prune::of(&journal, &policy).may_all_go(chosen, &links, &nothing));
}

proptest! {
    #[test]
    fn nothing_goes_that_is_needed_or_not_ours(
        made in collection::vec((select(&LETTERS[..]), any::<bool>()), 0..12),
        confirmed in select(&LETTERS[..]),
        fallbacks in collection::vec(select(&LETTERS[..]), 0..3),
        kept in proptest::option::of(select(&LETTERS[..])),
        state in 0..3,
        next in select(&LETTERS[..]),
        in_use in collection::btree_set(select(&LETTERS[..]), 0..3),
        lost in any::<bool>(),
        prune in any::<bool>(),
        stay in 1..5_usize,
        lacking in 0..12_usize,
    ) {
        let (profile, links) = profile(&made);
        let target = target(next);
        let journal = Journal {
            confirmed: Some(generation(confirmed)),
            fallbacks: fallbacks.iter().copied().map(generation).collect(),
            kept: kept.iter().map(|&c| Kept {
                system: system(c),
                release: None,
                by: String::new(),
                since: None,
            }).collect(),
            state: match state {
                0 => State::Idle,
                1 => State::Fetching(Fetching { target }),
                _ => State::Ready(Ready { target }),
            },
            lost: lost.then(|| Loss::because("x")),
            profile: profile.clone(),
            ..Journal::default()
        };
        let in_use: BTreeSet<_> = in_use.into_iter().map(system).collect();
        let policy = policy(prune, stay);
        let gone = Prune::of(&journal, &policy)
            .surplus(&links, &in_use, |gone| gone.len() < lacking);
        prop_assert!(gone.is_empty() || prune && !lost);
        for link in &gone {
            prop_assert!(profile.is_ours(link) && links.contains(link));
            prop_assert!(!in_use.contains(&link.system));
            prop_assert!(journal.roots().values().all(|root| *root != link.system));
        }
        // No more than has to go: the newest stay, unless there is no room.
        let ours = links.iter().filter(|link| profile.is_ours(link)).count();
        let old = ours.saturating_sub(stay);
        prop_assert!(gone.len() <= old.max(lacking));
        // Each is older than every one that could have gone and stays.
        let may_go = Prune::of(&journal, &policy).may_go(&links, &in_use);
        prop_assert_eq!(&gone[..], &may_go[..gone.len()]);
    }
}
