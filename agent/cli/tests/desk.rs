//! Releases at the admin's desk, as people would type it: published in steps, looked at, stopped, called
//! back, promoted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use common::{Desk, system};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::PathBuf,
    thread,
};

#[test]
fn a_release_goes_out_in_steps_and_is_stopped_and_goes_on() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    let said = desk.publishes(
        "2",
        'b',
        &["--waves", "1% now, 100% after 2d", "--first", "ring=canary"],
    );
    assert_eq!(said["rollout"]["points"][1]["share"], 1_000_000);
    let release = desk.release("stable", "2");
    assert_eq!(release.needs, ["rollouts".parse().unwrap()]);
    let text = desk.tells(&["releases"]);
    assert!(text.contains("open to 1%: 1% by"), "{text}");
    assert!(
        text.contains("first ring=canary") && text.contains("open to all"),
        "{text}"
    );

    let version = desk.version();
    let text = desk.tells(&["rollout", "2", "pause", "--dry-run"]);
    assert!(
        text.contains("No robot begins") && text.contains("dry run"),
        "{text}"
    );
    assert_eq!(desk.version(), version);
    desk.does_at(&["rollout", "2", "pause"]);
    let error = desk.fails(&["rollout", "2", "pause"]);
    assert!(error.contains("paused already"), "{error}");
    assert!(desk.tells(&["show", "2"]).contains("paused since"));
    assert!(
        desk.release("stable", "2")
            .rollout
            .unwrap()
            .paused
            .is_some()
    );
    desk.does_at(&["rollout", "2", "resume"]);
    let rollout = desk.release("stable", "2").rollout.unwrap();
    assert_eq!(rollout.check(), Ok(()));
    assert!(rollout.paused.is_none() && rollout.share.is_none());
    let said = desk.does_at(&["rollout", "2", "--share", "25%"]);
    assert_eq!(said["rollout"]["share"], 250_000);
    assert_eq!(said["rollout"]["first"][0], "ring=canary");
    let text = desk.tells(&["rollout", "2", "--share", "5%"]);
    assert!(text.contains("Before it was open to 25%"), "{text}");
    let text = desk.tells(&["rollout", "2", "finish"]);
    assert!(text.contains("All robots may begin"), "{text}");
    // One that went to all at once can be stopped as well.
    desk.does_at(&["rollout", "1", "pause"]);
    assert_eq!(
        desk.release("stable", "1").needs,
        ["rollouts".parse().unwrap()]
    );
}

/// What bash offers for the last of these words.
fn completes(desk: &Desk, words: &[&str]) -> Vec<String> {
    let mut bash = std::process::Command::new("bash");
    // As its own completion does it: what was registered fills COMPREPLY.
    let script = r#"
        eval "$(surefoot completions bash)"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        "$(complete -p surefoot | sed 's/.*-F \([^ ]*\).*/\1/')" surefoot "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    bash.args(["-c", script, "bash", "surefoot"]).args(words);
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_surefoot"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", programs.parent().unwrap().display());
    let output = bash.env("PATH", path).current_dir(desk.0.path()).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said.split_whitespace().map(ToOwned::to_owned).collect()
}

#[test]
fn shells_complete_the_names_that_a_repository_has() {
    let desk = Desk::new();
    desk.publishes("1.0", 'a', &[]);
    desk.publishes(
        "1.1",
        'b',
        &["--channel", "beta", "--model", "arm", "--new"],
    );
    for (words, names) in [
        (&["show", "--repo", "fleet", ""][..], &["1.0", "1.1"][..]),
        (&["show", "--repo=fleet", "--channel", "beta", ""], &["1.1"]),
        (
            &["recall", "--repo", "fleet", "1.1", "--to", ""],
            &["1.0", "1.1"],
        ),
        (&["diff", "--repo", "fleet", "1.0", "1."], &["1.0", "1.1"]),
        (
            &["releases", "--repo", "fleet", "--channel", ""],
            &["beta", "stable"],
        ),
        (
            &["promote", "--repo", "fleet", "1.0", "--to", "b"],
            &["beta"],
        ),
        (
            &["publish", "--repo", "fleet", "--model", ""],
            &["arm", "picker"],
        ),
        (&["show", "--repo", "missing", ""], &[]),
        (&["repo", "ver"], &["verify"]),
    ] {
        let found = completes(&desk, words);
        let found: Vec<&str> = (found.iter().map(String::as_str))
            .filter(|word| !word.starts_with('-'))
            .collect();
        assert_eq!(found, names, "{words:?}");
    }
}

#[test]
fn what_is_wrong_with_a_plan_is_said_before_anything_is_written() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    for (words, complaint) in [
        (
            &["rollout", "1", "--share", "120%"][..],
            "more than all robots",
        ),
        (
            &["rollout", "1", "--waves", "10% now, 5% after 1h"],
            "go backwards",
        ),
        (&["rollout", "1", "--waves", "1% soon"], "say 'now'"),
        (
            &["rollout", "1", "--waves", "1% now", "--share", "1%"],
            "cannot be used with",
        ),
        (
            &["rollout", "1", "pause", "--share", "1%"],
            "cannot be used with",
        ),
        (&["rollout", "1"], "say --waves"),
        (&["rollout", "1", "resume"], "not paused"),
        (
            &["rollout", "7", "pause"],
            "there is no release 7; channel stable has 1",
        ),
        (
            &["rollout", "1", "pause", "--channel", "stabel"],
            "there is no channel 'stabel'; there are stable",
        ),
        (&["show", "7"], "there is no release 7"),
        (&["recall", "1", "--why", "x", "--to", "0"], "no release 0"),
        (&["recall", "1"], "--why"),
    ] {
        let error = desk.fails(words);
        assert!(error.contains(complaint), "{words:?}: {error}");
    }
}

#[test]
fn a_slip_of_the_pen_is_not_published() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    desk.publishes("2", 'b', &[]);
    for (c, more, complaint) in [
        (
            'c',
            &["--channel", "stabel"][..],
            "there is no channel 'stabel'; there are stable; --new",
        ),
        (
            'c',
            &["--model", "pikcer"],
            "no release has a system for model 'pikcer' yet; there are picker",
        ),
        ('a', &[], "had this system as release 1"),
        (
            'c',
            &["--come-from", "7"],
            "no release 7 that robots could come from",
        ),
        ('c', &["--come-from", "3"], "cannot come from itself"),
        ('c', &["--waves", "0.00001% now"], "not a percentage"),
    ] {
        let error = desk.publish_fails("3", c, more);
        assert!(error.contains(complaint), "{more:?}: {error}");
    }
    let error = desk.publish_fails("2", 'c', &[]);
    assert!(error.contains("has a release 2 already"), "{error}");
    desk.publishes("3", 'a', &["--step-back"]);
    assert!(desk.release("stable", "3").step_back);
    desk.publishes("4", 'c', &["--come-from", "2", "--channel", "stable"]);
    assert_eq!(
        desk.release("stable", "4").needs,
        ["stones".parse().unwrap()]
    );
    desk.publishes("1", 'a', &["--channel", "beta", "--new"]);
    desk.publishes("5", 'd', &["--model", "mower", "--new"]);
    let version = desk.version();
    desk.publishes("6", 'd', &["--dry-run"]);
    assert_eq!(desk.version(), version);
}

#[test]
fn a_place_on_this_machine_does_not_reach_robots_unless_that_is_meant() {
    let desk = Desk::new();
    let mut words = desk.publish("1", 'a', &[]);
    words.retain(|word| word != "--local-cache");
    let error = desk.fails(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(error.contains("lies on this machine"), "{error}");
    // What only the cache on this machine has is not there for robots.
    let at = words.iter().position(|word| word == "cache").unwrap() + 1;
    let url = serves(desk.path("served"));
    words.splice(at..at, ["--cache".to_owned(), url.clone()]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let error = desk.fails(&words);
    assert!(error.contains("nar/a.nar"), "{error}");
    fs::rename(desk.path("cache/nar"), desk.path("served/nar")).unwrap();
    let said = desk.does_at(&words);
    assert_eq!(
        said["systems"]["picker"]["caches"],
        serde_json::json!([url])
    );
}

/// Serves a new directory until the test ends, and nothing that is not a file in it.
fn serves(dir: PathBuf) -> String {
    fs::create_dir(&dir).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut words = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            while lines.read_line(&mut words).unwrap() > 2 {}
            let mut words = words.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap_or("/"));
            let body = fs::read(dir.join(path.trim_start_matches('/')));
            let status = if body.is_ok() {
                "200 OK"
            } else {
                "404 Not Found"
            };
            let body = body.unwrap_or_default();
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            if method == "GET" {
                let _ = stream.write_all(&body);
            }
        }
    });
    url
}

#[test]
fn a_release_is_called_back_and_says_where_robots_go() {
    let desk = Desk::new();
    for (release, c, more) in [
        ("1", 'a', &[][..]),
        ("2", 'b', &[]),
        ("3", 'c', &["--come-from", "2"]),
    ] {
        desk.publishes(release, c, more);
    }
    let error = desk.fails(&["recall", "2", "--why", "drops things", "--to", "3"]);
    assert!(error.contains("not older"), "{error}");
    let text = desk.tells(&["recall", "2", "--why", "drops things"]);
    assert!(
        text.contains("stay with it") && text.contains("stepping stone of 3"),
        "{text}"
    );
    let text = desk.tells(&["recall", "3", "--why", "drops more", "--to", "1"]);
    assert!(text.contains("go to release 1"), "{text}");
    let recall = desk.release("stable", "3").recalled.unwrap();
    assert_eq!(
        (recall.why.as_str(), recall.to),
        ("drops more", Some("1".parse().unwrap()))
    );
    let error = desk.fails(&["rollout", "3", "finish"]);
    assert!(error.contains("was recalled"), "{error}");
    // A second recall keeps where robots go, unless they shall stay.
    let text = desk.tells(&["recall", "3", "--why", "drops all"]);
    assert!(
        text.contains("go to release 1, as the recall before"),
        "{text}"
    );
    let way = || desk.release("stable", "3").recalled.unwrap().to;
    assert_eq!(way(), Some("1".parse().unwrap()));
    desk.does_at(&["recall", "3", "--why", "drops all", "--stay"]);
    assert_eq!(way(), None);
    desk.does_at(&["recall", "3", "--why", "drops more", "--to", "1"]);
    let error = desk.fails(&["recall", "3", "--why", "x", "--to", "2"]);
    assert!(error.contains("recalled itself"), "{error}");
    assert!(
        desk.tells(&["releases"])
            .contains("recalled (drops more); who runs it goes to 1")
    );
}

#[test]
fn a_release_is_promoted_and_its_plan_is_said_anew() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &["--channel", "beta"]);
    desk.publishes("2", 'b', &["--channel", "beta", "--share", "100%"]);
    let promote = ["promote", "--from", "beta", "--to", "stable"];
    let to_stable = |more: &[&'static str]| [&promote[..], more].concat();
    let error = desk.fails(&to_stable(&["1"]));
    assert!(error.contains("there is no channel 'stable'"), "{error}");
    desk.does_at(&to_stable(&["1", "--new"]));
    let error = desk.fails(&to_stable(&["1"]));
    assert!(error.contains("has a release 1 already"), "{error}");
    let error = desk.fails(&to_stable(&["2"]));
    assert!(error.contains("say how in 'stable'"), "{error}");
    desk.does_at(&to_stable(&["2", "--waves", "1% now, 100% after 1d"]));
    let (beta, stable) = (desk.release("beta", "2"), desk.release("stable", "2"));
    assert_eq!(beta.systems, stable.systems);
    assert_eq!(stable.rollout.unwrap().points.len(), 2);
    // Both channels have it now.
    let error = desk.fails(&["rollout", "2", "finish"]);
    assert!(error.contains("say --channel"), "{error}");
    desk.does_at(&["rollout", "2", "finish", "--channel", "stable"]);
    // A channel that has the newer one does not get the older one by a slip.
    let to_night = |more: &[&'static str]| {
        [
            &["promote", "--from", "beta", "--to", "night", "--all"],
            more,
        ]
        .concat()
    };
    desk.does_at(&to_night(&["2", "--new"]));
    let error = desk.fails(&to_night(&["1"]));
    assert!(
        error.contains("which came after 1; give --step-back"),
        "{error}"
    );
    desk.does_at(&to_night(&["1", "--step-back"]));
    assert!(desk.release("night", "1").step_back);
    // Where the name is taken it gets another.
    let error = desk.fails(&to_night(&["2", "--step-back"]));
    assert!(error.contains("has a release 2 already"), "{error}");
    desk.does_at(&to_night(&["2", "--release", "2b", "--step-back"]));
    assert_eq!(desk.release("night", "2b").systems, beta.systems);
}

#[test]
fn releases_are_counted_over_all_channels_so_that_they_can_be_promoted() {
    let desk = Desk::new();
    let counted = |channel: &str, c: char| -> String {
        let words = desk.publish("-", c, &["--channel", channel, "--new"]);
        let named = words.iter().position(|word| word == "--release").unwrap();
        let words: Vec<&str> = (words.iter().enumerate())
            .filter(|(at, _)| *at != named && *at != named + 1)
            .map(|(_, word)| word.as_str())
            .collect();
        desk.does_at(&words)["release"].as_str().unwrap().to_owned()
    };
    let (beta, stable) = (counted("beta", 'a'), counted("stable", 'b'));
    assert_ne!(beta, stable);
    desk.does_at(&["promote", &beta, "--from", "beta", "--to", "stable"]);
}

#[test]
fn one_channel_that_cannot_be_read_keeps_nobody_from_the_others() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    let keys = surefoot_trust::Keyring::load(&desk.path("fleet-keys")).unwrap();
    let mut editor = surefoot_trust::Editor::open(&desk.path("fleet"), keys).unwrap();
    let future = r#"{"spec": 99, "channel": "night", "releases": []}"#;
    editor.put_target("channels/night.json", future).unwrap();
    editor.publish(jiff::Timestamp::now()).unwrap();
    drop(editor);
    desk.does_at(&["rollout", "1", "pause"]);
    let listed = desk.does_at(&["releases"]);
    assert_eq!(listed["channels"][0]["channel"], "stable");
    let why = listed["unreadable"]["night"].as_str().unwrap();
    assert!(why.contains("format 99"), "{why}");
    // It is not taken for a new one.
    for error in [
        desk.publish_fails("2", 'b', &["--channel", "night", "--new"]),
        desk.fails(&[
            "promote", "1", "--from", "stable", "--to", "night", "--new", "--all",
        ]),
        desk.fails(&["releases", "--channel", "night"]),
    ] {
        assert!(error.contains("'night' cannot be read"), "{error}");
    }
}

#[test]
fn nothing_is_signed_by_a_clock_that_reads_long_after_the_last_signature() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    let keys = surefoot_trust::Keyring::load(&desk.path("fleet-keys")).unwrap();
    let mut editor = surefoot_trust::Editor::open(&desk.path("fleet"), keys).unwrap();
    // To what was signed two months ago this machine's clock looks as one that runs two months ahead.
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * 60);
    editor.refresh(then).unwrap();
    drop(editor);
    let before = fs::read(desk.path("fleet/metadata/timestamp.json")).unwrap();
    let commands: [&[&str]; 7] = [
        &["rollout", "1", "pause", "--repo", "fleet"],
        &["recall", "1", "--why", "x", "--repo", "fleet"],
        &["repo", "refresh", "fleet"],
        &["repo", "rotate", "fleet"],
        &["repo", "delegate", "fleet", "team", "--channel", "night"],
        &["repo", "prune", "fleet"],
        &[
            "promote", "1", "--from", "stable", "--to", "b", "--new", "--repo", "fleet",
        ],
    ];
    for command in commands {
        let error = desk.says(command).failure().code(2);
        let error = String::from_utf8(error.get_output().stderr.clone()).unwrap();
        assert!(error.contains("--clock-is-right"), "{command:?}: {error}");
    }
    let after = fs::read(desk.path("fleet/metadata/timestamp.json")).unwrap();
    assert_eq!(before, after);
    desk.does(&["repo", "refresh", "fleet", "--clock-is-right"]);
    desk.does_at(&["rollout", "1", "pause"]);
}

#[test]
fn a_timer_signs_nothing_by_a_clock_that_reads_before_the_last_signature() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    let keys = surefoot_trust::Keyring::load(&desk.path("fleet-keys")).unwrap();
    let mut editor = surefoot_trust::Editor::open(&desk.path("fleet"), keys).unwrap();
    // To what is signed ten days from now this machine's clock looks as one that was not set.
    let then = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 10);
    editor.refresh(then).unwrap();
    drop(editor);
    let timestamp = || fs::read(desk.path("fleet/metadata/timestamp.json")).unwrap();
    let before = timestamp();
    let error = desk.says(&["repo", "refresh", "fleet"]).failure().code(2);
    let error = String::from_utf8(error.get_output().stderr.clone()).unwrap();
    assert!(error.contains("--clock-is-right"), "{error}");
    assert_eq!(timestamp(), before);
    // What stops a release goes on, and so does who knows better.
    desk.does_at(&["rollout", "1", "pause"]);
    assert_ne!(timestamp(), before);
    desk.does(&["repo", "refresh", "fleet", "--clock-is-right"]);
}

#[test]
fn a_pause_ends_only_if_somebody_says_so() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &["--share", "10%"]);
    desk.does_at(&["rollout", "1", "pause"]);
    for plan in [["--share", "1%"], ["--waves", "1% now, 100% after 1d"]] {
        let error = desk.fails(&[&["rollout", "1"], &plan[..]].concat());
        assert!(error.contains("resume it first"), "{error}");
    }
    desk.does_at(&["rollout", "1", "--first", "ring=canary"]);
    let paused = |desk: &Desk| {
        desk.release("stable", "1")
            .rollout
            .unwrap()
            .paused
            .is_some()
    };
    assert!(paused(&desk));
    desk.does_at(&["rollout", "1", "resume"]);
    assert!(!paused(&desk));
}

#[test]
fn publishers_wait_for_each_other() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    let lock = fs::File::open(desk.path("fleet")).unwrap();
    let lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive);
    let lock = lock.map_err(|(_, errno)| errno).unwrap();
    let commands: [&[&str]; 6] = [
        &["rollout", "1", "pause", "--repo", "fleet"],
        &["repo", "refresh", "fleet"],
        &["repo", "rotate", "fleet"],
        &["repo", "delegate", "fleet", "team", "--channel", "night"],
        &["repo", "revoke", "fleet", "team"],
        &["repo", "prune", "fleet"],
    ];
    for command in commands {
        let error = desk.says(&[command, &["--wait", "0s"]].concat()).failure();
        let error = String::from_utf8(error.get_output().stderr.clone()).unwrap();
        assert!(
            error.contains("in use by another program"),
            "{command:?}: {error}"
        );
    }
    // Who only looks waits for nobody.
    desk.does_at(&["releases"]);
    let mut waiting = std::process::Command::new(env!("CARGO_BIN_EXE_surefoot"))
        .current_dir(desk.0.path())
        .args(["rollout", "1", "pause", "--repo", "fleet"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 40];
    std::io::Read::read_exact(waiting.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert!(said.starts_with(b"surefoot: somebody else changes"));
    drop(lock);
    assert!(waiting.wait().unwrap().success());
    assert!(
        desk.release("stable", "1")
            .rollout
            .unwrap()
            .paused
            .is_some()
    );
}

#[test]
fn two_releases_are_compared_by_what_is_signed_alone() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    // Before it is published it is the same.
    let system = system('b');
    let store = ["--cache", "cache", "--no-store"];
    let before = desk.does_at(&[&["diff", "1", "--toplevel", &system], &store[..]].concat());
    desk.publishes("2", 'b', &[]);
    fs::remove_dir_all(desk.path("cache")).unwrap();
    let said = desk.does_at(&["diff", "1", "2"]);
    assert_eq!(before, said);
    let size = said["size"][0].as_u64().unwrap();
    assert_eq!(said["size"], serde_json::json!([size, size]));
    assert_eq!(said["download"], size);
    assert!(desk.tells(&["diff", "1", "1"]).contains("downloads 0 B"));
    assert!(
        desk.fails(&["diff", "1", "9"])
            .contains("there is no release 9")
    );
}

#[test]
fn what_robots_could_not_fetch_or_run_is_not_published() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    // Another path of the store: no system.
    desk.caches('f', "nar/f.nar", &["bin/hello"]);
    let error = desk.publish_fails("2", 'f', &[]);
    assert!(error.contains("is not a NixOS system"), "{error}");
    desk.publishes("2", 'f', &["--any-closure"]);
    // Its NAR is other than its narinfo says: the key of the cache was stolen, or a disk forgot.
    let nar = desk.path("cache/nar/b.nar");
    let good = fs::read(&nar).unwrap();
    let mut bad = good.clone();
    let at = bad.len() / 2;
    bad[at] ^= 1;
    fs::write(&nar, bad).unwrap();
    let error = desk.publish_fails("3", 'b', &[]);
    assert!(error.contains("has digest"), "{error}");
    // One that goes on and on fills no disk.
    fs::write(&nar, vec![0; good.len() + (128 << 10)]).unwrap();
    let error = desk.publish_fails("3", 'b', &[]);
    assert!(error.contains("is longer than"), "{error}");
    fs::remove_file(&nar).unwrap();
    let error = desk.publish_fails("3", 'b', &[]);
    assert!(error.contains("nar/b.nar"), "{error}");
    fs::write(&nar, good).unwrap();
    let said = desk.publishes("3", 'b', &[]);
    assert_eq!(said["systems"]["picker"]["hashes"], "read");
}

#[test]
fn a_release_whose_files_were_pushed_again_gets_another_index() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &["--share", "10%"]);
    let before = desk.release("stable", "1");
    fs::remove_file(desk.path("cache/nar/a.nar")).unwrap();
    desk.caches(
        'a',
        "nar/again.nar",
        &["bin/switch-to-configuration", "nixos-version"],
    );
    let replace = |c: char| -> Vec<String> {
        let mut words = desk.publish("1", c, &[]);
        let at = words.iter().position(|word| word == "--release").unwrap();
        words[at] = "--replace-index".into();
        words
    };
    let words = replace('b');
    let error = desk.fails(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        error.contains("another system is another release"),
        "{error}"
    );
    let words = replace('a');
    desk.does_at(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let after = desk.release("stable", "1");
    let model = "picker".parse().unwrap();
    assert_ne!(before.systems[&model].index, after.systems[&model].index);
    assert_eq!(
        before.systems[&model].toplevel,
        after.systems[&model].toplevel
    );
    assert_eq!(
        (before.rollout, before.created),
        (after.rollout, after.created)
    );
}

#[test]
fn old_releases_go_by_rule_and_their_names_are_never_used_again() {
    let desk = Desk::new();
    for (release, c) in [("1", 'a'), ("2", 'b'), ("3", 'c')] {
        desk.publishes(release, c, &[]);
    }
    desk.publishes("4", 'd', &["--come-from", "2"]);
    let retire = ["retire", "--channel", "stable", "--keep", "1"];
    let said = desk.does_at(&[&retire[..], &["--dry-run"]].concat());
    assert_eq!(
        said["gone"],
        serde_json::json!(["1"]),
        "the 2nd is a stone, and the 3rd is newer than that"
    );
    assert!(desk.tells(&["releases"]).contains("  1  "));
    desk.does_at(&retire);
    let listed = desk.tells(&["releases"]);
    assert!(
        !listed.contains("  1  ") && listed.contains("  3  "),
        "{listed}"
    );
    let error = desk.publish_fails("1", 'a', &[]);
    assert!(error.contains("had a release 1 once"), "{error}");
    assert_eq!(desk.does_at(&retire)["gone"], serde_json::json!([]));
}

#[test]
fn what_robots_still_need_does_not_go_by_rule() {
    let desk = Desk::new();
    for (release, c) in [("1", 'a'), ("2", 'b'), ("3", 'c')] {
        desk.publishes(release, c, &[]);
    }
    desk.publishes("4", 'd', &["--share", "10%"]);
    let retire = |more: &[&str]| {
        let retire = ["retire", "--channel", "stable"];
        desk.does_at(&[&retire[..], more].concat())["gone"].clone()
    };
    let none = serde_json::json!([]);
    // The 4th is not open to all, so that most robots are served by the 3rd.
    assert_eq!(retire(&["--keep", "4"]), none);
    assert_eq!(retire(&["--keep", "1"]), serde_json::json!(["1", "2"]));
    desk.does_at(&["rollout", "4", "finish"]);
    // An older agent, which knows no rollouts, has nothing but the 3rd.
    assert_eq!(retire(&["--keep", "1"]), none);
    let said = retire(&["--keep", "1", "--all-know", "rollouts"]);
    assert_eq!(said, serde_json::json!(["3"]));
}

#[test]
fn what_a_channel_names_is_there_whatever_becomes_of_another_channels_team() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    desk.does(&["repo", "delegate", "fleet", "team", "--channel", "night"]);
    // The team's keys are at hand all the time.
    desk.publishes("2", 'b', &[]);
    desk.publishes("3", 'c', &["--channel", "night", "--new"]);
    desk.does_at(&["promote", "3", "--from", "night", "--to", "stable"]);
    let indexes = || -> Vec<bool> {
        let editor = surefoot_trust::Editor::look(&desk.path("fleet")).unwrap();
        let listed = |id| {
            let release = desk.release("stable", id);
            let mut systems = release.systems.values();
            systems.all(|system| editor.read_target(&system.index).unwrap().is_some())
        };
        ["1", "2", "3"].into_iter().map(listed).collect()
    };
    assert_eq!(indexes(), [true; 3]);
    let team: Vec<String> = {
        let editor = surefoot_trust::Editor::look(&desk.path("fleet")).unwrap();
        editor.targets_of("team").unwrap().into_iter().collect()
    };
    assert_eq!(team.len(), 2, "its channel and what that names: {team:?}");
    desk.does(&["repo", "revoke", "fleet", "team"]);
    assert_eq!(indexes(), [true; 3]);
    // It is looked at with all else.
    desk.version();
    desk.does(&["repo", "push", "fleet", "served"]);
}

#[test]
fn a_team_whose_keys_are_elsewhere_signs_a_draft_of_its_channel() {
    let desk = Desk::new();
    desk.does(&["repo", "delegate", "fleet", "team", "--channel", "night"]);
    fs::rename(desk.path("fleet-keys/team"), desk.path("team-keys")).unwrap();
    let night = ["--channel", "night", "--new", "--draft", "release"];
    desk.publishes("1", 'a', &night);
    desk.does(&[
        "repo",
        "sign",
        "release",
        "--repo",
        "fleet",
        "--keys-dir",
        "team-keys",
    ]);
    desk.does(&["repo", "finish", "fleet", "release"]);
    assert_eq!(desk.release("night", "1").id.as_str(), "1");
    desk.version();
}

#[test]
fn a_channel_that_is_made_again_has_none_of_its_old_names() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    desk.does(&["repo", "delegate", "fleet", "team", "--channel", "night"]);
    desk.publishes("1", 'b', &["--channel", "night", "--new"]);
    desk.does(&["repo", "revoke", "fleet", "team"]);
    let error = desk.publish_fails("1", 'c', &["--channel", "night", "--new"]);
    assert!(error.contains("had a release 1 once"), "{error}");
    desk.publishes("2", 'c', &["--channel", "night", "--new"]);
    let error = desk.publish_fails("1", 'd', &["--channel", "night"]);
    assert!(error.contains("had a release 1 once"), "{error}");
}

#[test]
fn after_a_restored_backup_robots_are_asked_about_and_led_on() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    desk.copy("fleet", "backup");
    desk.publishes("2", 'b', &[]);
    desk.does(&["repo", "push", "fleet", "served"]);
    fs::remove_dir_all(desk.path("fleet")).unwrap();
    desk.copy("backup", "fleet");
    let verify = ["repo", "verify", "fleet", "--against", "served"];
    let refused = |words: &str| {
        let said = desk.says(&verify).failure();
        let said = String::from_utf8(said.get_output().stdout.clone()).unwrap();
        assert!(said.contains(words), "{said}");
    };
    refused("refuse this one");
    // Other releases under the same versions; and refreshed past what was seen.
    desk.publishes("2b", 'c', &[]);
    refused("stay with");
    for _ in 0..3 {
        desk.does(&["repo", "refresh", "fleet"]);
    }
    let push = ["repo", "push", "fleet", "served"];
    let replace = [&push[..], &["--replace"]].concat();
    desk.says(&replace).failure();
    for role in ["timestamp", "snapshot", "targets"] {
        desk.does(&["repo", "rotate", "fleet", "--role", role]);
    }
    desk.does(&verify);
    let error = desk.says(&push).failure();
    let error = String::from_utf8(error.get_output().stderr.clone()).unwrap();
    assert!(error.contains("--replace"), "{error}");
    desk.does(&replace);
    let versions = |place: &str| desk.does(&["repo", "verify", place])["versions"].clone();
    assert_eq!(versions("served"), versions("fleet"));
    assert!(desk.release("stable", "2b").recalled.is_none());
}

#[test]
fn a_repository_is_looked_at_where_robots_see_it() {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    let served = format!("file://{}", desk.path("fleet").display());
    let said = desk.does(&[
        "repo",
        "verify",
        &served,
        "--anchor",
        "fleet/metadata/1.root.json",
    ]);
    assert_eq!(
        said["versions"],
        desk.does(&["repo", "verify", "fleet"])["versions"]
    );
    assert_eq!(said["targets"], 2);
    let manifest = fs::read_dir(desk.path("fleet/targets/channels"))
        .unwrap()
        .next();
    fs::write(manifest.unwrap().unwrap().path(), "{}").unwrap();
    let error = desk.says(&["repo", "verify", &served]).failure();
    let said = String::from_utf8(error.get_output().stdout.clone()).unwrap();
    assert!(said.contains("WRONG"), "{said}");
}

#[test]
fn keys_have_names_and_may_lie_in_several_places() {
    let desk = Desk::new();
    let keys = desk.does(&["repo", "keys", "fleet"]);
    let first = &keys["roles"]["targets"]["keys"][0];
    assert_eq!(first["name"], "targets-1");
    let id = first["id"].as_str().unwrap()[..12].to_owned();
    desk.does(&[
        "repo",
        "rotate",
        "fleet",
        "--name",
        &format!("{id}=Alice, by the window"),
    ]);
    let text = desk.says(&["repo", "keys", "fleet"]).success();
    let text = String::from_utf8(text.get_output().stdout.clone()).unwrap();
    assert!(
        text.contains("Alice, by the window") && text.contains("root-1"),
        "{text}"
    );
    // The keys of targets on a stick, the others on the desk.
    fs::create_dir(desk.path("stick")).unwrap();
    fs::rename(desk.path("fleet-keys/targets"), desk.path("stick/targets")).unwrap();
    let error = desk.publish_fails("1", 'a', &["--keys-dir", "fleet-keys"]);
    assert!(error.contains("0 of the 1 keys"), "{error}");
    desk.publishes(
        "1",
        'a',
        &["--keys-dir", "fleet-keys", "--keys-dir", "stick"],
    );
}

#[test]
fn two_people_sign_one_release_from_two_desks() {
    let desk = Desk::new();
    desk.does(&[
        "repo",
        "rotate",
        "fleet",
        "--role",
        "targets",
        "--new",
        "1",
        "--threshold",
        "2",
    ]);
    let keys = |who: &str| {
        let dir = desk.path(who);
        fs::create_dir(&dir).unwrap();
        dir
    };
    let (alice, bob) = (keys("alice"), keys("bob"));
    fs::rename(
        desk.path("fleet-keys/targets/targets-1.pem"),
        alice.join("targets-1.pem"),
    )
    .unwrap();
    fs::rename(
        desk.path("fleet-keys/targets/targets-2.pem"),
        bob.join("targets-2.pem"),
    )
    .unwrap();
    let online = ["--keys-dir", "fleet-keys"];
    let error = desk.publish_fails("1", 'a', &[&online[..], &["--keys-dir", "alice"]].concat());
    assert!(error.contains("1 of the 2 keys"), "{error}");
    let before = desk.version();
    let said = desk.publishes("1", 'a', &["--keys-dir", "alice", "--draft", "release"]);
    assert_eq!(
        (&said["draft"], &said["versions"]),
        (&"release".into(), &Value::Null)
    );
    assert_eq!(desk.version(), before);
    let finish = [&["repo", "finish", "fleet", "release"], &online[..]].concat();
    let error = desk.says(&finish).failure();
    let error = String::from_utf8(error.get_output().stderr.clone()).unwrap();
    assert!(error.contains("1 of 2 required"), "{error}");
    // A stranger's keys, and the same keys once more, are of no use.
    let error = desk
        .says(&[
            "repo",
            "sign",
            "release",
            "--repo",
            "fleet",
            "--keys-dir",
            "alice",
        ])
        .failure();
    let error = String::from_utf8(error.get_output().stderr.clone()).unwrap();
    assert!(error.contains("none of the keys at hand"), "{error}");
    let said = desk.does(&[
        "repo",
        "sign",
        "release",
        "--repo",
        "fleet",
        "--keys-dir",
        "bob",
    ]);
    assert_eq!(said["complete"], true);
    let shown = said["changes"].to_string();
    assert!(
        shown.contains("release 1: picker") && shown.contains(&system('a')),
        "{shown}"
    );
    desk.does(&finish);
    assert_eq!(desk.release("stable", "1").id.as_str(), "1");
    assert_ne!(desk.version(), before);
    // The repository has moved on: it is put into force once.
    let error = desk.says(&finish).failure();
    let error = String::from_utf8(error.get_output().stderr.clone()).unwrap();
    assert!(error.contains("draft it anew"), "{error}");
    // A pause is signed in the same way.
    desk.does_at(&[
        "rollout",
        "1",
        "pause",
        "--keys-dir",
        "bob",
        "--draft",
        "pause",
    ]);
    desk.does(&[
        "repo",
        "sign",
        "pause",
        "--repo",
        "fleet",
        "--keys-dir",
        "alice",
    ]);
    desk.does(&[
        "repo",
        "finish",
        "fleet",
        "pause",
        "--keys-dir",
        "fleet-keys",
    ]);
    assert!(
        desk.release("stable", "1")
            .rollout
            .unwrap()
            .paused
            .is_some()
    );
}

/// A draft of a release that one of two people has signed: the desk, and the draft as JSON.
fn half_signed(more: &[&str]) -> (Desk, Value) {
    let desk = Desk::new();
    desk.publishes("1", 'a', &[]);
    let role = ["repo", "rotate", "fleet", "--role", "targets"];
    desk.does(&[&role[..], &["--new", "1", "--threshold", "2"]].concat());
    for (key, who) in [("targets-1", "alice"), ("targets-2", "bob")] {
        fs::create_dir(desk.path(who)).unwrap();
        let key = format!("{key}.pem");
        fs::rename(
            desk.path("fleet-keys/targets").join(&key),
            desk.path(who).join(&key),
        )
        .unwrap();
    }
    let draft = ["--keys-dir", "alice", "--draft", "draft"];
    desk.publishes("2", 'b', &[&draft[..], more].concat());
    let draft = fs::read(desk.path("draft")).unwrap();
    (desk, serde_json::from_slice(&draft).unwrap())
}

const BOB_SIGNS: [&str; 5] = ["repo", "sign", "draft", "--keys-dir", "bob"];

#[test]
fn who_signs_a_draft_sees_all_that_it_changes_in_the_repository() {
    let (desk, draft) = half_signed(&["--only", "ring=canary", "--moves", "--reboot", "always"]);
    let error = desk.says(&BOB_SIGNS).failure();
    let error = String::from_utf8(error.get_output().stderr.clone()).unwrap();
    assert!(error.contains("--repo"), "{error}");
    let bent = |bend: &dyn Fn(&mut Value)| {
        let mut draft = draft.clone();
        bend(&mut draft);
        fs::write(desk.path("draft"), draft.to_string()).unwrap();
        desk.fails(&BOB_SIGNS)
    };
    let manifest = "channels/stable.json";
    let error = bent(&|draft| draft["files"] = serde_json::json!({}));
    assert!(error.contains("in the draft"), "{error}");
    let error = bent(&|draft| {
        draft["next"]["signed"]["targets"][manifest]["hashes"]["sha256"] = "00".repeat(32).into();
    });
    assert!(error.contains(manifest), "{error}");
    let error = bent(&|draft| {
        draft["next"]["signed"]["delegations"] = serde_json::json!({ "keys": {}, "roles": [] });
    });
    assert!(
        error.contains("more of 'targets' than its targets"),
        "{error}"
    );
    let error = bent(&|draft| draft["role"] = "night".into());
    assert!(error.contains("no role 'night'"), "{error}");
    let error = bent(&|draft| draft["next"]["signed"]["version"] = 9.into());
    assert!(error.contains("draft it anew"), "{error}");
    // Another file by the name of a target that goes, and each field of the release, is shown.
    let mut other = draft.clone();
    let targets = other["next"]["signed"]["targets"].as_object_mut().unwrap();
    let systems = desk.release("stable", "1").systems;
    let old = systems.into_values().next().unwrap().index;
    assert!(targets.remove(&old).is_some());
    fs::write(desk.path("draft"), other.to_string()).unwrap();
    let said = desk.does_at(&BOB_SIGNS)["changes"].to_string();
    for shown in [
        &format!("removed {old}"),
        "changed channels/stable.json",
        "new release 2: picker",
        "ring=canary",
        "moves: true",
        "always",
    ] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
    assert!(!said.contains("release 1:"), "{said}");
}

#[test]
fn a_plan_that_ran_while_the_draft_waited_lets_nobody_in_at_once() {
    let (desk, mut draft) = half_signed(&["--waves", "50% now, 100% after 1d"]);
    // As if it had been drafted two days ago: nobody has signed it yet.
    let ago = |time: &Value| {
        let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
        Value::from((time - jiff::SignedDuration::from_hours(48)).to_string())
    };
    let signed = &mut draft["next"]["signed"];
    signed["x-surefoot-issued"] = ago(&signed["x-surefoot-issued"]);
    draft["next"]["signatures"] = serde_json::json!([]);
    fs::write(desk.path("draft"), draft.to_string()).unwrap();
    desk.does_at(&BOB_SIGNS);
    desk.does_at(&["repo", "sign", "draft", "--keys-dir", "alice"]);
    let finish = [
        "repo",
        "finish",
        "fleet",
        "draft",
        "--keys-dir",
        "fleet-keys",
    ];
    let error = desk.says(&finish).failure();
    let error = String::from_utf8(error.get_output().stderr.clone()).unwrap();
    assert!(
        error.contains("release 2 of channel stable would be open to 50")
            && error.contains("--plan-goes-on"),
        "{error}"
    );
    let said = desk.does(&[&finish[..], &["--plan-goes-on"]].concat());
    assert!(said["changes"].to_string().contains("open to 50"), "{said}");
}

#[test]
fn the_timer_that_is_shipped_signs_the_repository_again() {
    let desk = Desk::new();
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../packaging/desk/surefoot-refresh@.service"
    );
    let unit = fs::read_to_string(unit).unwrap();
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/surefoot "));
    let words = start.unwrap().replace("%f", "fleet");
    let before = desk.version().as_u64();
    desk.does(&words.split(' ').collect::<Vec<_>>());
    assert_eq!(desk.version().as_u64(), before.map(|version| version + 1));
}
