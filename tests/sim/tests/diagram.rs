//! The state diagram in the documentation is what the code does: it is drawn from the transitions
//! that the simulated robot goes through. `SUREFOOT_BLESS=1 cargo test` writes it anew.

use std::{collections::BTreeSet, fmt::Write as _, path::Path};
use surefoot_core::{
    machine::{DriftPolicy, Event, Request},
    switch::{Action, Outcome},
};
use surefoot_sim::{Fate, Robot, release, system};

/// Robots with every kind of luck, each disturbed at every step of an update.
fn transitions() -> BTreeSet<(&'static str, &'static str, &'static str)> {
    let mut all = BTreeSet::new();
    let lucks: [&dyn Fn(&mut Robot); 13] = [
        &|_| (),
        &|r| {
            r.sick.insert(system('b'));
        },
        &|r| {
            r.needs_reboot.insert(system('b'));
        },
        &|r| {
            r.needs_reboot.insert(system('b'));
            r.sick.insert(system('b'));
        },
        &|r| {
            r.needs_reboot.insert(system('b'));
            r.fates.insert(system('b'), Fate::Panics);
        },
        &|r| {
            r.needs_reboot.insert(system('b'));
            r.lost_one_shots = 1;
        },
        &|r| {
            r.unfit.insert(system('b'));
        },
        &|r| {
            r.locked = true;
        },
        &|r| {
            r.outcomes.insert(system('b'), Outcome::Refused);
        },
        &|r| {
            r.sick.insert(system('b'));
            r.outcomes.insert(system('a'), Outcome::Failed(5));
        },
        &|r| {
            r.policy.drift = DriftPolicy::Restore;
            r.meddle(Action::Test, system('x'));
        },
        &|r| {
            r.policy.drift = DriftPolicy::Adopt;
            r.meddle(Action::Test, system('x'));
        },
        &|r| r.leftovers = true,
    ];
    let disturbances: [&dyn Fn(&mut Robot); 6] = [
        &|_| (),
        &|r| r.kill(),
        &|r| r.power_cut(),
        &|r| {
            r.feed(Event::Asked(Request::Rollback {
                force: false,
                to: None,
                why: "x".into(),
                by: "ada".into(),
            }));
        },
        &|r| r.feed(Event::Polled(None.into())),
        &|r| {
            if r.state().name() == "committing" {
                r.outcomes.insert(system('b'), Outcome::Failed(7));
            }
        },
    ];
    for luck in lucks {
        for disturb in disturbances {
            for steps in 0..40 {
                let mut robot = Robot::new();
                robot.start();
                robot.settle();
                luck(&mut robot);
                robot.published = Some(release('b'));
                let _ = robot.ask(Request::Update);
                for _ in 0..steps {
                    robot.advance();
                }
                disturb(&mut robot);
                robot.start();
                robot.locked = false;
                robot.settle();
                all.append(&mut robot.transitions);
            }
        }
    }
    all
}

#[test]
fn the_diagram_in_the_documentation_is_what_the_code_does() {
    let mut edges: std::collections::BTreeMap<(&str, &str), BTreeSet<&str>> = Default::default();
    for (from, event, to) in transitions() {
        edges.entry((from, to)).or_default().insert(event);
    }
    let mut text = String::from(
        "<!-- Drawn by tests/sim/tests/diagram.rs from what the state machine does; do not edit. -->\n\
         # The state machine\n\n\
         Every arrow is a transition that the simulated robot went through; its label names the \
         events that caused it. `Started` is a restart of the agent or of the robot: what it means \
         is decided by the resolver.\n\n```mermaid\nstateDiagram-v2\n    [*] --> idle\n",
    );
    for ((from, to), events) in &edges {
        let label = events.iter().copied().collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "    {from} --> {to}: {label}");
    }
    text.push_str("```\n\n| from | to | on |\n|---|---|---|\n");
    for ((from, to), events) in &edges {
        let label = events.iter().copied().collect::<Vec<_>>().join("`, `");
        let _ = writeln!(text, "| {from} | {to} | `{label}` |");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/state-machine.md");
    if std::env::var_os("SUREFOOT_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written, text,
        "run SUREFOOT_BLESS=1 cargo test -p surefoot-sim --test diagram"
    );
}
