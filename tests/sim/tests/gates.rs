//! What keeps a robot from a step, and lets it go on.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;
use surefoot_core::{
    gate::{Closed, Stage},
    health::Check,
    journal::{Record, What},
    lease::{Ender, Holder, Required},
    machine::{
        Event, Refusal, Request,
        state::{Cause, Phase, State, Trial},
    },
};
use surefoot_sim::{
    Robot,
    people::{ROS, end_lease, held, hold, rollback},
    release, system,
};

/// A robot on `a` that is offered `b`, which needs a reboot if asked for.
fn robot(reboot: bool) -> Robot {
    let mut robot = Robot::settled();
    robot.published = Some(release('b'));
    if reboot {
        robot.needs_reboot.insert(system('b'));
    }
    robot
}

fn update(robot: &mut Robot) {
    let _ = robot.ask(Request::Update);
    for _ in 0..20 {
        robot.advance();
    }
}

fn gates(robot: &Robot) -> String {
    let machine = robot.machine.as_ref().unwrap();
    let closed = machine.closed(&robot.policy, robot.now);
    let texts = closed.iter().flat_map(|(stage, closed)| {
        closed
            .iter()
            .map(move |closed| format!("{stage}: {closed}"))
    });
    texts.collect::<Vec<_>>().join("; ")
}

fn is_staged(robot: &Robot) -> bool {
    matches!(
        robot.state(),
        State::Trial(Trial {
            phase: Phase::Staged,
            ..
        })
    )
}

fn stands_on_b(robot: &mut Robot) {
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'), "{}", robot.log);
    assert_eq!(gates(robot), "");
}

#[test]
fn each_stage_waits_for_its_gates() {
    for (stage, state) in [
        (Stage::Check, "idle"),
        (Stage::Download, "fetching"),
        (Stage::Activate, "ready"),
        (Stage::Reboot, "trial"),
    ] {
        let mut robot = robot(true);
        robot.closed.insert(stage);
        update(&mut robot);
        assert_eq!(robot.state().name(), state);
        assert_eq!(
            gates(&robot),
            format!("{stage}: command docked (it is not)")
        );
        assert_eq!(robot.boots, 1);
        robot.closed.clear();
        robot.settle_until(|robot| *robot.confirmed() == system('b'));
        stands_on_b(&mut robot);
    }
}

#[test]
fn a_gate_that_closes_stops_the_download() {
    let mut robot = robot(false);
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.log.contains("Fetch("));
    robot.closed.insert(Stage::Download);
    robot.feed(Event::Gates {
        stage: Stage::Download,
        closed: vec![Closed {
            gate: "window night".into(),
            why: "it is day".into(),
        }],
    });
    for _ in 0..20 {
        robot.advance();
    }
    assert_eq!(robot.state().name(), "fetching");
    robot.closed.clear();
    stands_on_b(&mut robot);
}

#[test]
fn a_gate_that_closes_while_the_release_is_looked_at_stops_it() {
    for reboot in [false, true] {
        let mut robot = robot(reboot);
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| robot.log.contains("Inspect("));
        robot.closed.insert(Stage::Activate);
        for _ in 0..20 {
            robot.advance();
        }
        assert_eq!(robot.state().name(), "ready");
        robot.closed.clear();
        stands_on_b(&mut robot);
    }
}

#[test]
fn a_gate_that_closes_while_the_robot_is_looked_at_before_its_reboot_stops_it() {
    let mut robot = robot(true);
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.log.contains("  Look"));
    assert!(is_staged(&robot));
    robot.closed.insert(Stage::Reboot);
    for _ in 0..20 {
        robot.advance();
    }
    assert!(is_staged(&robot));
    assert_eq!(robot.one_shot, None);
    robot.closed.clear();
    stands_on_b(&mut robot);
}

#[test]
fn a_release_that_is_called_back_while_it_waits_for_its_reboot_is_not_booted() {
    for instead in [None, Some('c')] {
        let mut robot = robot(true);
        robot.closed.insert(Stage::Reboot);
        update(&mut robot);
        assert!(is_staged(&robot));
        robot.published = instead.map(release);
        robot.settle_until(|robot| robot.profile == system('a'));
        robot.closed.clear();
        robot.settle();
        assert_eq!(robot.boots, 1, "nobody booted it");
        assert!(robot.journal.blocked.is_empty() && robot.journal.attempts.is_none());
        assert_eq!(*robot.confirmed(), system(instead.unwrap_or('a')));
    }
}

#[test]
fn the_repository_is_asked_once_more_before_a_reboot_that_waited() {
    let mut robot = robot(true);
    robot.closed.insert(Stage::Reboot);
    robot.policy.poll_interval = Duration::from_secs(1_000_000);
    update(&mut robot);
    assert!(is_staged(&robot));
    robot.published = None;
    robot.pass(Duration::from_secs(600));
    robot.closed.clear();
    robot.settle();
    assert_eq!(robot.boots, 1, "nobody booted it");
    assert_eq!(robot.profile, system('a'));
    // Where it cannot be asked, what was signed last counts.
    let mut robot = self::robot(true);
    robot.closed.insert(Stage::Reboot);
    update(&mut robot);
    robot.outage = true;
    robot.pass(Duration::from_secs(600));
    robot.closed.clear();
    robot.settle_until(|robot| robot.log.contains("AimBoot"));
    robot.outage = false;
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'), "{}", robot.log);
}

#[test]
fn nothing_begins_while_a_lease_says_busy() {
    for reboot in [false, true] {
        let mut robot = robot(reboot);
        robot.lease(true, 300).unwrap();
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| robot.state().name() == "ready");
        assert_eq!(
            gates(&robot),
            "activate: lease gripper (busy: carries glass)"
        );
        // What was said outlasts the agent.
        robot.kill();
        robot.start();
        for _ in 0..4 {
            robot.advance();
        }
        assert_eq!(robot.current, system('a'));
        let end = end_lease(Ender::Owner(ROS, Holder(0)));
        robot.ask(end.clone()).unwrap();
        stands_on_b(&mut robot);
        assert!(matches!(robot.ask(end), Err(Refusal::NothingToDo(_))));
    }
}

/// Lets the robot wait for long, and looks that nothing has happened.
fn stays_busy(robot: &mut Robot, because: &str) {
    for _ in 0..200 {
        robot.advance();
    }
    robot.pass(Duration::from_secs(100_000));
    for _ in 0..200 {
        robot.advance();
    }
    assert_eq!(robot.current, system('a'), "{}", robot.log);
    assert_eq!(
        gates(robot),
        format!(
            "activate: lease gripper (busy: carries glass; {because}; it is ended by: surefoot lease \
             gripper --end)"
        )
    );
}

#[test]
fn a_busy_lease_never_lapses_to_free() {
    let connection = Holder(7);
    for (silent, because) in [
        (true, "it was not said again in time"),
        (false, "its holder died"),
    ] {
        let mut robot = robot(false);
        if silent {
            robot.lease(true, 100).unwrap();
        } else {
            robot.ask(held(true, connection)).unwrap();
        }
        update(&mut robot);
        if !silent {
            robot.feed(Event::HolderLost(connection));
        }
        stays_busy(&mut robot, because);
        // Nor does a restart of the agent make it free.
        robot.kill();
        robot.start();
        stays_busy(&mut robot, because);
        // Its owner is there again.
        robot.ask(held(true, Holder(8))).unwrap();
        for _ in 0..20 {
            robot.advance();
        }
        assert_eq!(robot.current, system('a'));
        robot.ask(end_lease(Ender::Owner(ROS, Holder(8)))).unwrap();
        stands_on_b(&mut robot);
    }
}

#[test]
fn a_holder_that_does_not_come_back_after_a_restart_is_waited_for() {
    let mut robot = robot(false);
    robot.ask(held(true, Holder(7))).unwrap();
    robot.kill();
    robot.start();
    update(&mut robot);
    stays_busy(
        &mut robot,
        "its holder has not come back since the agent restarted",
    );
    robot.ask(end_lease(Ender::Anyone)).unwrap();
    stands_on_b(&mut robot);
}

#[test]
fn a_free_lease_of_a_dead_program_is_silent() {
    let mut robot = robot(false);
    robot.policy.leases = vec![gripper()];
    robot.ask(held(false, Holder(7))).unwrap();
    assert_eq!(gates(&robot), "");
    robot.feed(Event::HolderLost(Holder(7)));
    update(&mut robot);
    assert_eq!(
        gates(&robot),
        "activate: lease gripper (silent, which means busy)"
    );
    robot.ask(held(false, Holder(8))).unwrap();
    stands_on_b(&mut robot);
}

#[test]
fn whoever_is_busy_may_say_so_again_during_an_update() {
    let mut robot = robot(false);
    update(&mut robot);
    stands_on_b(&mut robot);
    robot.ask(held(true, Holder(7))).unwrap();
    robot.ask(rollback(None, true, "drops boxes")).unwrap();
    robot.feed(Event::HolderLost(Holder(7)));
    robot.ask(held(true, Holder(8))).unwrap();
    assert_ne!(robot.state().name(), "idle");
    robot.ask(end_lease(Ender::Anyone)).unwrap();
    assert!(robot.ask(held(true, Holder(8))).is_err());
}

fn gripper() -> Required {
    Required {
        name: "gripper".parse().unwrap(),
        user: None,
    }
}

#[test]
fn a_required_lease_that_is_silent_means_busy() {
    let mut robot = robot(false);
    robot.policy.leases = vec![gripper()];
    update(&mut robot);
    assert_eq!(
        gates(&robot),
        "activate: lease gripper (silent, which means busy)"
    );
    robot.lease(true, 10).unwrap();
    for _ in 0..20 {
        robot.advance();
    }
    assert_eq!(robot.state().name(), "ready");
    robot.lease(false, 1_000).unwrap();
    stands_on_b(&mut robot);
}

#[test]
fn whoever_gets_busy_before_the_reboot_is_waited_for() {
    let mut robot = robot(true);
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| {
        matches!(
            robot.state(),
            State::Trial(Trial {
                phase: Phase::Aiming,
                ..
            })
        )
    });
    robot.lease(true, 100).unwrap();
    robot.advance();
    assert!(is_staged(&robot));
    assert_eq!(robot.one_shot, None, "the next boot still is the trial's");
    assert_eq!(robot.journal.disturbances, None, "nobody was disturbed");
    robot.lease(false, 100).unwrap();
    stands_on_b(&mut robot);
}

#[test]
fn nobody_gets_busy_during_a_trial() {
    let mut robot = robot(false);
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.state().name() == "trial");
    let refused = robot.lease(true, 100).unwrap_err();
    assert!(
        matches!(&refused, Refusal::Refused(why) if why.contains("under way")),
        "{refused}"
    );
    robot.lease(false, 100).unwrap();
    stands_on_b(&mut robot);
    robot.lease(true, 100).unwrap();
}

#[test]
fn a_person_may_roll_a_busy_robot_back_by_force() {
    let mut robot = robot(false);
    update(&mut robot);
    stands_on_b(&mut robot);
    robot.lease(true, 1_000).unwrap();
    let Err(Refusal::Refused(why)) = robot.ask(rollback(None, false, "drops boxes")) else {
        panic!("it was not refused")
    };
    assert!(
        why.contains("lease gripper (busy: carries glass)") && why.contains("--force"),
        "{why}"
    );
    robot.ask(rollback(None, true, "drops boxes")).unwrap();
    robot.settle();
    assert_eq!(*robot.confirmed(), system('a'));
}

/// A robot on trial of `b`, whose time is up, and which reaches no repository; the gate of its way back is
/// closed.
fn late(by_boot: bool) -> (Robot, Stage) {
    let mut robot = robot(by_boot);
    robot.offline.insert(system('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.current == system('b'));
    let stage = if by_boot {
        Stage::Reboot
    } else {
        Stage::Activate
    };
    robot.closed.insert(stage);
    robot.settle_until(|robot| is_late(robot) && gates(robot).contains("docked"));
    (robot, stage)
}

fn is_late(robot: &Robot) -> bool {
    matches!(robot.state(), State::Trial(Trial { late: Some(_), .. }))
}

/// Hours pass, and it is on trial all the while, with its guard.
fn stays_late(robot: &mut Robot) {
    let end = robot.now + Duration::from_secs(4 * 3600);
    while robot.now < end {
        robot.advance();
        assert!(is_late(robot) && robot.is_guarded(), "{}", robot.log);
        assert_eq!(robot.current, system('b'));
    }
}

#[test]
fn a_robot_at_work_is_not_disturbed_because_its_trial_reached_no_repository() {
    for by_boot in [false, true] {
        let (mut robot, stage) = late(by_boot);
        let problem = robot.machine.as_ref().unwrap().problem().unwrap();
        assert!(problem.contains("nothing is held against"), "{problem}");
        stays_late(&mut robot);
        // It may begin to work, and a restart of the agent changes nothing.
        robot.lease(true, 3600).unwrap();
        robot.closed.clear();
        robot.kill();
        robot.start();
        stays_late(&mut robot);
        robot.closed.insert(stage);
        robot.ask(end_lease(Ender::Anyone)).unwrap();
        stays_late(&mut robot);
        // Somebody holds it, and the gate is open.
        robot.ask(hold("ada", None)).unwrap();
        robot.closed.clear();
        stays_late(&mut robot);
        robot.ask(Request::Resume { by: None }).unwrap();
        robot.settle_until(|robot| robot.current == system('a'));
        robot.settle_until(|robot| robot.journal.attempts.is_some());
        let attempts = robot.journal.attempts.clone().unwrap();
        assert_eq!(attempts.checks[&Check::ManifestServer], 1);
        assert_eq!(robot.journal.blocked, []);
        let told = |record: &Record| record.what == What::Doubted;
        assert!(robot.journal.history.iter().any(told));
    }
}

#[test]
fn what_reaches_the_repository_before_it_is_left_is_kept() {
    for by_boot in [false, true] {
        let (mut robot, _) = late(by_boot);
        robot.offline.clear();
        robot.settle_until(|robot| robot.state().name() == "committing");
        robot.closed.clear();
        stands_on_b(&mut robot);
    }
}

#[test]
fn a_soak_says_how_far_it_is() {
    let mut robot = robot(false);
    let healthy = |robot: &Robot| robot.machine.as_ref()?.healthy_for(robot.now);
    let _ = robot.ask(Request::Update);
    assert_eq!(healthy(&robot), None);
    robot.settle_until(|robot| healthy(robot).is_some_and(|long| !long.is_zero()));
    assert_eq!(robot.state().name(), "trial");
    robot.settle_until(|robot| robot.state().name() == "committing");
    assert_eq!(healthy(&robot), None);
}

#[test]
fn a_look_whose_answer_comes_at_the_deadline_is_followed_by_others() {
    for by_boot in [false, true] {
        let mut robot = robot(by_boot);
        robot.offline.insert(system('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| robot.current == system('b'));
        let soaks = |robot: &Robot| match robot.state() {
            State::Trial(Trial {
                phase: Phase::Soaking { deadline },
                ..
            }) => Some(*deadline),
            _ => None,
        };
        robot.settle_until(|robot| soaks(robot).is_some() && robot.is_awaited());
        robot.closed.extend([Stage::Activate, Stage::Reboot]);
        // The answer is there before the agent notices what time it is.
        robot.now = soaks(&robot).unwrap();
        robot.advance();
        assert!(is_late(&robot), "{}", robot.log);
        robot.offline.clear();
        robot.settle_until(|robot| robot.state().name() == "committing");
    }
}

/// Whether the last look found that something failed.
fn is_sick(robot: &Robot) -> bool {
    let report = robot.machine.as_ref().and_then(|machine| machine.health());
    report.is_some_and(|report| !report.failures.is_empty())
}

#[test]
fn what_gets_sick_while_it_waits_to_be_left_is_blamed_and_left_when_nobody_minds() {
    for by_boot in [false, true] {
        let (mut robot, stage) = late(by_boot);
        robot.sick.insert(system('b'));
        let failed =
            |robot: &Robot| matches!(robot.state(), State::Trial(trial) if trial.failed_late());
        robot.settle_until(failed);
        let problem = robot.machine.as_ref().unwrap().problem().unwrap();
        assert!(!problem.contains("nothing is held against"), "{problem}");
        stays_late(&mut robot);
        // Neither a restart of the agent nor getting well makes up for it.
        robot.lease(true, 86_400).unwrap();
        robot.closed.clear();
        robot.kill();
        robot.start();
        stays_late(&mut robot);
        robot.sick.clear();
        robot.offline.clear();
        stays_late(&mut robot);
        robot.closed.insert(stage);
        robot.ask(end_lease(Ender::Anyone)).unwrap();
        stays_late(&mut robot);
        robot.closed.clear();
        robot.settle_until(|robot| robot.current == system('a'));
        robot.settle_until(|robot| !robot.journal.blocked.is_empty());
        assert_eq!(robot.journal.blocked[0].evidence.cause, Cause::Unhealthy);
    }
}

#[test]
fn what_fails_once_in_a_while_as_it_waits_to_be_left_is_not_held_against_it() {
    for by_boot in [false, true] {
        let (mut robot, _) = late(by_boot);
        for _ in 0..2 * robot.policy.max_failures {
            robot.sick.insert(system('b'));
            robot.settle_until(is_sick);
            robot.sick.clear();
            robot.settle_until(|robot| !is_sick(robot));
        }
        stays_late(&mut robot);
        assert!(
            matches!(robot.state(), State::Trial(trial) if !trial.failed_late()),
            "{}",
            robot.log
        );
    }
}

#[test]
fn what_waits_to_be_left_and_has_lost_its_guard_gets_another_one() {
    let (mut robot, _) = late(false);
    robot.kill();
    robot.dead_man = None;
    robot.start();
    stays_late(&mut robot);
}

#[test]
fn the_guard_of_what_misses_only_the_repository_gets_more_time_before_the_deadline() {
    for by_boot in [false, true] {
        let mut robot = robot(by_boot);
        robot.offline.insert(system('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| robot.log.to_string().contains("Prolong"));
        assert!(!is_late(&robot), "{}", robot.log);
        robot.settle_until(is_late);
    }
}

#[test]
fn a_deadline_that_came_while_only_the_repository_was_missing_condemns_nothing() {
    let (mut robot, _) = late(true);
    robot.kill();
    while robot.current == system('b') {
        robot.advance();
    }
    robot.start();
    robot.closed.clear();
    robot.settle_until(|robot| robot.journal.attempts.is_some());
    assert_eq!(robot.journal.blocked, []);
}

#[test]
fn a_dead_man_timer_that_ends_the_wait_condemns_only_what_had_failed() {
    for failed in [false, true] {
        let (mut robot, _) = late(false);
        if failed {
            robot.sick.insert(system('b'));
            robot.settle_until(
                |robot| matches!(robot.state(), State::Trial(trial) if trial.failed_late()),
            );
        }
        robot.kill();
        while robot.current == system('b') {
            robot.advance();
        }
        robot.start();
        robot.closed.clear();
        if failed {
            robot.settle_until(|robot| !robot.journal.blocked.is_empty());
            let evidence = &robot.journal.blocked[0].evidence;
            assert_eq!(evidence.cause, Cause::Unhealthy);
            assert!(evidence.message.contains("dead-man"), "{evidence:?}");
        } else {
            robot.settle_until(|robot| robot.journal.attempts.is_some());
            let attempts = robot.journal.attempts.as_ref().unwrap();
            assert_eq!(attempts.checks[&Check::ManifestServer], 1);
            assert_eq!(robot.journal.blocked, []);
        }
    }
}

#[test]
fn what_has_no_guard_any_more_is_left_whoever_minds() {
    for by_boot in [false, true] {
        let (mut robot, _) = late(by_boot);
        robot.refuses_more_time = true;
        robot.settle_until(|robot| robot.current == system('a'));
        assert_eq!(robot.journal.blocked, []);
    }
}
