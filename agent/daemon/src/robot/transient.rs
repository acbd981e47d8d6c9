//! Programs in transient units of their own, run to their end.
//!
//! systemd keeps all processes of a unit together, whatever they do, ends them with it and counts
//! what they take; it does so too when the agent dies. A group of processes is left by whoever calls
//! setsid(2), and a control group of the agent's own would have to be shared with it.

use super::{systemd, units};
use std::{fmt, time::Duration};
use surefoot_base::{
    environment,
    program::{Limits, Printed, ProgramError},
};
use tokio::sync::oneshot;

/// How long systemd may take to start a unit and to end it, beside what its program takes. The
/// limit of the unit ends before the agent's does.
const MARGIN: Duration = Duration::from_secs(15);

/// What is told to end is killed after this.
const STOP: &str = "--property=TimeoutStopSec=5s";

/// A program to be run in a unit.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The unit: [`units::LIMITED`] has its name.
    pub(crate) unit: String,
    /// Options of systemd-run(1), beside what every job gets: its limits, and `PATH`.
    pub(crate) options: Vec<String>,
    /// The program, and its arguments.
    pub(crate) exec: Vec<String>,
    /// How long it may run, and how much is kept of each of its outputs.
    pub(crate) limits: Limits,
}

/// A program that did not end with 0.
#[derive(Debug)]
pub(crate) struct Failed {
    /// How it ended.
    pub(crate) how: How,
    /// The end of what it printed.
    pub(crate) stdout: Printed,
    /// The end of what it complained of.
    pub(crate) stderr: Printed,
}

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// With this exit status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It took longer than this, and was ended.
    TooLate(Duration),
    /// It took more memory than its unit has.
    OutOfMemory,
    /// Otherwise, or not at all.
    Other(String),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "exit status: {status}"),
            Self::Signal(signal) => write!(f, "signal: {signal}"),
            Self::TooLate(limit) => write!(f, "no answer within {} ms", limit.as_millis()),
            Self::OutOfMemory => f.write_str("it took more memory than a command may"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// Runs a program in a unit, to its end; gives what it printed. The unit is gone by then, with all
/// its processes. It is stopped, too, if this is dropped.
///
/// # Errors
/// It did not end with 0.
pub(crate) async fn run(job: Job) -> Result<Printed, Failed> {
    let (mut say, said) = oneshot::channel();
    // What is dropped could not wait for systemd: this outlives it.
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = job.run() => Some(ended),
            () = say.closed() => None,
        };
        if !matches!(ended, Some(Ok(_))) {
            job.end().await;
        }
        if let Some(ended) = ended {
            let _ = say.send(ended);
        }
    });
    said.await
        .unwrap_or_else(|_| Err(Failed::with(How::Other("nobody waits for it".to_owned()))))
}

/// Ends every such unit: what an agent left behind that was killed, and what nobody waits for now.
pub(crate) async fn end_all() {
    let patterns = units::LIMITED.map(|prefix| format!("{prefix}*.service"));
    let patterns = patterns.each_ref().map(String::as_str);
    if let Err(error) = systemd::clear(&patterns).await {
        tracing::warn!("cannot end what was left running: {error:#}");
    }
}

impl Failed {
    fn with(how: How) -> Self {
        Self {
            how,
            stdout: Printed::default(),
            stderr: Printed::default(),
        }
    }
}

impl Job {
    async fn run(&self) -> Result<Printed, Failed> {
        let limit = self.limits.time;
        let (unit, most, path) = (
            format!("--unit={}", self.unit),
            format!("--property=RuntimeMaxSec={}ms", limit.as_millis()),
            format!("--setenv=PATH={}", environment::PATH),
        );
        let mut options = vec![
            "--wait",
            "--pipe",
            "--service-type=exec",
            STOP,
            &unit,
            &most,
            &path,
        ];
        options.extend(self.options.iter().map(String::as_str));
        let exec: Vec<&str> = self.exec.iter().map(String::as_str).collect();
        let limits = Limits {
            time: limit + MARGIN,
            ..self.limits
        };
        let ended = match systemd::systemd_run(&options, &exec, limits).await {
            Ok(ended) => ended,
            Err(ProgramError::TooLate(_)) => {
                return Err(Failed::with(How::Other(format!(
                    "systemd did not end it within {} s",
                    limits.time.as_secs()
                ))));
            }
            Err(error) => {
                let words = format!("systemd-run cannot be run: {error}");
                return Err(Failed::with(How::Other(words)));
            }
        };
        if ended.status.success() {
            return Ok(ended.stdout);
        }
        let how = match systemd::result(&self.unit).await {
            Ok(said) => read(&said, limit),
            Err(error) => Some(How::Other(format!("{error:#}"))),
        };
        // There is no unit: it could not be started, and why is on standard error.
        let how = how.unwrap_or_else(|| {
            let words = ended.stderr.last_words();
            How::Other(if words.is_empty() {
                "it was not started".to_owned()
            } else {
                words
            })
        });
        Err(Failed {
            how,
            stdout: ended.stdout,
            stderr: ended.stderr,
        })
    }

    async fn end(&self) {
        if let Err(error) = systemd::clear(&[&self.unit]).await {
            tracing::warn!(unit = self.unit, "cannot be ended: {error:#}");
        }
    }
}

/// What systemd says of a unit that failed; `None` if it knows none of that name.
fn read(said: &systemd::UnitResult, limit: Duration) -> Option<How> {
    if !said.loaded {
        return None;
    }
    Some(match said.result.as_str() {
        "exit-code" => How::Exit(said.status),
        "signal" | "core-dump" => How::Signal(said.status),
        "timeout" => How::TooLate(limit),
        "oom-kill" => How::OutOfMemory,
        // Somebody stopped it.
        "success" => How::Other("it was stopped".to_owned()),
        result => How::Other(format!("systemd says: {result}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_of_a_failed_command_is_understood() {
        let limit = Duration::from_millis(100);
        let how = |loaded, result: &str, status| {
            let result = result.to_owned();
            let said = systemd::UnitResult {
                loaded,
                result,
                status,
            };
            read(&said, limit).map(|how| how.to_string())
        };
        let is = |words: &str| Some(words.to_owned());
        assert_eq!(how(true, "exit-code", 3), is("exit status: 3"));
        assert_eq!(how(true, "signal", 9), is("signal: 9"));
        assert_eq!(how(true, "timeout", 9), is("no answer within 100 ms"));
        assert!(how(true, "oom-kill", 9).unwrap().contains("memory"));
        assert_eq!(how(true, "success", 0), is("it was stopped"));
        assert_eq!(how(false, "success", 0), None);
    }
}
