//! What a robot takes of a channel: nobody is sent back, and who may begin is for the plan to say.

#![allow(clippy::unwrap_used, reason = "a test")]

use jiff::Timestamp;
use std::collections::BTreeMap;
use surefoot_core::{
    Foreign, StorePath,
    identity::Identity,
    machine::state::Generation,
    offers::{Choice, Robot},
    release::{
        Listed, Manifest, Name, ROLLOUTS, RebootPolicy, Recall, Release, SPEC, STONES, System,
    },
    rollout::{Rollout, Share},
};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn system(c: char) -> StorePath {
    StorePath::from_base_name(&format!("{}-nixos-system", c.to_string().repeat(32))).unwrap()
}

fn now() -> Timestamp {
    "2026-11-27T12:00:00Z".parse().unwrap()
}

fn release(id: &str, c: char) -> Release {
    let picker = System {
        toplevel: system(c),
        index: format!("closures/{c}.json.zst"),
        paths: 1,
        nar_size: 1,
    };
    Release {
        id: name(id),
        created: now(),
        notes: String::new(),
        reboot: RebootPolicy::Auto,
        only: Vec::new(),
        again: false,
        moves: false,
        needs: Vec::new(),
        systems: BTreeMap::from([(name("picker"), picker)]),
        rollout: None,
        from: None,
        step_back: false,
        recalled: None,
    }
}

/// Releases 1, 2 and 3 with systems a, b and c.
fn three() -> [Release; 3] {
    [release("1", 'a'), release("2", 'b'), release("3", 'c')]
}

fn closed(release: &mut Release) {
    release.needs = vec![name(ROLLOUTS)];
    release.rollout = Some(Rollout::by_hand(Share::NONE, Vec::new()));
}

fn recalled(release: &mut Release, to: Option<&str>) {
    release.recalled = Some(Recall {
        why: "drops things".into(),
        at: now(),
        to: to.map(name),
    });
}

/// What a robot does that has confirmed this release with this system.
fn choose(releases: &[Release], runs: Option<(&str, char)>) -> Choice {
    choose_without(&[], releases, runs)
}

/// The same where these releases were taken out.
fn choose_without(gone: &[&str], releases: &[Release], runs: Option<(&str, char)>) -> Choice {
    let manifest = Manifest {
        spec: SPEC,
        channel: name("stable"),
        releases: (releases.iter().cloned())
            .map(|release| Listed::Known(Box::new(release)))
            .collect(),
        gone: gone.iter().map(|gone| name(gone)).collect(),
        foreign: Foreign::default(),
    };
    let confirmed = runs.map(|(release, c)| Generation {
        system: system(c),
        release: (!release.is_empty()).then(|| name(release)),
        since: None,
    });
    let identity = Identity {
        id: Some(name("robot")),
        hardware: None,
    };
    let robot = Robot {
        model: &name("picker"),
        labels: &["site=hall-2".parse().unwrap()],
        identity: Some(&identity),
        moment: Some(now()),
    };
    manifest.offers(&robot).choose(confirmed.as_ref())
}

fn takes(releases: &[Release], runs: Option<(&str, char)>) -> Option<String> {
    choose(releases, runs)
        .target
        .map(|target| target.release.to_string())
}

#[test]
fn no_robot_goes_back_because_a_newer_release_is_not_for_it() {
    let narrowings: [fn(&mut Release); 4] = [
        closed,
        // It lost its label, or the release became one for the lab.
        |release| release.only = vec!["site=lab".parse().unwrap()],
        |release| recalled(release, None),
        |release| release.needs = vec![name("teleport")],
    ];
    for narrow in narrowings {
        let mut releases = three();
        narrow(&mut releases[2]);
        // What it has it keeps.
        assert_eq!(takes(&releases, Some(("3", 'c'))), None);
        assert!(choose(&releases, Some(("3", 'c'))).stays);
        assert_eq!(takes(&releases, Some(("2", 'b'))), Some("2".into()));
        assert_eq!(takes(&releases, Some(("1", 'a'))), Some("2".into()));
        narrow(&mut releases[1]);
        assert_eq!(takes(&releases, Some(("2", 'b'))), None);
        assert_eq!(takes(&releases, Some(("1", 'a'))), Some("1".into()));
    }
}

#[test]
fn a_robot_takes_the_newest_that_is_open_to_it_and_says_what_it_waits_for() {
    let mut releases = three();
    closed(&mut releases[2]);
    let choice = choose(&releases, Some(("1", 'a')));
    let target = choice.target.unwrap();
    assert_eq!(target.release, name("2"));
    assert!(!target.in_steps);
    assert_eq!(
        choice.waits.unwrap().to_string(),
        "release 3 is given out in steps: it is open to 0% of the robots, and this one is not among them"
    );
    // Nobody knows what it runs: it takes what is open to all.
    assert_eq!(takes(&releases, None), Some("2".into()));
    assert_eq!(takes(&releases, Some(("", 'z'))), Some("2".into()));
    releases[2].rollout = Some(Rollout::by_hand(Share::ALL, Vec::new()));
    let choice = choose(&releases, Some(("1", 'a')));
    assert!(choice.target.unwrap().in_steps);
    assert_eq!(choice.waits, None);
}

#[test]
fn a_release_whose_plan_was_lost_is_closed() {
    let mut releases = three();
    releases[2].needs = vec![name(ROLLOUTS)];
    let choice = choose(&releases, Some(("2", 'b')));
    assert_eq!(choice.target.unwrap().release, name("2"));
    let why = choice.left.unwrap().why;
    assert!(why.contains("lacks the plan"), "{why}");
    releases[2].needs = vec![name(STONES)];
    let why = choose(&releases, Some(("2", 'b'))).left.unwrap().why;
    assert!(why.contains("lacks the release that it has to come from"));
    // One that has neither points nor a share is there, and opens nothing.
    releases[2].needs = vec![name(ROLLOUTS)];
    releases[2].rollout = Some(Rollout::default());
    assert_eq!(takes(&releases, Some(("2", 'b'))), Some("2".into()));
}

#[test]
fn a_recall_keeps_robots_from_it_and_leads_back_only_where_it_says_so() {
    let mut releases = three();
    recalled(&mut releases[2], Some("1"));
    let target = choose(&releases, Some(("3", 'c'))).target.unwrap();
    assert_eq!(target.release, name("1"));
    assert_eq!(
        target.back.as_deref(),
        Some("back from release 3, which was recalled: drops things")
    );
    assert_eq!(takes(&releases, Some(("2", 'b'))), Some("2".into()));
    // Where it leads was open to them once, whatever its plan says now.
    closed(&mut releases[0]);
    assert_eq!(takes(&releases, Some(("3", 'c'))), Some("1".into()));
    // A newer release that it may take comes first.
    let mut releases = three().to_vec();
    recalled(&mut releases[2], Some("1"));
    releases.push(release("4", 'd'));
    assert_eq!(takes(&releases, Some(("3", 'c'))), Some("4".into()));
    closed(&mut releases[3]);
    assert_eq!(takes(&releases, Some(("3", 'c'))), Some("1".into()));
    // Of a chain of recalls the last word counts; a name that is not there, or newer, leads nowhere.
    recalled(&mut releases[2], Some("2"));
    recalled(&mut releases[1], Some("1"));
    assert_eq!(takes(&releases, Some(("3", 'c'))), Some("1".into()));
    for nowhere in ["9", "3", "4", "2"] {
        recalled(&mut releases[1], Some(nowhere));
        assert_eq!(takes(&releases, Some(("3", 'c'))), None, "{nowhere}");
    }
}

#[test]
fn all_that_is_left_is_newer_than_what_was_taken_out() {
    let mut releases = three().to_vec();
    releases[2].needs = vec![name("telepathy")];
    let takes = |gone: &[&str]| {
        let choice = choose_without(gone, &releases[1..], Some(("1", 'a')));
        assert_eq!(choice.left.unwrap().release, Some(name("3")));
        assert!(!choice.stays);
        choice.target.map(|target| target.release.to_string())
    };
    // The 3rd asks for a newer agent. A robot from elsewhere might go back with the 2nd.
    assert_eq!(takes(&["0", "1"]), Some("2".into()));
    assert_eq!(takes(&["0"]), None);
}

#[test]
fn a_stepping_stone_is_taken_first() {
    let mut releases = three().to_vec();
    releases.push(release("4", 'd'));
    releases[3].from = Some(name("2"));
    releases[3].needs = vec![name(STONES)];
    assert_eq!(takes(&releases, Some(("1", 'a'))), Some("3".into()));
    assert_eq!(takes(&releases, Some(("2", 'b'))), Some("4".into()));
    assert_eq!(takes(&releases, Some(("3", 'c'))), Some("4".into()));
    assert_eq!(takes(&releases, None), Some("3".into()));
    // The way is blocked: the robot says so and stays.
    recalled(&mut releases[1], None);
    recalled(&mut releases[2], None);
    let choice = choose(&releases, Some(("1", 'a')));
    assert_eq!(choice.target.unwrap().release, name("1"));
    assert_eq!(
        choice.waits.unwrap().to_string(),
        "release 4 has to be reached by way of release 2, which was recalled: drops things"
    );
    for (from, word) in [("9", "not in the channel"), ("4", "by way of release 4")] {
        releases[3].from = Some(name(from));
        let why = choose(&releases, Some(("1", 'a')))
            .waits
            .unwrap()
            .to_string();
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn a_system_that_was_published_twice_stands_where_the_robot_took_it() {
    // a, b, and a once more: for the lab, then as a step back for all.
    let mut releases = [release("1", 'a'), release("2", 'b'), release("3", 'a')];
    releases[2].only = vec!["site=lab".parse().unwrap()];
    assert_eq!(takes(&releases, Some(("1", 'a'))), Some("2".into()));
    assert_eq!(takes(&releases, Some(("3", 'a'))), None);
    releases[2].only.clear();
    releases[2].step_back = true;
    let target = choose(&releases, Some(("2", 'b'))).target.unwrap();
    assert_eq!(target.release, name("3"));
    assert!(target.back.is_some());
    // Under a name that is not there it may have come by any of them.
    closed(&mut releases[2]);
    assert_eq!(takes(&releases, Some(("", 'a'))), None);
}

#[test]
fn a_person_who_asks_by_hand_is_shown_what_is_in_steps() {
    let mut releases = three();
    closed(&mut releases[2]);
    let manifest = Manifest {
        releases: (releases.into_iter())
            .map(|release| Listed::Known(Box::new(release)))
            .collect(),
        ..Manifest::empty(name("stable"))
    };
    let robot = name("picker");
    let robot = Robot::by_hand(&robot, &[]);
    let target = manifest.offers(&robot).choose(None).target.unwrap();
    assert_eq!(target.release, name("3"));
}
