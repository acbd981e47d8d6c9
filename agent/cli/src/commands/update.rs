//! `surefoot update`: asking for an update, and following it to its end.

use crate::{
    agent::{
        describe,
        follow::follow,
        made,
        socket::{SocketArgs, print_done},
    },
    errors::Refused,
    output::{Output, sanitize},
};
use serde::Serialize;
use std::time::{Duration, Instant};
use surefoot_api::{BlockedRelease, CheckResult, Gate, Name, Stage, State, StatusInfo, method};
use surefoot_base::units::parse_duration;

/// Look for an update now, and try at once what waits for a next attempt.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  Look for a release now:
      surefoot update
  Look, and follow it to its end:
      surefoot update --wait --timeout 30min")]
pub(crate) struct UpdateArgs {
    /// Follow it to its end: exit 0 if the robot runs what it should, 1 if not, 3 if it is held.
    #[arg(long)]
    wait: bool,
    /// Follow it no longer than this, e.g. 30min; it goes on by itself.
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs it.
pub(super) fn run(args: &UpdateArgs, output: Output) -> anyhow::Result<()> {
    if args.wait {
        wait(args, output)
    } else {
        print_done(
            &args.socket.call(&method::Update {
                made: Some(made::now()),
            })?,
            output,
        )
    }
}

/// How an update ended.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", tag = "outcome")]
enum UpdateOutcome {
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
fn wait(args: &UpdateArgs, output: Output) -> anyhow::Result<()> {
    let until = args.timeout.map(|limit| Instant::now() + limit);
    let mut agent = args.socket.connect()?;
    let before = agent.call(&method::Status {})?.status;
    agent.call(&method::Update {
        made: Some(made::now()),
    })?;
    let outcome = follow(&args.socket, agent, until, output, |now| {
        ended(&before, now)
    })?;
    finish(&outcome, output)
}

/// Whether an update that began with one status has ended with another, and how.
fn ended(before: &StatusInfo, now: &StatusInfo) -> Option<UpdateOutcome> {
    let target = now.target.as_ref().map(|target| &target.system);
    let given_up = |blocked: &&BlockedRelease| {
        !before.blocked.contains(blocked) || Some(&blocked.system) == target
    };
    let path = |status: &StatusInfo| status.confirmed.as_ref().map(|s| s.system.clone());
    // While the repository is being asked, what gates said of that is old.
    let shut = |gate: &Gate| gate.stage != Stage::Check || !now.checking;
    match now.state.known() {
        _ if now.gates.iter().any(shut) => Some(UpdateOutcome::Held {
            why: now.doing.clone(),
        }),
        Some(State::Ready) if !now.holds.is_empty() => Some(UpdateOutcome::Held {
            why: now
                .holds
                .iter()
                .map(|hold| format!("held by {}: {}", hold.owner, hold.why))
                .collect::<Vec<_>>()
                .join("; "),
        }),
        Some(State::Unknown) => Some(UpdateOutcome::Held {
            why: now.doing.clone(),
        }),
        Some(State::Idle) if !now.checking => Some(if path(before) != path(now) {
            UpdateOutcome::Confirmed {
                release: now.confirmed.as_ref().and_then(|s| s.release.clone()),
            }
        } else if let Some(blocked) = now.blocked.iter().rfind(given_up) {
            UpdateOutcome::Blocked {
                blocked: Box::new(blocked.clone()),
            }
        } else if let Some(drift) = &now.drift {
            UpdateOutcome::Held { why: drift.clone() }
        } else {
            match &now.last_check {
                Some(check) if check.result == CheckResult::Failed => UpdateOutcome::Failed {
                    why: check.error.clone().unwrap_or_default(),
                },
                // There is a release, and the agent does not want it: it failed here before.
                Some(check) if check.result == CheckResult::Found => UpdateOutcome::Held {
                    why: now.doing.clone(),
                },
                _ => UpdateOutcome::UpToDate,
            }
        }),
        _ => None,
    }
}

/// Says how it ended; what is not good is an error.
fn finish(outcome: &UpdateOutcome, output: Output) -> anyhow::Result<()> {
    match outcome {
        UpdateOutcome::Confirmed { release } => {
            let text = match release {
                Some(release) => format!("release {release} is confirmed"),
                None => "another system is confirmed".into(),
            };
            output.result(outcome, |style| style.good(&text))
        }
        UpdateOutcome::UpToDate => {
            output.result(outcome, |style| style.good("the robot runs what it should"))
        }
        UpdateOutcome::Blocked { blocked } => {
            output.text(&describe::blocked(blocked, output.style()))?;
            anyhow::bail!(
                "release {} was given up: {}",
                blocked.release,
                sanitize(&blocked.why)
            )
        }
        UpdateOutcome::Held { why } => {
            let why = format!("the robot is not updated now: {}", sanitize(why));
            Err(Refused(why).into())
        }
        UpdateOutcome::Failed { why } => {
            anyhow::bail!("the repository could not be asked: {}", sanitize(why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::samples::{blocked, busy, quiet, system, time};
    use surefoot_api::Check;

    #[test]
    fn the_end_of_an_update_is_known() {
        let before = quiet();
        let end = |now: StatusInfo| ended(&before, &now);
        assert_eq!(end(quiet()), Some(UpdateOutcome::UpToDate));

        let checking = StatusInfo {
            checking: true,
            ..quiet()
        };
        assert_eq!(end(checking), None);
        let trial = StatusInfo {
            state: State::Trial.into(),
            ..quiet()
        };
        assert_eq!(end(trial), None);

        let confirmed = StatusInfo {
            confirmed: Some(system("3")),
            ..quiet()
        };
        let release = Some("3".parse().unwrap());
        assert_eq!(end(confirmed), Some(UpdateOutcome::Confirmed { release }));

        let given_up = StatusInfo {
            blocked: vec![blocked("3")],
            ..quiet()
        };
        assert!(matches!(end(given_up), Some(UpdateOutcome::Blocked { .. })));

        let failed = StatusInfo {
            last_check: busy().last_check,
            ..quiet()
        };
        assert!(matches!(end(failed), Some(UpdateOutcome::Failed { .. })));

        let held = StatusInfo {
            state: State::Ready.into(),
            holds: busy().holds,
            ..quiet()
        };
        assert!(matches!(end(held), Some(UpdateOutcome::Held { .. })));
        let ready = StatusInfo {
            state: State::Ready.into(),
            ..quiet()
        };
        assert_eq!(end(ready.clone()), None);
        let gated = |stage: Stage, checking| StatusInfo {
            gates: vec![Gate {
                stage: stage.into(),
                gate: "battery".into(),
                why: "low".into(),
            }],
            checking,
            ..ready.clone()
        };
        let activate = gated(Stage::Activate, true);
        assert!(matches!(end(activate), Some(UpdateOutcome::Held { .. })));
        assert_eq!(end(gated(Stage::Check, true)), None);

        let drift = StatusInfo {
            drift: busy().drift,
            ..quiet()
        };
        assert!(matches!(end(drift), Some(UpdateOutcome::Held { .. })));

        let mut unwanted = quiet();
        unwanted.last_check = Some(Check {
            when: time(100),
            result: CheckResult::Found.into(),
            error: None,
        });
        assert!(matches!(end(unwanted), Some(UpdateOutcome::Held { .. })));

        // What was given up long ago is not news, unless it is what the robot should run.
        let old = StatusInfo {
            blocked: vec![blocked("3")],
            ..quiet()
        };
        assert_eq!(ended(&old, &old.clone()), Some(UpdateOutcome::UpToDate));
        let wanted = StatusInfo {
            target: Some(system("3")),
            ..old.clone()
        };
        assert!(matches!(
            ended(&old, &wanted),
            Some(UpdateOutcome::Blocked { .. })
        ));
    }
}
