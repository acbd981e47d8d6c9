//! What the profile's generations come to over many releases.

#![allow(clippy::unwrap_used, reason = "a test")]

use surefoot_core::{
    RollbackTo,
    journal::{Journal, Loss, What},
    keep::MAX_KEPT,
    machine::{Refusal, Request, state::State},
    switch::Action,
};
use surefoot_sim::{Blow, Robot, people::keep, release, system};

/// A robot that runs `a`, confirmed, and leaves so many generations of its own.
fn robot(generations: usize) -> Robot {
    let mut robot = Robot::new();
    robot.policy.keep = 1;
    robot.policy.generations = generations;
    robot.start();
    robot.settle();
    robot
}

fn update_to(robot: &mut Robot, c: char) {
    robot.update_to(c);
    assert_eq!(*robot.confirmed(), system(c));
}

fn numbers(robot: &Robot) -> Vec<u64> {
    robot.generations.keys().copied().collect()
}

#[test]
fn many_releases_leave_a_few_generations() {
    for by_boot in [false, true] {
        let mut robot = robot(3);
        for c in ['b', 'c', 'd', 'f', 'g', 'h'] {
            if by_boot {
                robot.needs_reboot = ['b', 'd', 'g'].map(system).into();
            }
            update_to(&mut robot, c);
        }
        // The first is not the agent's; one more than three is there until the next installation.
        assert_eq!(numbers(&robot), [1, 4, 5, 6, 7]);
        let pruned = robot.journal.history.iter();
        let pruned = pruned.filter(|record| record.what == What::Pruned);
        let pruned: Vec<_> = pruned.map(|record| record.release.clone()).collect();
        assert_eq!(pruned, ['b', 'c'].map(|c| Some(release(c).release)));
    }
}

#[test]
fn a_full_boot_partition_makes_more_of_them_go() {
    let mut robot = robot(9);
    for c in ['b', 'c', 'd', 'f'] {
        update_to(&mut robot, c);
    }
    robot.boot_room = 4;
    update_to(&mut robot, 'g');
    // The confirmed one, its fallback, the agent's newest, and what is not the agent's.
    assert_eq!(numbers(&robot), [1, 4, 5, 6]);
}

#[test]
fn what_a_person_keeps_stays_and_goes_when_it_is_kept_no_longer() {
    let mut robot = robot(1);
    update_to(&mut robot, 'b');
    update_to(&mut robot, 'c');
    let by_number = |undo| Request::Keep {
        what: RollbackTo::Release("2".parse().unwrap()),
        undo,
        by: "ada".into(),
    };
    robot.ask(by_number(false)).unwrap();
    assert_eq!(robot.journal.kept[0].system, system('b'));
    assert_eq!(robot.journal.kept[0].release, Some(release('b').release));
    let twice = robot.ask(keep(system('b'), false));
    assert!(matches!(twice, Err(Refusal::NothingToDo(_))), "{twice:?}");
    for c in ['d', 'f', 'g'] {
        update_to(&mut robot, c);
    }
    // The last but one was still the fallback when the last was installed.
    assert_eq!(numbers(&robot), [1, 2, 4, 5, 6]);
    robot.collect_garbage(true);
    assert!(robot.store.contains(&system('b')));
    robot.ask(keep(system('b'), true)).unwrap();
    assert!(robot.journal.kept.is_empty());
    let again = robot.ask(by_number(true));
    assert!(matches!(again, Err(Refusal::NothingToDo(_))), "{again:?}");
    robot.collect_garbage(false);
    assert!(!robot.store.contains(&system('b')));
}

#[test]
fn what_the_agent_does_not_know_cannot_be_kept_and_needs_not() {
    let mut robot = robot(1);
    let unknown = robot.ask(keep(system('q'), false));
    assert!(
        matches!(unknown, Err(Refusal::NothingToDo(_))),
        "{unknown:?}"
    );
    robot.ask(keep(system('a'), false)).unwrap();
    robot.journal.kept = vec![robot.journal.kept[0].clone(); MAX_KEPT];
    robot.kill();
    robot.start();
    robot.settle();
    update_to(&mut robot, 'b');
    let full = robot.ask(keep(system('b'), false));
    assert!(matches!(full, Err(Refusal::Refused(_))), "{full:?}");
}

#[test]
fn nothing_goes_after_a_loss_of_memory() {
    let mut robot = robot(1);
    for c in ['b', 'c', 'd', 'f'] {
        update_to(&mut robot, c);
    }
    let before = numbers(&robot);
    robot.kill();
    robot.journal = Journal {
        lost: Some(Loss::because("it is torn")),
        ..Journal::default()
    };
    robot.start();
    robot.settle();
    for c in ['g', 'h', 'j', 'k'] {
        update_to(&mut robot, c);
    }
    // What it has made since is its own again.
    let after = numbers(&robot);
    assert!(before.iter().all(|number| after.contains(number)));
    assert_eq!(after.len(), before.len() + 3, "{after:?}");
}

#[test]
fn what_somebody_else_made_stays() {
    let mut robot = robot(1);
    update_to(&mut robot, 'b');
    assert!(robot.meddle(Action::Boot, system('x')));
    assert!(robot.meddle(Action::Boot, system('b')));
    for c in ['c', 'd', 'f'] {
        update_to(&mut robot, c);
    }
    assert!(robot.has_entry(&system('x')));
    assert!(!robot.has_entry(&system('b')));
}

/// The agent dies, or the robot, right after generations have left the profile.
#[test]
fn what_strikes_before_the_installation_leaves_a_robot_that_starts() {
    for blow in [Blow::Kill, Blow::PowerCut] {
        for points in 0..40 {
            let mut robot = robot(1);
            for c in ['b', 'c', 'd'] {
                update_to(&mut robot, c);
            }
            robot.published = Some(release('f'));
            let _ = robot.ask(Request::Update);
            robot.light_fuse(points, blow);
            for _ in 0..200 {
                robot.start();
                robot.advance();
            }
            robot.settle();
            assert_eq!(*robot.state(), State::Idle);
            assert!(robot.has_entry(&robot.default));
            update_to(&mut robot, 'g');
            update_to(&mut robot, 'h');
            assert!(numbers(&robot).len() <= 5, "{:?}", numbers(&robot));
        }
    }
}
