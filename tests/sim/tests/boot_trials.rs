//! Trials by booting: every way that they can end.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;
use surefoot_core::{
    gate::Stage,
    journal::What,
    machine::{
        Request,
        state::{Cause, Mode, Phase, State, Trial},
    },
    release::Target,
    switch::{Action, Outcome},
};
use surefoot_sim::{Fate, Robot, release, system};

/// A robot that runs `a`, confirmed, and for which `b` needs a reboot.
fn robot() -> Robot {
    let mut robot = Robot::new();
    robot.needs_reboot.insert(system('b'));
    robot.start();
    robot.settle();
    robot.published = Some(release('b'));
    robot
}

fn update(robot: &mut Robot) {
    let _ = robot.ask(Request::Update);
    robot.settle();
}

/// Everything is on this system, and nothing is left of a trial.
fn stands_on(robot: &Robot, c: char) {
    for (what, found) in [
        ("confirmed", robot.confirmed()),
        ("running", &robot.current),
        ("profile", &robot.profile),
        ("loader's default", &robot.default),
    ] {
        assert_eq!(*found, system(c), "{what}\n{}", robot.log);
    }
    assert_eq!(robot.one_shot, None);
    assert_eq!(*robot.state(), State::Idle);
}

fn count(robot: &Robot, what: What) -> usize {
    let records = robot.journal.history.iter();
    records.filter(|record| record.what == what).count()
}

fn cause(robot: &Robot) -> Option<Cause> {
    let blocked = robot.journal.blocked(&release('b'))?;
    blocked.evidence.cause.known()
}

fn problem(robot: &Robot) -> &str {
    let machine = robot.machine.as_ref();
    machine
        .and_then(|machine| machine.problem())
        .unwrap_or_default()
}

fn until_phase(robot: &mut Robot, wanted: impl Fn(&Phase) -> bool) {
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| match robot.state() {
        State::Trial(Trial { phase, mode, .. }) => *mode == Mode::Boot && wanted(phase),
        _ => false,
    });
}

#[test]
fn a_good_system_is_booted_once_proven_and_confirmed() {
    let mut robot = robot();
    update(&mut robot);
    stands_on(&robot, 'b');
    assert_eq!(robot.booted, system('b'));
    assert_eq!(robot.boots, 2, "one reboot is enough");
    let tried = &robot.journal.history[1];
    assert_eq!(tried.why.as_deref(), Some("by booting it: another kernel"));
}

#[test]
fn exit_100_leads_to_a_boot() {
    let mut robot = robot();
    robot.needs_reboot.clear();
    robot.outcomes.insert(system('b'), Outcome::NeedsReboot);
    update(&mut robot);
    stands_on(&robot, 'b');
    assert_eq!(robot.booted, system('b'));
}

#[test]
fn a_system_that_leaves_a_trace_of_its_end_is_blocked_at_once() {
    for (fate, expected) in [
        (Fate::Panics, Cause::Panic),
        (Fate::Freezes, Cause::Watchdog),
        (Fate::Agentless, Cause::Deadline),
    ] {
        let mut robot = robot();
        robot.fates.insert(system('b'), fate);
        update(&mut robot);
        stands_on(&robot, 'a');
        assert_eq!(cause(&robot), Some(expected));
        assert_eq!(count(&robot, What::Tried), 1);
    }
}

#[test]
fn a_sick_system_goes_back_by_itself() {
    let mut robot = robot();
    robot.sick.insert(system('b'));
    update(&mut robot);
    stands_on(&robot, 'a');
    assert_eq!(robot.booted, system('a'));
    assert!(!robot.has_entry(&system('b')), "it stays a boot entry");
    assert_eq!(cause(&robot), Some(Cause::Unhealthy));
    let blocked = robot.journal.blocked(&release('b')).unwrap();
    assert_eq!(blocked.evidence.failures[0].journal, ["no arm found"]);
}

#[test]
fn a_failed_system_that_was_proven_before_stays_a_boot_entry() {
    let mut robot = robot();
    update(&mut robot);
    robot.needs_reboot.insert(system('c'));
    robot.published = Some(release('c'));
    update(&mut robot);
    stands_on(&robot, 'c');
    robot.sick.insert(system('b'));
    robot.published = Some(Target {
        release: "again".parse().unwrap(),
        ..release('b')
    });
    update(&mut robot);
    stands_on(&robot, 'c');
    assert!(robot.has_entry(&system('b')));
}

#[test]
fn a_boot_that_never_finishes_ends_at_the_deadline() {
    let mut robot = robot();
    robot.slow.insert(system('b'));
    update(&mut robot);
    stands_on(&robot, 'a');
    assert_eq!(cause(&robot), Some(Cause::Deadline));
    let blocked = robot.journal.blocked(&release('b')).unwrap();
    assert_eq!(blocked.evidence.failures[0].message, "still starting");
}

#[test]
fn a_system_without_network_is_blocked_once_the_one_before_reached_it_often_enough() {
    let mut robot = robot();
    robot.offline.insert(system('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.journal.attempts.is_some());
    assert_eq!(cause(&robot), None, "once is no proof");
    robot.settle_until(|robot| cause(robot).is_some());
    robot.settle();
    stands_on(&robot, 'a');
    assert_eq!(cause(&robot), Some(Cause::Deadline));
    assert_eq!(count(&robot, What::Tried), 3);
    assert_eq!(robot.journal.suspect, None);
}

#[test]
fn an_outage_is_never_held_against_the_release() {
    let mut robot = robot();
    for _ in 0..2 * robot.policy.trial_attempts {
        robot.outage = false;
        until_phase(&mut robot, |phase| matches!(phase, Phase::Soaking { .. }));
        robot.outage = true;
        robot.settle_until(|robot| robot.journal.suspect.is_some() && robot.is_quiet());
        stands_on(&robot, 'a');
        // It lasts for hours, and nothing is counted or tried meanwhile.
        let tried = count(&robot, What::Tried);
        for _ in 0..50 {
            robot.advance();
        }
        assert_eq!(count(&robot, What::Tried), tried);
        assert_eq!(robot.journal.attempts, None);
        robot.journal.suspect = None;
        robot.kill();
        robot.start();
    }
    assert_eq!(cause(&robot), None);
    robot.outage = false;
    update(&mut robot);
    stands_on(&robot, 'b');
}

#[test]
fn a_repository_that_the_system_before_did_not_reach_either_says_nothing() {
    let mut robot = robot();
    robot.closed.insert(Stage::Reboot);
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.journal.state.waits_for() == Some(Stage::Reboot));
    robot.outage = true;
    robot.pass(Duration::from_secs(1_000));
    robot.closed.clear();
    robot.settle_until(|robot| robot.boots > 1);
    robot.start();
    robot.settle();
    stands_on(&robot, 'a');
    assert_eq!(
        (&robot.journal.suspect, &robot.journal.attempts),
        (&None, &None)
    );
    // What cuts the robot off is not kept all the same.
    assert_eq!(count(&robot, What::Confirmed), 0);
    robot.outage = false;
    update(&mut robot);
    stands_on(&robot, 'b');
}

#[test]
fn a_repository_that_was_not_asked_before_a_trial_was_not_reached_before_it() {
    let mut robot = robot();
    robot.closed.insert(Stage::Reboot);
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.journal.state.waits_for() == Some(Stage::Reboot));
    // The robot leaves its dock, where it may ask, and there is no network elsewhere.
    robot.closed.insert(Stage::Check);
    robot.outage = true;
    robot.pass(Duration::from_secs(1_000));
    robot.closed.remove(&Stage::Reboot);
    robot.settle_until(|robot| robot.boots > 1);
    robot.start();
    robot.settle_until(|robot| robot.is_quiet() && robot.state().name() == "idle");
    robot.closed.clear();
    robot.outage = false;
    assert_eq!(
        (&robot.journal.suspect, &robot.journal.attempts),
        (&None, &None)
    );
    update(&mut robot);
    stands_on(&robot, 'b');
}

#[test]
fn a_lost_one_shot_is_not_held_against_the_release() {
    let mut robot = robot();
    robot.lost_one_shots = 1;
    update(&mut robot);
    stands_on(&robot, 'a');
    assert_eq!((cause(&robot), &robot.journal.attempts), (None, &None));
    update(&mut robot);
    stands_on(&robot, 'b');
}

#[test]
fn a_loader_that_loses_every_one_shot_disturbs_three_times_a_day_and_blocks_nothing() {
    let mut robot = robot();
    robot.lost_one_shots = u32::MAX;
    let _ = robot.ask(Request::Update);
    for day in 1..4 {
        robot.settle_until(|robot| problem(robot).contains("stands still"));
        assert_eq!(count(&robot, What::Tried), 1 + 3 * day, "day {day}");
        assert_eq!(cause(&robot), None);
        stands_on(&robot, 'a');
        robot.settle_until(|robot| !problem(robot).contains("stands still"));
    }
    robot.lost_one_shots = 0;
    update(&mut robot);
    stands_on(&robot, 'b');
}

#[test]
fn firmware_that_takes_no_one_shot_has_boot_entries_written_three_times_a_day_and_blocks_nothing() {
    let mut robot = robot();
    robot.full_variables = true;
    let _ = robot.ask(Request::Update);
    for day in 1..3 {
        robot.settle_until(|robot| problem(robot).contains("stands still"));
        assert_eq!(count(&robot, What::Tried), 1 + 3 * day, "day {day}");
        assert_eq!((cause(&robot), robot.boots), (None, 1));
        stands_on(&robot, 'a');
        robot.settle_until(|robot| !problem(robot).contains("stands still"));
    }
    robot.full_variables = false;
    update(&mut robot);
    stands_on(&robot, 'b');
}

#[test]
fn what_vanishes_without_a_trace_stands_still_and_says_so() {
    let mut robot = robot();
    robot.fates.insert(system('b'), Fate::Vanishes);
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| problem(robot).contains("stands still"));
    assert_eq!(count(&robot, What::Tried), 4);
    assert_eq!(cause(&robot), None);
    stands_on(&robot, 'a');
    // A person who asks has it tried at once; a newer release is.
    update(&mut robot);
    assert_eq!(count(&robot, What::Tried), 5);
    robot.settle_until(|robot| problem(robot).contains("stands still"));
    robot.published = Some(release('c'));
    robot.settle_until(|robot| *robot.confirmed() == system('c'));
}

#[test]
fn a_person_goes_back_while_the_robot_stands_still_and_it_goes_on_standing_still() {
    let mut robot = robot();
    robot.published = Some(release('c'));
    update(&mut robot);
    stands_on(&robot, 'c');
    robot.fates.insert(system('b'), Fate::Vanishes);
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| problem(robot).contains("stands still"));
    let tried = count(&robot, What::Tried);
    let answer = robot.ask(Request::Rollback {
        to: None,
        force: false,
        end_holds: false,
        why: "drops boxes".into(),
        by: "ada".into(),
    });
    assert!(answer.is_ok(), "{answer:?}");
    robot.settle_until(|robot| *robot.confirmed() == system('a'));
    robot.settle_until(|robot| problem(robot).contains("stands still"));
    stands_on(&robot, 'a');
    let left = robot.journal.blocked(&release('c')).unwrap();
    assert_eq!(left.evidence.cause, Cause::Rollback);
    // What it stood still for does not come right afterwards: the robot stays where the person put it.
    let waited = (count(&robot, What::Tried), cause(&robot));
    assert_eq!(waited, (tried, Some(Cause::Rollback)));
    robot.published = Some(release('d'));
    robot.settle_until(|robot| *robot.confirmed() == system('d'));
}

#[test]
fn a_hold_between_staging_and_reboot_waits_without_a_loaded_gun() {
    let mut robot = robot();
    until_phase(&mut robot, |phase| matches!(phase, Phase::Staging { .. }));
    robot
        .ask(Request::Hold {
            length: Some(Duration::from_secs(100)),
            why: "carries glass".into(),
            by: "ada".into(),
            counted: None,
        })
        .unwrap();
    robot.settle_until(|robot| {
        let State::Trial(Trial { phase, .. }) = robot.state() else {
            return false;
        };
        *phase == Phase::Staged
    });
    assert_eq!((robot.boots, &robot.one_shot), (1, &None));
    robot.settle();
    stands_on(&robot, 'b');
}

#[test]
fn whoever_boots_another_system_before_the_trial_is_left_alone_and_blocks_nothing() {
    // By the menu, or as what the robot is to start from now on.
    for chosen in [false, true] {
        let mut robot = robot();
        until_phase(&mut robot, |phase| *phase == Phase::Staged);
        if chosen {
            assert!(robot.meddle(Action::Boot, system('x')));
            robot.power_cut();
        } else {
            assert!(robot.meddle(Action::Test, system('x')));
            robot.kill();
        }
        robot.start();
        robot.settle();
        assert_eq!(robot.current, system('x'), "{}", robot.log);
        assert!(robot.journal.blocked.is_empty(), "{}", robot.log);
        assert_eq!(robot.default == system('x'), chosen, "{}", robot.log);
        // What was staged does not stay in the profile once the confirmed system runs again.
        robot.published = None;
        robot.meddle(Action::Test, system('a'));
        robot.sleep(2 * robot.policy.poll_interval);
        robot.settle();
        assert_ne!(robot.profile, system('b'), "{}", robot.log);
        assert_eq!(*robot.state(), State::Idle);
    }
}

#[test]
fn a_release_that_boots_into_a_specialisation_of_its_own_is_left_and_blocked() {
    let mut robot = robot();
    robot.variants.insert(system('v'), system('b'));
    until_phase(&mut robot, |phase| *phase == Phase::Booting);
    robot.settle_until(|robot| robot.booted == system('b'));
    // What it starts by itself, before the agent does.
    assert!(robot.meddle(Action::Test, system('v')));
    robot.start();
    robot.settle();
    assert_eq!(robot.booted, system('a'), "{}", robot.log);
    assert!(
        robot.journal.blocked(&release('b')).is_some(),
        "{}",
        robot.log
    );
    stands_on(&robot, 'a');
}

#[test]
fn a_boot_on_trial_in_which_somebody_switches_keeps_its_deadline() {
    let mut robot = robot();
    until_phase(&mut robot, |phase| matches!(phase, Phase::Soaking { .. }));
    assert!(robot.meddle(Action::Test, system('x')));
    robot.settle_until(|robot| *robot.state() == State::Idle);
    // The kernel of the trial runs still, and has not been proven.
    assert_eq!(robot.current, system('x'), "{}", robot.log);
    assert!(robot.is_guarded() && robot.journal.blocked.is_empty());
    // Nor does the agent take it for a leftover when it starts anew, as each switch may have it do.
    robot.kill();
    robot.start();
    assert!(robot.is_guarded(), "{}", robot.log);
    robot.published = None;
    robot.pass(robot.policy.boot_deadline);
    robot.settle_until(|robot| robot.booted == system('a'));
    robot.settle();
    stands_on(&robot, 'a');
}

#[test]
fn an_agent_that_somebody_stopped_in_a_boot_on_trial_condemns_its_release_only_after_all_tries() {
    let mut robot = robot();
    for tries in 1..=robot.policy.trial_attempts {
        robot.published = Some(release('b'));
        until_phase(&mut robot, |phase| matches!(phase, Phase::Soaking { .. }));
        robot.kill();
        robot.is_kept_away();
        robot.pass(robot.policy.boot_deadline);
        robot.published = None;
        robot.start();
        robot.settle();
        stands_on(&robot, 'a');
        let last = tries == robot.policy.trial_attempts;
        let expected = last.then_some(Cause::Deadline);
        assert_eq!(cause(&robot), expected, "{}", robot.log);
    }
}

#[test]
fn what_is_being_staged_while_somebody_switches_is_waited_for() {
    let mut robot = robot();
    until_phase(&mut robot, |phase| matches!(phase, Phase::Staging { .. }));
    // They were done right before it took the lock.
    robot.current = system('y');
    robot.by_hand.insert(system('y'));
    robot.published = None;
    robot.kill();
    robot.start();
    robot.settle();
    robot.power_cut();
    robot.start();
    robot.settle();
    assert_ne!(robot.profile, system('b'), "{}", robot.log);
}

#[test]
fn the_system_before_activated_on_the_kernel_of_a_trial_is_reached_by_a_reboot() {
    for agent in [Agent::Runs, Agent::Starts, Agent::StartsAgain] {
        let mut robot = robot();
        until_phase(&mut robot, |phase| matches!(phase, Phase::Soaking { .. }));
        if agent != Agent::Runs {
            robot.kill();
        }
        // By hand, or by the release's own way back.
        assert!(robot.meddle(Action::Test, system('a')));
        robot.published = None;
        robot.start();
        if agent == Agent::StartsAgain {
            robot.settle_until(|robot| matches!(robot.state(), State::Reverting(_)));
            robot.kill();
            robot.start();
        }
        robot.settle_until(|robot| *robot.state() == State::Idle);
        assert_eq!(robot.booted, system('a'), "{}", robot.log);
        robot.settle();
        stands_on(&robot, 'a');
        assert!(robot.journal.blocked.is_empty(), "{}", robot.log);
    }
}

/// What the agent does when somebody switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agent {
    /// It runs.
    Runs,
    /// It starts after that.
    Starts,
    /// It does, and once more on its way back.
    StartsAgain,
}

#[test]
fn a_power_cut_in_the_preparation_resolves_back() {
    for wanted in ["staging", "aiming"] {
        let mut robot = robot();
        until_phase(&mut robot, |phase| match phase {
            Phase::Staging { .. } => wanted == "staging",
            Phase::Aiming => wanted == "aiming",
            _ => false,
        });
        robot.one_shot = None; // not yet written
        robot.power_cut();
        robot.start();
        robot.settle();
        stands_on(&robot, 'a');
        assert_eq!(cause(&robot), None, "cut while {wanted}");
        update(&mut robot);
        stands_on(&robot, 'b');
    }
}

#[test]
fn a_trial_that_is_booted_once_more_goes_back_and_blocks_nothing() {
    for staging in [true, false] {
        let mut robot = robot();
        for _ in 0..robot.policy.trial_attempts {
            until_phase(&mut robot, |phase| match phase {
                Phase::Staging { .. } => staging,
                Phase::Soaking { .. } => !staging,
                _ => false,
            });
            // Somebody chooses it in the menu.
            robot.default = system('b');
            robot.power_cut();
            assert_eq!(robot.current, system('b'));
            robot.published = None;
            robot.start();
            robot.settle();
            stands_on(&robot, 'a');
            assert_eq!(robot.booted, system('a'), "{}", robot.log);
            assert!(robot.journal.blocked.is_empty(), "the power was cut");
            robot.published = Some(release('b'));
        }
    }
}

#[test]
fn a_power_cut_in_the_trial_ends_on_the_system_before() {
    let mut robot = robot();
    until_phase(&mut robot, |phase| matches!(phase, Phase::Soaking { .. }));
    assert_eq!(robot.current, system('b'));
    robot.power_cut();
    assert_eq!(robot.current, system('a'));
    robot.start();
    robot.settle();
    stands_on(&robot, 'a');
    assert_eq!(cause(&robot), None);
    update(&mut robot);
    stands_on(&robot, 'b');
}

#[test]
fn a_power_cut_in_the_commit_ends_on_a_proven_system() {
    let mut ends = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut robot = robot();
        for _ in 0..seed {
            robot.roll();
        }
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| robot.state().name() == "committing");
        assert_eq!(robot.state().order().unwrap().action, Action::Boot);
        robot.power_cut();
        ends.insert(robot.current.clone());
        robot.start();
        robot.settle();
        update(&mut robot);
        stands_on(&robot, 'b');
    }
    assert_eq!(ends.len(), 2, "cut before and after the loader was written");
}

#[test]
fn a_commit_after_a_boot_waits_for_a_loader_that_cannot_be_written() {
    let mut robot = robot();
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.state().name() == "committing");
    robot.read_only = true;
    for _ in 0..200 {
        robot.advance();
    }
    assert_eq!(robot.current, system('b'));
    assert_eq!(cause(&robot), None);
    robot.read_only = false;
    robot.settle();
    stands_on(&robot, 'b');
}

#[test]
fn a_commit_that_breaks_what_runs_goes_back_by_a_reboot() {
    let mut robot = robot();
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.state().name() == "committing");
    robot.outcomes.insert(system('b'), Outcome::Failed(7));
    robot.settle();
    stands_on(&robot, 'a');
    assert_eq!(robot.booted, system('a'));
    assert_eq!(cause(&robot), Some(Cause::Commit));
}

#[test]
fn a_restarted_agent_goes_on_with_the_trial() {
    let mut robot = robot();
    until_phase(&mut robot, |phase| matches!(phase, Phase::Soaking { .. }));
    robot.kill();
    robot.start();
    robot.settle();
    stands_on(&robot, 'b');
}

#[test]
fn a_person_may_end_a_trial_but_not_stop_a_reboot() {
    let rollback = || Request::Rollback {
        force: false,
        end_holds: false,
        to: None,
        why: "drops boxes".into(),
        by: "ada".into(),
    };
    let mut robot = robot();
    until_phase(&mut robot, |phase| matches!(phase, Phase::Soaking { .. }));
    robot.ask(rollback()).unwrap();
    robot.settle();
    stands_on(&robot, 'a');
    assert_eq!(cause(&robot), Some(Cause::Rollback));

    let mut robot = self::robot();
    until_phase(&mut robot, |phase| *phase == Phase::Aiming);
    assert!(robot.ask(rollback()).is_err());
}

#[test]
fn what_has_no_room_on_the_boot_partition_is_not_tried_live_either() {
    let mut robot = robot();
    robot.needs_reboot.clear();
    robot.no_room = Some("112 MB are needed".into());
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.machine.as_ref().unwrap().problem().is_some());
    let said = robot.machine.as_ref().unwrap().problem().unwrap();
    assert!(said.contains("112 MB"), "{said}");
    for _ in 0..100 {
        robot.advance();
        assert_eq!(robot.current, system('a'));
    }
    assert_eq!(robot.journal.blocked, []);
    robot.no_room = None;
    robot.settle();
    stands_on(&robot, 'b');
}

#[test]
fn what_the_robot_cannot_boot_waits_and_what_must_not_be_tried_is_refused() {
    let mut robot = robot();
    robot.no_boot = Some("the boot partition is full".into());
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.machine.as_ref().unwrap().problem().is_some());
    let problem = robot
        .machine
        .as_ref()
        .unwrap()
        .problem()
        .unwrap()
        .to_owned();
    assert!(problem.contains("the boot partition is full"), "{problem}");
    assert_eq!(robot.state().name(), "ready");
    assert_eq!(robot.boots, 1);
    robot.no_boot = None;
    robot.settle();
    stands_on(&robot, 'b');

    let mut robot = self::robot();
    robot.unfit.insert(system('b'));
    update(&mut robot);
    stands_on(&robot, 'a');
    assert_eq!(cause(&robot), Some(Cause::Unfit));
    assert_eq!(count(&robot, What::Refused), 1);
}

/// A robot that has confirmed `b` after booting it, and may go back to `a`.
fn robot_on_b() -> Robot {
    let mut robot = robot();
    update(&mut robot);
    stands_on(&robot, 'b');
    robot
}

fn roll_back(robot: &mut Robot) -> String {
    let answer = robot.ask(Request::Rollback {
        force: false,
        end_holds: false,
        to: None,
        why: "drops boxes".into(),
        by: "ada".into(),
    });
    answer.unwrap()
}

#[test]
fn a_rollback_to_another_kernel_goes_through_one_boot_and_says_so() {
    let mut robot = robot_on_b();
    let boots = robot.boots;
    let said = roll_back(&mut robot);
    assert!(said.contains("the robot reboots"), "{said}");
    robot.settle();
    stands_on(&robot, 'a');
    assert_eq!(robot.booted, system('a'));
    assert_eq!(robot.boots, boots + 1);
    assert_eq!(cause(&robot), Some(Cause::Rollback));
    assert_eq!(count(&robot, What::RolledBack), 1);
}

#[test]
fn a_rollback_to_the_same_kernel_needs_no_boot() {
    let mut robot = robot_on_b();
    robot.needs_reboot.insert(system('c'));
    robot.published = Some(release('c'));
    // Published with the kernel of `b`; it was tried by booting all the same.
    update(&mut robot);
    stands_on(&robot, 'c');
    let boots = robot.boots;
    let said = roll_back(&mut robot);
    assert!(!said.contains("reboot"), "{said}");
    robot.settle();
    stands_on(&robot, 'b');
    assert_eq!(robot.boots, boots);
}

#[test]
fn a_rollback_by_boot_waits_for_a_hold() {
    let mut robot = robot_on_b();
    let boots = robot.boots;
    roll_back(&mut robot);
    robot
        .ask(Request::Hold {
            length: Some(Duration::from_secs(500)),
            why: "carries glass".into(),
            by: "arm".into(),
            counted: None,
        })
        .unwrap();
    robot.settle_until(|robot| robot.machine.as_ref().unwrap().problem().is_some());
    let problem = robot.machine.as_ref().unwrap().problem().unwrap();
    assert!(problem.contains("when the hold of arm ends"), "{problem}");
    assert_eq!(robot.boots, boots);
    robot.settle();
    stands_on(&robot, 'a');
    assert_eq!(robot.boots, boots + 1);
}

#[test]
fn a_rollback_by_boot_is_seen_through_whenever_the_power_goes_or_the_agent_dies() {
    for steps in 0..12 {
        for seed in 0..4 {
            for cut in [true, false] {
                let mut robot = robot_on_b();
                for _ in 0..seed {
                    robot.roll();
                }
                roll_back(&mut robot);
                for _ in 0..steps {
                    robot.advance();
                }
                if cut {
                    robot.power_cut();
                } else {
                    robot.kill();
                }
                robot.start();
                robot.settle();
                stands_on(&robot, 'a');
                assert_eq!(robot.booted, system('a'));
            }
        }
    }
}

#[test]
fn a_rollback_by_boot_that_never_arrives_stays_where_it_was() {
    let mut robot = robot_on_b();
    roll_back(&mut robot);
    // A boot loader that forgets: whatever is written, `b` comes up.
    for _ in 0..5 {
        robot.settle_until(|robot| robot.default == system('a') || *robot.state() == State::Idle);
        if *robot.state() == State::Idle {
            break;
        }
        robot.default = system('b');
        robot.power_cut();
        robot.start();
    }
    robot.settle();
    stands_on(&robot, 'b');
    assert_eq!(count(&robot, What::Reverted), 1);
}
