//! How a release goes out, as it is said on the command line.

use crate::errors::Usage;
use anyhow::{bail, ensure};
use jiff::Timestamp;
use std::path::Path;
use surefoot_core::{
    release::{Label, Name, ROLLOUTS, Release, STONES},
    rollout::{Rollout, Share, Waves},
};

/// How a release goes out.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct PlanArgs {
    /// Let robots in by and by, in a straight line through these points: '1% now, 10% after 2h, 100%
    /// after 2d'. 10 % are reached after two hours.
    #[arg(long, value_name = "PLAN", conflicts_with = "share")]
    pub(crate) waves: Option<Waves>,
    /// Let this share of the robots in, such as 25%; `surefoot rollout` moves it.
    #[arg(long, value_name = "PERCENT")]
    pub(crate) share: Option<Share>,
    /// Let robots with this label, KEY=VALUE, in before all others; may be given several times. Of one
    /// key any value will do, and each key counts. Alone: them, and nobody else yet.
    #[arg(long, value_name = "LABEL")]
    pub(crate) first: Vec<Label>,
}

impl PlanArgs {
    /// The plan, beginning now; `None` if nothing was said. Robots that came first before do so still,
    /// unless others were named.
    pub(crate) fn begin(
        &self,
        before: Option<&Rollout>,
        now: Timestamp,
    ) -> anyhow::Result<Option<Rollout>> {
        let first = match (self.first.as_slice(), before) {
            ([], Some(before)) => before.first.clone(),
            (first, _) => first.to_vec(),
        };
        let plan = match (&self.waves, self.share) {
            (Some(waves), None) => Rollout::by_waves(waves, first, now)?,
            (None, Some(share)) => Rollout::by_hand(share, first),
            (None, None) if self.first.is_empty() => return Ok(None),
            (None, None) => match before {
                Some(before) => Rollout {
                    first,
                    ..before.clone()
                },
                None => Rollout::by_hand(Share::NONE, first),
            },
            (Some(_), Some(_)) => bail!(Usage("say --waves or --share, not both".into())),
        };
        if let Some(paused) = before.and_then(|before| before.paused)
            && plan.paused.is_none()
        {
            bail!(Usage(format!(
                "it is paused since {paused}, and another plan would let robots in; resume it first"
            )));
        }
        plan.check()?;
        Ok(Some(plan))
    }
}

/// Has a release name what robots must understand to take it.
pub(crate) fn require(release: &mut Release) -> anyhow::Result<()> {
    let wanted = [
        (ROLLOUTS, release.rollout.is_some()),
        (STONES, release.from.is_some()),
    ];
    for (feature, wanted) in wanted {
        let feature: Name = feature.parse()?;
        if !wanted {
            release.needs.retain(|need| *need != feature);
        } else if !release.needs.contains(&feature) {
            release.needs.push(feature);
        }
    }
    let most = surefoot_core::release::MAX_NEEDS;
    ensure!(
        release.needs.len() <= most,
        "the release would need {} features, and robots read at most {most}",
        release.needs.len()
    );
    Ok(())
}

/// What has to happen while a plan by time runs, if it is one: a sentence for the admin.
pub(crate) fn refreshed(plan: &Rollout, repository: &Path, now: Timestamp) -> Option<String> {
    plan.moves_after(now).then(|| {
        format!(
            "While it runs the repository has to be signed again every 15 minutes, or the rollout stands \
             still: surefoot repo refresh {}",
            repository.display()
        )
    })
}
