//! `surefoot retire`: old releases leave the manifest.

use crate::{
    desk::{ChangeArgs, Ended},
    output::{Output, sanitize},
};
use anyhow::Context as _;
use serde_json::json;
use surefoot_core::{release::Name, retire::Retiring};

/// Take releases out of a channel that no robot needs any more.
///
/// Only the oldest go, never one that is newer than one that stays. Of each model the newest stay that are
/// open to everybody, and the newest of them that needs no feature; and so does what leads to one that stays:
/// stepping stones, and where a recall leads to. A robot that still runs what was taken out takes the newest
/// release that is open to it. The names are never used again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  Keep the last ten of each model:
      surefoot retire --repo fleet --keep 10 --dry-run")]
pub(crate) struct RetireArgs {
    /// How many releases of each model stay that are open to everybody: without --only, not recalled, not
    /// paused, and no plan keeps robots from them. Of a model that has fewer, all stay.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    keep: u16,
    /// A feature that the agents of all robots know; may be given several times. Without it the newest release
    /// of each model that needs no feature stays, for older agents.
    #[arg(long, value_name = "FEATURE")]
    all_know: Vec<Name>,
    /// A model that has no robots any more; may be given several times. What it has does not count.
    #[arg(long, value_name = "MODEL")]
    no_robots: Vec<Name>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Runs it.
pub(super) fn run(args: &RetireArgs, output: Output) -> anyhow::Result<()> {
    let mut desk = args.change.open()?;
    let channel = (args.change.look.channel.clone()).context("say which: --channel")?;
    let now = args.change.clock.now(desk.editor())?;
    let gone: Vec<Name> = desk.manifest(&channel)?.retire(&Retiring {
        keep: args.keep.into(),
        all_know: &args.all_know,
        no_robots: &args.no_robots,
        now,
    });
    let ended = match gone.as_slice() {
        [] => None,
        _ => Some(desk.save(&channel, now, &args.change.end)?),
    };
    desk.warn(&args.change.look.repo, now);
    let stay = desk.channel(&channel)?.releases.len();
    let changed = !gone.is_empty();
    let names: Vec<&str> = gone.iter().map(Name::as_str).collect();
    let mut lines = vec![if changed {
        format!(
            "{} leave channel {channel}, and {stay} releases stay. A robot that runs one of those takes the \
             newest release that is open to it.",
            names.join(", ")
        )
    } else {
        format!("All {stay} releases of channel {channel} stay.")
    }];
    lines.extend(ended.as_ref().and_then(Ended::line));
    let object = json!({ "channel": channel, "gone": gone, "stay": stay, "ended": ended });
    output.result(&object, |_| sanitize(&lines.join(" ")))
}
