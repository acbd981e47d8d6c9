//! `surefoot releases`: what the channels of a repository offer.

mod outcomes;

use crate::{
    agent::describe::time,
    desk::LookArgs,
    output::{Output, sanitize},
    web_servers::NetArgs,
};
use jiff::Timestamp;
use outcomes::Outcomes;
use serde_json::{Value, json};
use std::fmt::Write as _;
use surefoot_base::units::short_bytes;
use surefoot_core::release::{Listed, Manifest, Release};

/// How long robots let time go on from when the repository was signed, unless they say otherwise.
const FRESH: i64 = 15 * 60;

/// List the releases of a repository, newest first: how far each is open, paused or recalled.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  What is out, and how far:
      surefoot releases --repo fleet
  With what came of it on robots:
      surefoot releases --repo fleet --outcomes https://prometheus.example.org")]
pub(crate) struct ReleasesArgs {
    #[command(flatten)]
    look: LookArgs,
    /// Say also what came of each on the robots of the channel: by the file that an agent writes for
    /// node_exporter (metrics.textfile), a directory of such files (*.prom), or a Prometheus, such as
    /// http://prometheus:9090.
    #[arg(long, value_name = "FILE|DIR|URL")]
    outcomes: Option<String>,
    #[command(flatten)]
    net: NetArgs,
}

/// Runs it.
pub(super) fn run(args: &ReleasesArgs, output: Output) -> anyhow::Result<()> {
    let desk = args.look.open()?;
    let outcomes = args.outcomes.as_deref();
    let outcomes = outcomes
        .map(|place| Outcomes::read(place, &args.net))
        .transpose()?;
    let (now, signed) = (Timestamp::now(), desk.editor().signed());
    let shown = |manifest: &&Manifest| {
        let channel = args.look.channel.as_ref();
        channel.is_none_or(|channel| *channel == manifest.channel)
    };
    let channels: Vec<&Manifest> = desk.channels().iter().filter(shown).collect();
    if output.is_json() {
        let channels: Vec<Value> = (channels.iter())
            .map(|manifest| {
                let releases = manifest.releases.iter().rev().enumerate();
                let releases = releases.map(|(age, one)| {
                    let mut value = as_json(one, signed);
                    if let Some(outcomes) = &outcomes {
                        value["outcome"] = outcomes.of(one.id(), age == 0).to_json();
                    }
                    value
                });
                let releases: Vec<Value> = releases.collect();
                json!({ "channel": manifest.channel, "releases": releases })
            })
            .collect();
        let unreadable: serde_json::Map<String, Value> = (desk.unreadable().iter())
            .map(|(channel, why)| (channel.clone(), why.as_str().into()))
            .collect();
        return output.object(&json!({
            "signed": signed,
            "channels": channels,
            "unreadable": unreadable,
            "robots": outcomes.as_ref().map(Outcomes::robots),
        }));
    }
    let mut text = String::new();
    for manifest in &channels {
        let _ = writeln!(text, "Channel {}", manifest.channel);
        if manifest.releases.is_empty() {
            text.push_str("  no release yet\n");
        }
        for (age, listed) in manifest.releases.iter().rev().enumerate() {
            let _ = writeln!(text, "  {}", sanitize(&line(listed, signed)));
            let outcome = outcomes.as_ref().map(|it| it.of(listed.id(), age == 0));
            if let Some(outcome) = outcome.filter(|outcome| !outcome.is_empty()) {
                let _ = writeln!(text, "    {}", sanitize(&outcome.words()));
            }
        }
    }
    if channels.is_empty() && desk.unreadable().is_empty() {
        text.push_str("The repository has no channel yet\n");
    }
    if let Some(still) = standing(&channels, signed, now) {
        let _ = writeln!(
            text,
            "{still}: surefoot repo refresh {}",
            args.look.repo.display()
        );
    }
    if let Some(outcomes) = &outcomes {
        let _ = writeln!(text, "{} robots say what came of it", outcomes.robots());
    }
    output.text(text.trim_end())
}

/// That rollouts stand still, if the repository was not signed for so long that they do.
fn standing(channels: &[&Manifest], signed: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let signed = signed?;
    let by_time = channels
        .iter()
        .flat_map(|manifest| &manifest.releases)
        .any(|one| match one {
            Listed::Known(release) => {
                let plan = release.rollout.as_ref();
                release.recalled.is_none() && plan.is_some_and(|plan| plan.moves_after(signed))
            }
            Listed::Other(_) => false,
        });
    (by_time && now.as_second() - signed.as_second() > FRESH).then(|| {
        format!(
            "Rollouts stand still: the repository was signed last at {}. Sign it every 15 minutes",
            time(signed)
        )
    })
}

/// How far a release is open, in the words that are used everywhere.
pub(in crate::commands) fn how_far(release: &Release, signed: Option<Timestamp>) -> String {
    if let Some(recall) = &release.recalled {
        let to = recall.to.as_ref().map_or_else(
            || "who runs it stays".to_owned(),
            |to| format!("who runs it goes to {to}"),
        );
        return format!("recalled ({}); {to}", recall.why);
    }
    if let Some(why) = release.left_alone() {
        return format!("closed: {why}");
    }
    match (&release.rollout, signed) {
        (None, _) => "open to all".into(),
        (Some(plan), Some(signed)) if plan.is_over(signed) => "open to all".into(),
        (Some(plan), Some(signed)) => format!("open to {}: {plan}", plan.open_at(signed)),
        (Some(plan), None) => plan.to_string(),
    }
}

fn line(listed: &Listed, signed: Option<Timestamp>) -> String {
    let Listed::Known(release) = listed else {
        return format!(
            "{}  written in a way that this program does not know",
            listed.id()
        );
    };
    let systems: Vec<String> = (release.systems.iter())
        .map(|(model, system)| format!("{model} {}", short_bytes(system.nar_size)))
        .collect();
    let mut text = format!(
        "{}  {}  {}  {}",
        release.id,
        time(release.created),
        systems.join(", "),
        how_far(release, signed)
    );
    if !release.only.is_empty() {
        let only: Vec<String> = release.only.iter().map(ToString::to_string).collect();
        let _ = write!(text, "; only {}", only.join(" "));
    }
    if let Some(from) = &release.from {
        let _ = write!(text, "; from {from} on");
    }
    text
}

pub(super) fn as_json(listed: &Listed, signed: Option<Timestamp>) -> Value {
    let mut value = serde_json::to_value(listed).unwrap_or_default();
    if let (Listed::Known(release), Some(fields)) = (listed, value.as_object_mut()) {
        fields.insert("openTo".into(), how_far(release, signed).into());
        if let (Some(plan), Some(signed)) = (&release.rollout, signed) {
            fields.insert("open".into(), plan.open_at(signed).millionths().into());
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_time_moves_stands_still_without_a_signature() {
        let at = |minutes: i64| Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap();
        let channel = |rollout: Value| -> Manifest {
            let release = json!({
                "id": "1", "created": at(0), "systems": {}, "needs": ["rollouts"], "rollout": rollout,
            });
            let manifest = json!({ "spec": 1, "channel": "stable", "releases": [release] });
            Manifest::parse(manifest.to_string().as_bytes(), &"stable".parse().unwrap()).unwrap()
        };
        let half = channel(json!({ "points": [
            { "at": at(0), "share": 10_000 }, { "at": at(60), "share": 500_000 },
        ] }));
        let stands = |manifest: &Manifest, signed: i64, now: i64| {
            standing(&[manifest], Some(at(signed)), at(now)).is_some()
        };
        assert!(stands(&half, 30, 46) && !stands(&half, 30, 45));
        // It ends at a half, and was signed after that: there is nothing left to wait for.
        assert!(!stands(&half, 60, 6000));
        assert!(!stands(&channel(json!({ "share": 500_000 })), 30, 6000));
    }
}
