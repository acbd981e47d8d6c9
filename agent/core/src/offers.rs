//! What a channel has for one robot, and what the robot should do with it.
//!
//! Who may begin with a release is for its labels and its [rollout](crate::rollout) to say, and they
//! say no more than that: where the newest release is not for a robot, or not yet, it goes to no older
//! one than what it has. Only two things lead back: a release that was recalled towards an older one, and
//! an older system that was published anew.

use crate::{
    StorePath,
    identity::Identity,
    machine::state::Generation,
    release::{Label, Listed, Manifest, Name, Other, Recall, Release, Target},
    rollout::Closed,
};
use jiff::Timestamp;
use std::fmt;
use surefoot_base::text::shown_within;

/// Releases that are looked back at, from the newest on.
const MAX_OFFERS: usize = 1000;

/// The robot that looks at a manifest.
#[derive(Debug, Clone, Copy)]
pub struct Robot<'a> {
    /// Its model.
    pub model: &'a Name,
    /// Its labels.
    pub labels: &'a [Label],
    /// Who it is; `None` for a person who asks by hand what there is: no rollout keeps them from it.
    pub identity: Option<&'a Identity>,
    /// The time that rollouts are judged by: [`Moment::at`](crate::rollout::Moment::at).
    pub moment: Option<Timestamp>,
}

impl<'a> Robot<'a> {
    /// A person who asks by hand what there is for robots of a model with these labels.
    #[must_use]
    pub const fn by_hand(model: &'a Name, labels: &'a [Label]) -> Self {
        Self {
            model,
            labels,
            identity: None,
            moment: None,
        }
    }
}

/// One release, as it concerns one robot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Offer {
    /// Names it, if that can be read.
    release: Option<Name>,
    /// Its system for this robot, if it has one that can be read.
    system: Option<StorePath>,
    /// The least release to come from.
    from: Option<Name>,
    /// What the robot may do with it.
    word: Word,
}

/// What a robot may do with a release.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// Take it.
    Take(Box<Target>),
    /// Take it later, and why not now.
    Wait(Box<Target>, Closed),
    /// Leave it alone: it asks for more than the agent knows.
    Leave(String),
    /// Not begin with it: it was called back.
    Recalled(Box<Target>, Recall),
    /// Nothing: it is for other robots. Only its place among the others matters.
    Nothing,
}

/// What a channel has for one robot: what [`Offers::choose`] needs of it, and no more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offers {
    /// Newest first.
    newest_first: Vec<Offer>,
    /// Names of releases that were older than all of these.
    gone: Vec<Name>,
}

/// What a robot should do with what a channel has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// What it should run.
    pub target: Option<Target>,
    /// The newest release, where the agent has to leave it alone.
    pub left: Option<LeftAlone>,
    /// Why it does not take a newer release yet.
    pub waits: Option<Waits>,
    /// What it has confirmed is in the channel: without a target it stays with that.
    pub stays: bool,
}

/// Why a robot does not take a release yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    /// It goes out in steps.
    Turn(Name, Closed),
    /// Another one comes first, and cannot be taken either: in one sentence.
    Stone(String),
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn(release, closed) => {
                write!(f, "release {release} is given out in steps: {closed}")
            }
            Self::Stone(why) => f.write_str(why),
        }
    }
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
        let offer = |target: Target| Offer {
            release: Some(target.release.clone()),
            system: Some(target.system.clone()),
            from: None,
            word: Word::Take(Box::new(target)),
        };
        Self {
            newest_first: target.map(offer).into_iter().collect(),
            gone: Vec::new(),
        }
    }
}

impl Offers {
    /// What a robot that has confirmed this should run.
    ///
    /// That is the newest release that it may take, and that is newer than what it has confirmed; or
    /// what it has confirmed. Where that was recalled towards an older release, and there is no newer
    /// one to take, that older one.
    ///
    /// Where the confirmed release was [taken out](Manifest::gone) of the channel, all that is left is newer.
    ///
    /// Where the confirmed system is not in the channel otherwise, nobody knows what is newer. Then the newest
    /// release that the robot may take counts, unless its agent has to leave a newer one alone.
    #[must_use]
    pub fn choose(&self, confirmed: Option<&Generation>) -> Choice {
        let all = &self.newest_first;
        let place = confirmed.and_then(|confirmed| self.place(confirmed));
        let knows_newer = place.is_some() || confirmed.is_some_and(|it| self.is_gone(it));
        let mut choice = Choice {
            stays: place.is_some(),
            ..Choice::default()
        };
        for offer in &all[..place.unwrap_or(all.len())] {
            match &offer.word {
                Word::Take(target) => match self.detour(offer, place) {
                    None => {
                        choice.target = Some((**target).clone());
                        return choice;
                    }
                    Some(why) => choice.waits = choice.waits.or(Some(Waits::Stone(why))),
                },
                Word::Wait(target, closed) => {
                    let turn = || Some(Waits::Turn(target.release.clone(), closed.clone()));
                    choice.waits = choice.waits.or_else(turn);
                }
                Word::Leave(why) => {
                    choice.left = choice.left.or_else(|| {
                        Some(LeftAlone {
                            release: offer.release.clone(),
                            system: offer.system.clone(),
                            why: why.clone(),
                        })
                    });
                    if !knows_newer {
                        return choice;
                    }
                }
                Word::Recalled(..) | Word::Nothing => {}
            }
        }
        if let Some(place) = place {
            choice.target = match &all[place].word {
                Word::Take(target) => Some((**target).clone()),
                Word::Recalled(_, recall) => self.back(place, recall),
                _ => None,
            };
        }
        choice
    }

    /// Whether this release is in the channel and was not called back, be it that this robot may not begin
    /// with it now: its turn has not come, it is paused, or it is for robots with other labels.
    #[must_use]
    pub fn has(&self, release: &Name, system: &StorePath) -> bool {
        self.newest_first.iter().any(|offer| {
            offer.release.as_ref() == Some(release)
                && offer.system.as_ref() == Some(system)
                && !matches!(offer.word, Word::Recalled(..))
        })
    }

    /// Where what a robot has confirmed stands: under the name that it came by, or else, of the releases
    /// with this system, the newest.
    fn place(&self, confirmed: &Generation) -> Option<usize> {
        let same = |offer: &Offer| offer.system.as_ref() == Some(&confirmed.system);
        let named = |offer: &Offer| same(offer) && offer.release == confirmed.release;
        let all = || self.newest_first.iter();
        all().position(named).or_else(|| all().position(same))
    }

    /// Whether what a robot has confirmed was taken out, and so is older than all that there is.
    fn is_gone(&self, confirmed: &Generation) -> bool {
        let release = confirmed.release.as_ref();
        release.is_some_and(|release| self.gone.contains(release))
    }

    /// Why a robot whose confirmed system stands at this place has to take another release before this
    /// one; `None` if it has not.
    fn detour(&self, offer: &Offer, place: Option<usize>) -> Option<String> {
        let from = offer.from.as_ref()?;
        let of = |name: &Name| {
            let named = |offer: &Offer| offer.release.as_ref() == Some(name);
            self.newest_first.iter().position(named)
        };
        let stone = of(from);
        // Newest first: what stands before it is newer.
        if place.is_some_and(|place| stone.is_some_and(|stone| place <= stone)) {
            return None;
        }
        let why = match stone.map(|stone| &self.newest_first[stone].word) {
            None => ", which is not in the channel".to_owned(),
            Some(Word::Recalled(_, recall)) => format!(", which {}", said(recall)),
            Some(Word::Wait(_, closed)) => format!(", which is given out in steps: {closed}"),
            Some(Word::Nothing) => ", which is not for this robot".to_owned(),
            Some(Word::Take(_) | Word::Leave(_)) => String::new(),
        };
        let release = offer.release.as_ref().map_or("?", Name::as_str);
        Some(format!(
            "release {release} has to be reached by way of release {from}{why}"
        ))
    }

    /// Where a robot goes whose confirmed system, at this place, was recalled: to the release that the
    /// recall names, or if that was recalled too, to the one that its recall names.
    fn back(&self, place: usize, recall: &Recall) -> Option<Target> {
        let why = match &self.newest_first[place].release {
            Some(release) => format!("back from release {release}, which {}", said(recall)),
            None => format!("back, for it {}", said(recall)),
        };
        let (mut place, mut to) = (place, recall.to.as_ref()?);
        loop {
            let older = self.newest_first.iter().enumerate().skip(place + 1);
            let (at, offer) = older
                .into_iter()
                .find(|(_, offer)| offer.release.as_ref() == Some(to))?;
            match &offer.word {
                // It had it before: whether it is open to it is not asked again.
                Word::Take(target) | Word::Wait(target, _) => {
                    return Some(Target {
                        back: Some(why),
                        ..(**target).clone()
                    });
                }
                Word::Recalled(_, recall) => (place, to) = (at, recall.to.as_ref()?),
                Word::Leave(_) | Word::Nothing => return None,
            }
        }
    }
}

/// Why a release is not tried any more, no longer than a sentence.
fn said(recall: &Recall) -> String {
    format!("was recalled: {}", shown_within(&recall.why, 300))
}

impl Manifest {
    /// What it has for a robot.
    #[must_use]
    pub fn offers(&self, robot: &Robot<'_>) -> Offers {
        let newest_first = self.releases.iter().rev().take(MAX_OFFERS);
        Offers {
            newest_first: newest_first.map(|release| release.offer(robot)).collect(),
            gone: self.gone.clone(),
        }
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
        let asks = Robot::by_hand(model, labels);
        let serves = |it: &Listed| match it {
            Listed::Known(known) => known.systems.contains_key(model) && known.is_for(labels),
            Listed::Other(_) => it.offer(&asks).word != Word::Nothing,
        };
        if since.iter().any(serves) {
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
    /// What it is for a robot.
    fn offer(&self, robot: &Robot<'_>) -> Offer {
        match self {
            Self::Known(release) => release.offer(robot),
            Self::Other(Other(fields)) => {
                let systems = fields.get("systems");
                let release: Option<Name> = self.id().parse().ok();
                // Recalled, or for another model, as far as can be told.
                let recalled = self.is_recalled();
                let model = robot.model.as_str();
                let other = systems.is_some_and(|all| all.get(model).is_none());
                let word = if recalled || other {
                    Word::Nothing
                } else {
                    Word::Leave(format!(
                        "release {} is written in a way that this agent does not know: update the agent first",
                        release.as_ref().map_or("?", Name::as_str)
                    ))
                };
                Offer {
                    release,
                    system: systems
                        .filter(|_| !recalled)
                        .and_then(|all| all.get(model)?.get("toplevel"))
                        .and_then(|path| path.as_str()?.parse().ok()),
                    from: None,
                    word,
                }
            }
        }
    }
}

impl Release {
    /// What it is for a robot.
    fn offer(&self, robot: &Robot<'_>) -> Offer {
        let system = self.systems.get(robot.model);
        Offer {
            release: Some(self.id.clone()),
            system: system.map(|system| system.toplevel.clone()),
            from: self.from.clone(),
            word: self.word(robot).unwrap_or(Word::Nothing),
        }
    }

    /// What a robot may do with it; `None` if it is not for it.
    fn word(&self, robot: &Robot<'_>) -> Option<Word> {
        let system = self.systems.get(robot.model)?;
        let target = Box::new(Target {
            release: self.id.clone(),
            system: system.toplevel.clone(),
            index: system.index.clone(),
            reboot: self.reboot,
            again: self.again,
            moves: self.moves,
            in_steps: self.rollout.is_some(),
            back: (self.step_back).then(|| "a step back, which is meant".to_owned()),
        });
        if let Some(recall) = &self.recalled {
            return Some(Word::Recalled(target, recall.clone()));
        }
        if !self.is_for(robot.labels) {
            return None;
        }
        if let Some(why) = self.left_alone() {
            return Some(Word::Leave(why));
        }
        if let (Some(rollout), Some(identity)) = (&self.rollout, robot.identity)
            && let Err(closed) = rollout.admits(&self.id, identity, robot.labels, robot.moment)
        {
            return Some(Word::Wait(target, closed));
        }
        Some(Word::Take(target))
    }
}
