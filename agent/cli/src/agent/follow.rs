//! Following what the agent does.

use super::{describe, socket::SocketArgs};
use crate::output::{Bar, Output, notice, sanitize};
use std::time::{Duration, Instant};
use surefoot_api::{CallError, Client, Progress, Stall, State, StatusInfo};

/// How long an agent may be away: after a commit it makes room for its successor.
const AWAY: Duration = Duration::from_secs(90);

/// Between two attempts to find it again.
const RETRY: Duration = Duration::from_millis(500);

/// Waits for the agent to be there again, until a time at the latest. It is not asked at once: it may have
/// hung up because it has too many callers.
///
/// # Errors
/// It did not come back; [`CallError::NotThere`].
pub(crate) fn reconnect(socket: &SocketArgs, until: Option<Instant>) -> Result<Client, CallError> {
    let latest = Instant::now() + AWAY;
    let latest = until.map_or(latest, |until| until.min(latest));
    std::thread::sleep(RETRY);
    loop {
        match socket.connect() {
            Err(_) if Instant::now() < latest => std::thread::sleep(RETRY),
            result => return result,
        }
    }
}

/// Follows the agent until `ended` knows how it ended, over its restarts. `agent`: whoever was asked.
///
/// # Errors
/// `until` has come, the agent did not come back, or standard output takes nothing.
pub(crate) fn follow<T>(
    socket: &SocketArgs,
    agent: Client,
    until: Option<Instant>,
    output: Output,
    mut ended: impl FnMut(&StatusInfo) -> Option<T>,
) -> anyhow::Result<T> {
    let mut agent = agent.watch()?;
    let mut screen = Screen::new(output);
    loop {
        let left = match until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => {
                anyhow::bail!("the time is over, and the agent goes on; see: surefoot watch")
            }
            left => left,
        };
        agent.wait_at_most(left);
        match agent.next_status() {
            Ok(status) => {
                screen.show(&status)?;
                if let Some(end) = ended(&status) {
                    screen.end();
                    return Ok(end);
                }
            }
            // Out of time, or the agent makes room for its successor.
            Err(CallError::Gone { .. }) if until.is_none_or(|until| Instant::now() < until) => {
                agent = reconnect(socket, until)?.watch()?;
            }
            Err(CallError::Gone { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Shows changes to people: a line when the agent does something else, and a bar while bytes move.
pub(crate) struct Screen {
    output: Output,
    last: String,
    percent: u128,
    bar: Option<Bar>,
    /// The fetch that was last heard of.
    fetch: Option<Progress>,
    /// What stalls, and why.
    stalls: Vec<(String, Option<String>)>,
}

impl Screen {
    /// Nothing was shown yet.
    pub(crate) const fn new(output: Output) -> Self {
        Self {
            output,
            last: String::new(),
            percent: 0,
            bar: None,
            fetch: None,
            stalls: Vec::new(),
        }
    }

    /// Shows what changed; for programs, nothing.
    ///
    /// # Errors
    /// Standard output takes nothing.
    pub(crate) fn show(&mut self, status: &StatusInfo) -> anyhow::Result<()> {
        if self.output.is_json() {
            return Ok(());
        }
        let fetch = status.progress.filter(|progress| progress.bytes_total > 0);
        if let Some(last) = std::mem::replace(&mut self.fetch, fetch)
            && fetch.is_none()
            && last.paths == last.paths_total
        {
            self.end();
            self.output.text(&describe::fetched(&last))?;
        }
        let word = sanitize(&status.state.to_string());
        let doing = sanitize(&status.doing);
        let line = format!("{word}: {doing}");
        self.tell_stalls(&status.stalls)?;
        if line != self.last {
            self.end();
            let style = self.output.style();
            let painted = match status.state.known() {
                Some(State::Idle) => style.good(&word),
                Some(State::Reverting | State::Unknown) => style.bad(&word),
                _ => style.busy(&word),
            };
            self.output.text(&format!("{painted}: {doing}"))?;
            self.last = line;
            self.percent = 0;
        }
        let Some(progress) = fetch else {
            self.end();
            return Ok(());
        };
        if self.bar.is_none() {
            self.bar = Bar::new("{wide_bar} {msg}");
        }
        if let Some(bar) = &self.bar {
            let message = describe::progress(&progress);
            bar.update(progress.bytes, progress.bytes_total, message);
        } else {
            // A line for each tenth is enough for a log.
            let percent = u128::from(progress.bytes) * 100 / u128::from(progress.bytes_total);
            if percent / 10 > self.percent / 10 {
                self.percent = percent;
                self.output.text(&describe::progress(&progress))?;
            }
        }
        Ok(())
    }

    /// Says what has begun to stall, or stalls for another reason.
    fn tell_stalls(&mut self, stalls: &[Stall]) -> anyhow::Result<()> {
        let of = |stall: &Stall| (stall.what.clone(), stall.why.clone());
        let now: Vec<_> = stalls.iter().map(of).collect();
        let before = std::mem::replace(&mut self.stalls, now);
        for stall in stalls {
            if !before.contains(&of(stall)) {
                self.end();
                let text = sanitize(&stall.to_string());
                self.output.text(&self.output.style().bad(&text))?;
            }
        }
        Ok(())
    }

    /// Says something beside; what the agent does is said anew after it.
    pub(crate) fn say(&mut self, text: &str) {
        self.end();
        self.last.clear();
        notice(text);
    }

    /// Takes the bar away.
    pub(crate) fn end(&mut self) {
        self.bar = None;
    }
}
