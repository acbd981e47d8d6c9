//! The state diagram in the documentation is what the code does: it is drawn from the transitions
//! that the simulated robot goes through. `SUREFOOT_BLESS=1 cargo test` writes it anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};
use surefoot_core::{
    machine::{DriftPolicy, Event, Request},
    switch::{Action, Outcome},
};
use surefoot_sim::{Fate, Robot, page, release, system};

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
                end_holds: false,
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
                let mut robot = Robot::settled();
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

type Edges = BTreeMap<(&'static str, &'static str), BTreeSet<&'static str>>;

/// The states from above to below, as an update goes through them; the way back stands beside them.
const COLUMN: [&str; 5] = ["idle", "fetching", "ready", "trial", "committing"];
const STYLE: &str = "rect{fill:#ddf4ff;stroke:#0969da}text{fill:#24292f;font:15px sans-serif;text-anchor:middle}\
    path{fill:none;stroke:#57606a;stroke-width:1.5;marker-end:url(#to)}#to path{fill:#57606a;stroke:none}\
    @media(prefers-color-scheme:dark){rect{fill:#0c2d6b;stroke:#58a6ff}text{fill:#e6edf3}\
    path{stroke:#8b949e}#to path{fill:#8b949e}}";

/// The middle of a state's box.
fn place(state: &str) -> (i32, i32) {
    let column = COLUMN.iter().zip(0..).find(|(name, _)| **name == state);
    column.map_or((400, 375), |(_, row)| (170, 30 + 90 * row))
}

/// The states and their transitions as a picture.
fn picture(edges: &Edges) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 480 430\" role=\"img\">\n\
         <title>The states of an update, and which follows which</title><style>{STYLE}</style>\n\
         <defs><marker id=\"to\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0 0 8 4 0 8z\"/></marker></defs>\n"
    );
    for (from, to) in edges.keys() {
        let ((x, y), (to_x, to_y)) = (place(from), place(to));
        let rows = (to_y - y) / 90;
        let line = match (x == to_x, rows) {
            (true, 1) => format!("M{x} {} V{}", y + 18, to_y - 19),
            // Onwards on the right, back on the left, the further the wider.
            (true, _) => {
                let (side, bend) = (rows.signum(), 30 + 22 * rows.abs());
                let edge = x + side * 61;
                let (begin, end) = (y + side * 8, to_y - side * 8);
                let far = edge + side * bend;
                format!("M{edge} {begin} C{far} {begin} {far} {end} {edge} {end}")
            }
            (false, _) if to_x > x => format!("M{} {} L{} {}", x + 61, y, to_x - 61, to_y - 6),
            (false, _) => format!(
                "M{to_x0} {} C{to_x0} {to_y} {to_x0} {to_y} {} {to_y}",
                y - 19,
                to_x + 61,
                to_x0 = x
            ),
        };
        let _ = writeln!(
            svg,
            "<path d=\"{line}\"><title>{from} to {to}</title></path>"
        );
    }
    for state in COLUMN.into_iter().chain(["reverting"]) {
        let (x, y) = place(state);
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"120\" height=\"36\" rx=\"6\"/><text x=\"{x}\" y=\"{}\">{state}</text>",
            x - 60,
            y - 18,
            y + 5
        );
    }
    svg + "</svg>\n"
}

#[test]
fn the_diagram_in_the_documentation_is_what_the_code_does() {
    let mut edges = Edges::new();
    for (from, event, to) in transitions() {
        edges.entry((from, to)).or_default().insert(event);
    }
    let mut text = String::from(
        "<!-- Drawn by tests/sim/tests/diagram.rs from what the state machine does; do not edit. -->\n\
         # The state machine\n\n\
         Every arrow is a transition that the simulated robot went through.\n\n\
         ![The states from idle over fetching, ready and trial to committing, and reverting beside \
         them](state-machine.svg)\n\n\
         The events that cause each of them stand in the table. `Started` is a restart of the agent \
         or of the robot: what it means is decided by the resolver.\n\n\
         | from | to | on |\n|---|---|---|\n",
    );
    for ((from, to), events) in &edges {
        let label = events.iter().copied().collect::<Vec<_>>().join("`, `");
        let _ = writeln!(text, "| {from} | {to} | `{label}` |");
    }
    page::hold("state-machine.svg", &picture(&edges), "diagram");
    page::hold("state-machine.md", &text, "diagram");
}
