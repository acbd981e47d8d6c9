//! What version 0.2 published and kept of it: read by every later version, and what that keeps is read by
//! version 0.2.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::time;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};
use surefoot_base::slots;
use surefoot_trust::{Client, Config, STORED_AS};

const NOW: &str = "2030-01-02T00:00:00Z";
const SLOTS: [&str; 2] = ["trusted.0", "trusted.1"];

fn recorded(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/recorded/0.2")
        .join(file)
}

/// A state directory with what was kept.
fn kept() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for slot in SLOTS {
        fs::copy(recorded("trust").join(slot), dir.path().join(slot)).unwrap();
    }
    dir
}

/// A robot that has it, and polls what was published then.
fn client(state: &Path) -> Client {
    let repository = fs::canonicalize(recorded("repository")).unwrap();
    let url = format!("file://{}", repository.display());
    let anchor = fs::read(recorded("trust/root.json")).unwrap();
    Client::new(Config::new(&url, anchor, state.to_owned())).unwrap()
}

fn slot(state: &Path, name: &str) -> (u64, Value) {
    let bytes = fs::read(state.join(name)).unwrap();
    let (counter, body) = slots::unwrap(STORED_AS, &bytes).unwrap();
    (counter, serde_json::from_slice(body).unwrap())
}

#[tokio::test]
async fn a_recorded_trusted_set_is_read_and_both_its_slots_lead_to_what_was_published() {
    let state = kept();
    let newest = client(state.path());
    assert_eq!(newest.damage(), None);
    let versions = newest.versions();
    drop(newest);
    for gone in [None, Some(SLOTS[0]), Some(SLOTS[1])] {
        let state = kept();
        if let Some(gone) = gone {
            fs::remove_file(state.path().join(gone)).unwrap();
        }
        let mut robot = client(state.path());
        robot.refresh(time(NOW)).await.unwrap();
        assert_eq!(robot.versions(), versions, "without {gone:?}");
        for (name, content) in [("stable", "one"), ("night", "night")] {
            let name = format!("channels/{name}.json");
            assert_eq!(robot.target(&name, 100).await.unwrap(), content.as_bytes());
        }
        assert_eq!(robot.damage(), None);
    }
}

#[tokio::test]
async fn what_a_later_version_keeps_in_the_trusted_set_outlasts_this_one() {
    let state = kept();
    let (mut counter, mut later) = (0, Value::Null);
    for name in SLOTS {
        let (number, mut text) = slot(state.path(), name);
        text["floor"] = json!({"version": u64::MAX});
        let bytes = slots::wrap(STORED_AS, number, text.to_string().as_bytes());
        fs::write(state.path().join(name), bytes).unwrap();
        if number > counter {
            (counter, later) = (number, text);
        }
    }
    // This version saves what it has seen, with the time.
    let mut robot = client(state.path());
    assert_eq!(robot.damage(), None);
    robot.refresh(time("2030-01-03T00:00:00Z")).await.unwrap();
    let saved = SLOTS.map(|name| slot(state.path(), name));
    let (number, text) = saved.into_iter().max_by_key(|(number, _)| *number).unwrap();
    assert!(number > counter);
    assert_eq!(text["floor"], later["floor"]);
    assert_eq!(text["timestamp"], later["timestamp"]);
}
