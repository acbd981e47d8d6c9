//! Random events and random faults: what must hold, holds.

use proptest::prelude::*;
use std::time::Duration;
use surefoot_core::{
    gate::{Closed, Stage},
    health::{Failure, Report},
    journal::{Journal, What},
    lease::{Ender, Holder, Leases},
    machine::{
        Context, DriftPolicy, Effect, Event, Machine, Request,
        state::{Cause, State},
    },
    reboot::Reason,
    resolver::{SwitchUnit, Trace, World},
    switch::Outcome,
    time::{BootId, Instant},
};
use surefoot_sim::{Fate, Robot, people, policy, release, system};

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    PowerCut,
    Rollback,
    Hold,
    Resume,
    Lease,
    Gate(Stage),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::Kill),
        4 => Just(Fault::PowerCut),
        1 => Just(Fault::Rollback),
        1 => Just(Fault::Hold),
        1 => Just(Fault::Resume),
        1 => Just(Fault::Lease),
        1 => stage().prop_map(Fault::Gate),
    ]
}

fn stage() -> impl Strategy<Value = Stage> {
    proptest::sample::select(Stage::ALL.to_vec())
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Panics),
        Just(Fate::Freezes),
        Just(Fate::Vanishes),
        Just(Fate::Agentless),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Done),
        1 => Just(Outcome::UnitsFailed),
        1 => Just(Outcome::ActivationFailed),
        1 => Just(Outcome::Refused),
        1 => Just(Outcome::Locked),
        1 => Just(Outcome::NeedsReboot),
        1 => Just(Outcome::TimedOut),
        1 => any::<i32>().prop_map(Outcome::Failed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens, and whenever: the robot ends on a confirmed system, which is the boot
    /// loader's default. (That the default is the confirmed one at every moment of a trial is
    /// checked by the simulated robot after every step.)
    #[test]
    fn a_robot_always_comes_back(
        faults in proptest::collection::vec((0_usize..60, fault()), 0..8),
        outcomes in proptest::collection::vec(outcome(), 2),
        sick in any::<[bool; 2]>(),
        boots in any::<[bool; 2]>(),
        fates in proptest::collection::vec(proptest::option::of(fate()), 2),
        lost_one_shots in 0_u32..3,
        drift in prop_oneof![Just(DriftPolicy::Report), Just(DriftPolicy::Restore)],
    ) {
        let mut robot = Robot::new();
        robot.policy.drift = drift;
        for (i, c) in ['b', 'c'].into_iter().enumerate() {
            robot.outcomes.insert(system(c), outcomes[i].clone());
            if sick[i] {
                robot.sick.insert(system(c));
            }
            if boots[i] {
                robot.needs_reboot.insert(system(c));
            }
            if let Some(fate) = fates[i] {
                robot.fates.insert(system(c), fate);
            }
        }
        robot.lost_one_shots = lost_one_shots;
        robot.start();
        robot.settle();
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        for (steps, fault) in faults {
            for _ in 0..steps {
                robot.advance();
            }
            match fault {
                Fault::Kill => robot.kill(),
                Fault::PowerCut => robot.power_cut(),
                Fault::Rollback => robot.feed(Event::Asked(Request::Rollback {
                    force: false, to: None, why: "x".into(), by: "ada".into(),
                    end_holds: false,
                })),
                Fault::Hold => robot.feed(Event::Asked(Request::Hold {
                    length: Some(Duration::from_secs(100)), why: "x".into(), by: "ada".into(), counted: None,
                })),
                Fault::Lease => {
                    robot.start();
                    let _ = robot.lease(true, 100);
                }
                Fault::Gate(stage) if robot.closed.remove(&stage) => {}
                Fault::Gate(stage) => drop(robot.closed.insert(stage)),
                Fault::Resume => robot.feed(Event::Asked(Request::Resume { by: None })),
            }
            robot.start();
        }
        robot.closed.clear();
        // Whoever holds the lock lets go of it.
        for outcome in robot.outcomes.values_mut().filter(|o| **o == Outcome::Locked) {
            *outcome = Outcome::Done;
        }
        // What is busy stays so until somebody ends it.
        robot.feed(Event::Asked(people::end_lease(Ender::Anyone)));
        robot.settle();
        let confirmed = robot.confirmed().clone();
        prop_assert_eq!(&robot.default, &confirmed, "{}", robot.log);
        prop_assert_eq!(&robot.current, &confirmed, "{}", robot.log);
        // What could not work here was not confirmed.
        if confirmed == system('b') {
            prop_assert!(!sick[0]);
            let by_boot = boots[0] || outcomes[0] == Outcome::NeedsReboot;
            if by_boot {
                prop_assert_eq!(fates[0], None);
            } else {
                prop_assert!(outcomes[0].activated() || outcomes[0] == Outcome::Locked);
            }
        }
        // And the next good release still gets through.
        robot.outcomes.clear();
        robot.sick.clear();
        robot.lost_one_shots = 0;
        robot.feed(Event::Asked(Request::Resume { by: None }));
        robot.published = Some(release('d'));
        let _ = robot.ask(Request::Update);
        robot.settle();
        prop_assert_eq!(robot.confirmed(), &system('d'), "{}", robot.log);
    }
}

fn any_system() -> impl Strategy<Value = char> {
    prop_oneof![Just('a'), Just('b'), Just('c')]
}

fn world() -> impl Strategy<Value = World> {
    let some = || proptest::option::of(any_system().prop_map(system));
    (
        some(),
        some(),
        any::<[bool; 5]>(),
        0..3_u8,
        outcome(),
        0..2_u8,
    )
        .prop_map(
            |(
                booted,
                current,
                [dead_man, leftovers, silent, variant, kept_away],
                switch,
                outcome,
                boot,
            )| World {
                boot: BootId(format!("boot-{boot}")),
                profile: booted.clone(),
                default: booted.clone().filter(|_| !silent),
                silent,
                variant,
                booted,
                current,
                dead_man,
                switch: match switch {
                    0 => SwitchUnit::Gone,
                    1 => SwitchUnit::Running,
                    _ => SwitchUnit::Ended {
                        outcome,
                        log: vec![],
                    },
                },
                leftovers,
                locked: false,
                trace: Trace {
                    ended: kept_away.then_some(Cause::Deadline),
                    kept_away,
                    ..Trace::default()
                },
            },
        )
}

fn event() -> impl Strategy<Value = Event> {
    let unit = (0..12_u64, prop_oneof!["trial", "stage", "commit", "revert"])
        .prop_map(|(n, kind)| format!("surefoot-{kind}-{n}.service"));
    prop_oneof![
        world().prop_map(Event::Started),
        world().prop_map(Event::Observed),
        Just(Event::Tick),
        any::<bool>().prop_map(|own| Event::InItsOwnWay(own.then(|| "x".into()))),
        proptest::option::of(any_system().prop_map(release))
            .prop_map(|target| Event::Polled(target.into())),
        Just(Event::PollFailed("x".into())),
        Just(Event::Fetched),
        Just(Event::FetchFailed("x".into())),
        Just(Event::NetworkChanged),
        (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(bytes, wasted, more)| {
            Event::Moved {
                bytes,
                wasted,
                more,
            }
        }),
        (any_system(), any::<bool>()).prop_map(|(c, reboot)| Event::Inspected {
            named: Vec::new(),
            current: system(c),
            reboot: if reboot { vec![Reason::Kernel] } else { vec![] },
            unfit: None,
            no_boot: None,
            no_room: None,
        }),
        Just(Event::BootAimed),
        Just(Event::AimFailed("x".into())),
        Just(Event::InspectFailed("x".into())),
        Just(Event::Vanished),
        Just(Event::DeadManArmed),
        Just(Event::DeadManFailed("x".into())),
        (unit, outcome()).prop_map(|(unit, outcome)| Event::SwitchEnded {
            unit,
            outcome,
            log: vec![],
            failures: vec![],
        }),
        proptest::option::of(prop_oneof!["c", "manifest server", "nix daemon"]).prop_map(|check| {
            let failed = check.map(|check| Failure {
                check: check.into(),
                message: "m".into(),
                journal: vec![],
            });
            Event::Probed(Report {
                failures: failed.into_iter().collect(),
                ..Report::default()
            })
        }),
        (stage(), any::<bool>()).prop_map(|(stage, open)| Event::Gates {
            stage,
            closed: if open {
                vec![]
            } else {
                vec![Closed {
                    gate: "g".into(),
                    why: "w".into(),
                }]
            },
        }),
        (any::<bool>(), 1..1_000_u64)
            .prop_map(|(busy, seconds)| Event::Asked(people::lease(busy, seconds))),
        (any::<bool>(), 0..3_u64)
            .prop_map(|(busy, over)| Event::Asked(people::held(busy, Holder(over)))),
        (0..3_u64).prop_map(|over| Event::HolderLost(Holder(over))),
        Just(Event::Asked(people::end_lease(Ender::Anyone))),
        Just(Event::Asked(Request::Update)),
        Just(Event::Asked(Request::Rollback {
            force: false,
            end_holds: false,
            to: None,
            why: "x".into(),
            by: "ada".into()
        })),
        any::<bool>().prop_map(|short| Event::Asked(Request::Hold {
            length: short.then_some(Duration::from_secs(1)),
            why: "x".into(),
            by: "ada".into(),
            counted: None,
        })),
        Just(Event::Asked(Request::Resume { by: None })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Events in any order, sensible or not, from any state that they can lead to.
    #[test]
    fn any_sequence_of_events_keeps_the_promises(
        events in proptest::collection::vec((event(), 0..400_000_u64, any::<bool>()), 1..60),
        random: u64,
    ) {
        let policy = policy();
        let boot = BootId("boot-1".into());
        let (mut now, mut slept) = (Instant(0), Duration::ZERO);
        let mut machine = Machine::new(Journal::default(), Leases::default());
        let mut on_disk = machine.journal().clone();
        for (event, wait, sleeps) in events {
            let wait = Duration::from_millis(wait);
            now = now + wait;
            if sleeps {
                slept += wait;
            }
            let by_boot = [system('b')];
            let cx = Context { by_boot: &by_boot, put_aside: None, now, slept, boot: &boot, wall: None, random, policy: &policy };
            let before = machine.journal().clone();
            let decided = machine
                .step(event.clone(), &cx)
                .persisted(|journal| { on_disk = journal.clone(); Ok::<_, ()>(()) })
                .unwrap();
            machine = decided.machine;
            let after = machine.journal();

            // What is decided is what is on disk, before any effect.
            prop_assert_eq!(&on_disk, after);
            for effect in &decided.effects {
                match effect {
                    Effect::Switch(order) => {
                        prop_assert_eq!(after.state.order(), Some(order));
                    }
                    Effect::Fetch(target) => {
                        prop_assert!(after.blocked(target).is_none());
                        prop_assert_eq!(after.state.target(), Some(target));
                    }
                    Effect::Reboot(_) => prop_assert!(after.holds.is_empty()),
                    Effect::ArmDeadMan { .. } | Effect::AimBoot { .. } => {
                        prop_assert_eq!(machine.leases().closed(&policy.leases, now), []);
                    }
                    _ => {}
                }
            }
            // The confirmed system changes only by a commit, or at the first start.
            let system = |journal: &Journal| journal.confirmed.clone().map(|g| g.system);
            if system(&before) != system(after) {
                let by_commit = matches!(before.state, State::Committing(_));
                prop_assert!(by_commit || before.confirmed.is_none(), "{event:?}");
            }
            // Nothing begins against a hold, and nothing that is blocked begins.
            let began = after.history.len() > before.history.len()
                && after.history.last().unwrap().what == What::Tried;
            if began {
                prop_assert!(after.holds.is_empty());
                prop_assert!(after.blocked(after.state.target().unwrap()).is_none());
            }
            // A time that has come and gone is not waited for twice without anything happening.
            if event == Event::Tick
                && let Some(deadline) = machine.deadline()
            {
                prop_assert!(deadline > now || !decided.effects.is_empty() || before != *after,
                    "{:?} spins at {deadline:?}", after.state);
            }
        }
        // It can always be written and read again.
        let text = serde_json::to_vec(&on_disk).unwrap();
        prop_assert_eq!(Journal::parse(&text).unwrap(), on_disk);
    }

    #[test]
    fn no_bytes_make_the_journal_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Journal::parse(&bytes);
    }
}
