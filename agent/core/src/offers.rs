//! What a channel has for one robot, and what the robot should do with it.

use crate::{
    StorePath,
    release::{Label, Listed, Manifest, Name, Other, Target},
};

/// Releases that are looked back at, from the newest on, where that cannot be taken.
const MAX_OFFERS: usize = 1000;

/// One release, as it concerns one robot.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Offer {
    /// The agent can take it.
    Take(Target),
    /// It asks for more than the agent knows.
    Leave {
        system: Option<StorePath>,
        release: Option<Name>,
        why: String,
    },
    /// It was called back. Only its place among the others matters.
    Recalled(StorePath),
}

impl Offer {
    const fn system(&self) -> Option<&StorePath> {
        match self {
            Self::Take(target) => Some(&target.system),
            Self::Leave { system, .. } => system.as_ref(),
            Self::Recalled(system) => Some(system),
        }
    }
}

/// What a channel has for one robot: what [`Offers::choose`] needs of it, and no more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offers {
    /// Newest first.
    newest_first: Vec<Offer>,
}

/// What a robot should do with what a channel has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// What it should run.
    pub target: Option<Target>,
    /// The newest release, where the agent has to leave it alone.
    pub left: Option<LeftAlone>,
}

/// A release that asks for more than the agent knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftAlone {
    /// Which one, if that can be read.
    pub release: Option<Name>,
    /// Its system for this robot, if that can be read.
    pub system: Option<StorePath>,
    /// Why, in one sentence.
    pub why: String,
}

impl From<Option<Target>> for Offers {
    fn from(target: Option<Target>) -> Self {
        Self {
            newest_first: target.map(Offer::Take).into_iter().collect(),
        }
    }
}

impl Offers {
    /// What a robot with this confirmed system should run.
    ///
    /// That is the newest release that was not recalled. Where its agent has to leave that alone, an
    /// older one may bring the agent that it needs: the newest that it can take and that is newer than
    /// what it has confirmed. Never an older one: where the confirmed system is not in the channel, so
    /// that nobody knows, the robot stays as it is. Only what was recalled is left for what it can take.
    #[must_use]
    pub fn choose(&self, confirmed: Option<&StorePath>) -> Choice {
        let take = |offers: &[Offer]| {
            offers.iter().find_map(|offer| match offer {
                Offer::Take(target) => Some(target.clone()),
                _ => None,
            })
        };
        let all = &self.newest_first;
        let left = all.iter().find_map(|offer| match offer {
            Offer::Leave {
                system,
                release,
                why,
            } => Some(LeftAlone {
                release: release.clone(),
                system: system.clone(),
                why: why.clone(),
            }),
            _ => None,
        });
        let Some(left) = left else {
            return Choice {
                target: take(all),
                left: None,
            };
        };
        let place = all
            .iter()
            .position(|offer| confirmed.is_some() && offer.system() == confirmed);
        let target = match place.map(|at| (at, &all[at])) {
            None => None,
            Some((_, Offer::Recalled(_))) => take(all),
            Some((at, _)) => take(&all[..=at]),
        };
        // What runs already is no news, and nothing to wait for.
        let runs = confirmed.is_some() && left.system.as_ref() == confirmed;
        Choice {
            target,
            left: (!runs).then_some(left),
        }
    }
}

impl Manifest {
    /// What it has for a robot of this model with these labels.
    #[must_use]
    pub fn offers(&self, model: &Name, labels: &[Label]) -> Offers {
        let mut newest_first = Vec::new();
        let mut certain = true;
        let all = self.releases.iter().rev();
        for offer in all.filter_map(|release| release.offer(model, labels)) {
            certain &= !matches!(offer, Offer::Leave { .. });
            let newest = matches!(offer, Offer::Take(_));
            newest_first.push(offer);
            // Older ones matter only where the newest cannot be taken.
            if (certain && newest) || newest_first.len() >= MAX_OFFERS {
                break;
            }
        }
        Offers { newest_first }
    }
}

impl Manifest {
    /// Whether a robot of this model with these labels is served: it would find this release, called back
    /// or not, or a newer one. Where the release is not listed, any will do.
    ///
    /// # Errors
    /// Why not, in a few words.
    pub fn serves(&self, model: &Name, labels: &[Label], release: &Name) -> Result<(), String> {
        let listed = self
            .releases
            .iter()
            .rposition(|it| it.id() == release.as_str());
        let since = &self.releases[listed.unwrap_or(0)..];
        if since.iter().any(|it| it.offer(model, labels).is_some()) {
            return Ok(());
        }
        let robot = match labels {
            [] => format!("model '{model}'"),
            labels => {
                let labels: Vec<String> = labels.iter().map(ToString::to_string).collect();
                format!("model '{model}' with the labels {}", labels.join(", "))
            }
        };
        Err(match listed {
            Some(_) => format!(
                "neither release {release} nor a newer one of channel '{}' is for {robot}",
                self.channel
            ),
            None => format!("channel '{}' has no release for {robot}", self.channel),
        })
    }
}

impl Listed {
    /// What it is for a robot of this model with these labels; `None` if it is not for it.
    fn offer(&self, model: &Name, labels: &[Label]) -> Option<Offer> {
        let release = match self {
            Self::Known(release) => release,
            Self::Other(Other(fields)) => {
                // Recalled, or for another model, as far as can be told.
                let recalled = fields.get("recalled").is_some_and(|at| !at.is_null());
                let systems = fields.get("systems");
                let other = systems.is_some_and(|all| all.get(model.as_str()).is_none());
                let name: Option<Name> = self.id().parse().ok();
                return (!recalled && !other).then(|| Offer::Leave {
                    system: systems
                        .and_then(|all| all.get(model.as_str())?.get("toplevel"))
                        .and_then(|path| path.as_str()?.parse().ok()),
                    why: format!(
                        "release {} is written in a way that this agent does not know: update the agent first",
                        name.as_ref().map_or("?", Name::as_str)
                    ),
                    release: name,
                });
            }
        };
        let system = release.systems.get(model)?;
        if !release.is_for(labels) {
            return None;
        }
        Some(if release.recalled.is_some() {
            Offer::Recalled(system.toplevel.clone())
        } else if let Some(why) = release.left_alone() {
            Offer::Leave {
                system: Some(system.toplevel.clone()),
                release: Some(release.id.clone()),
                why,
            }
        } else {
            Offer::Take(Target {
                release: release.id.clone(),
                system: system.toplevel.clone(),
                index: system.index.clone(),
                reboot: release.reboot,
                again: release.again,
                moves: release.moves,
            })
        })
    }
}
