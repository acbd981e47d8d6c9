//! `surefoot show`: all about one release.

use super::releases::{as_json, how_far};
use crate::{
    agent::describe::time,
    desk::LookArgs,
    output::{Output, sanitize},
};
use anyhow::Context as _;
use serde_json::json;
use surefoot_base::units::short_bytes;
use surefoot_core::release::{Listed, Name, RebootPolicy};

/// Show all about one release.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  All about release 42:
      surefoot show --repo fleet 42")]
pub(crate) struct ShowArgs {
    /// The release.
    release: Name,
    #[command(flatten)]
    look: LookArgs,
}

/// Runs it.
pub(super) fn run(args: &ShowArgs, output: Output) -> anyhow::Result<()> {
    let desk = args.look.open()?;
    let channel = desk.channel_of(&args.release, args.look.channel.as_ref())?;
    let releases = &desk.channel(&channel)?.releases;
    let listed = releases
        .iter()
        .find(|one| one.id() == args.release.as_str());
    let listed = listed.context("it was just there")?;
    let signed = desk.editor().signed();
    if output.is_json() {
        return output.object(&json!({ "channel": channel, "release": as_json(listed, signed) }));
    }
    let Listed::Known(release) = listed else {
        return output.text(&format!(
            "Release {} in channel {channel} is written in a way that this program does not know",
            args.release
        ));
    };
    let mut rows = vec![
        ("Release", format!("{} in channel {channel}", release.id)),
        ("Published", time(release.created)),
        ("Open", how_far(release, signed)),
    ];
    let labels = |labels: &[surefoot_core::release::Label]| {
        let texts: Vec<String> = labels.iter().map(ToString::to_string).collect();
        texts.join(" ")
    };
    if !release.only.is_empty() {
        rows.push(("Only", labels(&release.only)));
    }
    if let Some(from) = &release.from {
        rows.push((
            "From",
            format!("release {from} or later; others take that one first"),
        ));
    }
    if release.reboot == RebootPolicy::Always {
        rows.push(("Reboot", "always".into()));
    }
    for (said, word) in [
        (release.again, "also where a person rolled this system back"),
        (release.moves, "may lead robots elsewhere"),
        (release.step_back, "brings an older system back"),
    ] {
        if said {
            rows.push(("Meant", word.into()));
        }
    }
    if !release.needs.is_empty() {
        let needs: Vec<&str> = release.needs.iter().map(Name::as_str).collect();
        rows.push(("Needs", needs.join(" ")));
    }
    for (model, system) in &release.systems {
        rows.push((
            "System",
            format!(
                "{model}: {} ({} paths, {})",
                system.toplevel,
                system.paths,
                short_bytes(system.nar_size)
            ),
        ));
    }
    if !release.notes.is_empty() {
        rows.push(("Notes", release.notes.clone()));
    }
    let style = output.style();
    let rows: Vec<String> = (rows.iter())
        .map(|(name, value)| {
            format!(
                "{} {}",
                style.strong(&format!("{name:<10}")),
                sanitize(value)
            )
        })
        .collect();
    output.text(&rows.join("\n"))
}
