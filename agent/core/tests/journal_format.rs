//! The journal's format: texts that an earlier agent wrote are read, and written again byte for
//! byte. In a boot trial two versions of the agent write the same journal.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use surefoot_core::{
    StorePath,
    journal::{Blocked, Journal},
    machine::state::{Cause, Evidence},
};

/// One journal a line: every state, phase, origin, cause and kind of record, and one journal with
/// every field. They are recorded: a text that no longer passes is a robot that no longer starts.
const RECORDED: &str = include_str!("data/journals.jsonl");

#[test]
fn a_recorded_journal_is_written_again_byte_for_byte() {
    let mut seen = BTreeSet::new();
    for line in RECORDED.lines() {
        let journal = Journal::parse(line.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&journal).unwrap(), line);
        let text: serde_json::Value = serde_json::from_str(line).unwrap();
        for word in ["/state/name", "/state/phase/name", "/state/origin/kind"] {
            seen.extend(
                text.pointer(word)
                    .and_then(|word| word.as_str().map(str::to_owned)),
            );
        }
        assert_eq!(text["state"]["name"], journal.state.name());
    }
    let all = [
        "idle",
        "fetching",
        "ready",
        "trial",
        "committing",
        "reverting", // states
        "arming",
        "switching",
        "staging",
        "staged",
        "aiming",
        "booting",
        "soaking", // phases
        "rollback",
        "adopt",
        "restore", // origins; that of a trial is called like the state
    ];
    assert_eq!(seen, all.map(str::to_owned).into());
}

#[test]
fn a_cause_that_only_a_newer_agent_knows_keeps_the_release_blocked() {
    let evidence = Evidence::plain(Cause::Unhealthy, "it fell over".into());
    let journal = Journal {
        blocked: vec![Blocked {
            release: "2.1".parse().unwrap(),
            system: StorePath::from_base_name(&format!("{}-s", "b".repeat(32))).unwrap(),
            evidence,
            since: None,
        }],
        ..Journal::default()
    };
    let text = serde_json::to_string(&journal).unwrap();
    let newer = text.replace("unhealthy", "fellOver");
    assert_ne!(newer, text);
    let read = Journal::parse(newer.as_bytes()).unwrap();
    assert_eq!(read.blocked[0].system, journal.blocked[0].system);
    assert_eq!(read.blocked[0].evidence.message, "it fell over");
    assert!(read.blocked[0].evidence.cause.is_verdict());
}
