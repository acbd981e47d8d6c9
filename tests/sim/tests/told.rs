//! A person may have been told that the robot goes back, and what they asked for is lost: it is seen, and
//! what they wanted to leave proves nothing any more.

use surefoot_core::{
    journal::What,
    machine::{Refusal, Request, state::State},
    switch::Outcome,
    untold::Asked,
};
use surefoot_sim::{Blow, Robot, people, release, system};

/// What comes between the answer and the second write of the journal.
#[derive(Debug, Clone, Copy)]
enum Between {
    Kill,
    PowerCut,
    /// The disk refuses that write.
    Refused,
}

/// A robot that runs `a`, with release `b` on its way there, after so many steps.
fn on_its_way(steps: usize, by_boot: bool) -> Robot {
    let mut robot = Robot::settled();
    if by_boot {
        robot.needs_reboot.insert(system('b'));
    }
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    for _ in 0..steps {
        robot.advance();
    }
    robot.start();
    robot
}

/// Somebody wants to go back, and may have been told that it happens.
fn asks_to_go_back(robot: &mut Robot, between: Between) {
    let request = people::rollback(None, true, "drops boxes");
    match between {
        Between::Kill => robot.light_fuse(1, Blow::Kill),
        Between::PowerCut => robot.light_fuse(1, Blow::PowerCut),
        Between::Refused => robot.refuses_what_was_told = true,
    }
    let _ = robot.try_ask(request);
    robot.put_out_fuse();
    robot.refuses_what_was_told = false;
    robot.start();
}

fn count(robot: &Robot, what: What) -> usize {
    let history = robot.journal.history.iter();
    history.filter(|record| record.what == what).count()
}

#[test]
fn a_trial_that_somebody_may_believe_to_be_left_is_never_confirmed_and_never_blamed() {
    let mut left = 0;
    for by_boot in [false, true] {
        for between in [Between::Kill, Between::PowerCut, Between::Refused] {
            for steps in 0..40 {
                let mut robot = on_its_way(steps, by_boot);
                let could = matches!(robot.state(), State::Trial(_));
                asks_to_go_back(&mut robot, between);
                let heard = robot.journal.unheard.clone();
                let Some(unheard) = heard.filter(|_| could) else {
                    // They were refused, or nothing was on trial.
                    continue;
                };
                left += 1;
                let how = format!("{between:?} after {steps} steps, by boot: {by_boot}");
                assert_eq!(unheard.leaves, Some(system('b')), "{how}");
                robot.settle();
                for _ in 0..200 {
                    robot.advance();
                }
                robot.settle();
                assert_eq!(*robot.confirmed(), system('a'), "{how}");
                assert_eq!(robot.current, system('a'), "{how}");
                assert_eq!(count(&robot, What::Confirmed), 0, "{how}");
                assert_eq!(count(&robot, What::Tried), 1, "{how}");
                assert_eq!(robot.journal.blocked, [], "{how}");
                let said = robot
                    .journal
                    .history
                    .iter()
                    .find(|r| r.what == What::Refused);
                let said = said.expect("it stands in the history");
                assert_eq!(said.by.as_deref(), Some("ada"), "{how}");
                assert!(said.why.as_ref().unwrap().contains("drops boxes"), "{how}");
                assert!(robot.journal.unheard.is_some(), "{how}");
                // Whoever knows the robot says go.
                robot.update_to('b');
                assert_eq!(*robot.confirmed(), system('b'), "{how}");
                assert_eq!(robot.journal.unheard, None, "{how}");
            }
        }
    }
    assert!(left > 50, "{left} trials");
}

#[test]
fn a_trial_that_may_be_left_and_waits_for_a_moment_proves_nothing_more() {
    let mut robot = Robot::settled();
    // All that it misses is the repository, until its time is up.
    robot.offline.insert(system('b'));
    robot.published = Some(release('b'));
    let _ = robot.ask(Request::Update);
    robot
        .settle_until(|robot| matches!(robot.state(), State::Trial(trial) if trial.late.is_some()));
    asks_to_go_back(&mut robot, Between::Kill);
    let _ = robot.ask(people::hold("bob", None));
    robot.offline.clear();
    for _ in 0..300 {
        robot.advance();
        assert_eq!(*robot.confirmed(), system('a'));
    }
    let _ = robot.ask(Request::Resume { by: None });
    robot.settle();
    assert_eq!(robot.current, system('a'));
    assert_eq!(count(&robot, What::Confirmed), 0);
}

#[test]
fn a_commit_that_somebody_may_believe_to_be_left_is_never_finished() {
    for between in [Between::Kill, Between::PowerCut, Between::Refused] {
        let mut robot = on_its_way(0, false);
        robot.settle_until(|robot| matches!(robot.state(), State::Committing(_)));
        // The boot partition cannot be written, so the commit waits.
        robot.read_only = true;
        for _ in 0..100 {
            robot.advance();
        }
        robot.settle_until(|robot| !robot.is_awaited());
        assert!(matches!(robot.state(), State::Committing(_)), "{between:?}");
        asks_to_go_back(&mut robot, between);
        let unheard = robot.journal.unheard.clone().expect("it is said");
        assert_eq!(unheard.leaves, Some(system('b')), "{between:?}");
        let _ = robot.ask(people::hold("bob", None));
        robot.read_only = false;
        for _ in 0..300 {
            robot.advance();
            assert_eq!(*robot.confirmed(), system('a'), "{between:?}");
        }
        let _ = robot.ask(Request::Resume { by: None });
        robot.settle_until(|robot| robot.current == system('a'));
        for _ in 0..300 {
            robot.advance();
        }
        assert_eq!(*robot.confirmed(), system('a'), "{between:?}");
        assert_eq!(count(&robot, What::Confirmed), 0, "{between:?}");
        assert_eq!(robot.journal.blocked, [], "{between:?}");
        robot.update_to('b');
        assert_eq!(*robot.confirmed(), system('b'), "{between:?}");
    }
}

#[test]
fn a_rollback_that_was_lost_at_rest_is_said_until_somebody_asks_again() {
    for between in [Between::Kill, Between::PowerCut, Between::Refused] {
        let mut robot = on_its_way(0, false);
        robot.settle();
        assert_eq!(*robot.confirmed(), system('b'));
        asks_to_go_back(&mut robot, between);
        robot.settle();
        assert_eq!(robot.current, system('b'), "{between:?}");
        let unheard = robot.journal.unheard.clone().unwrap();
        assert_eq!(
            (unheard.what.known(), unheard.leaves.clone()),
            (Some(Asked::Rollback), None)
        );
        assert!(
            unheard.message().contains("ask again"),
            "{}",
            unheard.message()
        );
        assert_eq!(robot.journal.blocked, [], "{between:?}");
        robot
            .ask(people::rollback(None, true, "drops boxes"))
            .unwrap();
        robot.settle();
        assert_eq!(robot.current, system('a'), "{between:?}");
        assert_eq!(robot.journal.unheard, None, "{between:?}");
    }
}

#[test]
fn what_is_refused_is_never_taken_for_something_that_may_have_been_told() {
    let mut robot = on_its_way(0, false);
    robot.settle();
    robot.outcomes.insert(system('b'), Outcome::UnitsFailed);
    robot.light_fuse(1, Blow::Kill);
    let refused = robot.try_ask(people::rollback(Some(system('c')), true, "x"));
    assert!(
        matches!(refused, None | Some(Err(Refusal::NothingToDo(_)))),
        "{refused:?}"
    );
    assert_eq!(robot.journal.unheard, None);
}

#[test]
fn what_nobody_was_told_of_and_cannot_be_passed_over_is_held_against_no_release() {
    for runs in ['a', 'b'] {
        let mut robot = on_its_way(0, false);
        robot.settle_until(|robot| robot.current == system('b'));
        for _ in 0..4 {
            robot.kill();
            // A rollback out of the trial was written, and the journal before it cannot be read.
            let mut journal = robot.journal.clone();
            journal.untold = people::rollback(None, true, "x").untold(None);
            robot.journal = journal.without_what_is_untold();
            robot.current = system(runs);
            robot.dead_man = None;
            robot.published = None;
            robot.start();
            robot.settle();
            assert_eq!(robot.current, system('a'));
            assert_eq!(robot.journal.blocked, []);
            assert_eq!(robot.journal.attempts, None);
            robot.published = Some(release('b'));
            let _ = robot.ask(Request::Update);
            robot.settle_until(|robot| robot.current == system('b'));
        }
    }
}
