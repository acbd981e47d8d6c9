//! What the live view shows: the status in lines that fit a terminal.

use crate::{
    agent::describe,
    commands::{
        history::describe_entry,
        status::{checks, hold, lease},
    },
    output::{Style, sanitize},
};
use surefoot_api::{Failure, HistoryEntry, State, StatusInfo, System};

/// What the agent has said, newest.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The status.
    pub(super) status: StatusInfo,
    /// What happened, newest first.
    pub(super) events: Vec<HistoryEntry>,
    /// Why the agent says nothing now.
    pub(super) silent: Option<String>,
}

/// Columns and lines of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// Columns of a row's name, with the space behind it.
const NAME: usize = 11;

/// Events that are shown, at most.
const EVENTS: usize = 5;

/// Lines that one row takes, at most.
const ROW: usize = 3;

/// The narrowest and the lowest view that is drawn; a smaller terminal shows a part of it.
const SMALLEST: Size = Size {
    columns: 30,
    lines: 4,
};

type Paint = fn(Style, &str) -> String;
const PLAIN: Paint = |_, text| text.to_owned();
const STRONG: Paint = Style::strong;
const GOOD: Paint = Style::good;
const BUSY: Paint = Style::busy;
const BAD: Paint = Style::bad;
const FAINT: Paint = Style::faint;

/// Lines as they are drawn, none wider than the terminal.
struct Sheet {
    columns: usize,
    style: Style,
    lines: Vec<String>,
}

impl Sheet {
    /// A line of its own, cut where the terminal ends.
    fn line(&mut self, text: &str, paint: Paint) {
        let text = cut(text, self.columns);
        self.lines.push(paint(self.style, &text));
    }

    /// A row with a name: as many lines as it needs, [`ROW`] at most.
    fn row(&mut self, name: &str, text: &str, paint: Paint) {
        let width = self.columns.saturating_sub(NAME);
        for (n, line) in wrap(&sanitize(text), width, ROW).iter().enumerate() {
            let name = if n == 0 { name } else { "" };
            let name = self.style.strong(&format!("{name:<NAME$}"));
            self.lines
                .push(format!("{name}{}", paint(self.style, line)));
        }
    }
}

/// The view. `lines` of the size: as many as there may be.
pub(super) fn draw(seen: &Seen, size: Size, style: Style) -> Vec<String> {
    let size = Size {
        columns: size.columns.max(SMALLEST.columns),
        lines: size.lines.max(SMALLEST.lines),
    };
    let status = &seen.status;
    let mut sheet = Sheet {
        columns: size.columns,
        style,
        lines: Vec::new(),
    };
    let robot = format!(
        "{} on channel {} of {}",
        status.model, status.channel, status.repository
    );
    sheet.line(&sanitize(&robot), STRONG);
    sheet.lines.push(steps(status, size.columns, style));
    if let Some(why) = &seen.silent {
        sheet.row("Agent", &format!("does not answer: {why}"), BAD);
    }
    now(status, &mut sheet);
    if let Some(health) = &status.health {
        let mut say = |found: &[Failure], note: &str, paint| {
            for failure in found {
                let text = format!("{}: {}{note}", failure.check, failure.message);
                sheet.row("Health", &text, paint);
            }
        };
        say(&health.failures, "", BAD);
        say(&health.pending, " (may still come right)", BUSY);
        say(&health.excused, " (failed before, too)", FAINT);
        if health.failures.is_empty() && health.pending.is_empty() {
            sheet.row("Health", "every check that counts passed", GOOD);
        }
    }
    if let Some(soak) = &status.soak {
        sheet.row("Soak", &describe::soak(soak), BUSY);
        sheet.row("", &bar(soak.healthy_seconds, soak.needed_seconds), BUSY);
    }
    systems(status, &mut sheet);
    for blocked in &status.blocked {
        let text = format!("release {}: {}", blocked.release, blocked.why);
        sheet.row("Blocked", &text, FAINT);
    }
    if let Some(checks) = checks(status) {
        sheet.row("Check", &checks, PLAIN);
    }
    // The latest events get what room is left; the last line says how to leave.
    let last = size.lines - 1;
    if sheet.lines.len() > last {
        sheet.lines.truncate(last.saturating_sub(1));
        sheet.line("… there is more: surefoot status", FAINT);
    }
    let room = last.saturating_sub(sheet.lines.len()).min(EVENTS);
    for entry in seen.events.iter().take(room) {
        let text = describe_entry(entry, Style::PLAIN);
        sheet.line(&text, FAINT);
    }
    sheet.line("Ctrl-C ends this view; the robot goes on by itself.", FAINT);
    sheet.lines
}

/// What is the case now, and what is waited for.
fn now(status: &StatusInfo, sheet: &mut Sheet) {
    let paint = match status.state.known() {
        Some(State::Idle) if status.holds.is_empty() => GOOD,
        Some(State::Reverting | State::Unknown) => BAD,
        _ => BUSY,
    };
    sheet.row("Now", &status.doing, paint);
    if let Some(progress) = &status.progress {
        sheet.row("", &bar(progress.bytes, progress.bytes_total), BUSY);
        sheet.row("", &describe::progress(progress), PLAIN);
    }
    for (name, words) in [
        ("Fault", &status.fault),
        ("Worse", &status.worse),
        ("Config", &status.configuration),
        ("Memory", &status.lost),
        ("Asked", &status.unheard),
    ] {
        if let Some(words) = words {
            sheet.row(name, words, BAD);
        }
    }
    for stall in &status.stalls {
        sheet.row("Stalled", &stall.to_string(), BAD);
    }
    for gate in &status.gates {
        let text = format!("to {}: {}", gate.stage, gate.gate);
        let text = match gate.why.as_str() {
            "" => text,
            why => format!("{text} ({why})"),
        };
        sheet.row("Waits", &text, BUSY);
    }
    for one in &status.holds {
        let text = format!("{} (surefoot resume ends it)", hold(one));
        sheet.row("Held", &text, BUSY);
    }
    for one in status.leases.iter().filter(|lease| lease.busy) {
        sheet.row("Lease", &lease(one), BUSY);
    }
    for (name, words) in [
        ("Turn", &status.turn),
        ("Drift", &status.drift),
        ("Doubt", &status.doubt),
        ("Changed", &status.changed),
    ] {
        if let Some(words) = words {
            sheet.row(name, words, BUSY);
        }
    }
}

/// What runs, and where the robot is on its way to.
fn systems(status: &StatusInfo, sheet: &mut Sheet) {
    let path = |system: &Option<System>| system.as_ref().map(|one| one.system.clone());
    let confirmed = path(&status.running) == path(&status.confirmed);
    if let Some(target) = &status.target {
        sheet.row("Target", &named(target), PLAIN);
    }
    if let Some(running) = &status.running {
        let (note, paint) = if confirmed {
            ("confirmed", GOOD)
        } else {
            ("not confirmed", BUSY)
        };
        let text = format!("{} ({note})", named(running));
        sheet.row("Running", &text, paint);
    }
    if let Some(one) = status.confirmed.as_ref().filter(|_| !confirmed) {
        sheet.row("Confirmed", &named(one), PLAIN);
    }
}

fn named(system: &System) -> String {
    match &system.release {
        Some(release) => format!("release {release}"),
        None => system.system.to_string(),
    }
}

/// The steps of an update, with the present one marked: by brackets, too, for whoever sees no colours.
fn steps(status: &StatusInfo, columns: usize, style: Style) -> String {
    let at = match status.state.known() {
        Some(State::Idle) => status.checking.then_some(0),
        Some(State::Fetching) => Some(1),
        Some(State::Ready) => Some(2),
        Some(State::Trial) => Some(3),
        Some(State::Committing) => Some(4),
        Some(State::Reverting | State::Unknown) | None => Some(5),
    };
    let back = at == Some(5);
    let steps = ["check", "fetch", "wait", "trial", "commit", "way back"];
    let shown = if back { 6 } else { 5 };
    let mut text = String::new();
    let mut width = 0;
    for (n, step) in steps.iter().take(shown).enumerate() {
        let arrow = if n == 0 { "" } else { " > " };
        let marked = at == Some(n);
        let word = if marked {
            format!("[{step}]")
        } else {
            (*step).to_owned()
        };
        width += arrow.len() + word.len();
        if width > columns {
            break;
        }
        text += arrow;
        text += &match (marked, back) {
            (true, true) => style.bad(&word),
            (true, false) => style.busy(&word),
            (false, _) => style.faint(&word),
        };
    }
    text
}

/// A bar of ASCII: a serial console may know nothing else.
fn bar(done: u64, total: u64) -> String {
    const CELLS: u64 = 40;
    let filled = u128::from(done.min(total)) * u128::from(CELLS);
    let filled = filled.checked_div(u128::from(total)).unwrap_or(0);
    let filled = usize::try_from(filled).unwrap_or(0);
    let empty = usize::try_from(CELLS).unwrap_or(0).saturating_sub(filled);
    format!("[{}{}]", "#".repeat(filled), ".".repeat(empty))
}

/// The beginning of a text that fits.
fn cut(text: &str, columns: usize) -> String {
    if console::measure_text_width(text) <= columns {
        return text.to_owned();
    }
    console::truncate_str(text, columns, "…").into_owned()
}

/// A text in lines of so many columns, broken between words where that is possible; the last line is cut
/// if there would be more.
fn wrap(text: &str, columns: usize, lines: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut all: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let longer = match line.as_str() {
            "" => word.to_owned(),
            line => format!("{line} {word}"),
        };
        if line.is_empty() || console::measure_text_width(&longer) <= columns {
            line = longer;
        } else if all.len() + 1 == lines {
            let rest: Vec<&str> = words.collect();
            line = format!("{longer} {}", rest.join(" "));
            break;
        } else {
            all.push(std::mem::replace(&mut line, word.to_owned()));
        }
    }
    all.push(line);
    all.iter().map(|line| cut(line, columns)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::samples::{busy, path, quiet, system, time};
    use surefoot_api::{Health, Soak, What};

    const CONSOLE: Size = Size {
        columns: 80,
        lines: 24,
    };

    fn events() -> Vec<HistoryEntry> {
        let entry = |what: What, release: &str, why: Option<&str>| HistoryEntry {
            when: time(0),
            what: what.into(),
            release: Some(release.parse().unwrap()),
            system: path("nixos"),
            why: why.map(Into::into),
            by: None,
        };
        vec![
            entry(What::Confirmed, "2", None),
            entry(What::Reverted, "1.5", Some("unit arm.service failed")),
        ]
    }

    fn seen(status: StatusInfo) -> Seen {
        Seen {
            status,
            events: events(),
            silent: None,
        }
    }

    fn text(seen: &Seen, size: Size) -> String {
        draw(seen, size, Style::PLAIN).join("\n")
    }

    #[test]
    fn the_view_is_understood_on_80_columns_and_24_lines() {
        insta::assert_snapshot!("idle", text(&seen(quiet()), CONSOLE));
        insta::assert_snapshot!("fetching", text(&seen(busy()), CONSOLE));
        let trial = StatusInfo {
            state: State::Trial.into(),
            doing: "release 3 is on trial".into(),
            running: Some(system("3")),
            target: Some(system("3")),
            health: Some(Health::default()),
            soak: Some(Soak {
                healthy_seconds: 20,
                needed_seconds: 60,
            }),
            ..quiet()
        };
        insta::assert_snapshot!("trial", text(&seen(trial.clone()), CONSOLE));
        let back = Seen {
            silent: Some("it restarts".into()),
            ..seen(StatusInfo {
                state: State::Reverting.into(),
                doing: "going back to release 2".into(),
                soak: None,
                ..trial
            })
        };
        insta::assert_snapshot!("way_back", text(&back, CONSOLE));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_view_is_higher() {
        for status in [quiet(), busy(), StatusInfo::default()] {
            for columns in [30, 40, 61, 80, 200] {
                for lines in [4, 8, 24, 60] {
                    let size = Size { columns, lines };
                    let drawn = draw(&seen(status.clone()), size, Style::PLAIN);
                    assert!(drawn.len() <= lines, "{size:?}");
                    for line in drawn {
                        assert!(console::measure_text_width(&line) <= columns, "{line}");
                        assert!(!line.contains(surefoot_base::text::is_hidden), "{line:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn long_words_and_texts_are_cut() {
        assert_eq!(wrap("one two three", 7, 3), ["one two", "three"]);
        assert_eq!(wrap("one two three four", 7, 2), ["one two", "three …"]);
        assert_eq!(wrap("abcdefghij", 5, 3), ["abcd…"]);
        assert_eq!(wrap("", 5, 3), [""]);
    }
}
