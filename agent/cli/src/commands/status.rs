//! The status and the history, for people.

use crate::output::{Style, clean};
use jiff::Timestamp;
use std::{fmt::Write, time::Duration};
use surefoot_api::{
    BlockedRelease, Check, CheckResult, ClockState, HistoryEntry, HoldInfo, Knowledge, LeaseInfo,
    Progress, State, StatusInfo, System,
};
use surefoot_base::units::{short_bytes, short_duration};
use surefoot_core::journal::What;

/// Lines of a unit's journal that are shown; the rest is in `--json`.
const JOURNAL_LINES: usize = 5;

/// The whole status.
pub(super) fn status(status: &StatusInfo, style: Style) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {value}", style.strong(&format!("{name:<10}")));
    };
    let labels: String = (status.labels.iter())
        .map(|label| format!(" {label}"))
        .collect();
    let robot = format!("{}{labels}", status.model);
    row(
        "Robot",
        format!(
            "{} on channel {} of {}",
            clean(&robot),
            clean(&status.channel),
            clean(&status.repository)
        ),
    );
    let word = status.state.to_string();
    let word = match status.state {
        State::Idle if status.holds.is_empty() => style.good(&word),
        State::Reverting => style.bad(&word),
        _ => style.busy(&word),
    };
    row("State", format!("{word}: {}", clean(&status.doing)));
    if let Some(progress) = &status.progress {
        row("Progress", self::progress(progress));
    }
    let same = |other: &Option<System>| {
        let path = |system: &Option<System>| system.as_ref().map(|s| s.system.clone());
        path(other) == path(&status.running)
    };
    if let Some(target) = &status.target {
        row("Target", system(target, style));
    }
    if let Some(running) = &status.running {
        let note = if same(&status.confirmed) {
            style.good(" (confirmed)")
        } else {
            style.busy(" (not confirmed)")
        };
        row("Running", system(running, style) + &note);
    }
    if let Some(confirmed) = status
        .confirmed
        .as_ref()
        .filter(|_| !same(&status.confirmed))
    {
        row("Confirmed", system(confirmed, style));
    }
    if let Some(booted) = status.booted.as_ref().filter(|_| !same(&status.booted)) {
        row("Booted", system(booted, style));
    }
    for fallback in &status.fallbacks {
        row("Fallback", system(fallback, style));
    }
    for hold in &status.holds {
        row("Held", style.busy(&self::hold(hold)));
    }
    for lease in &status.leases {
        let text = self::lease(lease);
        row("Lease", if lease.busy { style.busy(&text) } else { text });
    }
    for gate in &status.gates {
        let text = format!(
            "to {}: {} ({})",
            gate.stage,
            clean(&gate.gate),
            clean(&gate.why)
        );
        row("Waits", style.busy(&text));
    }
    if let Some(drift) = &status.drift {
        row("Drift", style.busy(&clean(drift)));
    }
    if let Some(line) = checks(status) {
        row("Check", line);
    }
    if let Some(knowledge) = &status.knowledge {
        row("Signed", self::knowledge(knowledge));
    }
    for blocked in &status.blocked {
        row("Blocked", self::blocked(blocked, style));
    }
    row("Agent", format!("surefootd {}", clean(&status.version)));
    text
}

/// A system: its release, or its name.
fn system(system: &System, style: Style) -> String {
    let path = style.faint(&system.system.to_string());
    let mut text = match &system.release {
        Some(release) => format!("release {release} {path}"),
        None => path,
    };
    if let Some(since) = system.since {
        let _ = write!(text, " since {}", time(since));
    }
    text
}

/// How far a fetch is, and how long it will still take.
pub(super) fn progress(progress: &Progress) -> String {
    let Progress {
        paths,
        paths_total,
        bytes,
        bytes_total,
        rate,
        ..
    } = *progress;
    let mut text = format!(
        "{paths} of {paths_total} paths, {} of {}",
        short_bytes(bytes),
        short_bytes(bytes_total)
    );
    if bytes_total > 0 {
        let percent = u128::from(bytes) * 100 / u128::from(bytes_total);
        let _ = write!(text, " ({percent} %)");
    }
    if let Some(seconds) = bytes_total.saturating_sub(bytes).checked_div(rate) {
        let left = short_duration(Duration::from_secs(seconds));
        let _ = write!(text, ", {}/s, {left} left", short_bytes(rate));
    }
    text
}

/// What a fetch that is done came to.
pub(super) fn fetched(progress: &Progress) -> String {
    format!(
        "fetched {} paths, {}; {} were there; resumed {}, wasted {}",
        progress.paths,
        short_bytes(progress.bytes),
        progress.already_present,
        short_bytes(progress.resumed_bytes),
        short_bytes(progress.wasted_bytes)
    )
}

fn hold(hold: &HoldInfo) -> String {
    let until = match hold.seconds_left {
        Some(seconds) => format!("for {} more", short_duration(Duration::from_secs(seconds))),
        None => "until somebody resumes".into(),
    };
    format!("by {} {until}: {}", clean(&hold.owner), clean(&hold.why))
}

fn lease(lease: &LeaseInfo) -> String {
    let left = short_duration(Duration::from_secs(lease.seconds_left));
    let word = if lease.busy { "busy" } else { "free" };
    let mut text = format!(
        "{} by {} is {word} for {left}",
        lease.name,
        clean(&lease.owner)
    );
    if let Some(why) = &lease.why {
        let _ = write!(text, ": {}", clean(why));
    }
    text
}

/// The last check of the repository and the next.
fn checks(status: &StatusInfo) -> Option<String> {
    let next = status
        .next_check_seconds
        .map(|seconds| format!("next in {}", short_duration(Duration::from_secs(seconds))));
    let last = status.last_check.as_ref().map(
        |Check {
             when,
             result,
             error,
         }| {
            let when = when.map_or_else(String::new, |when| format!(" at {}", time(when)));
            match result {
                CheckResult::UpToDate => format!("nothing new{when}"),
                CheckResult::Found => format!("a new release{when}"),
                CheckResult::Failed => format!(
                    "failed{when}: {}",
                    clean(error.as_deref().unwrap_or("no reason was given"))
                ),
            }
        },
    );
    let now = status
        .checking
        .then(|| "asking the repository now".to_owned());
    let parts: Vec<String> = [now, last, next].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// How fresh the knowledge of the repository is.
fn knowledge(knowledge: &Knowledge) -> String {
    let signed = knowledge.signed.map_or_else(
        || "at an unknown time".to_owned(),
        |signed| format!("at {}", time(signed)),
    );
    let clock = match knowledge.clock {
        ClockState::Trusted => "",
        ClockState::Unsynced => "; nothing keeps the clock here, so expiry may go unnoticed",
        ClockState::Stepped => "; the clock here is wrong: it reads long before that",
    };
    format!("{signed}, valid until {}{clock}", time(knowledge.expires))
}

/// A blocked release with its evidence.
pub(super) fn blocked(blocked: &BlockedRelease, style: Style) -> String {
    let mut text = style.bad(&format!(
        "release {}: {}",
        blocked.release,
        clean(&blocked.why)
    ));
    if let Some(when) = blocked.when {
        let _ = write!(text, " {}", style.faint(&format!("at {}", time(when))));
    }
    let tail = |lines: &[String], text: &mut String| {
        let skipped = lines.len().saturating_sub(JOURNAL_LINES);
        for line in lines.iter().skip(skipped) {
            let _ = write!(
                text,
                "\n             {}",
                style.faint(&format!("| {}", clean(line)))
            );
        }
    };
    for failure in &blocked.failures {
        let _ = write!(
            text,
            "\n           {}: {}",
            clean(&failure.check),
            clean(&failure.message)
        );
        tail(&failure.journal, &mut text);
    }
    if blocked.failures.is_empty() {
        tail(&blocked.log, &mut text);
    }
    text
}

/// The history, one line each.
pub(super) fn history(entries: &[HistoryEntry], style: Style) -> String {
    if entries.is_empty() {
        return "nothing has happened yet\n".into();
    }
    let mut text = String::new();
    for entry in entries {
        let when = entry
            .when
            .map_or_else(|| "at an unknown time".to_owned(), time);
        let word = format!("{:<11}", self::what(entry.what));
        let word = match entry.what {
            What::Confirmed | What::Adopted => style.good(&word),
            What::Reverted | What::Refused | What::Rebooted => style.bad(&word),
            _ => style.busy(&word),
        };
        let name = match &entry.release {
            Some(release) => format!("release {release}"),
            None => entry.system.to_string(),
        };
        let _ = write!(text, "{when:<20} {word} {name}");
        if let Some(by) = &entry.by {
            let _ = write!(text, " by {}", clean(by));
        }
        if let Some(why) = &entry.why {
            let _ = write!(text, ": {}", clean(why));
        }
        text.push('\n');
    }
    text
}

const fn what(what: What) -> &'static str {
    match what {
        What::Adopted => "adopted",
        What::Tried => "tried",
        What::Confirmed => "confirmed",
        What::Reverted => "reverted",
        What::Interrupted => "interrupted",
        What::Refused => "refused",
        What::RolledBack => "rolled back",
        What::Restored => "restored",
        What::Rebooted => "rebooted",
    }
}

/// To the second, in UTC: whoever reads it stands somewhere else than the robot.
fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_clock_is_said() {
        let at = |text: &str| text.parse().unwrap();
        let mut known = Knowledge {
            signed: Some(at("2030-01-01T00:00:00Z")),
            expires: at("2030-01-08T00:00:00Z"),
            clock: ClockState::Trusted,
        };
        assert!(!knowledge(&known).contains("clock"));
        known.clock = ClockState::Stepped;
        known.signed = None;
        let text = knowledge(&known);
        assert!(text.contains("at an unknown time") && text.contains("clock here is wrong"));
    }
}
