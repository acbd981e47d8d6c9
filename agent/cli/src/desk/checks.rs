//! What an admin is told before robots are.

use crate::errors::Usage;
use anyhow::{bail, ensure};
use surefoot_core::release::{Listed, Manifest, Name, Release};

/// Whether a release may be the next one of a channel.
///
/// # Errors
/// Its name is taken, its stepping stone is none, or it brings an older system back and does not say
/// so.
pub(crate) fn check_fits(release: &Release, manifest: &Manifest) -> anyhow::Result<()> {
    let channel = &manifest.channel;
    let has = |listed: &Listed| listed.id() == release.id.as_str();
    ensure!(
        !manifest.releases.iter().any(has),
        "channel '{channel}' has a release {} already; give another --release",
        release.id
    );
    ensure!(
        !manifest.gone.contains(&release.id),
        "channel '{channel}' had a release {} once, and robots may remember it; give another --release",
        release.id
    );
    if let Some(stone) = &release.from {
        check_stone(release, stone, manifest)?;
    }
    for (model, system) in &release.systems {
        let before: Vec<&Release> = (manifest.releases.iter().rev())
            .filter_map(|listed| match listed {
                Listed::Known(release) => Some(&**release),
                Listed::Other(_) => None,
            })
            .filter(|before| before.systems.contains_key(model))
            .collect();
        let same = |before: &&&Release| before.systems[model].toplevel == system.toplevel;
        if let Some(older) = before.iter().skip(1).find(same)
            && !before.first().as_ref().is_some_and(same)
            && !release.step_back
        {
            bail!(Usage(format!(
                "model '{model}' had this system as release {}, and has had a newer one since; give \
                 --step-back if robots are meant to go back to it",
                older.id
            )));
        }
    }
    Ok(())
}

/// Whether robots can come from a stepping stone: an older release of the channel that has a system for
/// each model, and is not called back. What is older never comes from what is newer, so there are no
/// circles.
fn check_stone(release: &Release, stone: &Name, manifest: &Manifest) -> anyhow::Result<()> {
    ensure!(
        *stone != release.id,
        Usage(format!("release {stone} cannot come from itself"))
    );
    let found = manifest
        .releases
        .iter()
        .find(|one| one.id() == stone.as_str());
    let Some(Listed::Known(found)) = found else {
        bail!(Usage(format!(
            "channel '{}' has no release {stone} that robots could come from",
            manifest.channel
        )));
    };
    check_systems(found, release.systems.keys())?;
    ensure!(
        found.recalled.is_none(),
        Usage(format!(
            "release {stone} was recalled: no robot can come from it"
        ))
    );
    Ok(())
}

/// Whether a release has a system for each of these models.
///
/// # Errors
/// The first that it has none for.
pub(crate) fn check_systems<'a>(
    release: &Release,
    mut models: impl Iterator<Item = &'a Name>,
) -> anyhow::Result<()> {
    match models.find(|model| !release.systems.contains_key(model)) {
        None => Ok(()),
        Some(model) => bail!(Usage(format!(
            "release {} has no system for model '{model}'",
            release.id
        ))),
    }
}
