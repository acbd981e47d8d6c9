//! Help, completions and man pages.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use assert_cmd::Command;
use std::fs;

fn surefoot(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surefoot"));
    let assert = command.args(args).env("COLUMNS", "100").assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

#[test]
fn the_help_says_what_there_is() {
    for command in [
        "status", "watch", "update", "rollback", "hold", "resume", "history",
    ] {
        insta::assert_snapshot!(format!("help_{command}"), surefoot(&[command, "--help"]));
    }
}

#[test]
fn wrong_usage_says_what_is_right() {
    let wrong = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_surefoot"));
        let assert = command.args(args).assert().code(2);
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    for (args, words) in [
        (&["rollback"][..], "--why TEXT is missing"),
        (&["rollback", "--why", ""], "a reason must be given"),
        (
            &["rollback", "--why", "x", "--to", "/etc"],
            "is not a store path",
        ),
        (&["hold", "--why", "x", "--for", "4"], "4 needs a unit"),
        (&["update", "--timeout", "1h"], "--wait"),
        (&["statsu"], "'status'"),
    ] {
        let said = wrong(args);
        assert!(said.contains(words), "{args:?}: {said}");
    }
}

#[test]
fn shells_get_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            surefoot(&["completions", shell]).contains("SUREFOOT_COMPLETE"),
            "{shell}"
        );
    }
}

#[test]
fn every_command_has_a_man_page() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    surefoot(&["man", pages.to_str().unwrap()]);
    for page in [
        "surefoot",
        "surefoot-rollback",
        "surefoot-repo",
        "surefoot-repo-init",
    ] {
        let text = fs::read_to_string(pages.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(!pages.join("surefoot-man.1").exists());
}
