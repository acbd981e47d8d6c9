//! Ways back on a robot where Nix or the boot loader cannot be used, or where activating takes it down: what
//! a way back needs, and what it does without.

#![allow(clippy::unwrap_used, reason = "a test")]

use surefoot_core::{
    RollbackTo,
    gate::Stage,
    journal::{Journal, What},
    machine::{
        DriftPolicy, MAX_FALLS, MAX_REBOOTS, Request,
        state::{Cause, Committing, Mode, Phase, Reverting, State, Trial},
    },
    switch::{Action, Outcome},
};
use surefoot_sim::{Robot, people, release, system};

/// A robot that runs `a`, confirmed.
fn robot() -> Robot {
    Robot::settled()
}

/// A robot that has confirmed `b` after `a`.
fn robot_on_b() -> Robot {
    let mut robot = robot();
    robot.update_to('b');
    assert_eq!(*robot.confirmed(), system('b'));
    robot
}

fn advance(robot: &mut Robot, times: usize) {
    for _ in 0..times {
        robot.start();
        robot.advance();
    }
}

fn problem(robot: &Robot) -> String {
    let machine = robot.machine.as_ref().unwrap();
    machine.problem().unwrap_or_default().to_owned()
}

/// In one of its tries it comes to say so.
fn says(robot: &mut Robot, words: &str) {
    for _ in 0..2_000 {
        robot.start();
        let machine = robot.machine.as_ref();
        let problem = machine.and_then(|machine| machine.problem());
        if problem.is_some_and(|problem| problem.contains(words)) {
            return;
        }
        robot.advance();
    }
    panic!("it never says '{words}'\n{}", robot.log);
}

/// All that is on its way is answered and done.
fn answers(robot: &mut Robot) {
    robot.start();
    while robot.is_awaited() {
        robot.advance();
        robot.start();
    }
}

/// Hours pass, and what comes up in each of them is done.
fn works(robot: &mut Robot, hours: usize) {
    for _ in 0..hours {
        answers(robot);
        robot.pass(std::time::Duration::from_secs(3_600));
        answers(robot);
    }
}

/// The power goes; the agent starts, and does what it does at once.
fn powers_on(robot: &mut Robot) {
    robot.power_cut();
    answers(robot);
}

fn is_stuck(robot: &Robot) -> bool {
    let machine = robot.machine.as_ref();
    machine.is_some_and(|machine| machine.stuck().is_some())
}

fn rolls_back(robot: &mut Robot) {
    robot
        .ask(people::rollback(None, false, "drops boxes"))
        .unwrap();
}

fn count(robot: &Robot, what: What) -> usize {
    let records = robot.journal.history.iter();
    records.filter(|record| record.what == what).count()
}

/// Everything is on this system, and nothing is left to be done.
fn stands_on(robot: &mut Robot, c: char) {
    robot.settle();
    robot.check_rest();
    assert_eq!(*robot.confirmed(), system(c), "{}", robot.log);
}

/// It is activated although the boot partition cannot be written, and named once that can be.
fn goes_back_to(robot: &mut Robot, c: char) {
    robot.settle_until(|robot| robot.current == system(c));
    robot.read_only = false;
    stands_on(robot, c);
}

/// A robot whose commit of `b` broke what runs, and whose loader starts `b` by then.
fn leaves_a_commit() -> Robot {
    let mut robot = robot();
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| matches!(robot.state(), State::Committing(_)));
    robot.fails_again.insert(system('b'));
    robot.settle_until(|robot| matches!(robot.state(), State::Reverting(_)));
    assert_eq!(
        (&robot.default, &robot.profile),
        (&system('b'), &system('b'))
    );
    robot
}

#[test]
fn a_rollback_is_activated_first_and_named_by_profile_and_loader_once_they_can_be_written() {
    for restarts in [false, true] {
        let mut robot = robot_on_b();
        robot.read_only = true;
        rolls_back(&mut robot);
        robot.settle_until(|robot| robot.current == system('a'));
        assert_eq!(robot.default, system('b'));
        advance(&mut robot, 100);
        assert!(problem(&robot).contains("runs, and profile and boot loader do not name it yet"));
        assert_eq!(
            (&robot.current, robot.boots),
            (&system('a'), 1),
            "{}",
            robot.log
        );
        // It is at work meanwhile, and the repository is asked.
        assert!(!robot.state().is_underway());
        robot.lease(true, 50).unwrap();
        let waits = |robot: &Robot| robot.machine.as_ref().unwrap().next_poll().is_some();
        assert!(waits(&robot) || robot.is_polling());
        robot
            .ask(people::end_lease(surefoot_core::lease::Ender::Anyone))
            .unwrap();
        if restarts {
            robot.kill();
            robot.start();
        }
        // Whoever asks has it tried at once.
        robot.settle_until(|robot| !robot.is_awaited());
        robot.read_only = false;
        rolls_back(&mut robot);
        stands_on(&mut robot, 'a');
        assert_eq!(robot.boots, 1);
        assert_eq!(count(&robot, What::RolledBack), 1);
    }
}

#[test]
fn a_power_cut_before_the_loader_names_the_goal_of_a_rollback_does_not_undo_it() {
    let mut robot = robot_on_b();
    robot.read_only = true;
    rolls_back(&mut robot);
    robot.settle_until(|robot| robot.current == system('a'));
    advance(&mut robot, 20);
    robot.power_cut();
    assert_eq!(robot.current, system('b'));
    robot.start();
    goes_back_to(&mut robot, 'a');
}

#[test]
fn a_goal_whose_activation_takes_the_robot_down_is_started_by_the_loader() {
    // Of a rollback, and of a way back from a commit.
    for by_hand in [true, false] {
        let mut robot = if by_hand {
            let mut robot = robot_on_b();
            robot.drops.insert(system('a'));
            rolls_back(&mut robot);
            robot
        } else {
            let mut robot = leaves_a_commit();
            robot.drops.insert(system('a'));
            robot
        };
        stands_on(&mut robot, 'a');
        assert_eq!(robot.booted, system('a'));
        let boots = u64::from(MAX_FALLS) + 2;
        assert_eq!(robot.boots, boots, "{by_hand}\n{}", robot.log);
    }
}

#[test]
fn a_robot_that_goes_down_on_each_way_and_has_no_loader_to_write_stands_still() {
    for by_hand in [true, false] {
        let mut robot = if by_hand {
            let mut robot = robot_on_b();
            robot.drops.insert(system('a'));
            robot.read_only = true;
            rolls_back(&mut robot);
            robot
        } else {
            let mut robot = leaves_a_commit();
            robot.drops.insert(system('a'));
            robot.read_only = true;
            robot
        };
        advance(&mut robot, 400);
        let boots = robot.boots;
        assert!(
            boots <= 1 + u64::from(MAX_FALLS + MAX_REBOOTS),
            "{}",
            robot.log
        );
        advance(&mut robot, 400);
        assert_eq!(robot.boots, boots, "it goes on for ever\n{}", robot.log);
        robot.settle_until(is_stuck);
        // It goes on by itself once it can.
        robot.read_only = false;
        stands_on(&mut robot, 'a');
    }
}

#[test]
fn a_commit_that_fails_is_left_without_nix_and_without_the_loader() {
    let mut robot = leaves_a_commit();
    robot.read_only = true;
    robot.settle_until(|robot| robot.current == system('a'));
    advance(&mut robot, 200);
    assert_eq!(
        (&robot.current, robot.boots),
        (&system('a'), 1),
        "{}",
        robot.log
    );
    assert!(problem(&robot).contains("runs again, and profile and boot loader"));
    assert!(!robot.state().is_underway());
    robot.lease(true, 50).unwrap();
    robot
        .ask(people::end_lease(surefoot_core::lease::Ender::Anyone))
        .unwrap();
    // No boot led there: it is tried again after one, too.
    robot.power_cut();
    assert_eq!(robot.current, system('b'));
    robot.start();
    goes_back_to(&mut robot, 'a');
    let blocked = robot.journal.blocked(&release('b')).unwrap();
    assert!(blocked.evidence.is_verdict());
}

#[test]
fn a_loader_of_which_nobody_can_tell_what_it_starts_is_not_in_order_after_a_commit() {
    let mut robot = leaves_a_commit();
    robot.unreadable = true;
    robot.read_only = true;
    robot.settle_until(|robot| robot.current == system('a'));
    // The profile was put right by hand; of the loader nobody knows.
    robot.profile = system('a');
    for _ in 0..3 {
        advance(&mut robot, 50);
        robot.kill();
        robot.start();
        assert!(
            matches!(robot.state(), State::Reverting(_)),
            "{}",
            robot.log
        );
    }
    robot.read_only = false;
    robot.unreadable = false;
    stands_on(&mut robot, 'a');
}

#[test]
fn one_reboot_shows_where_a_loader_leads_of_which_nobody_can_tell() {
    let mut robot = leaves_a_commit();
    robot.unreadable = true;
    robot.read_only = true;
    robot.outcomes.insert(system('a'), Outcome::Failed(5));
    advance(&mut robot, 400);
    assert_eq!(robot.boots, 2, "{}", robot.log);
    assert_eq!(robot.current, system('b'));
    // It is activated once it can be, without another reboot.
    robot.outcomes.clear();
    robot.settle_until(|robot| robot.current == system('a'));
    robot.read_only = false;
    robot.unreadable = false;
    stands_on(&mut robot, 'a');
    assert_eq!(robot.boots, 2);
}

#[test]
fn what_began_as_an_activation_is_activated_again_in_each_round() {
    let mut robot = leaves_a_commit();
    robot.read_only = true;
    robot.outcomes.insert(system('a'), Outcome::Failed(5));
    advance(&mut robot, 300);
    // The loader is known to start `b`: no reboot would lead back.
    assert_eq!(robot.boots, 1, "{}", robot.log);
    says(&mut robot, "the boot loader starts");
    for how in ["by itself", "a person", "a restart"] {
        let mut robot = robot.clone();
        robot.outcomes.clear();
        match how {
            "a person" => rolls_back(&mut robot),
            "a restart" => {
                robot.kill();
                robot.start();
            }
            _ => {}
        }
        robot.settle_until(|robot| robot.current == system('a'));
        assert_eq!(robot.boots, 1, "{how}");
        robot.read_only = false;
        stands_on(&mut robot, 'a');
    }
}

#[test]
fn the_way_back_from_a_boot_needs_no_more_than_a_reboot() {
    let mut robot = robot();
    robot.needs_reboot.insert(system('b'));
    robot.sick.insert(system('b'));
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    let soaks = |robot: &Robot| {
        matches!(
            robot.state(),
            State::Trial(Trial {
                mode: Mode::Boot,
                phase: Phase::Soaking { .. },
                ..
            })
        )
    };
    robot.settle_until(soaks);
    robot.read_only = true;
    let boots = robot.boots;
    robot.settle_until(|robot| robot.current == system('a'));
    assert_eq!(robot.boots, boots + 1);
    assert_eq!(robot.profile, system('b'), "nothing was installed before");
    robot.read_only = false;
    stands_on(&mut robot, 'a');
    assert!(!robot.has_entry(&system('b')));
    assert!(robot.journal.blocked(&release('b')).is_some());
}

#[test]
fn a_loader_that_starts_something_else_is_written_before_the_reboot() {
    let mut robot = robot();
    robot.needs_reboot.insert(system('b'));
    robot.sick.insert(system('b'));
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.current == system('b'));
    // As on a loader that knows no one-shot.
    robot.default = system('b');
    robot.meddled = true;
    let boots = robot.boots;
    robot.settle_until(|robot| robot.current == system('a'));
    assert_eq!(robot.boots, boots + 1, "{}", robot.log);
    stands_on(&mut robot, 'a');
}

#[test]
fn a_rollback_that_ends_in_a_failed_activation_goes_on_to_profile_and_loader() {
    let mut robot = robot_on_b();
    robot
        .outcomes
        .insert(system('a'), Outcome::ActivationFailed);
    rolls_back(&mut robot);
    stands_on(&mut robot, 'a');
    assert_eq!(robot.boots, 1);
}

#[test]
fn a_rollback_that_is_given_up_puts_profile_and_loader_in_order() {
    let mut robot = robot_on_b();
    robot.outcomes.insert(system('a'), Outcome::Failed(7));
    rolls_back(&mut robot);
    robot.settle_until(|robot| matches!(robot.state(), State::Reverting(_)));
    let State::Reverting(Reverting { entries, .. }) = robot.state() else {
        unreachable!()
    };
    assert!(entries, "an older agent's switch may have changed them");
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'));
}

#[test]
fn a_loader_that_never_starts_the_goal_of_a_rollback_costs_a_few_reboots_and_no_more() {
    let mut robot = robot_on_b();
    robot.drops.insert(system('a'));
    rolls_back(&mut robot);
    robot.stubborn = Some(system('b'));
    advance(&mut robot, 2_000);
    let most = 1 + u64::from(MAX_FALLS + MAX_REBOOTS);
    assert!(robot.boots <= most, "{}", robot.log);
    says(&mut robot, "a person must look");
    // A person may have it all tried again.
    robot.drops.clear();
    rolls_back(&mut robot);
    stands_on(&mut robot, 'a');
}

/// A robot that booted `b` on trial, and leaves it.
fn leaves_a_boot() -> Robot {
    leaves_a_boot_within(600)
}

/// That one, with a deadline of so many seconds.
fn leaves_a_boot_within(seconds: u64) -> Robot {
    let mut robot = robot();
    robot.policy.boot_deadline = std::time::Duration::from_secs(seconds);
    robot.needs_reboot.insert(system('b'));
    robot.sick.insert(system('b'));
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.current == system('b'));
    robot.start();
    robot
}

#[test]
fn a_way_back_whose_reboots_did_not_happen_can_be_asked_for_again() {
    // By a boot the loader is looked at first, and nothing is switched before the reboot.
    let mut robot = leaves_a_boot_within(86_400);
    robot.lost_reboots = MAX_REBOOTS;
    let boots = robot.boots;
    says(&mut robot, "reboots brought it back");
    assert_eq!((robot.boots, robot.lost_reboots), (boots, 0));
    assert!(is_stuck(&robot), "{}", robot.log);
    rolls_back(&mut robot);
    stands_on(&mut robot, 'a');
    assert_eq!(robot.boots, boots + 1);
}

#[test]
fn the_deadline_of_a_boot_does_not_reset_a_robot_whose_installer_takes_it_down() {
    for person in [true, false] {
        let mut robot = leaves_a_boot();
        // As on a loader that knows no one-shot.
        robot.default = system('b');
        robot.meddled = true;
        robot.installer_drops = true;
        let boots = robot.boots;
        says(&mut robot, "while profile and boot loader were written");
        assert_eq!(robot.boots, boots + u64::from(MAX_FALLS), "{}", robot.log);
        assert!(!robot.is_guarded(), "{}", robot.log);
        works(&mut robot, 12);
        assert_eq!(robot.boots, boots + u64::from(MAX_FALLS), "{}", robot.log);
        robot.installer_drops = false;
        if person {
            rolls_back(&mut robot);
        } else {
            works(&mut robot, 14);
        }
        robot.settle_until(|robot| robot.current == system('a'));
        stands_on(&mut robot, 'a');
    }
}

/// A robot that is left alone, as its installer takes it down; `drops`: so does activating `a`.
fn left_alone(by_hand: bool, drops: bool) -> Robot {
    let mut robot = if by_hand {
        robot_on_b()
    } else {
        leaves_a_commit()
    };
    if drops {
        robot.drops.insert(system('a'));
    }
    robot.installer_drops = true;
    if by_hand {
        rolls_back(&mut robot);
    }
    says(&mut robot, "while profile and boot loader were written");
    robot
}

#[test]
fn the_day_of_an_installer_that_is_left_alone_goes_on_over_power_cuts() {
    for (by_hand, drops) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut robot = left_alone(by_hand, drops);
        for _ in 0..2 {
            let boots = robot.boots;
            works(&mut robot, 10);
            assert_eq!(robot.boots, boots, "{}", robot.log);
            powers_on(&mut robot);
        }
        // Power-ons are no reboots of the agent's.
        let often = 2 * (MAX_FALLS + MAX_REBOOTS);
        for _ in 0..if drops { often } else { 1 } {
            powers_on(&mut robot);
        }
        let boots = robot.boots;
        works(&mut robot, 1);
        assert_eq!(robot.boots, boots, "{}", robot.log);
        robot.installer_drops = false;
        works(&mut robot, 6);
        robot.settle_until(|robot| robot.current == system('a'));
        assert_eq!(robot.boots, boots + u64::from(drops), "{}", robot.log);
        assert_eq!(robot.default, system('a'), "{}", robot.log);
        stands_on(&mut robot, 'a');
    }
}

#[test]
fn an_agent_that_restarts_each_hour_tries_the_installer_again_once_the_day_is_over() {
    let mut robot = left_alone(true, false);
    robot.installer_drops = false;
    for hour in 0..26 {
        works(&mut robot, 1);
        robot.kill();
        robot.start();
        assert!(hour > 20 || robot.default == system('b'), "{}", robot.log);
    }
    assert_eq!(robot.default, system('a'), "{}", robot.log);
    stands_on(&mut robot, 'a');
}

#[test]
fn the_system_before_runs_while_its_installer_is_left_alone() {
    for by_hand in [true, false] {
        let mut robot = left_alone(by_hand, false);
        assert_eq!(robot.current, system('a'), "{}", robot.log);
        for _ in 0..2 * MAX_FALLS {
            works(&mut robot, 2);
            powers_on(&mut robot);
            assert_eq!(robot.current, system('a'), "{}", robot.log);
        }
    }
}

#[test]
fn an_update_that_somebody_asks_for_has_the_installer_tried_once() {
    for by_hand in [true, false] {
        let mut robot = left_alone(by_hand, false);
        let boots = robot.boots;
        robot.ask(Request::Update).unwrap();
        answers(&mut robot);
        assert_eq!(robot.boots, boots + 1, "{}", robot.log);
        works(&mut robot, 12);
        assert_eq!(robot.boots, boots + 1, "{}", robot.log);
        robot.installer_drops = false;
        robot.ask(Request::Update).unwrap();
        answers(&mut robot);
        assert_eq!(robot.default, system('a'), "{}", robot.log);
        stands_on(&mut robot, 'a');
    }
}

#[test]
fn an_installer_that_takes_the_robot_down_is_left_alone_for_a_day() {
    for by_hand in [true, false] {
        let mut robot = if by_hand {
            let mut robot = robot_on_b();
            robot.installer_drops = true;
            rolls_back(&mut robot);
            robot
        } else {
            let mut robot = leaves_a_commit();
            robot.installer_drops = true;
            robot
        };
        says(&mut robot, "while profile and boot loader were written");
        let boots = robot.boots;
        assert!(boots <= 1 + 2 * u64::from(MAX_FALLS), "{}", robot.log);
        for _ in 0..20 {
            robot.pass(std::time::Duration::from_secs(3_600));
        }
        assert_eq!(robot.boots, boots, "{by_hand}\n{}", robot.log);
        robot.installer_drops = false;
        rolls_back(&mut robot);
        stands_on(&mut robot, 'a');
    }
}

#[test]
fn the_reboot_back_from_a_boot_waits_for_somebody_elses_switch_and_not_for_ever() {
    for ends in [true, false] {
        let mut robot = leaves_a_boot();
        let boots = robot.boots;
        robot.locked = true;
        says(&mut robot, "another switch is running");
        advance(&mut robot, 20);
        assert_eq!(robot.boots, boots, "the other switch was cut off");
        robot.locked = !ends;
        robot.settle_until(|robot| robot.boots > boots);
        robot.locked = false;
        stands_on(&mut robot, 'a');
        assert_eq!(robot.boots, boots + 1);
    }
}

/// A robot that tried `b` beside the running kernel, and cannot activate `a`.
fn cannot_leave_a_trial() -> Robot {
    let mut robot = robot();
    robot.sick.insert(system('b'));
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.current == system('b'));
    robot.outcomes.insert(system('a'), Outcome::Failed(7));
    robot
}

#[test]
fn a_hold_keeps_the_robot_from_its_reboot_back_and_nothing_is_activated_meanwhile() {
    let mut robot = cannot_leave_a_trial();
    let boots = robot.boots;
    robot.ask(people::hold("ada", Some(500))).unwrap();
    says(&mut robot, "when the hold of ada ends");
    let units = robot.journal.units;
    advance(&mut robot, 20);
    assert_eq!((robot.boots, robot.journal.units), (boots, units));
    robot.outcomes.clear();
    stands_on(&mut robot, 'a');
    assert_eq!(robot.boots, boots + 1);
}

#[test]
fn a_trial_that_cannot_be_left_costs_one_reboot_where_nobody_can_tell_what_the_loader_starts() {
    let mut robot = cannot_leave_a_trial();
    robot.unreadable = true;
    robot.store.insert(system('x'));
    robot.default = system('x');
    robot.meddled = true;
    let boots = robot.boots;
    advance(&mut robot, 400);
    assert_eq!(robot.boots, boots + 1, "{}", robot.log);
    robot.settle_until(is_stuck);
    robot.unreadable = false;
    robot.outcomes.clear();
    robot.settle_until(|robot| robot.current == system('a'));
    assert_eq!(robot.boots, boots + 1, "{}", robot.log);
}

#[test]
fn what_was_staged_and_chosen_in_the_menu_is_left_by_a_reboot() {
    let mut robot = robot();
    robot.needs_reboot.insert(system('b'));
    robot.closed.insert(Stage::Reboot);
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| {
        let staged = |trial: &Trial| trial.phase == Phase::Staged;
        matches!(robot.state(), State::Trial(trial) if staged(trial))
    });
    robot.settle_until(|robot| !robot.is_awaited());
    robot.published = None;
    robot.default = system('b');
    robot.power_cut();
    robot.default = system('a');
    assert_eq!(robot.current, system('b'));
    robot.start();
    robot.settle_until(|robot| robot.booted == system('a'));
    stands_on(&mut robot, 'a');
    assert!(robot.journal.blocked.is_empty(), "{}", robot.log);
}

#[test]
fn a_hold_that_was_placed_while_entries_were_missing_outlasts_a_power_cut() {
    for by_hand in [true, false] {
        let mut robot = misses_entries(by_hand);
        robot.ask(people::hold("ada", Some(5_000))).unwrap();
        powers_on(&mut robot);
        let units = robot.journal.units;
        for _ in 0..20 {
            advance(&mut robot, 1);
            assert_eq!(robot.current, system('b'), "{}", robot.log);
        }
        assert_eq!(robot.journal.units, units, "{}", robot.log);
        assert!(problem(&robot).contains("when this ends: the hold of ada"));
        assert!(!robot.state().is_underway(), "{}", robot.log);
        // Nothing is under way, so the robot may take something into its hand meanwhile.
        robot.lease(true, 5_000).unwrap();
        robot.ask(Request::Resume { by: None }).unwrap();
        for _ in 0..20 {
            advance(&mut robot, 1);
            assert_eq!(robot.current, system('b'), "{}", robot.log);
        }
        robot.lease(false, 5_000).unwrap();
        goes_back_to(&mut robot, 'a');
    }
}

#[test]
fn an_installer_that_took_the_robot_down_does_not_run_while_the_robot_is_busy() {
    for asks in [false, true] {
        let mut robot = left_alone(true, false);
        robot.lease(true, 5_000).unwrap();
        let boots = robot.boots;
        works(&mut robot, 26);
        if asks {
            let _ = robot.ask(Request::Update);
            advance(&mut robot, 20);
        }
        assert_eq!(robot.boots, boots, "{}", robot.log);
        assert_eq!(robot.current, system('a'), "{}", robot.log);
        robot.installer_drops = false;
        robot.lease(false, 5_000).unwrap();
        works(&mut robot, 2);
        assert_eq!(robot.default, system('a'), "{}", robot.log);
        stands_on(&mut robot, 'a');
    }
}

#[test]
fn power_cuts_are_not_held_against_a_system_that_ran_for_long() {
    let mut robot = robot_on_b();
    robot.read_only = true;
    rolls_back(&mut robot);
    for _ in 0..2 * MAX_FALLS {
        robot.settle_until(|robot| robot.current == system('a'));
        for _ in 0..4 {
            robot.pass(std::time::Duration::from_secs(3_600));
            advance(&mut robot, 30);
        }
        robot.power_cut();
        assert_eq!(robot.current, system('b'));
        robot.start();
    }
    robot.settle_until(|robot| robot.current == system('a'));
    assert!(!problem(&robot).contains("went down"), "{}", robot.log);
    robot.read_only = false;
    works(&mut robot, 2);
    assert_eq!(robot.default, system('a'), "{}", robot.log);
    stands_on(&mut robot, 'a');
}

#[test]
fn a_person_who_goes_on_to_what_does_not_start_ends_where_they_came_from() {
    let mut robot = robot_on_b();
    robot.update_to('c');
    robot.read_only = true;
    rolls_back(&mut robot);
    robot.settle_until(|robot| robot.current == system('b'));
    says(&mut robot, "do not name it yet");
    robot.settle_until(|robot| !robot.is_awaited());
    robot.outcomes.insert(system('a'), Outcome::Failed(7));
    goes_to(&mut robot, 'a');
    for _ in 0..200 {
        advance(&mut robot, 1);
        assert_ne!(robot.current, system('c'), "{}", robot.log);
    }
    robot.read_only = false;
    robot.settle();
    let all = [robot.confirmed(), &robot.current, &robot.default];
    assert_eq!(all, [&system('b'); 3], "{}", robot.log);
    assert!(robot.journal.blocked(&release('c')).is_some());
    assert_eq!(robot.boots, 1);
}

#[test]
fn a_person_goes_on_from_a_system_that_the_loader_does_not_name_yet() {
    for to in ['a', 'c'] {
        let mut robot = robot_on_b();
        robot.update_to('c');
        assert_eq!(*robot.confirmed(), system('c'));
        robot.read_only = true;
        rolls_back(&mut robot);
        robot.settle_until(|robot| robot.current == system('b'));
        says(&mut robot, "do not name it yet");
        let asked = people::rollback(Some(system(to)), false, "worse still");
        robot.ask(asked).unwrap();
        goes_back_to(&mut robot, to);
    }
}

#[test]
fn an_installer_that_hangs_drops_no_rollback_by_a_boot() {
    let mut robot = robot();
    robot.needs_reboot.insert(system('b'));
    robot.update_to('b');
    robot.outcomes.insert(system('a'), Outcome::TimedOut);
    rolls_back(&mut robot);
    advance(&mut robot, 200);
    assert!(
        matches!(robot.state(), State::Committing(_)),
        "{}",
        robot.log
    );
    robot.outcomes.clear();
    stands_on(&mut robot, 'a');
    assert_eq!(robot.boots, 3);
}

/// A robot that booted `c` on trial, and cannot go back from it to `b`: the loader starts `c`.
fn cannot_leave_a_boot() -> Robot {
    let mut robot = robot_on_b();
    robot.needs_reboot.insert(system('c'));
    robot.sick.insert(system('c'));
    robot.published = Some(release('c'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.current == system('c'));
    robot.default = system('c');
    robot.meddled = true;
    robot.read_only = true;
    says(&mut robot, "the boot loader starts");
    robot
}

fn goes_to(robot: &mut Robot, c: char) {
    robot.settle_until(|robot| !robot.is_awaited());
    let asked = people::rollback(Some(system(c)), false, "elsewhere");
    robot.ask(asked).unwrap();
}

#[test]
fn a_way_back_that_only_a_boot_leads_is_passed_by_a_boot() {
    for c in ['a', 'b'] {
        let mut robot = cannot_leave_a_boot();
        let boots = robot.boots;
        goes_to(&mut robot, c);
        advance(&mut robot, 200);
        assert_eq!(
            (robot.boots, &robot.current),
            (boots, &system('c')),
            "{c}\n{}",
            robot.log
        );
        robot.settle_until(is_stuck);
        robot.read_only = false;
        stands_on(&mut robot, c);
        assert_eq!((robot.boots, &robot.booted), (boots + 1, &system(c)));
    }
}

#[test]
fn nobody_says_that_the_confirmed_system_runs_where_the_loader_starts_the_failed_one() {
    let mut robot = cannot_leave_a_boot();
    goes_to(&mut robot, 'a');
    robot.read_only = false;
    robot.stubborn = Some(system('c'));
    let boots = robot.boots;
    says(&mut robot, "which never came up; a person must look");
    advance(&mut robot, 500);
    assert_eq!(robot.boots, boots + u64::from(MAX_REBOOTS));
    assert_eq!(robot.current, system('c'));
    assert!(
        matches!(robot.state(), State::Committing(_)),
        "{}",
        robot.log
    );
    assert_eq!(*robot.confirmed(), system('b'));
    assert_eq!(count(&robot, What::RolledBack), 0);
    // From there, too, a person goes on.
    robot.stubborn = None;
    goes_to(&mut robot, 'b');
    stands_on(&mut robot, 'b');
    assert_eq!(robot.booted, system('b'));
}

#[test]
fn a_lock_that_what_runs_holds_for_itself_ends_with_one_reboot() {
    let mut robot = leaves_a_commit();
    robot.lockers.insert(system('b'));
    robot.store.insert(system('x'));
    robot.default = system('x');
    robot.meddled = true;
    robot.settle_until(|robot| robot.current == system('x'));
    stands_on(&mut robot, 'a');
    assert_eq!(robot.boots, 2);
}

/// A robot that went back to `a`, and cannot have profile and loader name it: they name `b`.
fn misses_entries(by_hand: bool) -> Robot {
    let mut robot = if by_hand {
        robot_on_b()
    } else {
        leaves_a_commit()
    };
    robot.read_only = true;
    if by_hand {
        rolls_back(&mut robot);
    }
    robot.settle_until(|robot| robot.current == system('a'));
    robot.settle_until(is_stuck);
    robot.settle_until(|robot| !robot.is_awaited());
    robot
}

fn keeps_running(robot: &mut Robot, c: char) {
    for _ in 0..300 {
        advance(robot, 1);
        assert_eq!(robot.current, system(c), "{}", robot.log);
    }
}

#[test]
fn what_somebody_switches_to_while_entries_are_missing_is_not_undone() {
    for (by_hand, restarts) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut robot = misses_entries(by_hand);
        assert!(robot.meddle(Action::Test, system('x')));
        // Nor is it written over once that can be done.
        robot.read_only = false;
        if restarts {
            robot.kill();
            robot.forget_units();
            robot.start();
        }
        let units = robot.journal.units;
        keeps_running(&mut robot, 'x');
        assert_eq!(robot.journal.units, units, "{}", robot.log);
        assert_eq!(robot.default, system('b'), "{}", robot.log);
        assert!(problem(&robot).contains("by hand, which is left alone"));
        assert!(!robot.state().is_underway(), "{}", robot.log);
        assert!(robot.lease(true, 50).is_ok());
        robot
            .ask(people::end_lease(surefoot_core::lease::Ender::Anyone))
            .unwrap();
        // What the next boot starts is not what the robot goes to rest on.
        for how in ["a power cut", "a rollback", "by hand"] {
            let mut robot = robot.clone();
            match how {
                "a power cut" => robot.power_cut(),
                "a rollback" => rolls_back(&mut robot),
                _ => robot.current = system('a'),
            }
            robot.start();
            robot.settle_until(|robot| robot.current == system('a'));
            stands_on(&mut robot, 'a');
            assert_eq!(robot.boots, 1 + u64::from(how == "a power cut"), "{how}");
        }
    }
}

#[test]
fn what_somebody_installs_while_entries_are_missing_is_not_written_over() {
    for (by_hand, restarts) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut robot = misses_entries(by_hand);
        // They mend the boot partition first.
        robot.read_only = false;
        assert!(robot.meddle(Action::Switch, system('x')));
        if restarts {
            robot.kill();
            robot.forget_units();
            robot.start();
        }
        for _ in 0..300 {
            advance(&mut robot, 1);
            let named = [&robot.current, &robot.default, &robot.profile];
            assert_eq!(named, [&system('x'); 3], "{}", robot.log);
        }
        assert_eq!(*robot.state(), State::Idle, "{}", robot.log);
        let machine = robot.machine.as_ref().unwrap();
        assert_eq!(machine.drift(), Some(&system('x')), "{}", robot.log);
    }
}

#[test]
fn what_somebody_has_the_robot_boot_while_entries_are_missing_is_not_left() {
    for by_hand in [true, false] {
        let mut robot = misses_entries(by_hand);
        robot.read_only = false;
        assert!(robot.meddle(Action::Boot, system('x')));
        robot.power_cut();
        robot.start();
        keeps_running(&mut robot, 'x');
        assert_eq!(*robot.state(), State::Idle, "{}", robot.log);
    }
}

#[test]
fn a_switch_of_somebodys_is_waited_for_by_an_agent_that_starts_in_the_middle_of_it() {
    for by_hand in [true, false] {
        let mut robot = misses_entries(by_hand);
        assert!(robot.meddle(Action::Test, system('x')));
        robot.locked = true;
        robot.kill();
        robot.forget_units();
        robot.start();
        let units = robot.journal.units;
        keeps_running(&mut robot, 'x');
        robot.locked = false;
        robot.read_only = false;
        keeps_running(&mut robot, 'x');
        assert_eq!(robot.journal.units, units, "{}", robot.log);
        assert_eq!(robot.default, system('b'), "{}", robot.log);
    }
}

#[test]
fn what_the_next_boot_starts_is_not_forgotten_where_somebodys_switch_is_undone() {
    for by_hand in [true, false] {
        let mut robot = misses_entries(by_hand);
        robot.policy.drift = DriftPolicy::Restore;
        assert!(robot.meddle(Action::Test, system('x')));
        robot.settle_until(|robot| *robot.state() == State::Idle);
        assert_eq!(*robot.confirmed(), system('a'), "{}", robot.log);
        assert_eq!(robot.journal.left_in_profile, Some(system('b')));
        robot.settle_until(|robot| !robot.is_awaited());
        robot.read_only = false;
        works(&mut robot, 2);
        stands_on(&mut robot, 'a');
    }
}

/// What an older agent wrote: both halves in one order.
fn as_an_older_agent(journal: &Journal) -> Journal {
    let mut text = serde_json::to_value(journal).unwrap();
    let state = text["state"].as_object_mut().unwrap();
    for new in ["live", "first", "entries", "install"] {
        state.remove(new);
    }
    state["order"]["action"] = "switch".into();
    Journal::parse(text.to_string().as_bytes()).unwrap()
}

#[test]
fn a_way_back_that_an_older_agent_began_keeps_its_second_half() {
    let mut robot = leaves_a_commit();
    robot.journal = as_an_older_agent(&robot.journal);
    robot.power_cut();
    robot.start();
    robot.settle_until(|robot| robot.current == system('a'));
    stands_on(&mut robot, 'a');

    let mut robot = robot_on_b();
    rolls_back(&mut robot);
    robot.journal = as_an_older_agent(&robot.journal);
    robot.power_cut();
    stands_on(&mut robot, 'a');
}

#[test]
fn a_rollback_says_the_whole_to_an_agent_that_knows_no_halves() {
    let mut robot = robot_on_b();
    rolls_back(&mut robot);
    let State::Committing(Committing { order, first, .. }) = robot.state() else {
        panic!("{}", robot.log)
    };
    let first = first.as_ref().unwrap();
    assert_eq!((order.action, first.action), (Action::Switch, Action::Test));
    assert_ne!(
        order.unit, first.unit,
        "what ended is not taken for the whole"
    );
}

#[test]
fn a_technician_passes_a_way_back_that_does_not_get_on() {
    let mut robot = robot_on_b();
    robot.published = Some(release('c'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| matches!(robot.state(), State::Committing(_)));
    robot.fails_again.insert(system('c'));
    robot.settle_until(|robot| matches!(robot.state(), State::Reverting(_)));
    robot.read_only = true;
    robot.outcomes.insert(system('b'), Outcome::Failed(5));
    advance(&mut robot, 300);
    assert_eq!(robot.current, system('c'));
    let to = Some(RollbackTo::System(system('a')));
    let Some(RollbackTo::System(to)) = to else {
        unreachable!()
    };
    let asked = people::rollback(Some(to), false, "b does not start");
    robot.ask(asked).unwrap();
    goes_back_to(&mut robot, 'a');
    assert!(robot.journal.blocked(&release('c')).is_some());
    let causes = robot.journal.blocked.iter();
    let mut causes = causes.map(|blocked| blocked.evidence.cause.known());
    assert!(causes.any(|cause| cause == Some(Cause::Rollback)));
}
