//! What a switch and its switcher said: the journal's lines of the units that it runs in.

use super::systemd;
use serde::Deserialize;
use std::{collections::VecDeque, fmt::Write as _, time::Duration};
use surefoot_base::text;
use surefoot_core::{health::JOURNAL_LINES, switch::Outcome};

/// What the name of the unit begins with that `nixos-rebuild` runs the switcher in (nixpkgs
/// `nixos-rebuild-ng`). Most versions add nothing to it, some of 26.05 a number of their own. The unit
/// outlives the program that waits for it, and systemd forgets how it ended.
const NIXOS_REBUILD: &str = "nixos-rebuild-switch-to-configuration";

/// That unit where nothing is added: while systemd knows it, `nixos-rebuild` begins no other.
pub(crate) const NIXOS_REBUILD_UNIT: &str = "nixos-rebuild-switch-to-configuration.service";

/// All such units, as a pattern for systemd.
pub(crate) const NIXOS_REBUILD_UNITS: &str = "nixos-rebuild-switch-to-configuration*.service";

/// What systemd says when the main process of a unit has ended, and how
/// (`SD_MESSAGE_UNIT_PROCESS_EXIT`, sd-messages.h).
const PROCESS_EXIT: &str = "98e322203f7a4ed290d09fe03c09fe15";

/// What the switcher says where `activate` failed (nixpkgs `switch-to-configuration-ng/src/main.rs`).
const ACTIVATION_FAILED: &str = "Failed to run activate script";

/// How long the journal may take: nobody's way back waits longer for the words of what failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much of the end of the journal is read, as JSON, bytes.
const MAX_READ: usize = 4 << 20;

/// How much of the end of what was said is kept, bytes.
const MAX_TEXT: usize = 1 << 20;

/// What a switch said, and how its switcher ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// How the switcher ended in the unit of `nixos-rebuild`, if it failed there.
    pub(crate) switcher: Option<Outcome>,
    /// The last lines.
    pub(crate) last: Vec<String>,
    /// All lines with their times, as many of the last as are kept.
    pub(crate) text: String,
    /// Whether the switcher said that the activation script failed.
    pub(crate) activation_failed: bool,
}

impl Said {
    /// How a switch ended, where its exit code hides a part of it: where a unit failed as well, the
    /// switcher forgets that the activation script did (it sets one variable to 2, and later to 4), and no
    /// other process says so. What units print is not among these lines, and what `systemctl status` cites of
    /// it does not begin like that.
    pub(crate) fn unhidden(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::UnitsFailed if self.activation_failed => Outcome::ActivationFailed,
            other => other,
        }
    }

    /// Whether `nixos-rebuild` was refused its unit since somebody's own one runs in it, or left it
    /// behind. It runs nothing then, so no process could say so: these are the words of systemd
    /// (`src/core/dbus-manager.c`).
    fn another_is_loaded(&self) -> bool {
        let loaded =
            |line: &String| line.contains(NIXOS_REBUILD) && line.contains(" was already loaded");
        self.switcher.is_none() && self.last.iter().any(loaded)
    }

    /// What an exit status of 1 means; `rebuild`: whether it is that of `nixos-rebuild`. Where its switcher
    /// never ended, it could not even begin what it is for: `/tmp` is full, say, or systemd starts nothing.
    pub(crate) fn refused(&self, rebuild: bool) -> Outcome {
        match &self.switcher {
            _ if self.another_is_loaded() => Outcome::Locked,
            Some(its_own) => its_own.clone(),
            None if rebuild => Outcome::NotStarted,
            None => Outcome::Refused,
        }
    }
}

/// What was said in the unit of a switch, and in that of `nixos-rebuild` since its start. Never
/// fails: evidence is not worth a fault.
pub(crate) async fn by_switch(unit: &str) -> Said {
    let read = async {
        let since = systemd::started(unit).await?;
        let lines = systemd::journal_json(&[unit, NIXOS_REBUILD_UNITS], FIELDS, MAX_READ).await?;
        Ok(read(&lines, since))
    };
    let said = tokio::time::timeout(PATIENCE, read)
        .await
        .unwrap_or_else(|_| {
            let limit = PATIENCE.as_secs();
            Err(anyhow::anyhow!("no answer within {limit} s"))
        });
    said.unwrap_or_else(|error| {
        let words = format!("(its journal cannot be read: {error:#})");
        Said {
            text: format!("{words}\n"),
            last: vec![words],
            ..Said::default()
        }
    })
}

/// What is asked of each line.
const FIELDS: &str = "MESSAGE,MESSAGE_ID,SYSLOG_IDENTIFIER,_PID,UNIT,EXIT_CODE,EXIT_STATUS";

/// A line of the journal, as `journalctl --output=json` prints it (systemd.journal-fields(7)).
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "__MONOTONIC_TIMESTAMP")]
    at: String,
    #[serde(rename = "MESSAGE")]
    message: Option<Words>,
    #[serde(rename = "MESSAGE_ID")]
    id: Option<Words>,
    #[serde(rename = "SYSLOG_IDENTIFIER")]
    who: Option<Words>,
    #[serde(rename = "_PID")]
    pid: Option<Words>,
    #[serde(rename = "UNIT")]
    unit: Option<Words>,
    #[serde(rename = "EXIT_CODE")]
    code: Option<Words>,
    #[serde(rename = "EXIT_STATUS")]
    status: Option<Words>,
}

/// A field: text, or bytes that are not text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Text(String),
    Bytes(Vec<u8>),
    /// Several fields of one name.
    Other(serde::de::IgnoredAny),
}

impl Words {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Self::Other(_) => String::new(),
        }
    }
}

/// Reads the end of what `journalctl` printed, from this time on (microseconds since the kernel
/// started). The first line may be cut.
fn read(json: &str, since: u64) -> Said {
    let (mut lines, mut length) = (VecDeque::new(), 0);
    let mut said = Said::default();
    for line in json.lines() {
        let Ok(line) = serde_json::from_str::<Line>(line) else {
            continue;
        };
        let Some(at) = line.at.parse().ok().filter(|at| *at >= since) else {
            continue;
        };
        let text = |words: Option<Words>| words.map(Words::text).unwrap_or_default();
        // Only systemd itself is asked: the rest is what somebody says.
        if text(line.pid) == "1"
            && text(line.id) == PROCESS_EXIT
            && text(line.unit).starts_with(NIXOS_REBUILD)
        {
            said.switcher = ended(&text(line.code), &text(line.status));
        }
        let who = text::escaped(&text(line.who));
        for words in text(line.message).lines() {
            said.activation_failed |= words == ACTIVATION_FAILED;
            let line = (at, who.clone(), text::escaped(words));
            length += size(&line);
            lines.push_back(line);
        }
        while length > MAX_TEXT
            && let Some(first) = lines.pop_front()
        {
            length -= size(&first);
        }
    }
    let last = lines.len().saturating_sub(JOURNAL_LINES);
    said.last = (lines.iter().skip(last))
        .map(|(_, _, words)| words.chars().take(systemd::MAX_LINE).collect())
        .collect();
    for (at, who, words) in lines {
        let (seconds, micros) = (at / 1_000_000, at % 1_000_000);
        let _ = writeln!(said.text, "[{seconds:5}.{micros:06}] {who}: {words}");
    }
    said
}

/// What a line takes in the text at most: a time has up to 14 digits of seconds.
fn size((_, who, words): &(u64, String, String)) -> usize {
    27 + who.len() + words.len()
}

/// How a process ended, as systemd says it.
fn ended(code: &str, status: &str) -> Option<Outcome> {
    let status = status.parse().ok()?;
    match code {
        "exited" => Some(Outcome::of_switcher(status)),
        "killed" | "dumped" => Some(Outcome::Killed(status)),
        _ => None,
    }
}

/// Reads a text as what `journalctl` may print.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(text: &str) {
    let said = read(text, 0);
    assert!(said.last.len() <= JOURNAL_LINES);
    assert!(said.text.len() <= MAX_TEXT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nixos_rebuild_that_dies_before_its_switcher_begins_is_no_verdict() {
        let mut said = Said::default();
        assert_eq!(said.refused(true), Outcome::NotStarted);
        assert_eq!(said.refused(false), Outcome::Refused);
        said.switcher = Some(Outcome::Refused);
        assert_eq!(said.refused(true), Outcome::Refused);
        let loaded = format!("Unit {NIXOS_REBUILD_UNIT} was already loaded");
        said = Said {
            last: vec![loaded],
            ..Said::default()
        };
        assert_eq!(said.refused(true), Outcome::Locked);
    }

    fn exit(pid: &str, unit: &str, status: i32) -> String {
        format!(
            r#"{{"__MONOTONIC_TIMESTAMP":"2000001","_PID":"{pid}","UNIT":"{unit}","SYSLOG_IDENTIFIER":"systemd","MESSAGE_ID":"{PROCESS_EXIT}","EXIT_CODE":"exited","EXIT_STATUS":"{status}","MESSAGE":"Main process exited"}}"#
        )
    }

    #[test]
    fn a_unit_that_somebody_else_has_loaded_is_told_from_a_refusal() {
        let words = format!(
            r#"{{"__MONOTONIC_TIMESTAMP":"2000000","_PID":"7","MESSAGE":"Failed to start transient service unit: Unit {NIXOS_REBUILD}.service was already loaded or has a fragment file."}}"#
        );
        assert!(read(&words, 0).another_is_loaded());
        // The switcher ran, whatever was said.
        let ran = format!("{words}\n{}\n", exit("1", NIXOS_REBUILD_UNIT, 1));
        assert!(!read(&ran, 0).another_is_loaded());
        assert!(!read("", 0).another_is_loaded());
    }

    #[test]
    fn the_switchers_status_is_that_of_its_process_and_not_what_it_says() {
        let words = r#"{"__MONOTONIC_TIMESTAMP":"2000000","_PID":"7","MESSAGE":"error: Command 'switch-to-configuration' returned non-zero exit status 4."}"#;
        assert_eq!(read(words, 0).switcher, None);
        let status = |line: &str| read(&format!("{words}\n{line}\n"), 0).switcher;
        assert_eq!(
            status(&exit("1", NIXOS_REBUILD_UNIT, 11)),
            Some(Outcome::Locked)
        );
        let numbered = "nixos-rebuild-switch-to-configuration-9767bc07.service";
        assert_eq!(status(&exit("1", numbered, 4)), Some(Outcome::UnitsFailed));
        // Anybody may say it; and the agent's own unit has its own answer.
        assert_eq!(status(&exit("7", NIXOS_REBUILD_UNIT, 4)), None);
        assert_eq!(status(&exit("1", "surefoot-trial-1.service", 4)), None);
        let killed = exit("1", NIXOS_REBUILD_UNIT, 9).replace("exited\"", "killed\"");
        assert_eq!(status(&killed), Some(Outcome::Killed(9)));
        // That of somebody before.
        assert_eq!(
            read(&exit("1", NIXOS_REBUILD_UNIT, 4), 2_000_002),
            Said::default()
        );
    }

    #[test]
    fn an_activation_that_failed_is_not_hidden_by_a_unit_that_did() {
        let says = |words: &str| {
            let line =
                format!(r#"{{"__MONOTONIC_TIMESTAMP":"2000000","_PID":"7","MESSAGE":"{words}"}}"#);
            read(&line, 0)
        };
        let said = says(ACTIVATION_FAILED);
        let unhidden = said.unhidden(Outcome::UnitsFailed);
        assert_eq!(unhidden, Outcome::ActivationFailed);
        // Where the code says something else, the code counts.
        assert_eq!(said.unhidden(Outcome::Done), Outcome::Done);
        let cited = says("Nov 28 00:00:00 robot robot[1]: Failed to run activate script");
        assert_eq!(cited.unhidden(Outcome::UnitsFailed), Outcome::UnitsFailed);
    }

    #[test]
    fn what_was_said_is_kept_with_times_and_within_bounds() {
        let json = concat!(
            "GE\":\"cut\"}\n",
            r#"{"__MONOTONIC_TIMESTAMP":"1000000","MESSAGE":"before"}"#,
            "\n",
            r#"{"__MONOTONIC_TIMESTAMP":"3000021","SYSLOG_IDENTIFIER":"activate","MESSAGE":"one\ntwo"}"#,
            "\n",
            r#"{"__MONOTONIC_TIMESTAMP":"3000022","SYSLOG_IDENTIFIER":["a","b"],"MESSAGE":[27,91,255]}"#,
            "\n",
            r#"{"__MONOTONIC_TIMESTAMP":"3000023","MESSAGE":null}"#,
        );
        let said = read(json, 2_000_000);
        assert_eq!(said.last, ["one", "two", "\\u{1b}[\u{fffd}"]);
        let text = "[    3.000021] activate: one\n[    3.000021] activate: two\n\
                    [    3.000022] : \\u{1b}[\u{fffd}\n";
        assert_eq!(said.text, text);

        let line = |n: usize| {
            let words = "x".repeat(2000);
            format!(r#"{{"__MONOTONIC_TIMESTAMP":"{n}","MESSAGE":"{words}"}}"#)
        };
        let said = read(&(0..1000).map(|n| line(n) + "\n").collect::<String>(), 0);
        assert_eq!(said.last.len(), JOURNAL_LINES);
        assert_eq!(said.last[0].len(), systemd::MAX_LINE);
        assert!(said.text.len() <= MAX_TEXT && said.text.len() > MAX_TEXT / 10 * 9);
        assert!(
            said.text
                .lines()
                .last()
                .unwrap()
                .starts_with("[    0.000999]")
        );
    }
}
