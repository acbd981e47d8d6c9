//! The journal's format: texts that an earlier agent wrote are read, and written again byte for
//! byte. In a boot trial two versions of the agent write the same journal.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use surefoot_core::journal::Journal;

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
