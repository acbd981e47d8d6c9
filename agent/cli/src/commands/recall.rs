//! `surefoot recall`: nobody tries a release any more.

use crate::{
    desk::{ChangeArgs, Changed, check_systems},
    errors::Usage,
    output::Output,
};
use anyhow::{bail, ensure};
use serde_json::json;
use surefoot_api::Why;
use surefoot_core::release::{Listed, Manifest, Name, Recall, Release};

/// Call a release back: no robot tries it any more.
///
/// One that is in a trial of it finishes that. Those that run it stay with it until there is a newer
/// release, or go to an older one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r#"Examples:
  Nobody tries it any more, and those that run it go to release 41:
      surefoot recall --repo fleet 42 --why "the arm trembles" --to 41"#)]
pub(crate) struct RecallArgs {
    /// The release.
    release: Name,
    /// Why. Robots that leave it have it in their history.
    #[arg(long, value_name = "TEXT")]
    why: Why,
    /// The older release that robots go to which run it, by a trial as ever. [default: they stay, or
    /// go where an earlier recall of it said]
    #[arg(long, value_name = "RELEASE")]
    to: Option<Name>,
    /// Those that run it stay, although an earlier recall named a release that they go to. Without this that
    /// one is kept.
    #[arg(long, conflicts_with = "to")]
    stay: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Runs it.
pub(super) fn run(args: &RecallArgs, output: Output) -> anyhow::Result<()> {
    let mut desk = args.change.open()?;
    let channel = desk.channel_of(&args.release, args.change.look.channel.as_ref())?;
    let now = args.change.clock.now_whatever_was_signed(desk.editor())?;
    let before = desk.release(&channel, &args.release)?.recalled.take();
    let again = before.is_some();
    let kept = before.and_then(|before| before.to).filter(|_| !args.stay);
    let to = args.to.clone().or(kept);
    if let Some(to) = &to {
        check_way_back(desk.channel(&channel)?, &args.release, to)?;
    }
    let dependents = dependents(desk.channel(&channel)?, &args.release);
    let release = desk.release(&channel, &args.release)?;
    let recall = Recall {
        why: args.why.as_str().to_owned(),
        at: now,
        to,
    };
    release.recalled = Some(recall.clone());
    let ended = desk.save(&channel, now, &args.change.end)?;
    desk.warn(&args.change.look.repo, now);
    let mut lines = vec![format!(
        "Release {} in channel {channel} is recalled{}: {}",
        args.release,
        if again { " once more" } else { "" },
        recall.why
    )];
    lines.push(
        "No robot begins with it. One that downloads it or waits for its trial leaves it with its next \
         check; who is in a trial finishes it."
            .into(),
    );
    lines.push(match &recall.to {
        Some(to) => format!(
            "Robots that run it go to release {to}{}, by a trial with gates and health, unless there is a \
             newer one that they may take.",
            if args.to.is_none() {
                ", as the recall before said (--stay: they stay)"
            } else {
                ""
            }
        ),
        None => "Robots that run it stay with it until there is a newer release; --to sends them to an \
                 older one."
            .into(),
    });
    if !dependents.is_empty() {
        lines.push(format!(
            "It is the stepping stone of {}: robots on older releases cannot reach that by it any more.",
            dependents.join(", ")
        ));
    }
    let changed = Changed {
        channel: &channel,
        release: &args.release,
        ended,
    };
    let own = json!({ "recalled": recall, "again": again, "stoneOf": dependents });
    changed.report(own, lines, output)
}

/// The releases that robots reach by way of this one.
fn dependents(manifest: &Manifest, stone: &Name) -> Vec<String> {
    let of = |listed: &Listed| match listed {
        Listed::Known(release) if release.recalled.is_none() => {
            (release.from.as_ref() == Some(stone)).then(|| release.id.to_string())
        }
        _ => None,
    };
    manifest.releases.iter().filter_map(of).collect()
}

/// Whether robots can go from one release back to another: it stands before it, is not recalled itself,
/// and has a system for each of its models.
fn check_way_back(manifest: &Manifest, from: &Name, to: &Name) -> anyhow::Result<()> {
    let find = |name: &Name| -> Option<(usize, &Release)> {
        let mut all = manifest.releases.iter().enumerate();
        all.find_map(|(at, listed)| match listed {
            Listed::Known(release) if release.id == *name => Some((at, &**release)),
            _ => None,
        })
    };
    let (Some((here, left)), Some((there, goal))) = (find(from), find(to)) else {
        bail!(Usage(format!(
            "channel '{}' has no release {to} that robots could go to",
            manifest.channel
        )));
    };
    ensure!(
        there < here,
        Usage(format!(
            "release {to} is not older than {from}; robots go to newer ones by themselves"
        ))
    );
    ensure!(
        goal.recalled.is_none(),
        Usage(format!("release {to} was recalled itself"))
    );
    check_systems(goal, left.systems.keys())
}
