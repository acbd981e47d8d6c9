//! An agent of this version goes on from what a made-up next one wrote, cut off after any of its saves, and is
//! cut off itself after any of its own.

#[path = "../../recorded/next.rs"]
mod next;

use serde_json::Value;
use std::collections::BTreeSet;
use surefoot_core::{
    journal::Journal,
    machine::{Request, state::State},
    word::Word,
};
use surefoot_sim::{Blow, Robot, people, release, system};

/// The fields of a journal that hold a word.
const WORDS: [&str; 7] = ["name", "kind", "cause", "what", "mode", "action", "reboot"];

/// Points between two things on the way to the next release, at most.
const POINTS: u32 = 120;

/// A robot that runs `a`, where `d` failed, with `b` on its way and its agent cut off after so many points;
/// `None` once the way has fewer.
fn cut_off(points: u32, by_boot: bool, sick: bool, blow: Blow) -> Option<Robot> {
    let mut robot = Robot::settled();
    robot.sick.insert(system('d'));
    robot.update_to('d');
    assert!(robot.journal.blocked(&release('d')).is_some());
    if by_boot {
        robot.needs_reboot.insert(system('b'));
    }
    if sick {
        robot.sick.insert(system('b'));
    }
    robot.published = Some(release('b'));
    robot.light_fuse(points, blow);
    let _ = robot.try_ask(Request::Update);
    for _ in 0..200 {
        if !robot.fuse_burns() {
            return Some(robot);
        }
        robot.start();
        robot.advance();
    }
    None
}

fn text(journal: &Journal) -> Value {
    serde_json::from_slice(&journal.to_bytes().expect("it is JSON")).expect("it is JSON")
}

/// This version takes over. It may be cut off as well.
fn take_over(robot: &mut Robot, cut: u32, blow: Blow) {
    robot.light_fuse(cut, blow);
    robot.start();
    for _ in 0..100 {
        robot.start();
        robot.advance();
    }
    robot.put_out_fuse();
    robot.start();
    robot.settle();
}

#[test]
fn what_a_next_version_wrote_is_kept_and_keeps_no_robot_from_its_next_release() {
    let (mut read, mut states) = (0_u32, BTreeSet::new());
    for (by_boot, sick, blow) in [
        (false, false, Blow::Kill),
        (true, false, Blow::Kill),
        (false, true, Blow::Kill),
        (true, true, Blow::PowerCut),
    ] {
        for points in 0..POINTS {
            let Some(before) = cut_off(points, by_boot, sick, blow) else {
                break;
            };
            // The agent is cut off between two saves more than once.
            let written = text(&before.journal);
            let state = &written["state"];
            let phase = [
                &state["name"],
                &state["phase"]["name"],
                &state["origin"]["kind"],
            ];
            if !states.insert((by_boot, sick, format!("{phase:?}"))) {
                continue;
            }
            for (at, later) in next::versions(&written, &WORDS) {
                read += 1;
                let how = format!("{at} after {points} points, by boot: {by_boot}");
                let mut robot = before.clone();
                robot.journal = Journal::parse(later.to_string().as_bytes()).unwrap();
                assert_eq!(text(&robot.journal), later, "{how}");
                take_over(&mut robot, read % 24, blow);
                assert_eq!(*robot.state(), State::Idle, "{how}");
                assert_eq!(robot.current, *robot.confirmed(), "{how}");
                if at.is_empty() {
                    assert_eq!(text(&robot.journal)["quiteNew"], later["quiteNew"], "{how}");
                }
                // What failed stays away, whatever word says why.
                let blocked = robot.journal.blocked(&release('d'));
                let cause = &blocked.expect("it failed here").evidence.cause;
                let is_new = *cause == Word::Other("quiteNew".into());
                assert_eq!(is_new, at == "/blocked/0/evidence/cause", "{how}");
                robot.update_to('c');
                assert_eq!(*robot.confirmed(), system('c'), "{how}");
            }
        }
    }
    assert!(
        states.len() > 20 && read > 400,
        "{} states, {read} texts",
        states.len()
    );
}

#[test]
fn a_hold_with_words_of_a_next_version_holds_until_somebody_ends_it() {
    let mut robot = Robot::settled();
    robot.ask(people::hold("bob", None)).unwrap();
    robot.kill();
    let written = text(&robot.journal);
    for (at, later) in next::versions(&written["holds"], &WORDS) {
        let mut robot = robot.clone();
        let mut journal = written.clone();
        journal["holds"] = later;
        robot.journal = Journal::parse(journal.to_string().as_bytes()).unwrap();
        robot.start();
        robot.published = Some(release('b'));
        let refused = robot.ask(Request::Update).unwrap_err();
        assert!(refused.to_string().contains("bob holds"), "{at}: {refused}");
        for _ in 0..100 {
            robot.advance();
        }
        assert_eq!(*robot.confirmed(), system('a'), "{at}");
        assert_eq!(text(&robot.journal)["holds"], journal["holds"], "{at}");
        robot.ask(Request::Resume { by: None }).unwrap();
        robot.update_to('b');
        assert_eq!(*robot.confirmed(), system('b'), "{at}");
    }
}
