//! What the agent says, in words for people.

use crate::output::{Style, sanitize};
use jiff::Timestamp;
use std::{fmt::Write as _, time::Duration};
use surefoot_api::{BlockedRelease, Failure, Health, Progress, Soak};
use surefoot_base::units::{short_bytes, short_duration};

/// Lines of a unit's journal that are shown; the rest is in `--json`.
const JOURNAL_LINES: usize = 5;

/// How far a fetch is, and how long it will still take.
pub(crate) fn progress(progress: &Progress) -> String {
    let Progress {
        paths,
        paths_total,
        bytes,
        bytes_total,
        rate,
        ..
    } = *progress;
    if progress.verify_bytes > 0 {
        return format!(
            "verifying what is there: {} of {}",
            short_bytes(progress.verified_bytes),
            short_bytes(progress.verify_bytes)
        );
    }
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
pub(crate) fn fetched(progress: &Progress) -> String {
    format!(
        "fetched {} paths, {}; {} were there; resumed {}, wasted {}",
        progress.paths,
        short_bytes(progress.bytes),
        progress.already_present,
        short_bytes(progress.resumed_bytes),
        short_bytes(progress.wasted_bytes)
    )
}

/// A blocked release with its evidence.
pub(crate) fn blocked(blocked: &BlockedRelease, style: Style) -> String {
    let mut text = style.bad(&format!(
        "release {}: {}",
        blocked.release,
        sanitize(&blocked.why)
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
                style.faint(&format!("| {}", sanitize(line)))
            );
        }
    };
    for failure in &blocked.failures {
        let _ = write!(
            text,
            "\n           {}: {}",
            sanitize(&failure.check),
            sanitize(&failure.message)
        );
        tail(&failure.journal, &mut text);
    }
    if blocked.failures.is_empty() {
        tail(&blocked.log, &mut text);
    }
    if let Some(file) = &blocked.log_file {
        let words = format!("the whole log of the switch: {}", sanitize(file));
        let _ = write!(text, "\n           {}", style.faint(&words));
    }
    text
}

/// How far a soak is.
pub(crate) fn soak(soak: &Soak) -> String {
    let time = |seconds| short_duration(Duration::from_secs(seconds));
    let healthy = soak.healthy_seconds.min(soak.needed_seconds);
    format!(
        "healthy for {} of {}, {} left",
        time(healthy),
        time(soak.needed_seconds),
        time(soak.needed_seconds - healthy)
    )
}

/// What a look at the health found.
pub(crate) fn health(health: &Health, style: Style) -> String {
    let said = |failures: &[Failure], note: &str| {
        let said = |failure: &Failure| {
            let (check, message) = (sanitize(&failure.check), sanitize(&failure.message));
            format!("{check}: {message}{note}")
        };
        failures.iter().map(said).collect::<Vec<_>>()
    };
    let excused = said(
        &health.excused,
        " (failed before the trial, too: does not count)",
    );
    let words = [
        said(&health.failures, "")
            .iter()
            .map(|w| style.bad(w))
            .collect::<Vec<_>>(),
        said(&health.pending, "")
            .iter()
            .map(|w| style.busy(w))
            .collect(),
        excused.iter().map(|w| style.faint(w)).collect(),
        (health.started.iter())
            .map(|unit| style.busy(&format!("{} runs, and had been stopped", sanitize(unit))))
            .collect(),
    ];
    let words = words.concat();
    if words.is_empty() {
        style.good("every check passed")
    } else {
        words.join("\n           ")
    }
}

/// To the second, in UTC: whoever reads it stands somewhere else than the robot.
pub(crate) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}
