//! What a draft of targets changes, for whoever signs it or puts it into force: all of it, and against what
//! the repository itself has signed.

use crate::{agent::describe::time, commands::releases::how_far, errors::Usage};
use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use surefoot_core::{
    release::{Listed, Manifest, Name, Release, manifest_channel},
    rollout::Share,
};
use surefoot_trust::{
    editor::{TargetChange, TargetsDraft},
    metadata::Targets,
};

/// A draft may open a release by so much more than when it was drafted, in millionths: it takes a while to
/// collect signatures.
const CREEP: u32 = 10_000;

/// All that a draft changes in a role, a line each. `before` has the targets that the role lists now, of
/// those that the draft carries.
///
/// # Errors
/// As [`TargetsDraft::changes`]; a manifest that cannot be read here.
pub(super) fn lines(
    draft: &TargetsDraft,
    role: &Targets,
    before: &BTreeMap<String, Vec<u8>>,
    now: Timestamp,
) -> anyhow::Result<Vec<String>> {
    let mut lines = vec![draft.describe()];
    for (target, change) in draft.changes(role)? {
        let after = draft.files().get(&target).map(Vec::as_slice);
        let size = after.map_or(0, <[u8]>::len);
        lines.push(match change {
            TargetChange::New => format!("new {target}, {size} bytes"),
            TargetChange::Changed => format!("changed {target}, {size} bytes"),
            TargetChange::Removed => format!("removed {target}"),
        });
        if let (Some(channel), Some(after)) = (channel_of(&target), after) {
            let before = before.get(&target).map(Vec::as_slice);
            lines.extend(manifest(&channel?, before, after, now)?);
        }
    }
    Ok(lines)
}

/// Refuses a draft that would let robots in at once whom it did not let in when it was drafted: its plan has
/// run while it waited for signatures.
///
/// # Errors
/// It would.
pub(super) fn check_creep(
    draft: &TargetsDraft,
    role: &Targets,
    before: &BTreeMap<String, Vec<u8>>,
    now: Timestamp,
) -> anyhow::Result<()> {
    for target in draft.changes(role)?.keys() {
        let (Some(channel), Some(after)) = (channel_of(target), draft.files().get(target)) else {
            continue;
        };
        let channel = channel?;
        let before = before.get(target).map_or(Ok(Vec::new()), |bytes| {
            Ok::<_, anyhow::Error>(Manifest::parse(bytes, &channel)?.releases)
        })?;
        for listed in Manifest::parse(after, &channel)?.releases {
            let Listed::Known(release) = &listed else {
                continue;
            };
            let same = |one: &&Listed| one.id() == release.id.as_str();
            let was = match before.iter().find(same) {
                Some(one) if *one == listed => continue,
                Some(Listed::Known(one)) => open(one, now),
                _ => Share::NONE,
            };
            let drafted = draft.drafted().map_or(Share::NONE, |at| open(release, at));
            let opens = open(release, now);
            if opens.millionths() > drafted.max(was).millionths().saturating_add(CREEP) {
                bail!(Usage(format!(
                    "release {} of channel {channel} would be open to {opens} at once, and was open to \
                     {drafted} when it was drafted{}: its plan has run since; draft it anew, or give \
                     --plan-goes-on if that is meant",
                    release.id,
                    draft
                        .drafted()
                        .map_or_else(String::new, |at| format!(" at {}", time(at))),
                )));
            }
        }
    }
    Ok(())
}

/// How much a release is open at a moment.
fn open(release: &Release, at: Timestamp) -> Share {
    match &release.rollout {
        _ if release.recalled.is_some() => Share::NONE,
        None => Share::ALL,
        Some(plan) if plan.paused.is_some() => Share::NONE,
        Some(plan) => plan.share_at(at),
    }
}

/// The channel whose manifest a target is, if it is one.
fn channel_of(target: &str) -> Option<anyhow::Result<Name>> {
    Some(
        manifest_channel(target)?
            .parse()
            .with_context(|| format!("{target}: not the manifest of a channel")),
    )
}

/// What differs between two manifests of a channel: every release that is new, changed or taken out, with
/// all its fields as they stand there, also those that are not known here.
fn manifest(
    channel: &Name,
    before: Option<&[u8]>,
    after: &[u8],
    now: Timestamp,
) -> anyhow::Result<Vec<String>> {
    let unread = || format!("channel {channel}: a manifest that cannot be read here");
    let known = Manifest::parse(after, channel).with_context(unread)?;
    let fields = |bytes: &[u8]| serde_json::from_slice::<Map<String, Value>>(bytes);
    let mut before = before.map_or_else(|| Ok(Map::new()), fields)?;
    let mut after = fields(after).with_context(unread)?;
    let (old, new) = (releases(&mut before), releases(&mut after));
    let mut lines = Vec::new();
    for line in differences(&before, &after) {
        lines.push(format!("channel {channel}: {line}"));
    }
    for ((id, release), listed) in new.iter().zip(&known.releases) {
        let was = old.iter().find(|(one, _)| one == id).map(|(_, was)| was);
        if was == Some(release) {
            continue;
        }
        let what = was.map_or("new ", |_| "changed ");
        lines.push(match listed {
            Listed::Known(known) => format!(
                "channel {channel}, {what}release {id}: {}; {}",
                systems(known),
                how_far(known, Some(now))
            ),
            Listed::Other(_) => {
                format!("channel {channel}, {what}release {id}: written in a way that this program does not know")
            }
        });
        let fields = differences(was.unwrap_or(&Map::new()), release);
        lines.extend(fields.into_iter().map(|line| format!("  {line}")));
    }
    let ids = |list: &[(String, Map<String, Value>)]| -> Vec<String> {
        list.iter().map(|(id, _)| id.clone()).collect()
    };
    let (mut stay, new) = (ids(&old), ids(&new));
    for id in &stay {
        if !new.contains(id) {
            lines.push(format!("channel {channel}, release {id} is taken out"));
        }
    }
    stay.retain(|id| new.contains(id));
    if !new.starts_with(&stay) {
        lines.push(format!(
            "channel {channel}: the order of its releases changes, oldest first: {}",
            new.join(", ")
        ));
    }
    Ok(lines)
}

/// Takes the releases out of a manifest, with their names.
fn releases(manifest: &mut Map<String, Value>) -> Vec<(String, Map<String, Value>)> {
    let Some(Value::Array(releases)) = manifest.remove("releases") else {
        return Vec::new();
    };
    let named = releases.into_iter().map(|release| {
        let id = release.get("id").and_then(Value::as_str);
        let id = id.unwrap_or_default().to_owned();
        let fields = match release {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        (id, fields)
    });
    named.collect()
}

/// The fields that are not the same, a line each.
fn differences(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in after {
        match before.get(name) {
            Some(was) if was == value => {}
            Some(was) => lines.push(format!("{name}: {was} → {value}")),
            None => lines.push(format!("{name}: {value}")),
        }
    }
    for (name, was) in before {
        if !after.contains_key(name) {
            lines.push(format!("{name}: {was} → nothing"));
        }
    }
    lines
}

fn systems(release: &Release) -> String {
    let systems: Vec<String> = (release.systems.iter())
        .map(|(model, system)| format!("{model} {}", system.toplevel))
        .collect();
    systems.join(", ")
}
