//! `surefoot status`: the status, for people and for programs.

use crate::{
    agent::{
        describe::{self, time},
        socket::SocketArgs,
    },
    output::{Output, Style, sanitize},
};
use std::{fmt::Write as _, time::Duration};
use surefoot_api::{
    Check, CheckResult, ClockState, HoldInfo, KeptInfo, Knowledge, LeaseInfo, State, StatusInfo,
    System, Traffic, Word, method,
};
use surefoot_base::units::{short_bytes, short_duration};

/// Say what the robot runs, what the agent is doing, and why.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  What the robot does, and why:
      surefoot status
  For a program:
      surefoot status --json")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs it.
pub(super) fn run(args: &StatusArgs, output: Output) -> anyhow::Result<()> {
    let status = args.socket.call(&method::Status {})?.status;
    output.result(&status, |style| describe(&status, style))
}

/// The whole status.
fn describe(status: &StatusInfo, style: Style) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| {
        rows.push(format!("{} {value}", style.strong(&format!("{name:<10}"))));
    };
    let labels: String = (status.labels.iter())
        .map(|label| format!(" {label}"))
        .collect();
    let robot = format!("{}{labels}", status.model);
    row(
        "Robot",
        format!(
            "{} on channel {} of {}",
            sanitize(&robot),
            sanitize(&status.channel),
            sanitize(&status.repository)
        ),
    );
    if let Some(id) = &status.id {
        row("Id", style.faint(&sanitize(id)));
    }
    let word = sanitize(&status.state.to_string());
    let word = match status.state.known() {
        Some(State::Idle) if status.holds.is_empty() => style.good(&word),
        Some(State::Reverting | State::Unknown) => style.bad(&word),
        _ => style.busy(&word),
    };
    row("State", format!("{word}: {}", sanitize(&status.doing)));
    if let Some(progress) = &status.progress {
        row("Progress", describe::progress(progress));
    }
    if let Some(traffic) = &status.traffic {
        row("Traffic", self::traffic(traffic));
    }
    if let Some(room) = &status.room {
        let (free, kept) = (
            short_bytes(room.free_bytes),
            short_bytes(room.reserved_bytes),
        );
        let text = format!("{free} free in the store, of which {kept} stay reserved");
        let short = room.free_bytes <= room.reserved_bytes;
        row("Room", if short { style.bad(&text) } else { text });
    }
    for damage in &status.damaged {
        row("Damaged", style.bad(&sanitize(damage)));
    }
    for stall in &status.stalls {
        row("Stalled", style.bad(&sanitize(&stall.to_string())));
    }
    let same = |other: &Option<System>| {
        let path = |system: &Option<System>| system.as_ref().map(|s| s.system.clone());
        path(other) == path(&status.running)
    };
    if let Some(health) = &status.health {
        row("Health", describe::health(health, style));
    }
    if let Some(soak) = &status.soak {
        row("Soak", describe::soak(soak));
    }
    if let Some(worse) = &status.worse {
        row("Worse", style.bad(&sanitize(worse)));
    }
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
    for kept in &status.kept {
        row("Kept", self::kept(kept, style));
    }
    for hold in &status.holds {
        row("Held", style.busy(&self::hold(hold)));
    }
    for lease in &status.leases {
        let text = self::lease(lease);
        row("Lease", if lease.busy { style.busy(&text) } else { text });
    }
    for gate in &status.gates {
        let mut text = format!("to {}: {}", gate.stage, sanitize(&gate.gate));
        if !gate.why.is_empty() {
            let _ = write!(text, " ({})", sanitize(&gate.why));
        }
        row("Waits", style.busy(&text));
    }
    if let Some(turn) = &status.turn {
        row("Turn", style.busy(&sanitize(turn)));
    }
    if let Some(drift) = &status.drift {
        row("Drift", style.busy(&sanitize(drift)));
    }
    if let Some(doubt) = &status.doubt {
        row("Doubt", style.busy(&sanitize(doubt)));
    }
    if let Some(changed) = &status.changed {
        row("Changed", style.busy(&sanitize(changed)));
    }
    if let Some(why) = &status.configuration {
        let text = format!("what is on the disk is not in force: {}", sanitize(why));
        row("Config", style.busy(&text));
    }
    if let Some(why) = &status.lost {
        row("Memory", style.busy(&sanitize(why)));
    }
    if let Some(unheard) = &status.unheard {
        row("Asked", style.bad(&sanitize(unheard)));
    }
    if let Some(why) = &status.no_reserve {
        row(
            "Reserve",
            style.busy(&format!("missing: {}", sanitize(why))),
        );
    }
    if let Some(line) = checks(status) {
        row("Check", line);
    }
    if let Some(knowledge) = &status.knowledge {
        row("Signed", self::knowledge(knowledge));
    }
    for blocked in &status.blocked {
        row("Blocked", describe::blocked(blocked, style));
    }
    if let Some(readers) = &status.evidence_withheld {
        let text = format!(
            "what services and commands printed is shown to {}",
            sanitize(readers)
        );
        row("Withheld", style.faint(&text));
    }
    row("Agent", format!("surefootd {}", sanitize(&status.version)));
    rows.join("\n")
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

fn kept(kept: &KeptInfo, style: Style) -> String {
    let KeptInfo {
        system,
        release,
        by,
        since,
    } = kept.clone();
    let shown = self::system(
        &System {
            system,
            release,
            since,
        },
        style,
    );
    format!("{shown} by {}", sanitize(&by))
}

pub(super) fn hold(hold: &HoldInfo) -> String {
    let until = match hold.seconds_left {
        Some(seconds) => format!("for {} more", short_duration(Duration::from_secs(seconds))),
        None => "until somebody resumes".into(),
    };
    format!(
        "by {} {until}: {}",
        sanitize(&hold.owner),
        sanitize(&hold.why)
    )
}

pub(super) fn lease(lease: &LeaseInfo) -> String {
    let time = |seconds| short_duration(Duration::from_secs(seconds));
    let word = if lease.busy { "busy" } else { "free" };
    let left = match (lease.seconds_left, &lease.lost) {
        (Some(seconds), _) => format!(" for {}", time(seconds)),
        (None, None) => " for as long as its program holds it".to_owned(),
        (None, Some(_)) => String::new(),
    };
    let mut text = format!(
        "{} by {} is {word}{left}",
        lease.name,
        sanitize(&lease.owner)
    );
    if let Some(why) = &lease.why {
        let _ = write!(text, ": {}", sanitize(why));
    }
    if let Some(lost) = &lease.lost {
        let since = lease.lost_seconds.map_or_else(String::new, |seconds| {
            format!(", for {} now", time(seconds))
        });
        let _ = write!(
            text,
            "; {}{since}; once the robot is free: surefoot lease {} --end",
            sanitize(lost),
            lease.name
        );
    }
    text
}

/// The last check of the repository and the next.
pub(super) fn checks(status: &StatusInfo) -> Option<String> {
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
                Word::Known(CheckResult::UpToDate) => format!("nothing new{when}"),
                Word::Known(CheckResult::Found) => format!("a new release{when}"),
                Word::Other(word) => format!("{}{when}", sanitize(word)),
                Word::Known(CheckResult::Failed) => format!(
                    "failed{when}: {}",
                    sanitize(error.as_deref().unwrap_or("no reason was given"))
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

/// What was moved within a day.
fn traffic(traffic: &Traffic) -> String {
    let limit = traffic.limit_bytes.map_or_else(String::new, |limit| {
        format!(" of {} a day", short_bytes(limit))
    });
    format!(
        "{}{limit}, {} of it wasted; the day ends in {}",
        short_bytes(traffic.bytes),
        short_bytes(traffic.wasted_bytes),
        short_duration(Duration::from_secs(traffic.seconds_left))
    )
}

/// How fresh the knowledge of the repository is.
fn knowledge(knowledge: &Knowledge) -> String {
    let signed = knowledge.signed.map_or_else(
        || "at an unknown time".to_owned(),
        |signed| format!("at {}", time(signed)),
    );
    let clock = match knowledge.clock.known() {
        Some(ClockState::Trusted) => "",
        None => "; what the clock here is worth is not known to this program",
        Some(ClockState::Unsynced) => "; nothing keeps the clock here, so expiry may go unnoticed",
        Some(ClockState::Stepped) => "; the clock here is wrong: it reads long before that",
    };
    format!("{signed}, valid until {}{clock}", time(knowledge.expires))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::samples::{busy, quiet};

    #[test]
    fn a_status_can_be_read() {
        insta::assert_snapshot!("quiet", describe(&quiet(), Style::PLAIN));
        insta::assert_snapshot!("busy", describe(&busy(), Style::PLAIN));
        insta::assert_snapshot!("nothing", describe(&StatusInfo::default(), Style::PLAIN));
    }

    #[test]
    fn nothing_from_elsewhere_reaches_the_terminal_raw() {
        let text = describe(&busy(), Style::PLAIN);
        assert!(text.contains("red"));
        let hidden = |c: char| c != '\n' && surefoot_base::text::is_hidden(c);
        assert!(!text.contains(hidden), "{text:?}");
        assert!(text.contains("\\u{202e}"), "{text}");
        let coloured = describe(&quiet(), Style::COLOURED);
        assert!(coloured.contains("\u{1b}[32midle\u{1b}[0m"));
    }

    #[test]
    fn an_old_clock_is_said() {
        let at = |text: &str| text.parse().unwrap();
        let mut known = Knowledge {
            signed: Some(at("2030-01-01T00:00:00Z")),
            expires: at("2030-01-08T00:00:00Z"),
            clock: ClockState::Trusted.into(),
        };
        assert!(!knowledge(&known).contains("clock"));
        known.clock = ClockState::Stepped.into();
        known.signed = None;
        let text = knowledge(&known);
        assert!(text.contains("at an unknown time") && text.contains("clock here is wrong"));
    }
}
