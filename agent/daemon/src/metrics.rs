//! A few series for node_exporter's textfile collector, in Prometheus' text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use crate::{control::Published, inputs::Inputs, log::word};
use std::{
    fmt::Write as _,
    fs::Permissions,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use surefoot_api::{HistoryEntry, StatusInfo, System};
use surefoot_base::file;
use surefoot_core::journal::What;
use tokio::sync::watch;

/// Keeps the file, where one is configured, as the agent says. Ends with the agent. Nobody waits for it, so a
/// disk that hangs keeps nothing up.
pub(crate) async fn keep(
    (mut published, inputs): (watch::Receiver<Published>, watch::Receiver<Option<Inputs>>),
) {
    let (mut last, mut failed) = (None, None);
    loop {
        let path = (inputs.borrow().as_ref()).and_then(|it| it.config.metrics.textfile.clone());
        let told = published.borrow_and_update().clone();
        let now = path.map(|path| (path, text(&told.status, &told.history)));
        if now != last {
            let why = match now.clone() {
                Some((path, text)) => write_apart(path, text).await.err(),
                None => None,
            };
            if why.is_none() {
                last = now;
            } else if why != failed {
                tracing::warn!("the metrics: {}", why.as_deref().unwrap_or_default());
            }
            failed = why;
        }
        if published.changed().await.is_err() {
            return;
        }
    }
}

async fn write_apart(path: PathBuf, text: String) -> Result<(), String> {
    let written = tokio::task::spawn_blocking(move || {
        write(&path, &text)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))
    });
    written.await.unwrap_or_else(|error| Err(error.to_string()))
}

/// Whoever reads sees the old file or the new one, whole. Everybody may read it, whatever the umask says.
fn write(path: &Path, text: &str) -> io::Result<()> {
    file::replace_with(path, 0o644, |out| {
        out.get_ref()
            .set_permissions(Permissions::from_mode(0o644))?;
        out.write_all(text.as_bytes())
    })
}

/// What there is to tell.
fn text(status: &StatusInfo, history: &[HistoryEntry]) -> String {
    let mut text = String::new();
    if let Some(running) = &status.running {
        let labels = of_system(running);
        gauge(
            &mut text,
            "running_info",
            "The system that runs.",
            &labels,
            1,
        );
    }
    if let Some(confirmed) = &status.confirmed {
        let help = "The last system that was proven healthy.";
        gauge(&mut text, "confirmed_info", help, &of_system(confirmed), 1);
    }
    let help = "Releases that failed on this robot and are not tried again.";
    let blocked = i64::try_from(status.blocked.len()).unwrap_or(i64::MAX);
    gauge(&mut text, "blocked_releases", help, "", blocked);
    let failed: Vec<String> = (status.blocked.iter())
        .map(|blocked| {
            labels(&[
                ("cause", &word(&blocked.cause).unwrap_or_default()),
                ("release", &blocked.release.to_string()),
            ])
        })
        .collect();
    let help = "A release that failed on this robot, and why.";
    gauges(&mut text, "blocked_info", help, &failed, 1);
    let help = "Whether a newer release is not taken because it is not open to this robot yet.";
    gauge(
        &mut text,
        "waits_its_turn",
        help,
        "",
        status.turn.is_some().into(),
    );
    let help = "Whether what the robot remembered was lost, and no release was confirmed since.";
    gauge(
        &mut text,
        "memory_lost",
        help,
        "",
        status.lost.is_some().into(),
    );
    let outcomes = [What::Confirmed, What::Reverted, What::Interrupted];
    let mut ended = history.iter();
    if let Some(last) =
        ended.find(|it| it.what.known().is_some_and(|what| outcomes.contains(&what)))
    {
        let help = "How the last trial ended.";
        let outcome = word(&last.what).unwrap_or_default();
        let labels = labels(&[
            ("outcome", &outcome),
            (
                "release",
                &last
                    .release
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            ),
            ("system", &last.system.to_string()),
        ]);
        gauge(&mut text, "last_outcome_info", help, &labels, 1);
        if let Some(when) = last.when {
            let help = "When the last trial ended, by the robot's clock.";
            let name = "last_outcome_timestamp_seconds";
            gauge(&mut text, name, help, "", when.as_second());
        }
    }
    text
}

/// One series with its head.
fn gauge(text: &mut String, name: &str, help: &str, labels: &str, value: i64) {
    gauges(text, name, help, &[labels], value);
}

/// Series of one name, each with its labels, after their head; nothing if there is none.
fn gauges(text: &mut String, name: &str, help: &str, all: &[impl AsRef<str>], value: i64) {
    if all.is_empty() {
        return;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "# HELP surefoot_{name} {help}\n# TYPE surefoot_{name} gauge"
    );
    for labels in all {
        let _ = writeln!(text, "surefoot_{name}{} {value}", labels.as_ref());
    }
}

fn of_system(system: &System) -> String {
    let release = system.release.as_ref().map(ToString::to_string);
    labels(&[
        ("release", &release.unwrap_or_default()),
        ("system", &system.system.to_string()),
    ])
}

/// Labels with their values; an empty value is the same as none.
fn labels(all: &[(&str, &str)]) -> String {
    let all = all.iter().filter(|(_, value)| !value.is_empty());
    let all = all.map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    format!("{{{}}}", all.collect::<Vec<_>>().join(","))
}

/// A label's value as it stands between its quotes.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{StatusInfo, escaped, labels, text, write};
    use std::os::unix::fs::PermissionsExt as _;
    use surefoot_api::{HistoryEntry, What, samples};

    #[test]
    fn the_text_is_in_the_format_of_prometheus() {
        let of = |name: &str| format!("system=\"{}\"", samples::path(name));
        let (running, confirmed) = (of("3"), of("2"));
        let expected = [
            "# HELP surefoot_running_info The system that runs.".to_owned(),
            "# TYPE surefoot_running_info gauge".to_owned(),
            format!("surefoot_running_info{{release=\"3\",{running}}} 1"),
            "# HELP surefoot_confirmed_info The last system that was proven healthy.".to_owned(),
            "# TYPE surefoot_confirmed_info gauge".to_owned(),
            format!("surefoot_confirmed_info{{release=\"2\",{confirmed}}} 1"),
            "# HELP surefoot_blocked_releases Releases that failed on this robot and are not tried again."
                .to_owned(),
            "# TYPE surefoot_blocked_releases gauge".to_owned(),
            "surefoot_blocked_releases 1".to_owned(),
            "# HELP surefoot_blocked_info A release that failed on this robot, and why.".to_owned(),
            "# TYPE surefoot_blocked_info gauge".to_owned(),
            "surefoot_blocked_info{cause=\"unhealthy\",release=\"2.5\"} 1".to_owned(),
            "# HELP surefoot_waits_its_turn Whether a newer release is not taken because it is not open to this robot yet."
                .to_owned(),
            "# TYPE surefoot_waits_its_turn gauge".to_owned(),
            "surefoot_waits_its_turn 1".to_owned(),
            "# HELP surefoot_memory_lost Whether what the robot remembered was lost, and no release was confirmed since."
                .to_owned(),
            "# TYPE surefoot_memory_lost gauge".to_owned(),
            "surefoot_memory_lost 1".to_owned(),
            "# HELP surefoot_last_outcome_info How the last trial ended.".to_owned(),
            "# TYPE surefoot_last_outcome_info gauge".to_owned(),
            format!("surefoot_last_outcome_info{{outcome=\"confirmed\",release=\"2\",{confirmed}}} 1"),
            "# HELP surefoot_last_outcome_timestamp_seconds When the last trial ended, by the robot's clock."
                .to_owned(),
            "# TYPE surefoot_last_outcome_timestamp_seconds gauge".to_owned(),
            "surefoot_last_outcome_timestamp_seconds 0".to_owned(),
        ];
        let told = text(&samples::status(), &samples::history());
        assert_eq!(told.lines().collect::<Vec<_>>(), expected);
        assert!(told.ends_with('\n'), "the last line must end as well");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let status = StatusInfo {
            running: None,
            confirmed: None,
            blocked: Vec::new(),
            turn: None,
            lost: None,
            ..samples::status()
        };
        let mut history = samples::history();
        // What happened last is not always how a trial ended.
        history.remove(0);
        let told = text(&status, &history);
        let series = told.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(
            series.collect::<Vec<_>>(),
            [
                "surefoot_blocked_releases 0",
                "surefoot_waits_its_turn 0",
                "surefoot_memory_lost 0"
            ]
        );
        let reverted = HistoryEntry {
            what: What::Reverted.into(),
            release: None,
            when: None,
            ..history.remove(0)
        };
        let told = text(&status, &[reverted]);
        assert!(
            told.contains("last_outcome_info{outcome=\"reverted\",system="),
            "{told}"
        );
        assert!(!told.contains("timestamp"), "{told}");
    }

    #[test]
    fn values_of_labels_are_escaped() {
        assert_eq!(escaped("a\\b\"c\nd"), r#"a\\b\"c\nd"#);
        assert_eq!(labels(&[("a", "\""), ("b", "")]), r#"{a="\""}"#);
    }

    #[test]
    fn everybody_may_read_the_file_and_nothing_stays_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("surefoot.prom");
        for text in ["a 1\n", "a 2\n"] {
            write(&file, text).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
