//! Following what the agent does: `watch` and `update --wait`.

use super::status;
use crate::{
    errors::Refused,
    output::{Style, clean, print, print_json},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{
    io::IsTerminal,
    path::Path,
    time::{Duration, Instant},
};
use surefoot_api::{
    BlockedRelease, CallError, CheckResult, Client, Gate, Progress, State, StatusInfo, method,
};
use surefoot_core::{gate::Stage, release::Name};

/// How long an agent may be away: after a commit it makes room for its successor.
const AWAY: Duration = Duration::from_secs(90);

/// Between two attempts to find it again.
const RETRY: Duration = Duration::from_millis(500);

/// Prints every change until interrupted.
pub(super) fn watch(socket: &Path, json: bool) -> anyhow::Result<()> {
    let mut agent = Client::connect(socket)?.watch()?;
    let mut screen = Screen::new();
    loop {
        let status = match agent.next_status() {
            Ok(status) => status,
            Err(CallError::Gone { .. }) => {
                screen.say("the agent is away; waiting for it");
                agent = find_again(socket, None)?.watch()?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if json {
            print_json(&status)?;
        } else {
            screen.show(&status)?;
        }
    }
}

/// How an update ended.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub(super) enum Outcome {
    /// A release became the confirmed system.
    Confirmed {
        /// Which one.
        #[serde(skip_serializing_if = "Option::is_none")]
        release: Option<Name>,
    },
    /// The robot runs what it should already.
    UpToDate,
    /// A release was given up.
    Blocked {
        /// What and why.
        blocked: Box<BlockedRelease>,
    },
    /// There is a release, but it failed here before, or somebody holds the robot or has switched
    /// it by hand.
    Held {
        /// The reasons.
        why: String,
    },
    /// The repository could not be read or was not believed.
    Failed {
        /// Why.
        why: String,
    },
}

/// Asks for an update and follows it to its end.
pub(super) fn update(socket: &Path, limit: Option<Duration>, json: bool) -> anyhow::Result<()> {
    let until = limit.map(|limit| Instant::now() + limit);
    let mut agent = Client::connect(socket)?;
    let before = agent.call(&method::Status {})?.status;
    agent.call(&method::Update {})?;
    let mut agent = agent.watch()?;
    let mut screen = Screen::new();
    let outcome = loop {
        let left = match until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => {
                anyhow::bail!("the time is over and the update goes on; see: surefoot watch")
            }
            left => left,
        };
        agent.wait_at_most(left);
        match agent.next_status() {
            Ok(status) => {
                if !json {
                    screen.show(&status)?;
                }
                if let Some(outcome) = ended(&before, &status) {
                    break outcome;
                }
            }
            // Out of time, or the agent makes room for its successor.
            Err(CallError::Gone { .. }) if until.is_none_or(|until| Instant::now() < until) => {
                agent = find_again(socket, until)?.watch()?;
            }
            Err(CallError::Gone { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    };
    screen.end();
    finish(&outcome, json)
}

/// Whether an update that began with one status has ended with another, and how.
pub(super) fn ended(before: &StatusInfo, now: &StatusInfo) -> Option<Outcome> {
    let target = now.target.as_ref().map(|target| &target.system);
    let given_up = |blocked: &&BlockedRelease| {
        !before.blocked.contains(blocked) || Some(&blocked.system) == target
    };
    let path = |status: &StatusInfo| status.confirmed.as_ref().map(|s| s.system.clone());
    // While the repository is being asked, what gates said of that is old.
    let shut = |gate: &Gate| gate.stage != Stage::Check || !now.checking;
    match now.state {
        _ if now.gates.iter().any(shut) => Some(Outcome::Held {
            why: now.doing.clone(),
        }),
        State::Ready if !now.holds.is_empty() => Some(Outcome::Held {
            why: now
                .holds
                .iter()
                .map(|hold| format!("held by {}: {}", hold.owner, hold.why))
                .collect::<Vec<_>>()
                .join("; "),
        }),
        State::Idle if !now.checking => Some(if path(before) != path(now) {
            Outcome::Confirmed {
                release: now.confirmed.as_ref().and_then(|s| s.release.clone()),
            }
        } else if let Some(blocked) = now.blocked.iter().rfind(given_up) {
            Outcome::Blocked {
                blocked: Box::new(blocked.clone()),
            }
        } else if let Some(drift) = &now.drift {
            Outcome::Held { why: drift.clone() }
        } else {
            match &now.last_check {
                Some(check) if check.result == CheckResult::Failed => Outcome::Failed {
                    why: check.error.clone().unwrap_or_default(),
                },
                // There is a release, and the agent does not want it: it failed here before.
                Some(check) if check.result == CheckResult::Found => Outcome::Held {
                    why: now.doing.clone(),
                },
                _ => Outcome::UpToDate,
            }
        }),
        _ => None,
    }
}

/// Says how it ended; what is not good is an error.
fn finish(outcome: &Outcome, json: bool) -> anyhow::Result<()> {
    let style = Style::detect();
    let good = |text: String| {
        if json {
            print_json(outcome)
        } else {
            print(&format!("{}\n", style.good(&text)))
        }
    };
    match outcome {
        Outcome::Confirmed { release } => good(match release {
            Some(release) => format!("release {release} is confirmed"),
            None => "another system is confirmed".into(),
        }),
        Outcome::UpToDate => good("the robot runs what it should".into()),
        Outcome::Blocked { blocked } => {
            if !json {
                print(&format!("{}\n", status::blocked(blocked, style)))?;
            }
            anyhow::bail!(
                "release {} was given up: {}",
                blocked.release,
                clean(&blocked.why)
            )
        }
        Outcome::Held { why } => {
            Err(Refused(format!("the robot is not updated now: {}", clean(why))).into())
        }
        Outcome::Failed { why } => {
            anyhow::bail!("the repository could not be asked: {}", clean(why))
        }
    }
}

/// Waits for the agent to be there again.
fn find_again(socket: &Path, until: Option<Instant>) -> Result<Client, CallError> {
    let latest = Instant::now() + AWAY;
    let latest = until.map_or(latest, |until| until.min(latest));
    loop {
        match Client::connect(socket) {
            Err(_) if Instant::now() < latest => std::thread::sleep(RETRY),
            result => return result,
        }
    }
}

/// Shows changes: a line when the agent does something else, and a bar while bytes move.
struct Screen {
    last: String,
    percent: u128,
    bar: Option<ProgressBar>,
    /// The fetch that was last heard of.
    fetch: Option<Progress>,
    style: Style,
}

impl Screen {
    fn new() -> Self {
        Self {
            last: String::new(),
            percent: 0,
            bar: None,
            fetch: None,
            style: Style::detect(),
        }
    }

    fn show(&mut self, status: &StatusInfo) -> anyhow::Result<()> {
        let fetch = status.progress.filter(|progress| progress.bytes_total > 0);
        if let Some(last) = std::mem::replace(&mut self.fetch, fetch)
            && fetch.is_none()
            && last.paths == last.paths_total
        {
            self.end();
            print(&format!("{}\n", status::fetched(&last)))?;
        }
        let line = format!("{}: {}", status.state, clean(&status.doing));
        if line != self.last {
            self.end();
            let word = status.state.to_string();
            let painted = match status.state {
                State::Idle => self.style.good(&word),
                State::Reverting => self.style.bad(&word),
                _ => self.style.busy(&word),
            };
            print(&format!("{painted}: {}\n", clean(&status.doing)))?;
            self.last = line;
            self.percent = 0;
        }
        let Some(progress) = fetch else {
            self.end();
            return Ok(());
        };
        if std::io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("{wide_bar} {msg}");
                ProgressBar::new(progress.bytes_total)
                    .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            });
            bar.set_length(progress.bytes_total);
            bar.set_position(progress.bytes);
            bar.set_message(status::progress(&progress));
        } else {
            // A line for each tenth is enough for a log.
            let percent = u128::from(progress.bytes) * 100 / u128::from(progress.bytes_total);
            if percent / 10 > self.percent / 10 {
                self.percent = percent;
                print(&format!("{}\n", status::progress(&progress)))?;
            }
        }
        Ok(())
    }

    fn say(&mut self, text: &str) {
        self.end();
        self.last.clear();
        eprintln!("surefoot: {text}");
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
