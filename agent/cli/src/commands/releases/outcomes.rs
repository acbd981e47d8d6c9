//! What robots say of what came of releases: by the files that they write for node_exporter, or by the
//! Prometheus that has read these.

use crate::web_servers::{self, NetArgs};
use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use surefoot_base::file;
use surefoot_http::{
    Http, Url, below,
    document::{self, Document},
    pace::LeastPace,
};

/// No file of a robot is larger, bytes.
const MAX_FILE: u64 = 1 << 20;

/// No answer of a Prometheus is larger, bytes: more than 100 000 robots have.
const MAX_ANSWER: u64 = 1 << 30;

/// What all series of the agent begin with.
const OURS: &str = "surefoot_";

/// What one robot says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Robot {
    running: Option<String>,
    confirmed: Option<String>,
    /// Releases that failed there, and why.
    blocked: BTreeMap<String, String>,
    waits: bool,
}

/// What robots say, each of itself.
#[derive(Debug, Default)]
pub(super) struct Outcomes(BTreeMap<String, Robot>);

/// What came of one release.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    confirmed: usize,
    /// By why.
    reverted: BTreeMap<String, usize>,
    on_trial: usize,
    /// Of the newest release: robots that it is not open to yet, and those that nothing came of.
    rest: Option<Rest>,
}

/// Robots that the newest release has not been tried on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Rest {
    waiting: usize,
    silent: usize,
}

impl Outcomes {
    /// Reads them: a file of a robot, a directory of such files, or the URL of a Prometheus.
    ///
    /// # Errors
    /// They cannot be read, or are something else.
    pub(super) fn read(place: &str, net: &NetArgs) -> anyhow::Result<Self> {
        if place.contains("://") {
            return Self::of_prometheus(place, net);
        }
        let path = Path::new(place);
        let files: Vec<PathBuf> = if fs::metadata(path).context(place.to_owned())?.is_dir() {
            let entries = fs::read_dir(path).context(place.to_owned())?;
            let paths = entries.map(|entry| Ok(entry?.path()));
            let paths = paths.collect::<anyhow::Result<Vec<_>>>()?.into_iter();
            (paths.filter(|path| path.extension().is_some_and(|it| it == "prom"))).collect()
        } else {
            vec![path.to_owned()]
        };
        ensure!(!files.is_empty(), "{place} has no file of a robot (*.prom)");
        let mut all = Self::default();
        for file in files {
            let shown = file.display().to_string();
            let text = file::read_text(&file, MAX_FILE).with_context(|| shown.clone())?;
            for (number, line) in text.lines().enumerate() {
                let series = series(line);
                let series =
                    series.map_err(|why| anyhow::anyhow!("{shown}:{}: {why}", number + 1))?;
                if let Some((name, labels, value)) = series {
                    all.take(&shown, name, &labels, value);
                }
            }
        }
        ensure!(
            !all.0.is_empty(),
            "{place} has nothing that a Surefoot agent wrote (metrics.textfile)"
        );
        Ok(all)
    }

    fn of_prometheus(place: &str, net: &NetArgs) -> anyhow::Result<Self> {
        let base = Url::parse(&format!("{}/", place.trim_end_matches('/')))?;
        let mut url = below(&base, "api/v1/query").context("the URL of a Prometheus is wanted")?;
        let query = format!("{{__name__=~\"{OURS}.+\"}}");
        url.query_pairs_mut().append_pair("query", &query);
        let http = Http::new(net.options());
        let pace = LeastPace::default();
        let found = web_servers::wait(async {
            Ok(document::get(&http, url.as_str(), MAX_ANSWER, None, pace).await?)
        })?;
        let Document::Bytes(bytes, _) = found else {
            bail!("{place} is not a Prometheus: it has no api/v1/query");
        };
        let answer: Answer = serde_json::from_slice(&bytes)
            .with_context(|| format!("{place} answers something else than a Prometheus"))?;
        let mut all = Self::default();
        for mut one in answer.data.result {
            let mut label = |name: &str| one.metric.remove(name).unwrap_or_default();
            let name = label("__name__");
            let robot = format!("{} {}", label("job"), label("instance"));
            all.take(&robot, &name, &one.metric, &one.value.1);
        }
        ensure!(
            !all.0.is_empty(),
            "{place} knows nothing that a Surefoot agent wrote (metrics.textfile)"
        );
        Ok(all)
    }

    fn take(&mut self, robot: &str, name: &str, labels: &BTreeMap<String, String>, value: &str) {
        let Some(name) = name.strip_prefix(OURS) else {
            return;
        };
        let robot = self.0.entry(robot.to_owned()).or_default();
        let release = labels.get("release").cloned();
        match name {
            "running_info" => robot.running = release,
            "confirmed_info" => robot.confirmed = release,
            "blocked_info" => {
                let cause = labels.get("cause").cloned().unwrap_or_default();
                robot
                    .blocked
                    .extend(release.map(|release| (release, cause)));
            }
            "waits_its_turn" => robot.waits = value == "1",
            _ => {}
        }
    }

    /// How many robots say something.
    pub(super) fn robots(&self) -> usize {
        self.0.len()
    }

    /// What came of a release. `newest`: it is the newest of its channel.
    pub(super) fn of(&self, release: &str, newest: bool) -> Outcome {
        let mut outcome = Outcome::default();
        let mut rest = Rest::default();
        for robot in self.0.values() {
            let is = |one: &Option<String>| one.as_deref() == Some(release);
            if is(&robot.confirmed) {
                outcome.confirmed += 1;
            } else if let Some(cause) = robot.blocked.get(release) {
                *outcome.reverted.entry(cause.clone()).or_default() += 1;
            } else if is(&robot.running) {
                outcome.on_trial += 1;
            } else if robot.waits {
                rest.waiting += 1;
            } else {
                rest.silent += 1;
            }
        }
        outcome.rest = newest.then_some(rest);
        outcome
    }
}

impl Outcome {
    fn reverts(&self) -> usize {
        self.reverted.values().sum()
    }

    /// Robots that have, or had, the release offered.
    fn offered(&self) -> usize {
        let silent = self.rest.map_or(0, |rest| rest.silent);
        self.confirmed + self.reverts() + self.on_trial + silent
    }

    /// Whether there is anything to say.
    pub(super) fn is_empty(&self) -> bool {
        self.offered() == 0 && self.rest.is_none()
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        let mut parts = vec![format!("{} confirmed", self.confirmed)];
        let causes = self.reverted.iter();
        let causes: Vec<String> = causes.map(|(cause, n)| format!("{n} {cause}")).collect();
        let why = if causes.is_empty() {
            String::new()
        } else {
            format!(" ({})", causes.join(", "))
        };
        parts.push(format!("{} reverted{why}", self.reverts()));
        parts.push(format!("{} on trial", self.on_trial));
        let mut text = format!("offered to {}: ", self.offered());
        if let Some(rest) = self.rest {
            parts.push(format!("{} silent", rest.silent));
            text += &parts.join(", ");
            text += &format!("; {} wait for their turn", rest.waiting);
        } else {
            text += &parts.join(", ");
        }
        text
    }

    pub(super) fn to_json(&self) -> Value {
        let mut value = json!({
            "offered": self.offered(),
            "confirmed": self.confirmed,
            "reverted": self.reverted,
            "onTrial": self.on_trial,
        });
        if let Some(rest) = self.rest {
            value["silent"] = rest.silent.into();
            value["waiting"] = rest.waiting.into();
        }
        value
    }
}

/// The answer of a Prometheus to an instant query (<https://prometheus.io/docs/prometheus/latest/querying/api>).
#[derive(Debug, Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    result: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

/// A name, its labels and its value.
type Series<'a> = (&'a str, BTreeMap<String, String>, &'a str);

/// A line of Prometheus' text format; `None` if it is none of the agent's.
fn series(line: &str) -> Result<Option<Series<'_>>, &'static str> {
    if !line.starts_with(OURS) {
        return Ok(None);
    }
    let end = line.find(['{', ' ']).ok_or("there is no value")?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    let mut seen = BTreeSet::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = rest.split_once("=\"").ok_or("a label has no value")?;
            let (value, after) = quoted(after).ok_or("a label's value does not end")?;
            if !seen.insert(label) {
                return Err("a label is there twice");
            }
            labels.insert(label.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
    }
    let value = rest.split_whitespace().next().ok_or("there is no value")?;
    Ok(Some((name, labels, value)))
}

/// A value up to its closing quote, and what comes after that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c => c,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_read_as_they_are_written() {
        let labels = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
            let all = all.iter();
            all.map(|(name, value)| ((*name).into(), (*value).into()))
                .collect()
        };
        let read = |line| series(line).unwrap().unwrap();
        assert_eq!(read("surefoot_a 1"), ("surefoot_a", labels(&[]), "1"));
        assert_eq!(
            read(r#"surefoot_a{b="x\\y\"}\nz",c=""} 2 1700000000"#),
            ("surefoot_a", labels(&[("b", "x\\y\"}\nz"), ("c", "")]), "2")
        );
        for line in ["", "# HELP surefoot_a b", "node_load1 0.5"] {
            assert_eq!(series(line), Ok(None), "{line}");
        }
        for line in [
            "surefoot_a",
            "surefoot_a{",
            "surefoot_a{b} 1",
            "surefoot_a{b=\"x} 1",
            "surefoot_a{b=\"\\",
            "surefoot_a{b=\"\"}",
            "surefoot_a{b=\"\",b=\"\"} 1",
        ] {
            assert!(series(line).is_err(), "{line}");
        }
    }

    #[test]
    fn each_robot_counts_once() {
        let robot = |confirmed: &str, running: &str, blocked: &[(&str, &str)], waits| Robot {
            running: Some(running.into()),
            confirmed: Some(confirmed.into()),
            blocked: (blocked.iter())
                .map(|(release, why)| ((*release).into(), (*why).into()))
                .collect(),
            waits,
        };
        let robots = [
            robot("2", "2", &[], false),
            robot("1", "1", &[("2", "unhealthy")], false),
            robot("1", "1", &[("2", "switch")], true),
            robot("1", "1", &[("2", "unhealthy")], false),
            robot("1", "2", &[], false),
            robot("1", "1", &[], true),
            robot("1", "1", &[], false),
        ];
        let robots = robots.into_iter().enumerate();
        let all = Outcomes(robots.map(|(n, it)| (n.to_string(), it)).collect());
        assert_eq!(
            all.of("2", true).words(),
            "offered to 6: 1 confirmed, 3 reverted (1 switch, 2 unhealthy), 1 on trial, 1 silent; 1 wait for \
             their turn"
        );
        assert_eq!(
            all.of("1", false).words(),
            "offered to 6: 6 confirmed, 0 reverted, 0 on trial"
        );
        assert!(all.of("3", false).is_empty() && !all.of("3", true).is_empty());
    }
}
