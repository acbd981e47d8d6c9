//! What a step says has happened.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::policy;
use serde_json::json;
use std::time::Duration;
use surefoot_core::{
    StorePath,
    events::{Kind, Occurrence},
    gate::{Closed, Stage},
    health::{Failure, Report},
    journal::{Journal, MAX_BLOCKED, MAX_JOURNAL_BYTES, What},
    lease::{Holder, Leases, Loss, Owner},
    machine::{
        Context, Event, Machine, Request,
        state::{Cause, Generation, State},
    },
    offers::Robot,
    release::{Manifest, RebootPolicy, Target},
    resolver::{SwitchUnit, Trace, World},
    switch::Outcome,
    time::{BootId, Instant},
};

fn system(c: char) -> StorePath {
    StorePath::from_base_name(&format!("{}-nixos-system-{c}", c.to_string().repeat(32))).unwrap()
}

/// An agent that takes one event after the other, a second after each.
struct Agent {
    machine: Machine,
    now: Instant,
    all: Vec<Occurrence>,
}

impl Agent {
    fn of(journal: Journal) -> Self {
        Self {
            machine: Machine::new(journal, Leases::default()),
            now: Instant(0),
            all: Vec::new(),
        }
    }

    /// Takes an event; what it led to, by name.
    fn take(&mut self, event: Event) -> Vec<Kind> {
        let cx = Context {
            now: self.now,
            slept: Duration::ZERO,
            boot: &BootId("boot-1".into()),
            wall: Some("2026-11-26T12:00:00Z".parse().unwrap()),
            random: 0,
            by_boot: &[],
            put_aside: None,
            policy: &policy(),
        };
        self.now = self.now + Duration::from_secs(1);
        let step = self.machine.step(event, &cx);
        let decided = step.persisted(|_| Ok::<_, ()>(())).unwrap();
        self.machine = decided.machine;
        self.all.extend(decided.occurrences.clone());
        let kinds = decided.occurrences.into_iter().map(|o| o.kind);
        kinds.collect()
    }

    fn switched(&mut self, outcome: Outcome) -> Vec<Kind> {
        let unit = self.machine.journal().state.order().unwrap().unit.clone();
        self.take(Event::SwitchEnded {
            unit,
            outcome,
            log: Vec::new(),
            failures: Vec::new(),
        })
    }
}

/// A robot that runs `a`, confirmed.
fn on_a() -> Journal {
    Journal {
        confirmed: Some(Generation {
            system: system('a'),
            release: None,
            since: None,
        }),
        ..Journal::default()
    }
}

fn gates(stage: Stage) -> Event {
    Event::Gates {
        stage,
        closed: Vec::new(),
    }
}

fn changed(from: &'static str, to: &'static str) -> Kind {
    let release = (to != "idle").then(|| "r-b".parse().unwrap());
    Kind::StateChanged { from, to, release }
}

#[test]
fn a_failed_update_is_told_from_beginning_to_end() {
    let mut agent = Agent::of(Journal::default());
    let world = World {
        boot: BootId("boot-1".into()),
        booted: Some(system('a')),
        current: Some(system('a')),
        profile: Some(system('a')),
        default: Some(system('a')),
        silent: false,
        variant: false,
        dead_man: false,
        switch: SwitchUnit::Gone,
        leftovers: false,
        locked: false,
        trace: Trace::default(),
    };
    let target = Target {
        release: "r-b".parse().unwrap(),
        system: system('b'),
        index: "closures/b.json.zst".into(),
        reboot: RebootPolicy::Auto,
        again: false,
        moves: false,
        in_steps: false,
        back: None,
    };
    let what = |kinds: &[Kind]| {
        let mut milestones = kinds.iter().filter_map(|kind| match kind {
            Kind::Milestone(record) => record.what.known(),
            _ => None,
        });
        milestones.next()
    };

    let told = agent.take(Event::Started(world));
    assert_eq!(what(&told), Some(What::Adopted));
    let closed = vec![Closed {
        gate: "window".into(),
        why: "it is noon".into(),
    }];
    let told = agent.take(Event::Gates {
        stage: Stage::Check,
        closed: closed.clone(),
    });
    let stage = Stage::Check;
    assert_eq!(told, [Kind::GatesClosed { stage, closed }]);
    let told = agent.take(Event::Polled(Some(target).into()));
    let release = Some("r-b".parse().unwrap());
    assert_eq!(
        told,
        [Kind::Checked { release }, changed("idle", "fetching")]
    );
    assert_eq!(agent.take(Event::Fetched), [changed("fetching", "ready")]);
    let held = |owner: &str, length| {
        Event::Asked(Request::Hold {
            length,
            why: "loads".into(),
            by: owner.into(),
            counted: None,
        })
    };
    let told = agent.take(held("ada", Some(Duration::from_millis(1500))));
    assert!(matches!(&told[..], [Kind::Held { owner, .. }] if owner == "ada"));
    assert_eq!(agent.take(Event::Tick), []);
    let told = agent.take(Event::Tick);
    let owner = "ada".to_owned();
    assert_eq!(told, [Kind::HoldEnded { owner }]);
    agent.take(gates(Stage::Activate));
    let told = agent.take(Event::Inspected {
        named: Vec::new(),
        current: system('a'),
        reboot: Vec::new(),
        unfit: None,
        no_boot: None,
        no_room: None,
    });
    assert_eq!(told, []);
    let told = agent.take(gates(Stage::Activate));
    assert_eq!(what(&told), Some(What::Tried));
    assert_eq!(told.last(), Some(&changed("ready", "trial")));
    agent.take(Event::DeadManArmed);
    let told = agent.switched(Outcome::Done);
    assert!(matches!(&told[..], [Kind::SwitchEnded { .. }]));
    let report = Report {
        failures: vec![Failure {
            check: "unit arm.service".into(),
            message: "failed".into(),
            journal: Vec::new(),
        }],
        ..Report::default()
    };
    let told = agent.take(Event::Probed(report.clone()));
    assert_eq!(
        told,
        [Kind::Unhealthy { report }, changed("trial", "reverting")]
    );
    let told = agent.switched(Outcome::Done);
    assert_eq!(what(&told), Some(What::Reverted));
    assert!(told.iter().any(|kind| matches!(kind, Kind::Blocked { .. })));
    let ended = |kind: &Kind| match kind {
        Kind::TrialEnded {
            release,
            outcome,
            evidence,
            ..
        } => Some((release.clone()?, *outcome, evidence.clone()?)),
        _ => None,
    };
    let (release, outcome, evidence) = told.iter().find_map(ended).unwrap();
    assert_eq!(
        (release.as_str(), outcome, evidence.cause.known()),
        ("r-b", What::Reverted, Some(Cause::Deadline))
    );
    assert_eq!(evidence.failures[0].check, "unit arm.service".into());
    assert_eq!(told.last(), Some(&changed("reverting", "idle")));

    // Nothing is left out, and the history is what was told.
    let numbers: Vec<u64> = agent.all.iter().map(|o| o.seq).collect();
    assert_eq!(numbers, Vec::from_iter(1..=numbers.len() as u64));
    let milestones = agent.all.into_iter().filter_map(|o| match o.kind {
        Kind::Milestone(record) => Some(record),
        _ => None,
    });
    assert_eq!(
        milestones.collect::<Vec<_>>(),
        agent.machine.journal().history
    );
}

fn lease(agent: &mut Agent, busy: bool, ttl: Option<Duration>) -> Vec<Kind> {
    agent.take(Event::Asked(Request::Lease {
        name: "arm".parse().unwrap(),
        busy,
        why: None,
        ttl,
        by: Owner {
            uid: 400,
            name: "ros".into(),
            counted: "uid 400".into(),
        },
        over: Holder(1),
    }))
}

#[test]
fn a_lease_is_told_when_it_changes() {
    let mut agent = Agent::of(Journal::default());
    let short = Some(Duration::from_secs(2));
    let name = || "arm".parse().unwrap();
    let leased = |busy| Kind::Leased { name: name(), busy };
    assert_eq!(lease(&mut agent, true, short), [leased(true)]);
    assert_eq!(lease(&mut agent, true, short), []);
    assert_eq!(lease(&mut agent, false, short), [leased(false)]);
    agent.take(Event::Tick);
    let told = agent.take(Event::Tick);
    assert_eq!(told, [Kind::LeaseEnded { name: name() }]);

    // What was busy stays so.
    let orphaned = |loss| Kind::LeaseOrphaned {
        name: name(),
        loss,
        counted: "uid 400".into(),
    };
    assert_eq!(lease(&mut agent, true, short), [leased(true)]);
    agent.take(Event::Tick);
    assert_eq!(agent.take(Event::Tick), [orphaned(Loss::Silent)]);
    assert_eq!(agent.take(Event::Tick), []);
    assert_eq!(lease(&mut agent, true, None), [leased(true)]);
    let told = agent.take(Event::HolderLost(Holder(1)));
    assert_eq!(told, [orphaned(Loss::Died)]);
    assert_eq!(agent.take(Event::HolderLost(Holder(1))), []);
}

#[test]
fn a_release_that_needs_more_than_the_agent_knows_is_left_alone_with_words() {
    let mut agent = Agent::of(on_a());
    let release = |id: &str, system: StorePath, needs: &[&str]| {
        json!({
            "id": id, "created": "2026-11-26T12:00:00Z", "needs": needs,
            "systems": { "picker": {
                "toplevel": system, "index": "closures/x.json.zst", "paths": 1, "narSize": 1,
            } },
        })
    };
    let releases = [
        release("1", system('a'), &[]),
        release("2", system('b'), &["waves"]),
    ];
    let manifest = json!({ "spec": 1, "channel": "stable", "releases": releases });
    let channel = "stable".parse().unwrap();
    let manifest = Manifest::parse(manifest.to_string().as_bytes(), &channel).unwrap();
    let offers = manifest.offers(&Robot::by_hand(&"picker".parse().unwrap(), &[]));
    for _ in 0..3 {
        agent.take(Event::Polled(offers.clone()));
    }
    let why = "release 2 needs 'waves', which this agent does not know: update the agent first";
    assert_eq!(agent.machine.problem(), Some(why));
    let journal = agent.machine.journal();
    assert_eq!(journal.state, State::Idle);
    // Once is enough for the history.
    let [record] = &journal.history[..] else {
        panic!("{:?}", journal.history);
    };
    assert_eq!(record.what, What::Refused);
    assert_eq!(record.why.as_deref(), Some(why));
    // It is over as soon as the channel has something else.
    agent.take(Event::Polled(None.into()));
    assert_eq!(agent.machine.problem(), None);
}

/// Nothing that a release, a switch or a check may say makes the journal larger than is ever read.
#[test]
fn the_journal_stays_small_whatever_is_put_into_it() {
    let mut agent = Agent::of(on_a());
    // A control character takes six bytes in JSON.
    let long = "\u{1}".repeat(100_000);
    let failures = vec![
        Failure {
            check: "unit arm.service".into(),
            message: long.clone(),
            journal: vec![long.clone(); 100],
        };
        50
    ];
    for n in 0..2 * MAX_BLOCKED {
        // Somebody asks each time, or the robot would have been disturbed often enough for today.
        agent.take(Event::Asked(Request::Update));
        agent.take(Event::Polled(
            Some(Target {
                release: format!("r-{n}").parse().unwrap(),
                system: system('b'),
                index: "closures/b.json.zst".into(),
                reboot: RebootPolicy::Auto,
                again: false,
                moves: false,
                in_steps: false,
                back: None,
            })
            .into(),
        ));
        agent.take(Event::Fetched);
        agent.take(gates(Stage::Activate));
        let unfit = (n % 2 == 0).then(|| long.clone());
        let refused = unfit.is_some();
        agent.take(Event::Inspected {
            named: Vec::new(),
            current: system('a'),
            reboot: Vec::new(),
            unfit,
            no_boot: None,
            no_room: None,
        });
        if !refused {
            agent.take(gates(Stage::Activate));
            agent.take(Event::DeadManArmed);
            let unit = agent.machine.journal().state.order().unwrap().unit.clone();
            agent.take(Event::SwitchEnded {
                unit,
                outcome: Outcome::Failed(9),
                log: vec![long.clone(); 1000],
                failures: failures.clone(),
            });
            agent.switched(Outcome::Done);
        }
        agent.all.clear();
    }
    let journal = agent.machine.journal();
    assert_eq!(journal.blocked.len(), MAX_BLOCKED);
    assert!(!journal.blocked.last().unwrap().evidence.failures.is_empty());
    let bytes = journal.to_bytes().unwrap();
    // Half of what is read is left to holds, and to what other versions write.
    assert!(
        (bytes.len() as u64) < MAX_JOURNAL_BYTES / 2,
        "{}",
        bytes.len()
    );
    assert_eq!(Journal::parse(&bytes).unwrap(), *journal);
}
