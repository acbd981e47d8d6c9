//! The story of an update, and every edge that the design names.

#![allow(clippy::unwrap_used, reason = "a test")]

use jiff::Timestamp;
use std::{collections::BTreeMap, time::Duration};
use surefoot_core::{
    Foreign, RollbackTo,
    gate::Stage,
    health::{Check, Failure, Report},
    identity::Identity,
    journal::{Journal, Loss, MAX_HOLDS, MAX_HOLDS_OF_APPS, MAX_HOLDS_OF_ONE, Seen, What},
    machine::{
        AfterLoss, DriftPolicy, Event, MAX_REBOOTS, Refusal, Request, Unserved,
        state::{Cause, Phase, State, Trial},
    },
    offers::{self, Offers},
    release::{Listed, Manifest, Name, ROLLOUTS, RebootPolicy, Recall, Release, SPEC, System},
    rollout::Rollout,
    switch::{Action, Outcome},
};
use surefoot_sim::{Robot, people, release, system};

/// A robot that runs `a`, confirmed.
fn robot() -> Robot {
    Robot::settled()
}

fn rollback(robot: &mut Robot) -> Result<String, Refusal> {
    let answer = robot.ask(Request::Rollback {
        force: false,
        end_holds: false,
        to: None,
        why: "drops boxes".into(),
        by: "ada".into(),
    });
    robot.settle();
    answer
}

/// Whether a system that was switched to has to stay healthy now.
fn is_soaking(robot: &Robot) -> bool {
    let State::Trial(trial) = robot.state() else {
        return false;
    };
    matches!(trial.phase, Phase::Soaking { .. })
}

fn last(robot: &Robot) -> What {
    robot
        .journal
        .history
        .last()
        .and_then(|record| record.what.known())
        .expect("something happened")
}

#[test]
fn what_failed_before_is_not_held_against_a_release_and_what_fails_only_now_is() {
    let mut robot = robot();
    robot.broken.extend([system('a'), system('b')]);
    robot.update_to('b');
    assert_eq!(*robot.confirmed(), system('b'));

    // Nor by a boot.
    robot.broken.insert(system('c'));
    robot.needs_reboot.insert(system('c'));
    robot.update_to('c');
    assert_eq!(*robot.confirmed(), system('c'));

    // It is whole again, and stays so.
    robot.update_to('d');
    robot.broken.insert(system('f'));
    robot.update_to('f');
    assert_eq!(*robot.confirmed(), system('d'));
    let blocked = &robot.journal.blocked[0];
    assert_eq!(blocked.evidence.cause, Cause::Unhealthy);
    assert_eq!(robot.journal.baseline, None);

    robot.idle.insert(system('g'));
    robot.update_to('g');
    assert_eq!(*robot.confirmed(), system('d'), "what ran does not run now");
}

/// Times that the robot was rebooted for what a way back left.
fn reboots(robot: &Robot) -> usize {
    let history = robot.journal.history.iter();
    history.filter(|r| r.what == What::Rebooted).count()
}

#[test]
fn a_way_back_that_leaves_the_robot_worse_is_told_and_answered_by_one_reboot() {
    let mut robot = robot();
    robot.sick.insert(system('b'));
    robot.hurts.insert(system('b'));
    robot.closed.insert(Stage::Reboot);
    robot.update_to('b');
    let is_worse = |robot: &Robot| {
        let aftermath = robot.journal.aftermath.as_ref();
        aftermath.is_some_and(|aftermath| !aftermath.worse.is_empty())
    };
    robot.settle_until(is_worse);
    assert_eq!(*robot.confirmed(), system('a'));
    assert_eq!(last(&robot), What::Worse);
    robot.pass(Duration::from_secs(600));
    robot.settle();
    assert_eq!((robot.boots, reboots(&robot)), (1, 0), "a gate is closed");

    robot.closed.clear();
    robot.settle_until(|robot| robot.boots == 2);
    robot.settle_until(|robot| robot.journal.aftermath.is_none());
    assert_eq!(reboots(&robot), 1);

    // What a reboot does not help stays told, and nothing is rebooted again.
    robot.sick.insert(system('c'));
    robot.hurts.insert(system('c'));
    robot.update_to('c');
    robot.idle.insert(system('a'));
    robot.settle_until(|robot| robot.boots == 3 && is_worse(robot));
    for _ in 0..5 {
        robot.pass(Duration::from_secs(86_400));
        robot.settle();
    }
    assert_eq!((robot.boots, reboots(&robot)), (3, 2));
    assert!(is_worse(&robot));
    // It came right by itself.
    robot.idle.clear();
    robot.settle_until(|robot| robot.journal.aftermath.is_none());
}

/// A robot that came back to `a` from `b`, and is worse than it was.
fn came_back_worse(robot: &mut Robot) {
    robot.sick.insert(system('b'));
    robot.hurts.insert(system('b'));
    robot.update_to('b');
    robot.settle_until(|robot| {
        let aftermath = robot.journal.aftermath.as_ref();
        aftermath.is_some_and(|aftermath| !aftermath.worse.is_empty())
    });
}

#[test]
fn damage_that_a_reboot_did_not_help_costs_no_other_one_whatever_is_tried_next() {
    let mut robot = robot();
    came_back_worse(&mut robot);
    robot.idle.insert(system('a'));
    robot.settle_until(|robot| robot.boots == 2);
    robot.pass(Duration::from_secs(86_400));
    robot.settle();
    for next in ['c', 'd'] {
        robot.sick.insert(system(next));
        robot.update_to(next);
        robot.pass(Duration::from_secs(86_400));
        robot.settle();
        assert!(robot.journal.blocked(&release(next)).is_some());
    }
    assert_eq!((robot.boots, reboots(&robot)), (2, 1), "{}", robot.log);
    assert!(robot.journal.aftermath.is_some(), "it stays told");
}

#[test]
fn no_reboot_for_what_a_way_back_left_leads_into_what_somebody_installed_meanwhile() {
    let mut robot = robot();
    robot.closed.insert(Stage::Reboot);
    came_back_worse(&mut robot);
    assert!(robot.meddle(Action::Boot, system('x')));
    robot.pass(Duration::from_secs(3600));
    robot.settle();
    robot.closed.clear();
    robot.pass(Duration::from_secs(3600));
    robot.settle();
    assert_eq!((robot.boots, reboots(&robot)), (1, 0), "{}", robot.log);
    // What would be booted is what it went back to again.
    assert!(robot.meddle(Action::Boot, system('a')));
    robot.settle_until(|robot| robot.boots == 2);
    assert_eq!((&robot.current, reboots(&robot)), (&system('a'), 1));
}

#[test]
fn no_reboot_for_what_a_way_back_left_before_what_would_be_booted_was_looked_at() {
    let mut robot = robot();
    robot.sick.insert(system('b'));
    robot.hurts.insert(system('b'));
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| {
        matches!(robot.state(), State::Trial(trial)
            if matches!(trial.phase, Phase::Soaking { .. }))
    });
    robot.silent = true;
    robot.settle_until(|robot| last(robot) == What::Worse);
    assert!(robot.journal.named_before.is_some());
    // It answers again, and nobody has looked yet.
    robot.silent = false;
    robot.settle_until(|robot| reboots(robot) == 1);
    assert_eq!(robot.journal.named_before, None, "{}", robot.log);
    robot.settle_until(|robot| robot.boots == 2);
    assert_eq!(robot.current, system('a'));
}

#[test]
fn nobody_gets_busy_while_the_robot_reboots_for_what_a_way_back_left() {
    let mut robot = robot();
    robot.lost_reboots = 1;
    came_back_worse(&mut robot);
    robot.settle_until(|robot| reboots(robot) == 1);
    let refused = robot.lease(true, 100).unwrap_err();
    assert!(
        matches!(&refused, Refusal::Refused(why) if why.contains("about to reboot")),
        "{refused}"
    );
    // That it is free it may say.
    robot.lease(false, 100).unwrap();
    // It never went down.
    robot.pass(Duration::from_secs(3600));
    robot.settle();
    assert_eq!(robot.boots, 1);
    robot.lease(true, 100).unwrap();
}

#[test]
fn a_late_answer_of_a_look_at_another_system_says_nothing() {
    let sick = |c: char| {
        Event::Probed(Report {
            system: Some(system(c)),
            failures: vec![Failure {
                check: Check::Unit("arm.service".into()),
                message: "failed".into(),
                journal: Vec::new(),
            }],
            ..Report::default()
        })
    };
    // Of the system before, while the trial is looked at.
    let mut robot = robot();
    robot.policy.max_failures = 1;
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| {
        let is_on_trial = matches!(robot.state(), State::Trial(trial) if matches!(trial.phase, Phase::Soaking { .. }));
        is_on_trial && robot.is_awaited()
    });
    robot.feed(sick('a'));
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'), "{}", robot.log);

    // Of the trial, while the robot is looked at after the way back; a look at that is heard.
    robot.sick.insert(system('c'));
    robot.published = Some(release('c'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.journal.aftermath.is_some());
    for (of, is_heard) in [('c', false), ('b', true)] {
        robot.feed(sick(of));
        assert_eq!(last(&robot) == What::Worse, is_heard, "{}", robot.log);
    }
}

#[test]
fn a_robot_that_came_back_worse_is_only_told_of_where_nobody_wants_a_reboot() {
    let mut robot = robot();
    robot.policy.reboot_if_worse = false;
    robot.sick.insert(system('b'));
    robot.hurts.insert(system('b'));
    robot.update_to('b');
    robot.settle_until(|robot| last(robot) == What::Worse);
    robot.pass(Duration::from_secs(86_400));
    robot.settle();
    assert_eq!(robot.boots, 1);
    // The next release may be the remedy.
    robot.update_to('c');
    robot.settle_until(|robot| *robot.confirmed() == system('c'));
    assert_eq!(robot.journal.aftermath, None);
}

#[test]
fn what_only_the_switch_of_the_commit_breaks_goes_back() {
    let mut robot = robot();
    robot.fails_again.insert(system('b'));
    robot.update_to('b');
    robot.settle_until(|robot| robot.journal.blocked(&release('b')).is_some());
    robot.settle();
    assert_eq!(*robot.confirmed(), system('a'));
    assert_eq!([&robot.profile, &robot.default], [&system('a'); 2]);
    let evidence = &robot.journal.blocked[0].evidence;
    assert_eq!(evidence.cause, Cause::Unhealthy);
    assert!(
        evidence
            .message
            .contains("not after the switch of its commit: unit backup.service"),
        "{}",
        evidence.message
    );
    // The repository need not be reached for that.
    robot.published = Some(release('c'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.state().name() == "committing");
    robot.outage = true;
    robot.settle();
    assert_eq!(*robot.confirmed(), system('c'));
}

#[test]
fn a_way_back_ends_on_the_confirmed_system_whatever_somebody_installed_meanwhile() {
    let mut robot = robot();
    robot.sick.insert(system('b'));
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.current == system('b') && !robot.is_awaited());
    assert!(robot.meddle(Action::Boot, system('b')));
    robot.settle_until(|robot| robot.journal.blocked(&release('b')).is_some());
    robot.settle_until(|robot| robot.profile == system('a') && robot.default == system('a'));
    robot.settle();
    assert_eq!(*robot.confirmed(), system('a'));

    // Another system as well, unless it was meant before the trial.
    for (before, ends) in [(false, 'a'), (true, 'x')] {
        let mut robot = self::robot();
        robot.sick.insert(system('b'));
        if before {
            assert!(robot.meddle(Action::Boot, system('x')));
        }
        // That nobody may ask the repository then keeps nobody from looking.
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| robot.current == system('b') && !robot.is_awaited());
        robot.closed.insert(Stage::Check);
        if !before {
            assert!(robot.meddle(Action::Boot, system('x')));
        }
        robot.settle_until(|robot| robot.journal.blocked(&release('b')).is_some());
        robot.settle_until(|robot| robot.journal.named_before.is_none() && robot.is_quiet());
        assert_eq!(
            (&robot.profile, &robot.default),
            (&system(ends), &system(ends))
        );
        assert_eq!(
            (&robot.current, robot.confirmed()),
            (&system('a'), &system('a'))
        );
    }

    // What is meant for the next boot is told, and left alone.
    assert!(robot.meddle(Action::Boot, system('x')));
    let changed = |robot: &Robot| {
        let machine = robot.machine.as_ref();
        machine.and_then(|machine| machine.changed().map(ToOwned::to_owned))
    };
    robot.settle_until(|robot| changed(robot).is_some());
    let said = changed(&robot).unwrap();
    assert!(said.contains(&system('x').to_string()), "{said}");
    assert_eq!(robot.default, system('x'));
}

#[test]
fn a_rollback_finds_what_was_named_at_the_moment_of_the_decision() {
    let mut robot = robot();
    robot.update_to('b');
    robot.update_to('c');
    let to = |robot: &mut Robot, to: RollbackTo| {
        let answer = robot.ask(Request::Rollback {
            to: Some(to),
            force: false,
            end_holds: false,
            why: "drops boxes".into(),
            by: "ada".into(),
        });
        robot.settle();
        answer
    };
    let named = |c: char| RollbackTo::Release(release(c).release);
    let unknown = to(&mut robot, named('x')).unwrap_err().to_string();
    assert!(unknown.contains("kept are"), "{unknown}");
    let there = to(&mut robot, named('c')).unwrap_err().to_string();
    assert!(there.contains("and it runs"), "{there}");
    to(&mut robot, named('b')).unwrap();
    assert_eq!(*robot.confirmed(), system('b'));
    to(&mut robot, RollbackTo::System(system('a'))).unwrap();
    assert_eq!(*robot.confirmed(), system('a'));
}

#[test]
fn the_first_start_adopts_what_was_booted() {
    let mut robot = Robot::new();
    robot.meddle(Action::Test, system('x')); // somebody switched before the first start
    robot.start();
    assert_eq!(*robot.confirmed(), system('a'));
    assert_eq!(last(&robot), What::Adopted);
}

#[test]
fn a_good_release_is_confirmed() {
    let mut robot = robot();
    robot.update_to('b');
    assert_eq!(*robot.confirmed(), system('b'));
    assert_eq!(
        (robot.current.clone(), robot.default.clone()),
        (system('b'), system('b'))
    );
    assert_eq!(robot.journal.fallbacks[0].system, system('a'));
    assert_eq!(last(&robot), What::Confirmed);
}

#[test]
fn a_sick_release_is_reverted_and_remembered_with_its_evidence() {
    let mut robot = robot();
    robot.sick.insert(system('b'));
    robot.update_to('b');
    assert_eq!(robot.current, system('a'));
    assert_eq!(robot.default, system('a'));
    let blocked = robot.journal.blocked(&release('b')).unwrap();
    assert_eq!(blocked.evidence.cause, Cause::Unhealthy);
    assert_eq!(blocked.evidence.failures[0].journal, ["no arm found"]);
    let tried = |robot: &Robot| {
        let records = robot.journal.history.iter();
        records.filter(|record| record.what == What::Tried).count()
    };
    assert_eq!(tried(&robot), 1);
    robot.update_to('b');
    assert_eq!(
        tried(&robot),
        1,
        "a blocked release must not be tried again"
    );
    // Something about it changed: the same name with another system.
    let mut again = release('c');
    again.release = release('b').release;
    robot.published = Some(again);
    let _ = robot.ask(Request::Update);
    robot.settle();
    assert_eq!(*robot.confirmed(), system('c'));
}

#[test]
fn every_exit_code_is_understood() {
    for (outcome, cause) in [
        (Outcome::ActivationFailed, Some(Cause::Switch)),
        (Outcome::Refused, Some(Cause::Switch)),
        (Outcome::NeedsReboot, None),
        (Outcome::Failed(77), Some(Cause::Switch)),
        (Outcome::TimedOut, Some(Cause::Switch)),
        (Outcome::UnitsFailed, None),
    ] {
        let mut robot = robot();
        robot.outcomes.insert(system('b'), outcome.clone());
        robot.update_to('b');
        let blocked = robot.journal.blocked(&release('b'));
        assert_eq!(
            blocked.and_then(|b| b.evidence.cause.known()),
            cause,
            "{outcome:?}"
        );
        let expected = if cause.is_some() { 'a' } else { 'b' };
        assert_eq!(*robot.confirmed(), system(expected), "{outcome:?}");
        assert_eq!(robot.current, system(expected), "{outcome:?}");
    }
}

#[test]
fn a_switch_that_was_killed_is_held_against_its_release_only_if_it_is_killed_every_time() {
    for (killed, cause) in [
        (Outcome::Killed(9), Cause::Killed),
        (Outcome::Lost, Cause::Killed),
        (Outcome::NotStarted, Cause::NotStarted),
    ] {
        let tried = |robot: &Robot| {
            let records = robot.journal.history.iter();
            records.filter(|record| record.what == What::Tried).count()
        };
        // Once: it comes again by itself.
        let mut robot = robot();
        robot.outcomes.insert(system('b'), killed.clone());
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        while tried(&robot) == 0 || robot.state().name() != "idle" {
            robot.advance();
        }
        assert_eq!(last(&robot), What::Interrupted);
        assert_eq!(robot.current, system('a'));
        assert_eq!(robot.journal.blocked, []);
        robot.outcomes.clear();
        for _ in 0..100 {
            robot.advance();
        }
        assert_eq!(*robot.confirmed(), system('b'));
        assert_eq!(robot.journal.attempts, None);

        // Every time.
        let mut robot = self::robot();
        robot.outcomes.insert(system('b'), killed.clone());
        robot.update_to('b');
        for _ in 0..100 {
            robot.advance();
        }
        let blocked = robot.journal.blocked(&release('b')).unwrap();
        assert_eq!(blocked.evidence.cause, cause);
        assert_eq!(tried(&robot), robot.policy.trial_attempts as usize);

        // Every time, and that of the system before is as well: a reboot leads back, unless nothing began.
        let mut robot = self::robot();
        for c in ['a', 'b'] {
            robot.outcomes.insert(system(c), killed.clone());
        }
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        for _ in 0..1_000 {
            robot.start();
            robot.advance();
        }
        assert!(
            tried(&robot) >= robot.policy.trial_attempts as usize,
            "{}",
            robot.log
        );
        assert_eq!(robot.journal.blocked, []);
        assert_eq!(
            robot.boots == 1,
            killed == Outcome::NotStarted,
            "{killed:?} {}",
            robot.log
        );
        robot.outcomes.clear();
        robot.start();
        let _ = robot.ask(Request::Update);
        robot.settle();
        assert_eq!(*robot.confirmed(), system('b'));
    }
}

#[test]
fn a_switch_that_was_said_not_to_have_started_and_runs_all_the_same_is_gone_back_from() {
    let mut robot = robot();
    for c in ['a', 'b'] {
        robot.outcomes.insert(system(c), Outcome::NotStarted);
    }
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.state().name() == "reverting");
    robot.current = system('b');
    robot.settle_until(|robot| robot.state().name() == "idle");
    assert_eq!((&robot.current, robot.boots), (&system('a'), 2));

    // Or it left services stopped.
    let mut robot = self::robot();
    for c in ['a', 'b'] {
        robot.outcomes.insert(system(c), Outcome::NotStarted);
    }
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.state().name() == "reverting");
    robot.leftovers = true;
    robot.advance();
    robot.advance();
    assert_eq!(robot.state().name(), "reverting");
}

#[test]
fn what_somebody_installed_before_anything_was_tried_is_theirs() {
    // Somebody's switch holds the lock; or it needs a reboot, which waits.
    for outcome in [Outcome::Locked, Outcome::NeedsReboot] {
        let mut robot = robot();
        robot.outcomes.insert(system('b'), outcome.clone());
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| robot.state().name() == "trial");
        assert!(robot.meddle(Action::Boot, system('x')));
        robot.settle_until(|robot| robot.state().name() == "ready");
        assert_eq!(robot.journal.named_before, None, "{outcome:?}");
        robot.closed.insert(Stage::Activate);
        // The release is called back.
        robot.published = None;
        robot.settle_until(|robot| robot.state().name() == "idle");
        for _ in 0..10 {
            robot.advance();
        }
        assert_eq!(robot.default, system('x'), "{outcome:?} {}", robot.log);
    }

    // The trial fails, and somebody switches by hand before the robot was looked at.
    let mut robot = robot();
    robot.sick.insert(system('b'));
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.state().name() == "reverting");
    robot.settle_until(|robot| robot.state().name() == "idle");
    assert!(robot.journal.named_before.is_some());
    assert!(robot.meddle(Action::Switch, system('x')));
    robot.settle_until(|robot| robot.journal.named_before.is_none());
    for _ in 0..10 {
        robot.advance();
    }
    assert_eq!([&robot.current, &robot.default], [&system('x'); 2]);
    assert!(robot.meddle(Action::Test, system('a')));
    for _ in 0..10 {
        robot.advance();
    }
    assert_eq!(robot.default, system('x'), "{}", robot.log);
}

/// What a channel has for the sim's robot: release `b`, changed.
fn channel(change: fn(&mut Release)) -> Offers {
    let model: Name = "picker".parse().unwrap();
    let offered = |c: char| Release {
        id: release(c).release,
        created: Timestamp::UNIX_EPOCH,
        notes: String::new(),
        reboot: RebootPolicy::Auto,
        only: Vec::new(),
        again: false,
        moves: false,
        needs: Vec::new(),
        systems: BTreeMap::from([(
            model.clone(),
            System {
                toplevel: system(c),
                index: format!("closures/{c}.json.zst"),
                paths: 1,
                nar_size: 1,
            },
        )]),
        rollout: None,
        from: None,
        step_back: false,
        recalled: None,
    };
    let mut b = offered('b');
    change(&mut b);
    let manifest = Manifest {
        spec: SPEC,
        channel: "stable".parse().unwrap(),
        releases: [offered('a'), b]
            .map(|it| Listed::Known(Box::new(it)))
            .into(),
        foreign: Foreign::default(),
        gone: Vec::new(),
    };
    manifest.offers(&offers::Robot {
        identity: Some(&Identity::default()),
        ..offers::Robot::by_hand(&model, &[])
    })
}

#[test]
fn neither_a_pause_nor_a_lost_label_takes_a_healthy_commit_back_and_a_recall_does() {
    type Change = fn(&mut Release);
    let paused: Change = |it| {
        it.needs = vec![ROLLOUTS.parse().unwrap()];
        let waves = "1% now, 100% after 1d".parse().unwrap();
        it.rollout = Rollout::by_waves(&waves, Vec::new(), Timestamp::UNIX_EPOCH).ok();
    };
    let other_label: Change = |it| it.only = vec!["site=lab".parse().unwrap()];
    let called_back: Change = |it| {
        it.recalled = Some(Recall {
            at: Timestamp::UNIX_EPOCH,
            why: "drops boxes".into(),
            to: None,
        });
    };
    for (stays, change) in [(true, paused), (true, other_label), (false, called_back)] {
        let mut robot = waits_for_its_commit();
        robot.feed(Event::Polled(channel(change)));
        robot.read_only = false;
        robot.published = stays.then(|| release('b'));
        robot.settle();
        let expected = if stays { 'b' } else { 'a' };
        assert_eq!(*robot.confirmed(), system(expected));
    }
}

#[test]
fn a_lock_that_is_held_is_waited_for_without_a_limit() {
    let mut robot = robot();
    robot.locked = true;
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    for _ in 0..500 {
        robot.advance();
    }
    assert_eq!(robot.state().name(), "ready");
    let problem = robot.machine.as_ref().unwrap().problem().unwrap();
    assert!(problem.contains("another switch is running"), "{problem}");
    assert_eq!(robot.journal.blocked, []);
    assert_eq!(robot.journal.attempts, None);
    assert_eq!(robot.journal.disturbances, None);
    assert_eq!(robot.current, system('a'));
    robot.locked = false;
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'));
}

#[test]
fn a_to_b_to_a_is_an_ordinary_update() {
    let mut robot = robot();
    robot.update_to('b');
    robot.update_to('a');
    assert_eq!(*robot.confirmed(), system('a'));
    assert_eq!(robot.current, system('a'));
    assert_eq!(last(&robot), What::Confirmed);
}

#[test]
fn the_same_system_under_a_new_name_needs_no_trial() {
    let mut robot = robot();
    let mut renamed = release('a');
    renamed.release = "renamed".parse().unwrap();
    robot.published = Some(renamed.clone());
    let _ = robot.ask(Request::Update);
    robot.settle();
    assert_eq!(last(&robot), What::Adopted);
    let confirmed = robot.journal.confirmed.unwrap();
    assert_eq!(confirmed.release, Some(renamed.release));
}

#[test]
fn a_rollback_goes_to_the_one_before_and_what_was_left_stays_away() {
    let mut robot = robot();
    robot.update_to('b');
    robot.update_to('c');
    rollback(&mut robot).unwrap();
    assert_eq!(*robot.confirmed(), system('b'));
    assert_eq!(robot.default, system('b'));
    assert_eq!(
        robot.journal.blocked(&release('c')).unwrap().evidence.cause,
        Cause::Rollback
    );
    robot.update_to('c');
    assert_eq!(
        *robot.confirmed(),
        system('b'),
        "a rolled back release came again"
    );
    rollback(&mut robot).unwrap();
    assert_eq!(*robot.confirmed(), system('a'), "two deep");
    assert!(matches!(rollback(&mut robot), Err(Refusal::NothingToDo(_))));
}

fn records(robot: &Robot, what: What) -> Vec<&str> {
    let all = robot.journal.history.iter();
    all.filter(|record| record.what == what)
        .map(|record| record.release.as_ref().unwrap().as_str())
        .collect()
}

fn roll_back_to(robot: &mut Robot, c: char) -> String {
    let answer = robot.ask(people::rollback(Some(system(c)), false, "drops boxes"));
    robot.settle();
    answer.unwrap()
}

#[test]
fn a_robot_stays_where_a_person_put_it_whatever_was_on_its_way() {
    let mut stages = BTreeMap::new();
    for steps in 0..30 {
        let mut robot = robot();
        for c in ['b', 'c'] {
            robot.update_to(c);
        }
        // It waits for a gate in the end.
        robot.closed.insert(Stage::Activate);
        robot.published = Some(release('d'));
        let _ = robot.ask(Request::Update);
        for _ in 0..steps {
            robot.advance();
        }
        let state = robot.state().name();
        let waits = robot.journal.state.target().is_some();
        robot.closed.clear();
        let said = roll_back_to(&mut robot, 'a');
        if !waits {
            // Nobody could know of it.
            continue;
        }
        *stages.entry(state).or_insert(0) += 1;
        assert_eq!(*robot.confirmed(), system('a'));
        let names = |said: &str, c| said.contains(release(c).release.as_str());
        for c in ['b', 'c', 'd'] {
            assert!(robot.journal.blocked(&release(c)).is_some(), "{c}");
            assert!(names(&said, c), "{said}");
        }
        assert_eq!(records(&robot, What::Blocked).len(), 3, "nothing twice");
        // What is newer comes.
        robot.update_to('f');
        assert_eq!(*robot.confirmed(), system('f'));
    }
    assert_eq!(stages.len(), 2, "{stages:?}");
}

#[test]
fn what_is_offered_and_not_begun_stays_away_too_after_a_rollback() {
    let mut robot = robot();
    robot.update_to('b');
    robot.meddle(Action::Test, system('x'));
    robot.kill();
    robot.start();
    robot.update_to('c');
    assert_eq!(*robot.state(), State::Idle);
    // Undoing somebody's switch gives no release up.
    let said = rollback(&mut robot).unwrap();
    assert!(!said.contains("blocked"), "{said}");
    assert_eq!(robot.journal.blocked, []);
    assert_eq!(*robot.confirmed(), system('c'));
}

#[test]
fn where_a_person_goes_is_not_blocked() {
    let mut robot = robot();
    for c in ['b', 'c'] {
        robot.update_to(c);
    }
    // The goal under a new name waits.
    robot.closed.insert(Stage::Activate);
    let mut again = release('a');
    again.release = "a-again".parse().unwrap();
    robot.published = Some(again.clone());
    let _ = robot.ask(Request::Update);
    for _ in 0..30 {
        robot.advance();
    }
    assert_eq!(robot.journal.state.target(), Some(&again));
    robot.closed.clear();
    roll_back_to(&mut robot, 'a');
    assert_eq!(*robot.confirmed(), system('a'));
    assert!(robot.journal.blocked(&again).is_none());
    // What lay between is the way forward now, and no longer what was left.
    assert!(robot.journal.blocked(&release('b')).is_some());
    roll_back_to(&mut robot, 'b');
    assert_eq!(*robot.confirmed(), system('b'));
    assert!(robot.journal.blocked(&release('b')).is_none());
    assert_eq!(
        records(&robot, What::Unblocked),
        [release('b').release.as_str()]
    );
}

#[test]
fn what_a_person_unblocks_is_tried_again_at_the_next_check() {
    let mut robot = robot();
    robot.update_to('b');
    rollback(&mut robot).unwrap();
    robot.sick.insert(system('c'));
    robot.update_to('c');
    assert_eq!(robot.journal.blocked.len(), 2);
    let unblock = |what: RollbackTo| Request::Unblock {
        what,
        why: "its motor was loose".into(),
        by: "ada".into(),
    };
    let named = |c: char| RollbackTo::Release(release(c).release);
    let unknown = robot.ask(unblock(named('d'))).unwrap_err().to_string();
    assert!(unknown.contains("blocked are"), "{unknown}");
    robot.sick.clear();
    robot.ask(unblock(named('c'))).unwrap();
    assert_eq!(records(&robot, What::Unblocked).len(), 1);
    let twice = robot.ask(unblock(RollbackTo::System(system('c'))));
    assert!(matches!(twice, Err(Refusal::NothingToDo(_))), "{twice:?}");
    assert!(robot.journal.blocked(&release('b')).is_some());
    robot.update_to('c');
    assert_eq!(*robot.confirmed(), system('c'));
    // A system that was left is blocked whatever its release is called, and so it is unblocked.
    let renamed = surefoot_core::release::Target {
        release: "another-name".parse().unwrap(),
        ..release('b')
    };
    robot.ask(unblock(RollbackTo::System(system('b')))).unwrap();
    assert_eq!(robot.journal.blocked, []);
    robot.published = Some(renamed);
    let _ = robot.ask(Request::Update);
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'));
}

#[test]
fn a_system_that_a_person_left_stays_away_under_any_name_until_its_publisher_says_again() {
    let mut robot = robot();
    robot.update_to('b');
    rollback(&mut robot).unwrap();
    let mut renamed = release('b');
    renamed.release = "another-name".parse().unwrap();
    robot.published = Some(renamed.clone());
    let _ = robot.ask(Request::Update);
    robot.settle();
    assert_eq!(*robot.confirmed(), system('a'));
    renamed.again = true;
    robot.published = Some(renamed);
    let _ = robot.ask(Request::Update);
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'));
}

#[test]
fn a_rollback_ends_a_trial_even_in_the_middle_of_the_switch() {
    for steps in 0..40 {
        let mut robot = robot();
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        for _ in 0..steps {
            robot.advance();
        }
        let in_trial = matches!(robot.state(), State::Trial(_));
        let answer = rollback(&mut robot);
        if in_trial {
            answer.unwrap();
            assert_eq!(*robot.confirmed(), system('a'));
            assert_eq!(robot.current, system('a'));
            assert!(robot.journal.blocked(&release('b')).is_some());
        }
    }
}

#[test]
fn a_hold_lets_the_download_go_on_and_nothing_else() {
    let mut robot = robot();
    let hold = Request::Hold {
        length: Some(Duration::from_secs(4 * 3600)),
        why: "loading".into(),
        by: "arm".into(),
        counted: None,
    };
    robot.ask(hold).unwrap();
    robot.published = Some(release('b'));
    for _ in 0..30 {
        robot.advance();
    }
    assert!(
        matches!(robot.state(), State::Ready(_)),
        "{:?}",
        robot.state()
    );
    assert_eq!(robot.current, system('a'));
    assert!(matches!(
        robot.ask(Request::Update),
        Err(Refusal::Refused(_))
    ));
    assert!(matches!(
        rollback_as(&mut robot, "ada"),
        Err(Refusal::Refused(_))
    ));
    assert!(matches!(
        robot.ask(Request::Resume {
            by: Some("ada".into())
        }),
        Err(Refusal::NothingToDo(_))
    ));
    robot.ask(Request::Resume { by: None }).unwrap();
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'));
}

#[test]
fn what_was_collected_before_its_trial_is_fetched_again() {
    let mut robot = robot();
    robot.collected = true;
    robot.update_to('b');
    assert_eq!(*robot.confirmed(), system('b'));
    assert!(!robot.collected);
}

fn rollback_as(robot: &mut Robot, by: &str) -> Result<String, Refusal> {
    robot.ask(Request::Rollback {
        force: false,
        end_holds: false,
        to: None,
        why: "x".into(),
        by: by.into(),
    })
}

#[test]
fn a_hold_ends_by_itself_but_never_early_after_a_reboot() {
    let mut robot = robot();
    let hour = Duration::from_secs(3600);
    let hold = Request::Hold {
        length: Some(hour),
        why: "loading".into(),
        by: "arm".into(),
        counted: None,
    };
    robot.ask(hold).unwrap();
    robot.published = Some(release('b'));
    robot.now = robot.now + hour / 2;
    robot.power_cut();
    let rebooted = robot.now;
    robot.start();
    robot.settle_until(|robot| *robot.confirmed() == system('b'));
    assert!(robot.now.since(rebooted) >= hour, "the hold ended early");
}

#[test]
fn a_dead_agent_is_reverted_by_the_dead_man_timer() {
    for steps in 0..30 {
        let mut robot = robot();
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        for _ in 0..steps {
            robot.advance();
        }
        if !matches!(robot.state(), State::Trial(_)) {
            continue;
        }
        robot.kill();
        while robot.dead_man.is_some() {
            robot.advance();
        }
        assert_eq!(robot.current, system('a'), "after {steps} steps");
        robot.start();
        robot.settle();
        let confirmed = robot.confirmed().clone();
        assert_eq!(robot.current, confirmed);
        let blocked = robot.journal.blocked(&release('b'));
        if let Some(blocked) = blocked {
            assert_eq!(blocked.evidence.cause, Cause::DeadMan);
        } else {
            // It died before it had begun; then it may try.
            assert_eq!(confirmed, system('b'));
        }
    }
}

#[test]
fn an_agent_that_somebody_stopped_in_a_trial_condemns_its_release_only_after_all_tries() {
    let mut robot = robot();
    for tries in 1..=robot.policy.trial_attempts {
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| is_soaking(robot) && !robot.is_awaited());
        robot.kill();
        while robot.dead_man.is_some() {
            robot.advance();
        }
        robot.is_kept_away();
        robot.start();
        robot.settle_until(|robot| robot.state().name() == "idle");
        assert_eq!(robot.current, system('a'));
        let blocked = robot.journal.blocked(&release('b'));
        let last = tries == robot.policy.trial_attempts;
        assert_eq!(blocked.is_some(), last, "{}", robot.log);
        assert!(blocked.is_none_or(|it| it.evidence.cause == Cause::DeadMan));
        robot.published = None;
        robot.settle();
    }
}

#[test]
fn a_live_trial_that_ends_in_a_reset_is_blocked_if_something_knows_why() {
    for cause in [Cause::Watchdog, Cause::Panic] {
        let mut robot = robot();
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| {
            let State::Trial(Trial { phase, .. }) = robot.state() else {
                return false;
            };
            matches!(phase, Phase::Soaking { .. })
        });
        robot.reset(cause);
        robot.start();
        robot.settle();
        assert_eq!(*robot.confirmed(), system('a'));
        let blocked = robot.journal.blocked(&release('b'));
        assert_eq!(blocked.and_then(|b| b.evidence.cause.known()), Some(cause));
        // A power cut says nothing: tried again.
        let mut robot = self::robot();
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| robot.state().order().is_some());
        robot.power_cut();
        robot.start();
        robot.update_to('b');
        assert_eq!(*robot.confirmed(), system('b'));
    }
}

#[test]
fn a_restarted_agent_finds_its_own_switch_again() {
    let mut robot = robot();
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.state().order().is_some());
    robot.kill();
    robot.start();
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'));
    let tried = robot
        .journal
        .history
        .iter()
        .filter(|r| r.what == What::Tried)
        .count();
    assert_eq!(tried, 1);
}

#[test]
fn drift_is_reported_and_updates_wait() {
    let mut robot = robot();
    robot.meddle(Action::Test, system('x'));
    robot.update_to('b');
    assert_eq!(robot.machine.as_ref().unwrap().drift(), Some(&system('x')));
    assert_eq!(robot.current, system('x'), "nothing by surprise");
    assert!(matches!(
        robot.ask(Request::Update),
        Err(Refusal::Refused(_))
    ));
    robot.published = None;
    rollback(&mut robot).unwrap();
    assert_eq!(robot.current, system('a'));
    assert!(robot.journal.blocked.is_empty(), "nobody is to blame");
    robot.update_to('b');
    assert_eq!(*robot.confirmed(), system('b'));
}

#[test]
fn drift_can_be_adopted_after_health_or_restored() {
    let mut adopt = robot();
    adopt.policy.drift = DriftPolicy::Adopt;
    adopt.meddle(Action::Test, system('x'));
    let _ = adopt.ask(Request::Update);
    adopt.settle();
    assert_eq!(*adopt.confirmed(), system('x'));
    assert_eq!(adopt.default, system('x'));

    let mut sick = robot();
    sick.policy.drift = DriftPolicy::Adopt;
    sick.meddle(Action::Test, system('x'));
    sick.sick.insert(system('x'));
    let _ = sick.ask(Request::Update);
    sick.settle();
    assert_eq!(
        (sick.confirmed().clone(), sick.current.clone()),
        (system('a'), system('x'))
    );

    let mut restore = robot();
    restore.policy.drift = DriftPolicy::Restore;
    restore.meddle(Action::Test, system('x'));
    let _ = restore.ask(Request::Update);
    restore.settle();
    assert_eq!(restore.current, system('a'));
    assert_eq!(last(&restore), What::Restored);
}

#[test]
fn what_could_not_be_adopted_whole_does_not_stay_the_loaders_default() {
    let mut robot = robot();
    robot.policy.drift = DriftPolicy::Adopt;
    robot.meddle(Action::Test, system('x'));
    robot
        .outcomes
        .insert(system('x'), Outcome::ActivationFailed);
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.journal.left_in_profile.is_some());
    assert_eq!(
        (robot.default.clone(), robot.confirmed().clone()),
        (system('x'), system('a'))
    );
    // Whoever switched goes back by hand: nobody adopts it any more.
    robot.policy.drift = DriftPolicy::Report;
    robot.meddle(Action::Test, system('a'));
    robot.settle_until(|robot| robot.journal.left_in_profile.is_none());
    assert_eq!(robot.default, system('a'));
}

#[test]
fn leftovers_of_an_interrupted_switch_are_finished_first() {
    let mut robot = robot();
    robot.leftovers = true;
    robot.kill();
    robot.start();
    robot.settle();
    assert!(!robot.leftovers);
    assert_eq!(last(&robot), What::Restored);
}

#[test]
fn a_cut_ends_on_what_the_loader_starts_and_blocks_nothing() {
    let mut steps = 0;
    loop {
        let mut robot = robot();
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        for _ in 0..steps {
            robot.advance();
        }
        let committing = matches!(robot.state(), State::Committing(_));
        let done = *robot.confirmed() == system('b');
        if done {
            break;
        }
        let written = robot.default == system('b');
        robot.published = None;
        robot.power_cut();
        robot.start();
        robot.settle();
        // A system that the loader does not start is not activated again without its proof.
        let expected = if committing && robot.booted == system('b') {
            'b'
        } else {
            assert!(!written, "after {steps} steps");
            'a'
        };
        assert_eq!(*robot.confirmed(), system(expected), "after {steps} steps");
        assert_eq!(robot.current, system(expected));
        assert_eq!(robot.default, system(expected));
        assert_eq!(robot.journal.blocked, []);
        steps += 1;
    }
    assert!(steps > 10);
}

/// A robot on which `b` proved healthy and cannot be committed, since the loader cannot be written.
fn waits_for_its_commit() -> Robot {
    let mut robot = robot();
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| matches!(robot.state(), State::Committing(_)));
    robot.read_only = true;
    for _ in 0..100 {
        robot.advance();
    }
    robot.settle_until(|robot| !robot.is_awaited());
    assert!(matches!(robot.state(), State::Committing(_)));
    assert_eq!(robot.current, system('b'));
    assert_eq!(robot.journal.disturbances.as_ref().unwrap().again, []);
    robot
}

#[test]
fn a_healthy_system_is_not_left_because_the_loader_cannot_be_written() {
    let mut robot = waits_for_its_commit();
    assert_eq!(robot.journal.blocked, []);
    robot.read_only = false;
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'));
    assert_eq!(robot.default, system('b'));
}

#[test]
fn a_person_goes_back_while_a_commit_waits() {
    let mut robot = waits_for_its_commit();
    let elsewhere = robot.ask(Request::Rollback {
        to: Some(RollbackTo::System(system('x'))),
        force: false,
        end_holds: false,
        why: "drops boxes".into(),
        by: "ada".into(),
    });
    assert!(elsewhere.is_err());
    let answer = robot.ask(Request::Rollback {
        to: None,
        force: false,
        end_holds: false,
        why: "drops boxes".into(),
        by: "ada".into(),
    });
    assert!(answer.is_ok(), "{answer:?}");
    robot.settle_until(|robot| robot.current == system('a'));
    robot.read_only = false;
    robot.settle();
    assert_eq!(*robot.confirmed(), system('a'));
    let blocked = robot.journal.blocked(&release('b')).unwrap();
    assert_eq!(blocked.evidence.cause, Cause::Rollback);
}

#[test]
fn a_newer_release_or_a_recall_is_heard_while_a_commit_waits() {
    for instead in [Some('c'), None] {
        let mut robot = waits_for_its_commit();
        robot.published = instead.map(release);
        robot.closed.insert(Stage::Activate);
        for _ in 0..200 {
            robot.advance();
        }
        assert_eq!(robot.current, system('b'), "a gate is closed");
        robot.closed.clear();
        robot.settle_until(|robot| robot.current == system('a'));
        robot.read_only = false;
        robot.settle();
        assert_eq!(*robot.confirmed(), system(instead.unwrap_or('a')));
        assert_eq!(robot.journal.blocked, []);
    }
}

#[test]
fn a_power_cut_while_a_commit_waits_activates_nothing_without_a_trial() {
    let mut robot = waits_for_its_commit();
    for _ in 0..10 {
        robot.power_cut();
        robot.start();
        robot.settle_until(|robot| robot.state().name() != "committing");
        assert_eq!(robot.current, system('a'));
        for _ in 0..100 {
            robot.advance();
        }
    }
    assert_eq!(robot.journal.blocked, []);
    let tried = robot.journal.history.iter();
    let tried = tried.filter(|record| record.what == What::Tried).count();
    assert!(tried < 10, "each power-on began a trial: {tried}");
    robot.read_only = false;
    robot.update_to('b');
    assert_eq!(*robot.confirmed(), system('b'));
}

#[test]
fn what_keeps_itself_from_being_committed_is_left_when_nobody_minds_and_blocked() {
    let mut robot = robot();
    robot.lockers.insert(system('b'));
    robot.closed.insert(Stage::Reboot);
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| matches!(robot.state(), State::Committing(_)));
    // Not while somebody minds, however long that lasts.
    robot.closed.insert(Stage::Activate);
    let since = robot.now;
    robot.settle_until(|robot| robot.now > since + robot.policy.switch_timeout * 20);
    assert_eq!((robot.boots, &robot.current), (1, &system('b')));
    assert_eq!(robot.journal.blocked, []);
    robot.closed.remove(&Stage::Activate);
    robot.settle_until(|robot| !robot.journal.blocked.is_empty());
    // Its own unit held the lock on the way back as well, so the robot was rebooted.
    assert_eq!((robot.boots, &robot.current), (2, &system('a')));
    let evidence = &robot.journal.blocked[0].evidence;
    assert_eq!(evidence.cause, Cause::InItsOwnWay);
    assert!(evidence.message.contains("its own unit"), "{evidence:?}");
}

#[test]
fn somebody_elses_lock_keeps_no_system_from_being_kept() {
    let mut robot = robot();
    robot.lockers.insert(system('b'));
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| matches!(robot.state(), State::Committing(_)));
    // Its own unit lets go, and a technician holds the lock for a day.
    robot.lockers.clear();
    robot.locked = true;
    let since = robot.now;
    robot.settle_until(|robot| robot.now > since + Duration::from_hours(24));
    assert_eq!((robot.boots, robot.state().name()), (1, "committing"));
    robot.locked = false;
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'));
}

#[test]
fn a_way_back_that_finds_the_lock_held_waits_and_reboots_nobody() {
    let mut robot = robot();
    robot.update_to('b');
    robot.locked = true;
    let _ = robot.ask(Request::Rollback {
        to: None,
        force: false,
        end_holds: false,
        why: "drops boxes".into(),
        by: "ada".into(),
    });
    for _ in 0..100 {
        robot.advance();
    }
    assert_eq!((robot.boots, &robot.current), (1, &system('b')));
    robot.locked = false;
    robot.settle();
    assert_eq!(*robot.confirmed(), system('a'));
}

#[test]
fn a_revert_that_fails_reboots_but_not_for_ever() {
    let mut robot = robot();
    robot.sick.insert(system('b'));
    robot.outcomes.insert(system('a'), Outcome::Failed(5));
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle();
    // The reboot itself brought it back.
    assert_eq!(robot.current, system('a'));
    let reboots = robot
        .journal
        .history
        .iter()
        .filter(|r| r.what == What::Rebooted)
        .count();
    assert!((1..=MAX_REBOOTS as usize).contains(&reboots));
}

#[test]
fn an_activation_that_fails_on_the_system_before_as_well_excuses_no_release() {
    let mut robot = robot();
    for c in ['a', 'b'] {
        robot.outcomes.insert(system(c), Outcome::ActivationFailed);
    }
    robot.update_to('b');
    robot.settle();
    let blocked = robot.journal.blocked(&release('b')).unwrap();
    assert_eq!(blocked.evidence.cause, Cause::Switch, "{}", robot.log);
    let a = system('a');
    assert_eq!((robot.confirmed(), &robot.current), (&a, &a));
    // One that has its activation in order is taken.
    robot.update_to('c');
    assert_eq!(*robot.confirmed(), system('c'), "{}", robot.log);
}

#[test]
fn a_rollback_to_a_system_whose_activation_fails_is_done_and_says_so() {
    for restarts in [false, true] {
        let mut robot = robot();
        robot.update_to('b');
        assert_eq!(*robot.confirmed(), system('b'));
        robot
            .outcomes
            .insert(system('a'), Outcome::ActivationFailed);
        robot
            .ask(Request::Rollback {
                force: false,
                end_holds: false,
                to: None,
                why: "drops boxes".into(),
                by: "ada".into(),
            })
            .unwrap();
        if restarts {
            // The switch ends while no agent runs.
            robot.kill();
            robot.advance();
            robot.start();
        }
        robot.settle();
        let a = system('a');
        assert_eq!(
            (robot.confirmed(), &robot.current, &robot.default),
            (&a, &a, &a),
            "{}",
            robot.log
        );
        let record = robot.journal.history.last().unwrap();
        assert_eq!(record.what, What::RolledBack);
        let why = record.why.as_deref().unwrap();
        assert!(
            why.contains("drops boxes; the activation script failed"),
            "{why}"
        );
    }
}

#[test]
fn a_failed_way_out_of_a_hand_made_switch_never_makes_that_system_the_default() {
    let mut robot = robot();
    robot.meddle(Action::Test, system('x'));
    let _ = robot.ask(Request::Update);
    robot.settle();
    robot
        .outcomes
        .insert(system('a'), Outcome::ActivationFailed);
    rollback(&mut robot).unwrap();
    assert_eq!(*robot.confirmed(), system('a'));
    assert_eq!(
        (robot.profile.clone(), robot.default.clone()),
        (system('a'), system('a'))
    );
}

#[test]
fn a_profile_that_a_failed_way_back_left_is_put_right_later() {
    let mut robot = robot();
    robot.sick.insert(system('b'));
    robot.needs_reboot.insert(system('b'));
    robot.outcomes.insert(system('a'), Outcome::Refused);
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.journal.left_in_profile.is_some());
    assert_eq!(robot.profile, system('b'));
    assert_eq!(robot.default, system('a'));
    robot.outcomes.clear();
    robot.settle_until(|robot| robot.profile == system('a'));
    robot.settle();
    assert_eq!(robot.journal.left_in_profile, None);
    assert!(robot.journal.blocked(&release('b')).is_some());
}

#[test]
fn an_answer_after_the_deadline_confirms_nothing() {
    let mut robot = robot();
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| is_soaking(robot) && robot.is_awaited());
    // The agent got no processor; what it asked before was healthy.
    robot.pass(robot.policy.health_deadline);
    robot.settle_until(|robot| robot.state().name() == "idle");
    assert_eq!(*robot.confirmed(), system('a'));
    assert_eq!(robot.current, system('a'));
    assert!(robot.journal.blocked.is_empty(), "{}", robot.log);
}

#[test]
fn what_a_robot_sleeps_during_a_trial_is_added_to_its_deadline_and_proves_nothing() {
    let mut robot = robot();
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| is_soaking(robot) && !robot.is_awaited());
    robot.advance();
    let before = robot.now;
    robot.sleep(Duration::from_secs(3600));
    robot.settle_until(|robot| robot.state().name() == "committing");
    let awake = robot.now.since(before) - Duration::from_secs(3600);
    let looked = 2 * robot.policy.health_interval;
    assert!(awake + looked >= robot.policy.soak, "{}", robot.log);
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'), "{}", robot.log);
    assert_eq!(robot.journal.attempts, None);
}

#[test]
fn a_trial_that_nobody_could_look_at_often_enough_counts_only_after_all_tries() {
    let mut robot = robot();
    for tries in 1..=robot.policy.trial_attempts {
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| is_soaking(robot) && !robot.is_awaited());
        // The agent gets no processor, and its guard none either.
        robot.pass(robot.policy.health_deadline);
        robot.settle_until(|robot| robot.state().name() == "idle");
        assert_eq!(robot.current, system('a'), "{}", robot.log);
        let blocked = robot.journal.blocked(&release('b'));
        let last = tries == robot.policy.trial_attempts;
        assert_eq!(blocked.is_some(), last, "{}", robot.log);
        assert!(blocked.is_none_or(|it| it.evidence.cause == Cause::Deadline));
        robot.published = None;
        robot.settle();
    }
}

#[test]
fn a_look_at_the_robot_that_began_before_the_trial_does_not_end_it() {
    for in_commit in [false, true] {
        let mut robot = robot();
        let before = robot.world();
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| is_soaking(robot) && !robot.is_awaited());
        if in_commit {
            robot.settle_until(|robot| robot.state().name() == "committing");
            robot.slow.insert(system('b'));
            robot.settle_until(|robot| robot.default == system('b') && !robot.is_awaited());
        }
        let state = robot.state().clone();
        let guarded = robot.is_guarded();
        robot.feed(Event::Observed(before));
        assert_eq!(*robot.state(), state, "{}", robot.log);
        assert_eq!(robot.is_guarded(), guarded);
        robot.slow.clear();
        robot.settle();
        assert_eq!(*robot.confirmed(), system('b'), "{}", robot.log);
    }
}

#[test]
fn a_specialisation_of_the_release_that_runs_when_the_agent_starts_again_is_held_against_it() {
    let mut robot = robot();
    robot.variants.insert(system('v'), system('b'));
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| is_soaking(robot) && !robot.is_awaited());
    assert!(robot.meddle(Action::Test, system('v')));
    robot.kill();
    robot.start();
    robot.settle();
    assert_eq!(robot.current, system('a'), "{}", robot.log);
    assert!(robot.journal.blocked(&release('b')).is_some());
}

#[test]
fn whoever_switches_in_the_middle_of_a_trial_is_left_alone_and_blocks_nothing() {
    for (in_commit, to) in [(false, 'x'), (false, 'a'), (true, 'x'), (true, 'a')] {
        let mut robot = robot();
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| is_soaking(robot) && !robot.is_awaited());
        if in_commit {
            robot.settle_until(|robot| robot.state().name() == "committing");
            // The look after its switch does not end it.
            robot.slow.insert(system('b'));
            robot.settle_until(|robot| robot.default == system('b') && !robot.is_awaited());
        }
        assert!(robot.meddle(Action::Test, system(to)), "{}", robot.log);
        robot.settle();
        assert_eq!(robot.current, system(to), "{}", robot.log);
        assert!(robot.journal.blocked.is_empty(), "{}", robot.log);
        assert_eq!(*robot.confirmed(), system('a'), "{}", robot.log);
        // Once they are done with it, the release comes again.
        robot.slow.clear();
        robot.meddle(Action::Test, system('a'));
        robot.sleep(2 * robot.policy.poll_interval);
        robot.settle();
        robot.update_to('b');
        assert_eq!(*robot.confirmed(), system('b'), "{}", robot.log);
    }
}

/// The network goes once the update to `b` has come so far, and does not come back.
fn update_and_lose_the_network(robot: &mut Robot, state: &str) {
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| robot.state().name() == state);
    robot.outage = true;
    robot.settle_until(|robot| robot.state().name() == "idle");
}

#[test]
fn what_was_set_aside_for_want_of_the_network_after_a_commit_confirms_nothing() {
    // A job of the release fails from its second start on, and the network is away just then.
    let mut robot = robot();
    robot.by_network.insert(system('b'));
    robot.fails_again.insert(system('b'));
    update_and_lose_the_network(&mut robot, "committing");
    assert_eq!(robot.current, system('a'), "{}", robot.log);
    // Nobody can tell, so it is doubted once the system before reaches the repository.
    assert!(robot.journal.blocked.is_empty(), "{}", robot.log);
    robot.outage = false;
    robot.settle_until(|robot| robot.journal.attempts.is_some());
    assert_eq!(*robot.confirmed(), system('a'), "{}", robot.log);
}

#[test]
fn a_nix_daemon_that_hangs_in_a_trial_is_held_against_nobody() {
    let mut robot = robot();
    // Whatever runs, as where its disk is dying.
    robot.nix_hangs.extend([system('a'), system('b')]);
    for _ in 0..=robot.policy.trial_attempts {
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| is_soaking(robot) && !robot.is_awaited());
        robot.settle_until(|robot| robot.state().name() == "idle");
        assert_eq!(robot.current, system('a'), "{}", robot.log);
        robot.published = None;
        robot.settle();
        assert_eq!(last(&robot), What::Reverted);
        assert!(robot.journal.blocked.is_empty(), "{}", robot.log);
        assert_eq!(
            (&robot.journal.suspect, &robot.journal.attempts),
            (&None, &None)
        );
        robot.sleep(Duration::from_secs(86_400));
    }
    robot.nix_hangs.clear();
    robot.update_to('b');
    assert_eq!(*robot.confirmed(), system('b'), "{}", robot.log);
}

#[test]
fn a_release_on_which_the_nix_daemon_hangs_is_blocked_once_the_one_before_is_answered_often_enough()
{
    for by_boot in [false, true] {
        let mut robot = robot();
        robot.nix_hangs.insert(system('b'));
        robot.needs_reboot.extend(by_boot.then(|| system('b')));
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| robot.journal.attempts.is_some());
        let attempts = robot.journal.attempts.clone().unwrap();
        assert_eq!(attempts.checks, BTreeMap::from([(Check::NixDaemon, 1)]));
        assert!(robot.journal.blocked.is_empty(), "once is no proof");
        robot.settle_until(|robot| !robot.journal.blocked.is_empty());
        robot.settle();
        assert_eq!(robot.current, system('a'), "{}", robot.log);
        assert_eq!(*robot.confirmed(), system('a'), "{}", robot.log);
        assert_eq!(robot.journal.suspect, None);
    }
}

#[test]
fn a_release_that_ends_the_nix_daemon_after_it_was_asked_is_never_kept() {
    for at in ["trial", "committing"] {
        let mut robot = robot();
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| is_soaking(robot) && !robot.is_awaited());
        robot.settle_until(|robot| robot.state().name() == at);
        robot.nix_hangs.insert(system('b'));
        robot.settle_until(|robot| robot.journal.attempts.is_some());
        assert_eq!(*robot.confirmed(), system('a'), "{at}: {}", robot.log);
        assert_eq!(robot.current, system('a'), "{at}: {}", robot.log);
    }
}

#[test]
fn a_check_that_passed_while_the_repository_was_down_is_a_doubt_where_it_is_not_reached_still() {
    for unreached in [true, false] {
        let mut robot = robot();
        for tries in 1..=robot.policy.trial_attempts {
            robot.published = Some(release('b'));
            let _ = robot.ask(Request::Update);
            robot.settle_until(|robot| robot.state().name() == "ready");
            robot.outage = true;
            robot.settle_until(|robot| is_soaking(robot) && !robot.is_awaited());
            robot.outage = unreached;
            robot.lan_gone = true;
            robot.settle_until(|robot| robot.state().name() == "idle");
            (robot.outage, robot.lan_gone) = (false, false);
            let blocked = robot.journal.blocked(&release('b')).is_some();
            let last = tries == robot.policy.trial_attempts;
            assert_eq!(blocked, last || !unreached, "{}", robot.log);
            robot.published = None;
            robot.settle();
            if blocked {
                break;
            }
        }
    }
}

#[test]
fn what_nobody_could_ask_before_a_trial_is_not_worse_after_it() {
    for unasked in [false, true] {
        let mut robot = robot();
        (robot.check_fails, robot.unasked) = (true, unasked);
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| robot.state().name() == "reverting");
        robot.published = None;
        let boots = robot.boots;
        robot.settle();
        let long = robot.now + 2 * robot.policy.health_deadline;
        robot.settle_until(|robot| robot.now > long);
        assert_eq!(robot.boots, boots, "{}", robot.log);
        assert!(robot.journal.aftermath.is_none(), "{}", robot.log);
    }
}

#[test]
fn an_outage_at_the_commit_of_a_good_release_costs_it_nothing() {
    let mut robot = robot();
    robot.by_network.insert(system('b'));
    update_and_lose_the_network(&mut robot, "committing");
    assert_eq!(*robot.confirmed(), system('b'), "{}", robot.log);
}

#[test]
fn what_is_worse_after_a_way_back_without_a_network_is_told_once_it_is_back() {
    let mut robot = robot();
    robot.by_network.insert(system('a'));
    robot.sick.insert(system('b'));
    robot.hurts.insert(system('b'));
    update_and_lose_the_network(&mut robot, "reverting");
    let boots = robot.boots;
    let long = robot.now + 2 * robot.policy.health_deadline;
    robot.settle_until(|robot| robot.now > long);
    assert_eq!(robot.boots, boots, "{}", robot.log);
    assert!(robot.journal.aftermath.is_some(), "{}", robot.log);
    robot.outage = false;
    robot.settle_until(|robot| robot.boots > boots);
    robot.settle_until(|robot| robot.journal.aftermath.is_none());
    assert_eq!(robot.current, system('a'), "{}", robot.log);
}

#[test]
fn a_person_moves_a_way_back_that_stands_still() {
    let mut robot = robot();
    robot.needs_reboot.insert(system('b'));
    robot.sick.insert(system('b'));
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| matches!(robot.state(), State::Reverting(_)));
    // Each reboot that was to lead back was lost.
    if let State::Reverting(reverting) = &mut robot.journal.state {
        reverting.reboots = MAX_REBOOTS;
    }
    robot.kill();
    robot.start();
    robot.settle_until(|robot| {
        let machine = robot.machine.as_ref();
        machine.is_some_and(|machine| machine.problem().is_some())
    });
    assert!(matches!(robot.state(), State::Reverting(_)));
    assert_eq!(robot.current, system('b'));
    rollback(&mut robot).unwrap();
    robot.settle();
    assert_eq!(*robot.state(), State::Idle);
    assert_eq!(robot.current, system('a'));
}

#[test]
fn a_rollback_that_is_refused_ends_no_hold_and_one_that_is_granted_ends_all_with_it() {
    let mut robot = robot();
    robot.update_to('b');
    robot.ask(people::hold("eve", None)).unwrap();
    let back = |to: char| Request::Rollback {
        to: Some(RollbackTo::System(system(to))),
        force: false,
        end_holds: true,
        why: "drops boxes".into(),
        by: "ada".into(),
    };
    let before = robot.journal.clone();
    robot.ask(back('x')).unwrap_err();
    robot.lease(true, 60).unwrap();
    robot.ask(back('a')).unwrap_err();
    robot.lease(false, 60).unwrap();
    assert_eq!(robot.journal, before);
    // Nor one that cannot be written.
    robot.refused_saves = 1;
    robot.try_ask(back('a'));
    assert_eq!(robot.journal.holds, before.holds);
    robot.settle();
    assert_eq!(robot.current, system('b'));

    robot.ask(back('a')).unwrap();
    robot.settle();
    assert_eq!(*robot.confirmed(), system('a'));
    assert!(robot.journal.holds.is_empty());
    let why = robot.journal.history.last().unwrap().why.clone().unwrap();
    assert!(
        why.contains("for that these holds were ended: eve"),
        "{why}"
    );
}

#[test]
fn whoever_wants_back_where_the_robot_goes_already_is_told_so_and_not_turned_away() {
    // From a trial that failed, and after another person's rollback.
    for asks_twice in [false, true] {
        let mut robot = robot();
        if asks_twice {
            robot.update_to('b');
            robot.ask(people::rollback(None, false, "first")).unwrap();
        } else {
            robot.sick.insert(system('b'));
            robot.published = Some(release('b'));
            let _ = robot.ask(Request::Update);
            robot.settle_until(|robot| matches!(robot.state(), State::Reverting(_)));
        }
        let said = robot.ask(people::rollback(None, false, "second")).unwrap();
        assert!(said.contains("on its way back"), "{said}");
        let elsewhere = people::rollback(Some(system('x')), false, "third");
        robot.ask(elsewhere).unwrap_err();
        robot.settle();
        assert_eq!(*robot.confirmed(), system('a'));
        let said = robot.journal.history.iter();
        let mut said = said.filter_map(|record| record.why.as_deref());
        assert!(said.any(|why| why.contains("second")), "{}", robot.log);
        robot.check_rest();
    }
}

#[test]
fn a_release_that_is_recalled_is_not_fetched_any_more() {
    let mut robot = robot();
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| matches!(robot.state(), State::Fetching(_)));
    robot.feed(Event::Polled(None.into()));
    assert_eq!(*robot.state(), State::Idle);
}

#[test]
fn a_download_that_fails_is_tried_again_later_and_blames_nobody() {
    let mut robot = robot();
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| matches!(robot.state(), State::Fetching(_)));
    robot.feed(Event::FetchFailed("the cache answers 500".into()));
    assert_eq!(
        robot.machine.as_ref().unwrap().problem(),
        Some("the cache answers 500")
    );
    robot.settle();
    assert_eq!(*robot.confirmed(), system('b'));
    assert!(robot.journal.blocked.is_empty());
}

#[test]
fn a_network_that_comes_back_is_asked_over_soon() {
    let mut robot = robot();
    for _ in 0..20 {
        robot.feed(Event::PollFailed("no route".into()));
    }
    let next = |robot: &Robot| robot.machine.as_ref().unwrap().next_poll().unwrap();
    let now = robot.now;
    assert!(next(&robot).since(now) > Duration::from_secs(1000));
    robot.feed(Event::NetworkChanged);
    // The last try was just now.
    assert!(next(&robot).since(now) <= Duration::from_secs(30));
    robot.feed(Event::Polled(None.into()));
    let calm = next(&robot);
    robot.feed(Event::NetworkChanged);
    assert_eq!(next(&robot), calm, "nothing has failed");
}

#[test]
fn a_repository_that_asks_for_a_pause_gets_it() {
    let mut robot = robot();
    let pause = Duration::from_secs(50_000);
    robot.feed(Event::PollFailed(Unserved {
        why: "503".into(),
        pause: Some(pause),
    }));
    robot.feed(Event::NetworkChanged);
    let machine = robot.machine.as_ref().unwrap();
    assert!(machine.next_poll().unwrap().since(robot.now) >= pause);
}

#[test]
fn what_may_be_fetched_in_a_day_is_kept_to_but_for_a_person() {
    let fetching = || {
        let mut robot = robot();
        robot.policy.daily_limit = 100;
        robot.published = Some(release('c'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| matches!(robot.state(), State::Fetching(_)));
        robot
    };
    let moved = |bytes, more| Event::Moved {
        bytes,
        wasted: 1,
        more,
    };
    let problem = |robot: &Robot| {
        let machine = robot.machine.as_ref().unwrap();
        machine.problem().unwrap_or_default().to_owned()
    };

    let mut robot = fetching();
    let start = robot.now;
    robot.feed(moved(99, true));
    assert_eq!(problem(&robot), "");
    robot.feed(moved(1, true));
    assert!(problem(&robot).contains("used up"));
    robot.feed(Event::NetworkChanged);
    robot.settle();
    assert_eq!(*robot.confirmed(), system('c'));
    assert!(robot.now.since(start) >= Duration::from_secs(86_400));

    let mut robot = fetching();
    let start = robot.now;
    robot.feed(moved(100, true));
    assert!(robot.ask(Request::Update).is_ok());
    robot.settle();
    assert_eq!(*robot.confirmed(), system('c'));
    assert!(robot.now.since(start) < Duration::from_secs(80_000));

    // What is here already is put to use.
    let mut robot = fetching();
    robot.feed(moved(100, false));
    assert_eq!(problem(&robot), "");
}

#[test]
fn a_journal_of_a_newer_agent_keeps_its_fields_and_a_newer_format_is_refused() {
    let robot = robot();
    let mut value = serde_json::to_value(&robot.journal).unwrap();
    value["gripper"] = serde_json::json!({ "closed": true });
    let journal = Journal::parse(value.to_string().as_bytes()).unwrap();
    let again: serde_json::Value = serde_json::from_slice(&journal.to_bytes().unwrap()).unwrap();
    assert_eq!(again["gripper"]["closed"], true);
    value["spec"] = 2.into();
    let error = Journal::parse(value.to_string().as_bytes())
        .unwrap_err()
        .to_string();
    assert!(error.contains("format 2"), "{error}");
}

/// The agent dies, and both copies of what it remembers with it.
fn lose_memory(robot: &mut Robot) {
    robot.kill();
    robot.journal = Journal {
        lost: Some(Loss::because("rust")),
        ..Journal::default()
    };
    robot.start();
}

#[test]
fn a_guard_stays_armed_and_fires_where_the_memory_of_the_trial_was_lost() {
    let mut robot = robot();
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| {
        matches!(robot.state(), State::Trial(trial)
            if matches!(trial.phase, Phase::Soaking { .. }))
    });
    let guard = robot.dead_man.clone().expect("a trial is guarded");
    lose_memory(&mut robot);
    assert_eq!(robot.dead_man, Some(guard));
    // Not what is on trial: what the guard leads back to.
    assert_eq!(*robot.confirmed(), system('a'));
    // It will switch by itself: nobody takes anything into the hand before.
    let refused = robot.lease(true, 3_600).unwrap_err().to_string();
    assert!(refused.contains("a guard is armed"), "{refused}");
    robot.settle_until(|robot| robot.dead_man.is_none());
    assert_eq!(robot.current, system('a'));
    // Soon after that the robot is looked at, and does its work again.
    let looked = robot.now + robot.policy.gate_interval;
    robot.settle_until(|robot| robot.now > looked);
    robot.lease(true, 60).unwrap();
    robot.lease(false, 60).unwrap();
    // And what was on trial is not begun again at once.
    robot.settle();
    assert_eq!(robot.current, system('a'));
    assert!(robot.journal.lost.is_some());
}

#[test]
fn after_a_loss_what_runs_is_confirmed_and_only_another_release_is_tried() {
    let mut robot = robot();
    robot.update_to('b');
    robot.sick.insert(system('c'));
    robot.update_to('c');
    assert!(robot.journal.blocked(&release('c')).is_some());
    assert_eq!(
        (robot.current.clone(), robot.booted.clone()),
        (system('b'), system('a'))
    );
    lose_memory(&mut robot);
    assert_eq!(*robot.confirmed(), system('b'));
    let adopted = robot.journal.history.last().unwrap();
    assert_eq!(adopted.what, What::Adopted);
    assert!(adopted.why.as_ref().unwrap().contains("memory was lost"));
    let machine = robot.machine.as_ref().unwrap();
    assert!(machine.problem().unwrap().contains("memory was lost"));
    // The release that failed is forgotten, and is not tried again for all that.
    for _ in 0..3 {
        robot.settle();
        robot.kill();
        robot.start();
    }
    robot.settle();
    assert_eq!(robot.current, system('b'));
    assert!(
        robot
            .journal
            .history
            .iter()
            .all(|record| record.what == What::Adopted)
    );
    // The next one is, and that ends it.
    robot.published = Some(release('d'));
    robot.settle_until(|robot| *robot.confirmed() == system('d'));
    assert_eq!(robot.journal.lost, None);
}

#[test]
fn after_a_loss_on_the_newest_release_the_next_one_is_tried() {
    let mut robot = robot();
    robot.update_to('b');
    lose_memory(&mut robot);
    robot.settle();
    let known = robot
        .journal
        .lost
        .as_ref()
        .map(|loss| loss.seen[0].system.clone());
    assert_eq!(known, Some(system('b')));
    robot.published = Some(release('c'));
    robot.settle_until(|robot| *robot.confirmed() == system('c'));
}

#[test]
fn after_a_loss_what_was_there_before_is_not_tried_and_what_is_new_is_at_once() {
    let mut robot = robot();
    robot.published = Some(release('b'));
    lose_memory(&mut robot);
    let seen = |c| Seen {
        release: release(c).release,
        system: system(c),
    };
    robot.kill();
    robot.journal.lost.as_mut().unwrap().seen = vec![seen('b'), seen('c')];
    robot.start();
    for old in ['b', 'c'] {
        robot.published = Some(release(old));
        robot.settle();
        assert_eq!(*robot.confirmed(), system('a'));
    }
    // The first that is offered since, and new.
    robot.published = Some(release('d'));
    robot.settle_until(|robot| *robot.confirmed() == system('d'));
}

#[test]
fn after_a_loss_nothing_is_tried_where_a_technician_is_to_say_go() {
    let mut robot = robot();
    robot.policy.after_loss = AfterLoss::Technician;
    lose_memory(&mut robot);
    for new in ['b', 'c'] {
        robot.published = Some(release(new));
        robot.settle();
        assert_eq!(*robot.confirmed(), system('a'));
    }
    robot.update_to('c');
    assert_eq!(robot.journal.lost, None);
}

#[test]
fn after_a_loss_a_technician_may_say_go() {
    let mut robot = robot();
    robot.published = Some(release('b'));
    lose_memory(&mut robot);
    robot.settle();
    assert_eq!(*robot.confirmed(), system('a'));
    robot.update_to('b');
    assert_eq!(*robot.confirmed(), system('b'));
    assert_eq!(robot.journal.lost, None);
}

#[test]
fn holds_are_bounded_and_nobody_loses_one_by_it() {
    let mut robot = robot();
    let mut hold = |owner: usize| {
        robot.ask(Request::Hold {
            length: None,
            why: "surgery".into(),
            by: owner.to_string(),
            counted: None,
        })
    };
    for owner in 0..MAX_HOLDS {
        hold(owner).unwrap();
    }
    hold(MAX_HOLDS).unwrap_err();
    hold(0).unwrap();
    assert_eq!(robot.journal.holds.len(), MAX_HOLDS);
}

#[test]
fn one_user_of_the_robots_software_never_has_all_holds_whatever_it_is_called() {
    let mut robot = robot();
    let hold = |robot: &mut Robot, by: &str, counted: Option<&str>| {
        robot.ask(Request::Hold {
            length: None,
            why: "loading".into(),
            by: by.into(),
            counted: counted.map(str::to_owned),
        })
    };
    let many = |robot: &mut Robot, user: &str| {
        for id in 0..MAX_HOLDS_OF_ONE {
            hold(robot, &format!("{user} {id}"), Some(user)).unwrap();
        }
        let refused = hold(robot, &format!("{user} more"), Some(user)).unwrap_err();
        assert!(
            refused.to_string().contains("you have 4 holds"),
            "{refused}"
        );
        // What one has is said again.
        hold(robot, &format!("{user} 0"), Some(user)).unwrap();
    };
    many(&mut robot, "uid 1000");
    // It is counted after a restart as well.
    robot.power_cut();
    robot.start();
    hold(&mut robot, "uid 100000", Some("uid 1000")).unwrap_err();
    for user in 1..MAX_HOLDS_OF_APPS / MAX_HOLDS_OF_ONE {
        many(&mut robot, &format!("uid {}", 1000 + user));
    }
    assert_eq!(robot.journal.holds.len(), MAX_HOLDS_OF_APPS);
    hold(&mut robot, "gripper", Some("uid 2000")).unwrap_err();
    // A technician's names are not counted, and there is room for them.
    for technician in MAX_HOLDS_OF_APPS..MAX_HOLDS {
        hold(&mut robot, &format!("ada {technician}"), None).unwrap();
    }
    hold(&mut robot, "root", None).unwrap_err();
    robot.ask(Request::Resume { by: None }).unwrap();
    hold(&mut robot, "uid 100000", Some("uid 1000")).unwrap();
}

#[test]
fn a_way_back_waits_for_somebody_elses_switch_and_reboots_only_if_that_never_ends() {
    let leaves = || {
        let mut robot = robot();
        robot.sick.insert(system('b'));
        robot.published = Some(release('b'));
        let _ = robot.ask(Request::Update);
        robot.settle_until(|robot| matches!(robot.state(), State::Reverting(_)));
        robot.locked = true;
        robot.settle_until(|robot| match robot.state() {
            State::Reverting(reverting) => {
                reverting.attempts > robot.policy.revert_attempts || reverting.reboots > 0
            }
            _ => true,
        });
        assert_eq!(robot.boots, 1, "the other switch was cut off");
        assert!(matches!(robot.state(), State::Reverting(_)));
        robot
    };
    let mut ends = leaves();
    ends.locked = false;
    ends.settle();
    assert_eq!((ends.current.clone(), ends.boots), (system('a'), 1));
    assert!(ends.journal.blocked(&release('b')).is_some());

    let mut never = leaves();
    let began = never.now;
    never.settle_until(|robot| robot.boots == 2);
    assert!(began.0 > 0 && never.journal.confirmed.is_some());
    never.locked = false;
    never.settle();
    assert_eq!(never.current, system('a'));
}

#[test]
fn whoever_undoes_a_switch_again_and_again_is_bounded_and_says_so() {
    for policy in [DriftPolicy::Restore, DriftPolicy::Adopt] {
        let mut robot = robot();
        robot.policy.drift = policy;
        // The first time of each system is free, and `a` was adopted when the agent first started.
        let (ended, free) = match policy {
            DriftPolicy::Restore => (What::Restored, 1),
            _ => (What::Adopted, 2 + 1),
        };
        for n in 0..20 {
            // By turns: what is adopted is not drift any more.
            let other = if n % 2 == 0 { 'x' } else { 'y' };
            robot.meddle(Action::Test, system(other));
            robot.sleep(2 * robot.policy.poll_interval);
            robot.settle();
        }
        let ends = robot.journal.history.iter().filter(|it| it.what == ended);
        assert_eq!(ends.count(), robot.policy.disturbances + free, "{policy:?}");
        let machine = robot.machine.as_ref().unwrap();
        assert!(machine.drift().is_some());
        let problem = machine.problem().unwrap_or_default();
        assert!(problem.contains("times within a day"), "{problem}");
    }
}

#[test]
fn what_is_in_the_way_of_every_system_keeps_no_robot_from_going_back() {
    let mut robot = waits_for_its_commit();
    robot.closed.insert(Stage::Activate);
    robot.published = None;
    robot.feed(Event::Polled(None.into()));
    robot.settle_until(|robot| !robot.is_awaited());
    assert!(
        matches!(robot.state(), State::Committing(_)),
        "a gate says no"
    );
    let closed = |gate: &str| surefoot_core::gate::Closed {
        gate: gate.to_owned(),
        why: "no".to_owned(),
    };
    robot.feed(Event::Gates {
        stage: Stage::Activate,
        closed: vec![closed("boot loader"), closed("disk")],
    });
    assert!(matches!(robot.state(), State::Reverting(_)));
}

#[test]
fn damage_and_stalls_stand_in_the_history_and_push_out_nothing_else() {
    let mut robot = robot();
    let records = |robot: &Robot| {
        let history = &robot.machine.as_ref().unwrap().journal().history;
        let of = |what| history.iter().filter(|record| record.what == what).count();
        (of(What::Stalled), of(What::Damaged), of(What::Repaired))
    };
    let stall = |what: &str, pid: u32| Event::Stalled {
        what: what.to_owned(),
        why: Some(format!("flock (process {pid}) holds x.lock")),
    };
    // A fetch that is tried again and again.
    for pid in 0..300 {
        robot.feed(stall("the fetch", pid));
        robot.feed(stall("the look at the gates", pid));
    }
    assert_eq!(records(&robot), (2, 0, 0));
    robot.feed(Event::Scrubbed {
        damaged: (0..300)
            .map(|n| format!("/nix/store/{n} is empty"))
            .collect(),
        repaired: vec!["/nix/store/1".to_owned()],
    });
    assert_eq!(records(&robot), (2, 1, 1));
    robot.feed(stall("the fetch", 1));
    assert_eq!(
        records(&robot),
        (3, 1, 1),
        "something else happened meanwhile"
    );
    let history = &robot.machine.as_ref().unwrap().journal().history;
    let damaged = history.iter().find(|record| record.what == What::Damaged);
    let why = damaged.and_then(|record| record.why.clone()).unwrap();
    assert!(
        why.ends_with("/nix/store/2 is empty; and 297 more"),
        "{why}"
    );
    for _ in 0..9 {
        robot.feed(Event::Scrubbed {
            damaged: vec!["/nix/store/1 is empty".to_owned()],
            repaired: vec![],
        });
    }
    assert_eq!(records(&robot), (3, 2, 1), "it is known already");
    robot.feed(Event::Collected {
        paths: 3,
        bytes: 1 << 20,
    });
    let last = robot
        .machine
        .as_ref()
        .unwrap()
        .journal()
        .history
        .last()
        .cloned()
        .unwrap();
    assert_eq!(last.what, What::Collected);
    assert_eq!(
        last.why.as_deref(),
        Some("1.00 MiB of 3 paths that nothing kept were freed")
    );
}
