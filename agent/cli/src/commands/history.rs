//! `surefoot history`: what happened.

use crate::{
    agent::{describe::time, socket::SocketArgs},
    output::{Output, Style, sanitize},
};
use serde_json::json;
use std::fmt::Write as _;
use surefoot_api::{HistoryEntry, What, Word, method};

/// Say what happened, newest first.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  The last ten things that happened:
      surefoot history --limit 10")]
pub(crate) struct HistoryArgs {
    /// The newest N only.
    #[arg(short = 'n', long = "limit", value_name = "N")]
    limit: Option<u32>,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs it.
pub(super) fn run(args: &HistoryArgs, output: Output) -> anyhow::Result<()> {
    let history = method::History {
        limit: args.limit.map(u64::from),
    };
    let entries = args.socket.call(&history)?.entries;
    output.result(&json!({ "entries": entries }), |style| {
        describe(&entries, style)
    })
}

/// The history, one line each.
fn describe(entries: &[HistoryEntry], style: Style) -> String {
    if entries.is_empty() {
        return "nothing has happened yet".into();
    }
    let lines: Vec<String> = entries
        .iter()
        .map(|entry| describe_entry(entry, style))
        .collect();
    lines.join("\n")
}

pub(super) fn describe_entry(entry: &HistoryEntry, style: Style) -> String {
    let when = entry
        .when
        .map_or_else(|| "at an unknown time".to_owned(), time);
    let word = format!("{:<11}", what_word(&entry.what));
    let word = match entry.what.known() {
        Some(What::Confirmed | What::Adopted) => style.good(&word),
        Some(What::Reverted | What::Refused | What::Rebooted | What::Worse) => style.bad(&word),
        _ => style.busy(&word),
    };
    let name = match &entry.release {
        Some(release) => format!("release {release}"),
        None => entry.system.to_string(),
    };
    // Writing to a String cannot fail.
    let mut text = format!("{when:<20} {word} {name}");
    if let Some(by) = &entry.by {
        let _ = write!(text, " by {}", sanitize(by));
    }
    if let Some(why) = &entry.why {
        let _ = write!(text, ": {}", sanitize(why));
    }
    text
}

fn what_word(what: &Word<What>) -> String {
    let known = match what {
        Word::Other(word) => return sanitize(word),
        Word::Known(What::Adopted) => "adopted",
        Word::Known(What::Tried) => "tried",
        Word::Known(What::Confirmed) => "confirmed",
        Word::Known(What::Reverted) => "reverted",
        Word::Known(What::Interrupted) => "interrupted",
        Word::Known(What::Refused) => "refused",
        Word::Known(What::RolledBack) => "rolled back",
        Word::Known(What::Restored) => "restored",
        Word::Known(What::Rebooted) => "rebooted",
        Word::Known(What::Worse) => "worse",
        Word::Known(What::Started) => "started",
        Word::Known(What::Pruned) => "pruned",
        Word::Known(What::Damaged) => "damaged",
        Word::Known(What::Repaired) => "repaired",
        Word::Known(What::Stalled) => "stalled",
        Word::Known(What::Collected) => "collected",
        Word::Known(What::Doubted) => "doubted",
        Word::Known(What::Blocked) => "blocked",
        Word::Known(What::Unblocked) => "unblocked",
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::samples::{path, time};

    #[test]
    fn a_history_can_be_read() {
        let entry =
            |what: What, release: Option<&str>, why: Option<&str>, by: Option<&str>| HistoryEntry {
                when: time(0),
                what: what.into(),
                release: release.map(|release| release.parse().unwrap()),
                system: path("nixos"),
                why: why.map(Into::into),
                by: by.map(Into::into),
            };
        let entries = [
            entry(
                What::RolledBack,
                Some("1"),
                Some("drops things"),
                Some("alice"),
            ),
            entry(
                What::Reverted,
                Some("3"),
                Some("unit arm.service failed"),
                None,
            ),
            entry(What::Confirmed, Some("2"), None, None),
            HistoryEntry {
                when: None,
                ..entry(What::Adopted, None, None, None)
            },
        ];
        insta::assert_snapshot!("history", describe(&entries, Style::PLAIN));
        insta::assert_snapshot!("no_history", describe(&[], Style::PLAIN));
    }
}
