//! `surefoot promote`: a release of one channel becomes one of another.

use crate::{
    desk::{ChangeArgs, Changed, PlanArgs, check_fits, refreshed, require},
    errors::Usage,
    output::Output,
};
use anyhow::ensure;
use serde_json::json;
use surefoot_core::release::{Listed, Manifest, Name, Release, manifest_target};

/// Give a release of one channel to another: the same systems, without anything new in the caches.
///
/// How it goes out there is said anew.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r#"Examples:
  What was proven in beta goes to all:
      surefoot promote --repo fleet 42 --from beta --to stable --waves "10% now, 100% after 1d""#)]
pub(crate) struct PromoteArgs {
    /// The release.
    release: Name,
    /// The channel that has it.
    #[arg(long, value_name = "CHANNEL")]
    from: Name,
    /// The channel that gets it.
    #[arg(long, value_name = "CHANNEL")]
    to: Name,
    /// Its name there. [default: the same]
    #[arg(long = "release", value_name = "ID")]
    name: Option<Name>,
    /// The other channel is a new one, and that is meant.
    #[arg(long)]
    new: bool,
    /// Let all robots in at once, although it went out in steps where it comes from.
    #[arg(long, conflicts_with_all = ["waves", "share", "first"])]
    all: bool,
    /// It brings an older system back there, and that is meant.
    #[arg(long)]
    step_back: bool,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Runs it.
pub(super) fn run(args: &PromoteArgs, output: Output) -> anyhow::Result<()> {
    let mut desk = args.change.open()?;
    let now = args.change.clock.now(desk.editor())?;
    desk.channel_of(&args.release, Some(&args.from))?;
    let mut release = desk.release(&args.from, &args.release)?.clone();
    if let Some(recall) = &release.recalled {
        anyhow::bail!("release {} was recalled: {}", release.id, recall.why);
    }
    let plan = args.plan.begin(None, now)?;
    ensure!(
        plan.is_some() || args.all || release.rollout.is_none(),
        Usage(format!(
            "release {} goes out in steps in channel '{}'; say how in '{}': --waves, --share, --first or --all",
            release.id, args.from, args.to
        ))
    );
    release.rollout = plan;
    if let Some(name) = &args.name {
        release.id.clone_from(name);
    }
    release.created = now;
    release.step_back = args.step_back;
    require(&mut release)?;
    desk.has_channel(&args.to, args.new)?;
    if !args.step_back {
        let newer: Vec<Release> = newer(desk.channel(&args.from)?, &args.release);
        check_newest(&release, &args.release, &newer, desk.channel(&args.to)?)?;
    }
    let target = manifest_target(&args.to);
    for system in release.systems.values() {
        ensure!(
            desk.editor_mut().keep_listed(&system.index, &target)?,
            "the repository does not have {}, which release {} names: surefoot publish --replace-index {}",
            system.index,
            args.release,
            args.release
        );
    }
    let manifest: &mut Manifest = desk.manifest(&args.to)?;
    check_fits(&release, manifest)?;
    manifest
        .releases
        .push(Listed::Known(Box::new(release.clone())));
    let ended = desk.save(&args.to, now, &args.change.end)?;
    desk.warn(&args.change.look.repo, now);
    let models: Vec<String> = release.systems.keys().map(ToString::to_string).collect();
    let mut lines = vec![format!(
        "Release {} is in channel {}, for {}",
        release.id,
        args.to,
        models.join(", ")
    )];
    match &release.rollout {
        Some(plan) => {
            lines.push(format!("It goes out in steps: {plan}"));
            lines.extend(refreshed(plan, &args.change.look.repo, now));
        }
        None => lines.push("All robots may begin with it, at their next check.".into()),
    }
    let changed = Changed {
        channel: &args.to,
        release: &release.id,
        ended,
    };
    let own = json!({ "rollout": release.rollout });
    changed.report(own, lines, output)
}

/// The releases of a channel that came after this one.
fn newer(manifest: &Manifest, release: &Name) -> Vec<Release> {
    let after = (manifest.releases.iter().rev()).take_while(|one| one.id() != release.as_str());
    let known = after.filter_map(|one| match one {
        Listed::Known(release) => Some((**release).clone()),
        Listed::Other(_) => None,
    });
    known.collect()
}

/// Whether the other channel has no release already that came after this one where it comes from: robots
/// would go back.
fn check_newest(
    release: &Release,
    from: &Name,
    newer: &[Release],
    to: &Manifest,
) -> anyhow::Result<()> {
    let has = |model: &Name, system: &Release| {
        let wanted = &system.systems[model].toplevel;
        to.releases.iter().any(|one| match one {
            Listed::Known(one) => (one.systems.get(model)).is_some_and(|s| s.toplevel == *wanted),
            Listed::Other(_) => false,
        })
    };
    for model in release.systems.keys() {
        let after = newer.iter().filter(|one| one.systems.contains_key(model));
        if let Some(after) = after.clone().find(|one| has(model, one)) {
            anyhow::bail!(Usage(format!(
                "channel '{}' has release {} for model '{model}', which came after {from}; give --step-back \
                 if robots are meant to go back",
                to.channel, after.id
            )));
        }
    }
    Ok(())
}
