//! `surefoot rollback`: going back, with or without a running agent.

mod question;

use super::systems;
use crate::{
    agent::{
        follow::follow,
        made,
        socket::{SocketArgs, print_done},
        standalone,
    },
    errors::Usage,
    output::{Dialogue, Output, notice},
};
use question::Wish;
use serde::Serialize;
use std::time::{Duration, Instant};
use surefoot_api::{
    CallError, Client, Made, Name, RollbackTo, State, StatusInfo, StorePath, Why, method,
};
use surefoot_base::units::parse_duration;

/// Go back to an earlier confirmed system, or end a running trial.
///
/// What is left is blocked: the agent does not try it again until something about it changes. So is
/// the release that waits or is being fetched, and what was confirmed between: the robot stays where
/// you put it, until there is a newer release. `surefoot unblock` undoes that for a release.
/// If no agent answers, root can still roll back: that works on the journal and the system
/// directly.
///
/// On a terminal it shows the systems that the robot can go back to and what differs, asks which one,
/// why, and once whether that is meant, and follows to the end. With --yes, --json or without a terminal
/// it asks nothing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r#"Examples:
  Show the systems, ask which, and go there:
      surefoot rollback
  From a script:
      surefoot rollback --to 41 --why "the arm trembles" --yes --wait"#)]
pub(crate) struct RollbackArgs {
    /// Why, for those who come after: it stands in the history and with the blocked release. Where
    /// nothing is asked, it has to be given.
    #[arg(long, value_name = "TEXT")]
    why: Option<Why>,
    /// Where to, of the systems that `surefoot status` lists: a release, or a store path.
    /// [default: the one before, or out of the running trial]
    #[arg(long, value_name = "GENERATION")]
    to: Option<RollbackTo>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Although a lease says that the robot is busy.
    #[arg(long)]
    force: bool,
    /// Where no agent answers, end every hold first: look at the robot before. While one answers it is
    /// `surefoot resume` that does that.
    #[arg(long)]
    resume: bool,
    /// Follow it to its end: exit 0 if the robot runs that system and the agent is at rest, 1 if not.
    #[arg(long)]
    wait: bool,
    /// Follow it no longer than this, e.g. 30min; it goes on by itself.
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs it.
pub(super) fn run(args: RollbackArgs, output: Output) -> anyhow::Result<()> {
    let until = args.timeout.map(|limit| Instant::now() + limit);
    // What was seen is what runs when the question is asked; it is meant when it is answered.
    let seen = made::now().running;
    let dialogue = (!args.yes && !output.is_json()).then(Dialogue::at_terminal);
    let (Wish { to, why }, asked) = match (dialogue.flatten(), args.why) {
        (Some(mut dialogue), why) => {
            let wish = converse(&mut dialogue, &args.socket, (args.to, why), output)?;
            (wish, true)
        }
        (None, Some(why)) => (Wish { to: args.to, why }, false),
        (None, None) => {
            let words = "--why TEXT is missing: those who come after you will wonder";
            return Err(Usage(words.into()).into());
        }
    };
    let rollback = method::Rollback {
        why,
        to,
        force: args.force,
        made: Some(Made {
            running: seen,
            ..made::now()
        }),
    };
    match ask(&args.socket, &rollback, args.wait || asked) {
        Ok((agent, Some(before), done)) => {
            if !output.is_json() {
                output.text(&crate::output::sanitize(&done.message))?;
            }
            let mut goal = None;
            let outcome = follow(&args.socket, agent, until, output, |now| {
                ended(&before, &mut goal, now)
            })?;
            finish(&outcome, output)
        }
        Ok((_, _, done)) => print_done(&done, output),
        Err(silence @ (CallError::NotThere { .. } | CallError::Gone { .. })) => {
            standalone::rollback(&rollback, args.resume, silence, output)
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks whoever sits at the terminal.
fn converse(
    dialogue: &mut Dialogue,
    socket: &SocketArgs,
    said: (Option<RollbackTo>, Option<Why>),
    output: Output,
) -> anyhow::Result<Wish> {
    let status = socket.call(&method::Status {}).ok();
    let in_trial = status.is_some_and(|reply| {
        let state = reply.status.state.known();
        matches!(
            state,
            Some(State::Trial | State::Committing | State::Reverting)
        )
    });
    let systems = match systems::list(socket) {
        Ok(systems) => systems,
        // A store that cannot be read keeps nobody from going back.
        Err(error) => {
            notice(&format!("the systems cannot be listed: {error:#}"));
            Vec::new()
        }
    };
    let goals = question::goals(&systems, in_trial);
    question::ask(dialogue, (&systems, &goals), said, output.style())
}

/// Asks for it. If it is to be waited for, the status of before comes along.
fn ask(
    socket: &SocketArgs,
    rollback: &method::Rollback,
    wait: bool,
) -> Result<(Client, Option<StatusInfo>, method::Done), CallError> {
    let mut agent = socket.connect()?;
    let before = if wait {
        Some(agent.call(&method::Status {})?.status)
    } else {
        None
    };
    let done = agent.call(rollback)?;
    Ok((agent, before, done))
}

/// How a rollback ended.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", tag = "outcome")]
enum RollbackOutcome {
    /// The robot runs where it was to go.
    RolledBack {
        /// What runs.
        system: StorePath,
        /// The release that it came with.
        #[serde(skip_serializing_if = "Option::is_none")]
        release: Option<Name>,
    },
    /// It runs something else.
    Failed {
        /// What, and what the agent says.
        why: String,
    },
}

/// Whether a rollback that was granted after one status has ended with another, and how. `goal` is
/// where the robot goes, once that was heard.
fn ended(
    before: &StatusInfo,
    goal: &mut Option<StorePath>,
    now: &StatusInfo,
) -> Option<RollbackOutcome> {
    let running = |status: &StatusInfo| status.running.as_ref().map(|s| s.system.clone());
    match now.state.known() {
        Some(State::Committing | State::Reverting) => {
            // A rollback that fails turns back: what was heard first counts.
            if goal.is_none() {
                *goal = now.target.as_ref().map(|target| target.system.clone());
            }
            None
        }
        Some(State::Trial | State::Unknown) | None => None,
        Some(State::Idle | State::Fetching | State::Ready) => {
            let there = match goal {
                Some(goal) => running(now).as_ref() == Some(goal),
                // It was over before anything of it was heard.
                None => running(now) != running(before),
            };
            Some(match (&now.running, there) {
                (Some(system), true) => RollbackOutcome::RolledBack {
                    system: system.system.clone(),
                    release: system.release.clone(),
                },
                (Some(system), false) => RollbackOutcome::Failed {
                    why: format!("{} runs; {}", system.system, now.doing),
                },
                (None, _) => RollbackOutcome::Failed {
                    why: now.doing.clone(),
                },
            })
        }
    }
}

/// Says how it ended; what is not good is an error.
fn finish(outcome: &RollbackOutcome, output: Output) -> anyhow::Result<()> {
    match outcome {
        RollbackOutcome::RolledBack { system, release } => {
            let text = match release {
                Some(release) => format!("release {release} runs"),
                None => format!("{system} runs"),
            };
            output.result(outcome, |style| style.good(&text))
        }
        RollbackOutcome::Failed { why } => anyhow::bail!(
            "the rollback did not work: {}; see: surefoot history",
            crate::output::sanitize(why)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::samples::{quiet, system};

    #[test]
    fn the_end_of_a_rollback_is_known() {
        let before = quiet();
        let at = |state: State, running: &str, target: Option<&str>| StatusInfo {
            state: state.into(),
            running: Some(system(running)),
            target: target.map(system),
            ..quiet()
        };
        let good = |release: &str| {
            Some(RollbackOutcome::RolledBack {
                system: system(release).system,
                release: system(release).release,
            })
        };
        let mut goal = None;
        let committing = at(State::Committing, "2", Some("1"));
        assert_eq!(ended(&before, &mut goal, &committing), None);
        assert_eq!(goal, Some(system("1").system));
        assert_eq!(
            ended(&before, &mut goal, &at(State::Idle, "1", None)),
            good("1")
        );
        // Then it may bring the next release at once.
        let next = at(State::Fetching, "1", Some("3"));
        assert_eq!(ended(&before, &mut goal, &next), good("1"));

        // It fails, and turns back.
        let back = at(State::Reverting, "2", Some("2"));
        assert_eq!(ended(&before, &mut goal, &back), None);
        let failed = ended(&before, &mut goal, &at(State::Idle, "2", None));
        assert!(matches!(failed, Some(RollbackOutcome::Failed { .. })));

        // Nothing of it was heard.
        let mut goal = None;
        assert_eq!(
            ended(&before, &mut goal, &at(State::Idle, "1", None)),
            good("1")
        );
        let failed = ended(&before, &mut goal, &at(State::Idle, "2", None));
        assert!(matches!(failed, Some(RollbackOutcome::Failed { .. })));
    }
}
