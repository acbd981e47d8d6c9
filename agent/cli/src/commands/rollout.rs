//! `surefoot rollout`: how a release goes out from now on.

use crate::{
    desk::{ChangeArgs, Changed, PlanArgs, refreshed, require},
    errors::Usage,
    output::Output,
};
use anyhow::{bail, ensure};
use serde_json::json;
use surefoot_core::{
    release::{Name, ROLLOUTS, Release},
    rollout::{Rollout, Share},
};

/// Say how a release goes out from now on: by other waves, by a share, or not for now.
///
/// It decides which robots begin with the release. Whoever has it keeps it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  Stop: no further robot begins:
      surefoot rollout --repo fleet 42 pause
  A quarter of the robots:
      surefoot rollout --repo fleet 42 --share 25%")]
pub(crate) struct RolloutArgs {
    /// The release.
    release: Name,
    /// What becomes of it; nothing, where a plan is given.
    #[arg(value_enum, conflicts_with_all = ["waves", "share", "first"])]
    step: Option<Step>,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

/// What becomes of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    /// No robot begins until it goes on. Who is in a trial finishes it.
    Pause,
    /// It goes on where it was paused: what was not yet open moves by the length of the pause.
    Resume,
    /// All robots may begin now.
    Finish,
}

/// Runs it.
pub(super) fn run(args: &RolloutArgs, output: Output) -> anyhow::Result<()> {
    let mut desk = args.change.open()?;
    let channel = desk.channel_of(&args.release, args.change.look.channel.as_ref())?;
    let now = args.change.clock.now_whatever_was_signed(desk.editor())?;
    let release = desk.release(&channel, &args.release)?;
    if let Some(recall) = &release.recalled {
        bail!(
            "release {} was recalled ({}), and no robot begins with it; publish it again under another \
             name",
            release.id,
            recall.why
        );
    }
    let before = release.rollout.clone();
    change(release, args, now)?;
    let release = release.clone();
    let plan = release.rollout.clone().unwrap_or_default();
    let ended = desk.save(&channel, now, &args.change.end)?;
    desk.warn(&args.change.look.repo, now);
    let mut lines = vec![format!(
        "Release {} in channel {channel}: {plan}",
        release.id
    )];
    lines.push(robots(&release, before.as_ref(), now));
    lines.extend(refreshed(&plan, &args.change.look.repo, now));
    let changed = Changed {
        channel: &channel,
        release: &release.id,
        ended,
    };
    let own = json!({ "rollout": plan, "open": plan.open_at(now), "before": before });
    changed.report(own, lines, output)
}

fn change(release: &mut Release, args: &RolloutArgs, now: jiff::Timestamp) -> anyhow::Result<()> {
    // One that lost its plan is closed to all robots, and no pause and no end of one may open it.
    let lost =
        release.rollout.is_none() && release.needs.iter().any(|need| need.as_str() == ROLLOUTS);
    let open = || Rollout::by_hand(if lost { Share::NONE } else { Share::ALL }, Vec::new());
    match args.step {
        Some(Step::Pause) => release.rollout.get_or_insert_with(open).pause(now)?,
        Some(Step::Resume) => match &mut release.rollout {
            Some(plan) => plan.resume(now)?,
            None if lost => bail!(
                "release {} is not paused: its plan was lost, and it is closed; say --waves or --share",
                release.id
            ),
            None => bail!("release {} is not paused: it is open to all", release.id),
        },
        Some(Step::Finish) => {
            let first = release.rollout.take().map(|plan| plan.first);
            release.rollout = Some(Rollout::by_hand(Share::ALL, first.unwrap_or_default()));
        }
        None => {
            let plan = args.plan.begin(release.rollout.as_ref(), now)?;
            ensure!(
                plan.is_some(),
                Usage("say --waves, --share, --first, pause, resume or finish".into())
            );
            release.rollout = plan;
        }
    }
    require(release)
}

/// What robots will do now.
fn robots(release: &Release, before: Option<&Rollout>, now: jiff::Timestamp) -> String {
    let Some(plan) = &release.rollout else {
        return String::new();
    };
    if plan.paused.is_some() {
        return "No robot begins with it until `surefoot rollout … resume`. One that downloads it or waits \
                for its trial leaves it with its next check, and none begins without one. Who is in a \
                trial finishes it; who has it keeps it."
            .into();
    }
    let open = plan.open_at(now);
    let was = before.map_or(Share::ALL, |before| before.open_at(now));
    let narrower = if open < was {
        format!(" Before it was open to {was}: who has it keeps it, and nobody else begins.")
    } else {
        String::new()
    };
    if open == Share::ALL {
        return "All robots may begin with it, at their next check.".into();
    }
    format!(
        "Now it is open to {open} of the robots, by chance; they begin at their next check. With few robots \
         that may be none: name the first ones with --first.{narrower}"
    )
}
