//! Deltas by hand, as people would type it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use assert_cmd::{Command, assert::Assert};
use serde_json::Value;
use std::{fs, path::Path};
use tempfile::TempDir;

fn says(dir: &Path, command: &[&str]) -> Assert {
    let mut surefoot = Command::new(env!("CARGO_BIN_EXE_surefoot"));
    surefoot.current_dir(dir).arg("delta").args(command);
    surefoot.assert()
}

fn does(dir: &Path, command: &[&str]) -> Value {
    let assert = says(dir, &[command, &["--json"]].concat()).success();
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

/// Two versions of a directory and of a file.
fn desk() -> TempDir {
    let desk = tempfile::tempdir().unwrap();
    let text: String = (0..20_000).map(|n| format!("line {}\n", n * n)).collect();
    for (version, text) in [("old", text.clone()), ("new", text.replace("25\n", "26\n"))] {
        let dir = desk.path().join(version);
        fs::create_dir_all(dir.join("share")).unwrap();
        fs::write(dir.join("share/text"), &text).unwrap();
        fs::write(desk.path().join(format!("{version}.txt")), text).unwrap();
    }
    desk
}

#[test]
fn a_delta_is_made_and_applied_by_hand() {
    let desk = desk();
    let dir = desk.path();
    for codec in ["zstd-patch-1", "predict-1"] {
        let made = does(
            dir,
            &["make", "old.txt", "new.txt", "-o", "d", "--codec", codec],
        );
        assert_eq!(made["codec"], codec);
        let size = fs::metadata(dir.join("d")).unwrap().len();
        assert_eq!(made["deltaBytes"], size);
        assert!(made["ratio"].as_f64().unwrap() < 0.1, "{made}");
        assert!(
            made["peakMemoryBytes"].as_u64().unwrap() > 1 << 20,
            "{made}"
        );
        let applied = does(dir, &["apply", "old.txt", "d", "-o", "back.txt"]);
        for key in [
            "codec",
            "oldBytes",
            "newBytes",
            "deltaBytes",
            "ratio",
            "applyMemoryBytes",
        ] {
            assert_eq!(made[key], applied[key], "{key}");
        }
        let read = |name: &str| fs::read(dir.join(name)).unwrap();
        assert!(read("back.txt") == read("new.txt"));
    }
}

#[test]
fn a_directory_stands_for_its_nar() {
    let desk = desk();
    let dir = desk.path();
    does(dir, &["make", "old", "new", "-o", "d"]);
    let applied = does(dir, &["apply", "old", "d", "-o", "new.nar"]);
    let nar = fs::read(dir.join("new.nar")).unwrap();
    assert_eq!(applied["newBytes"], nar.len());
    assert_eq!(nar[8..21], *b"nix-archive-1");
    let text = fs::read(dir.join("new/share/text")).unwrap();
    assert!(nar.windows(text.len()).any(|part| part == text));
}

#[test]
fn what_is_wrong_leaves_everything_as_it_was() {
    let desk = desk();
    let dir = desk.path();
    does(dir, &["make", "old", "new", "-o", "d"]);
    fs::write(dir.join("result"), "precious").unwrap();
    for (command, why) in [
        (["apply", "new", "d", "-o", "result"], "another base"),
        (["apply", "old", "old.txt", "-o", "result"], "not a delta"),
        (
            ["apply", "nowhere", "d", "-o", "result"],
            "cannot read nowhere",
        ),
        (
            ["make", "old", "/dev/null", "-o", "result"],
            "neither a file",
        ),
    ] {
        let assert = says(dir, &command).failure();
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(said.contains(why), "{said}");
    }
    let little = ["apply", "old", "d", "-o", "result", "--memory", "1"];
    let said = says(dir, &little).failure();
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(
        said.contains("of memory, and 1048576 are allowed"),
        "{said}"
    );
    assert_eq!(fs::read(dir.join("result")).unwrap(), b"precious");
}
