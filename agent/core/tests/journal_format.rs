//! The journal's format: texts that an earlier agent wrote are read, and written again byte for
//! byte. In a boot trial two versions of the agent write the same journal.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "../../../tests/recorded/next.rs"]
mod next;

use common::policy;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use surefoot_core::{
    StorePath,
    journal::{Blocked, Journal},
    lease::Leases,
    machine::{
        Context, Effect, Event, Machine, Policy,
        state::{Cause, Evidence, State},
    },
    resolver::{SwitchUnit, Trace, World},
    time::{BootId, Instant},
    word::Word,
};

/// One journal a line: every state, phase, origin, cause and kind of record, and one journal with
/// every field. They are recorded: a text that no longer passes is a robot that no longer starts.
const RECORDED: &str = include_str!("../../../tests/recorded/0.2/journals.jsonl");

#[test]
fn a_recorded_journal_is_written_again_byte_for_byte() {
    let mut seen = BTreeSet::new();
    for line in RECORDED.lines() {
        let journal = Journal::parse(line.as_bytes()).unwrap();
        let text: Value = serde_json::from_str(line).unwrap();
        let again = journal.to_bytes().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&again).unwrap(), text);
        if journal.foreign.is_empty() {
            assert_eq!(serde_json::to_string(&journal).unwrap(), line);
        }
        for word in ["/state/name", "/state/phase/name", "/state/origin/kind"] {
            seen.extend(
                text.pointer(word)
                    .and_then(|word| word.as_str().map(str::to_owned)),
            );
        }
        assert_eq!(text["state"]["name"], journal.state.name());
    }
    let all = [
        "idle",
        "fetching",
        "ready",
        "trial",
        "committing",
        "reverting", // states
        "arming",
        "switching",
        "staging",
        "staged",
        "aiming",
        "booting",
        "soaking", // phases
        "rollback",
        "adopt",
        "restore", // origins; that of a trial is called like the state
    ];
    assert_eq!(seen, all.map(str::to_owned).into());
}

#[test]
fn a_cause_that_only_a_newer_agent_knows_keeps_the_release_blocked() {
    let evidence = Evidence::plain(Cause::Unhealthy, "it fell over".into());
    let journal = Journal {
        blocked: vec![Blocked {
            release: "2.1".parse().unwrap(),
            system: system('b'),
            evidence,
            since: None,
        }],
        ..Journal::default()
    };
    let text = serde_json::to_string(&journal).unwrap();
    let newer = text.replace("unhealthy", "fellOver");
    assert_ne!(newer, text);
    let read = Journal::parse(newer.as_bytes()).unwrap();
    assert_eq!(read.blocked[0].system, journal.blocked[0].system);
    assert_eq!(
        read.blocked[0].evidence.cause,
        Word::Other("fellOver".into())
    );
    assert!(read.blocked[0].evidence.is_verdict());
}

fn system(c: char) -> StorePath {
    StorePath::from_base_name(&format!("{}-s", c.to_string().repeat(32))).unwrap()
}

/// The fields of a journal that hold a word.
const WORDS: [&str; 7] = ["name", "kind", "cause", "what", "mode", "action", "reboot"];

#[test]
fn one_field_or_word_more_anywhere_is_kept() {
    let mut read = 0;
    for line in RECORDED.lines() {
        let text = serde_json::from_str(line).unwrap();
        for (at, next) in next::versions(&text, &WORDS) {
            let journal = Journal::parse(next.to_string().as_bytes()).unwrap();
            let again: Value = serde_json::from_slice(&journal.to_bytes().unwrap()).unwrap();
            assert_eq!(again, next, "{at}");
            read += 1;
        }
    }
    assert!(read > 400, "{read}");
}

/// What the robot does with a journal when the agent starts: its state, and what it has done.
fn start(journal: Journal, world: World) -> (State, Vec<Effect>) {
    let cx = Context {
        now: Instant(1000),
        slept: Duration::ZERO,
        boot: &world.boot.clone(),
        wall: None,
        random: 0,
        by_boot: &[],
        put_aside: None,
        policy: &Policy {
            trial_attempts: 2,
            ..policy()
        },
    };
    let step = Machine::new(journal, Leases::default()).step(Event::Started(world), &cx);
    let decided = step.persisted(|_| Ok::<_, ()>(())).unwrap();
    (decided.machine.journal().state.clone(), decided.effects)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever a later version adds, a word or a field: the journal is read, nothing of it is lost,
    /// and a robot in a state that is not known ends on the confirmed system.
    #[test]
    fn unknown_words_and_fields_are_kept_and_lead_back(
        line in any::<prop::sample::Index>(),
        changed in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        added in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        moved in any::<bool>(),
        booted in any::<bool>(),
    ) {
        let lines: Vec<&str> = RECORDED.lines().collect();
        let mut text: Value = serde_json::from_str(lines[line.index(lines.len())]).unwrap();
        let (objects, words) = next::places(&text, &WORDS);
        for at in changed {
            *text.pointer_mut(&words[at.index(words.len())]).unwrap() = "quiteNew".into();
        }
        for (n, at) in added.iter().enumerate() {
            text.pointer_mut(&objects[at.index(objects.len())]).unwrap()[format!("new{n}")] = json!({"deep": [n]});
        }
        let journal = Journal::parse(text.to_string().as_bytes()).unwrap();
        let again: Value = serde_json::from_slice(&journal.to_bytes().unwrap()).unwrap();
        prop_assert_eq!(&again, &text);

        let (Some(confirmed), State::Unknown(_)) = (&journal.confirmed, &journal.state) else {
            return Ok(());
        };
        let confirmed = confirmed.system.clone();
        let current = if moved { system('z') } else { confirmed.clone() };
        let world = World {
            boot: BootId("boot-9".into()),
            booted: Some(if booted { current.clone() } else { system('y') }),
            current: Some(current),
            profile: None,
            default: None,
            silent: false,
            variant: false,
            dead_man: true,
            switch: SwitchUnit::Gone,
            leftovers: false,
            locked: false,
            trace: Trace::default(),
        };
        let mut journal = journal;
        if moved && !journal.holds.is_empty() {
            let (state, effects) = start(journal.clone(), world.clone());
            prop_assert_eq!(&state, &journal.state);
            prop_assert_eq!(effects, []);
        }
        journal.holds.clear();
        let (state, effects) = start(journal.clone(), world.clone());
        match state {
            State::Reverting(reverting) if moved => {
                prop_assert_eq!(reverting.order.system, confirmed);
                prop_assert_eq!(reverting.reboot, booted);
                prop_assert!(!effects.iter().any(|e| matches!(e, Effect::Disarm(_))));
            }
            State::Idle if !moved => {
                // Nothing but what would leave the confirmed system is taken back.
                let disarmed = effects.iter().any(|effect| {
                    matches!(effect, Effect::Disarm(guards) if guards.dead_man || guards.boot_deadline)
                });
                prop_assert!(!disarmed, "{effects:?}");
            }
            other => prop_assert!(false, "{other:?}"),
        }
        // While a switch of it may run, nothing is touched.
        if let Some(order) = journal.state.order().cloned() {
            let running = World { switch: SwitchUnit::Running, ..world };
            let (after, effects) = start(journal.clone(), running);
            prop_assert_eq!(&after, &journal.state);
            prop_assert_eq!(effects, [Effect::Switch(order)]);
        }
    }
}
