//! The manifest of a channel: which releases there are, and which system each model gets.
//!
//! It is the TUF target [`manifest_target`]. Its length and hash are pinned by the signed
//! targets metadata, so nothing in it needs a signature of its own. Unknown fields pass and are kept,
//! a release that this version cannot judge is left alone, an unknown `spec` is refused.

pub use crate::name::{Label, LabelError, Name, NameError};

use crate::{
    Foreign, Sha256, StorePath, foreign,
    rollout::Rollout,
    spec::{self, Unreadable},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Not,
};
use surefoot_base::text::shown;

/// The version of the manifest's format that is written and read here.
pub const SPEC: u32 = 1;

/// Manifests above this size are refused before they are parsed, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Features of agents that a release may [need](Release::needs) and that this version has.
pub const FEATURES: &[&str] = &[ROLLOUTS, STONES];

/// The feature of a release that is given out in steps: [`Release::rollout`].
pub const ROLLOUTS: &str = "rollouts";

/// The feature of a release with a least release to come from: [`Release::from`].
pub const STONES: &str = "stones";

/// Features that one release may need.
pub const MAX_NEEDS: usize = 16;

/// The TUF target of a channel's manifest: `channels/<name>.json`.
#[must_use]
pub fn manifest_target(channel: &Name) -> String {
    format!("channels/{channel}.json")
}

/// The name of the channel whose manifest a target has to be by its own name; nobody has checked that
/// this is a name. `None` for any other target.
#[must_use]
pub fn manifest_channel(target: &str) -> Option<&str> {
    target.strip_prefix("channels/")?.strip_suffix(".json")
}

/// The TUF target of the closure index whose file has this digest: `closures/<sha256 hex>.json.zst`.
#[must_use]
pub fn index_target(file: &Sha256) -> String {
    format!("closures/{}.json.zst", file.hex())
}

/// Everything a channel offers, oldest release first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Version of the format, [`SPEC`].
    pub spec: u32,
    /// The channel's name: must be the one that was asked for.
    pub channel: Name,
    /// The releases, oldest first. The last one that is not recalled, has the robot's model and
    /// is for its labels counts.
    pub releases: Vec<Listed>,
    /// Names of releases that were taken out: no other release gets them. Robots remember by name what
    /// failed on them. All were older than those that are left: [`Self::retire`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Name>,
    /// What other versions wrote and this one does not know.
    #[serde(skip)]
    pub foreign: Foreign,
}

/// A release as it stands in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Listed {
    /// As this version knows them.
    Known(Box<Release>),
    /// With a word in it, or of a shape, that only another version knows. It is kept as it was read,
    /// and left alone.
    Other(Other),
}

/// A release that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Other(pub(crate) Map<String, Value>);

/// One release: the same change for every model of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Names the release; unique within the channel.
    pub id: Name,
    /// When it was published. For people.
    pub created: Timestamp,
    /// What is new, for people; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// Whether it wants a reboot although nothing in it demands one.
    #[serde(default)]
    pub reboot: RebootPolicy,
    /// Robots that it is for: for each key that stands here, those with one of its values. Empty:
    /// for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Label>,
    /// Whether it may be tried where a person rolled its system back. Otherwise that system is not tried
    /// again there, whatever name it is published by.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub again: bool,
    /// Whether it is meant that robots follow another repository or channel with it, or become another
    /// model. Otherwise a robot where it would do so refuses it.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub moves: bool,
    /// What an agent must know to take it, by name. One that does not know all of it leaves the
    /// release alone. At most [`MAX_NEEDS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Name>,
    /// The system of each model.
    pub systems: BTreeMap<Name, System>,
    /// Who may begin with it, and when; `None` for everybody at once. Where it is there, the release
    /// [needs](Self::needs) [`ROLLOUTS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// The least release to come from: a robot that runs an older one takes that one first. An older
    /// release of the channel. Where it is there, the release [needs](Self::needs) [`STONES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Name>,
    /// It brings an older system back, and that is meant. Robots say so in their history.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub step_back: bool,
    /// Set when the release was called back: it is not tried any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalled: Option<Recall>,
}

/// Whether a release must be tried by a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RebootPolicy {
    /// Only if kernel, initrd, modules, parameters or inhibitors changed.
    #[default]
    Auto,
    /// Always by a reboot.
    Always,
}

/// The NixOS system of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct System {
    /// The system's toplevel, `config.system.build.toplevel`.
    pub toplevel: StorePath,
    /// TUF target of the closure index: [`index_target`].
    pub index: String,
    /// Paths in the closure.
    pub paths: u64,
    /// Size of the whole closure in the store, bytes.
    pub nar_size: u64,
}

/// Why a release was called back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recall {
    /// The admin's words.
    pub why: String,
    /// When. For people.
    pub at: Timestamp,
    /// The older release of the channel that those that run it go to, by a trial as ever. `None`: they
    /// stay with it until there is a newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Name>,
}

/// What a robot should run: a release, reduced to its own model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The release.
    pub release: Name,
    /// The toplevel for this robot's model.
    pub system: StorePath,
    /// TUF target of its closure index.
    pub index: String,
    /// See [`Release::reboot`].
    #[serde(default)]
    pub reboot: RebootPolicy,
    /// See [`Release::again`].
    #[serde(default, skip_serializing_if = "Not::not")]
    pub again: bool,
    /// See [`Release::moves`].
    #[serde(default, skip_serializing_if = "Not::not")]
    pub moves: bool,
    /// It is given out in steps: its trial begins only right after the repository has answered.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub in_steps: bool,
    /// It leads back to an older system, and why that is meant, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<String>,
}

impl Release {
    /// Whether it is for a robot with these labels.
    #[must_use]
    pub fn is_for(&self, labels: &[Label]) -> bool {
        Label::fit(&self.only, labels)
    }

    /// Why an agent of this version leaves it alone, if it does.
    #[must_use]
    pub fn left_alone(&self) -> Option<String> {
        if self.needs.len() > MAX_NEEDS {
            return Some(format!(
                "release {} needs {} features, and at most {MAX_NEEDS} are read: update the agent first",
                self.id,
                self.needs.len()
            ));
        }
        let unknown = |need: &&Name| !FEATURES.contains(&need.as_str());
        let unknown: Vec<String> = (self.needs.iter().filter(unknown))
            .map(|need| format!("'{need}'"))
            .collect();
        if !unknown.is_empty() {
            return Some(format!(
                "release {} needs {}, which this agent does not know: update the agent first",
                self.id,
                unknown.join(" and ")
            ));
        }
        // What dropped it may have been an older command line, or a hand.
        let needs = |feature: &str| self.needs.iter().any(|need| need.as_str() == feature);
        let lacks = match () {
            () if needs(ROLLOUTS) && self.rollout.is_none() => "the plan by which it is given out",
            () if needs(STONES) && self.from.is_none() => "the release that it has to come from",
            () => return None,
        };
        Some(format!(
            "release {} lacks {lacks}: publish it again",
            self.id
        ))
    }
}

impl Listed {
    /// Names the release; empty where even that cannot be read.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Known(release) => release.id.as_str(),
            Self::Other(Other(fields)) => fields.get("id").and_then(Value::as_str).unwrap_or(""),
        }
    }

    /// Whether it was called back, as far as can be told.
    #[must_use]
    pub fn is_recalled(&self) -> bool {
        match self {
            Self::Known(release) => release.recalled.is_some(),
            Self::Other(Other(fields)) => fields.get("recalled").is_some_and(|at| !at.is_null()),
        }
    }

    /// The TUF targets of its closure indexes, where that can be read.
    #[must_use]
    pub fn indexes(&self) -> Vec<&str> {
        match self {
            Self::Known(release) => (release.systems.values())
                .map(|system| system.index.as_str())
                .collect(),
            Self::Other(Other(fields)) => {
                let systems = fields.get("systems").and_then(Value::as_object);
                (systems.into_iter().flat_map(Map::values))
                    .filter_map(|system| system.get("index")?.as_str())
                    .collect()
            }
        }
    }
}

impl Manifest {
    /// Reads a manifest whose bytes are already trusted.
    ///
    /// # Errors
    /// [`ManifestError`] if it is too large, is not JSON of the expected shape, has an unknown
    /// `spec`, is for another channel, or names a release twice.
    pub fn parse(bytes: &[u8], channel: &Name) -> Result<Self, ManifestError> {
        Self::check(spec::read(bytes, MAX_MANIFEST_BYTES, SPEC)?, channel)
    }

    /// The same for a manifest that is going to be written again: with what other versions wrote in it.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_to_edit(bytes: &[u8], channel: &Name) -> Result<Self, ManifestError> {
        let (manifest, foreign) = spec::read_to_keep::<Self>(bytes, MAX_MANIFEST_BYTES, SPEC)?;
        let manifest = Self {
            foreign,
            ..manifest
        };
        Self::check(manifest, channel)
    }

    /// A channel without a release.
    #[must_use]
    pub fn empty(channel: Name) -> Self {
        Self {
            spec: SPEC,
            channel,
            releases: Vec::new(),
            gone: Vec::new(),
            foreign: Foreign::default(),
        }
    }

    /// The names that its releases have, and had that were taken out.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let gone = self.gone.iter().map(Name::as_str);
        self.releases.iter().map(Listed::id).chain(gone)
    }

    /// The TUF targets of the closure indexes that its releases name, where that can be read.
    #[must_use]
    pub fn indexes(&self) -> BTreeSet<&str> {
        self.releases.iter().flat_map(Listed::indexes).collect()
    }

    /// The text of the manifest, as [`Self::parse`] reads it, with what other versions wrote in it.
    ///
    /// # Errors
    /// None that is known of: every field can be written as JSON.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        foreign::to_bytes(self, &self.foreign)
    }

    fn check(manifest: Self, channel: &Name) -> Result<Self, ManifestError> {
        if manifest.channel != *channel {
            return Err(ManifestError::Channel {
                expected: channel.clone(),
                found: manifest.channel,
            });
        }
        let mut ids: Vec<&str> = manifest.releases.iter().map(Listed::id).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ManifestError::Duplicate(pair[0].to_owned()));
        }
        Ok(manifest)
    }
}

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Larger than [`MAX_MANIFEST_BYTES`].
    #[error("the manifest has {0} bytes; at most {MAX_MANIFEST_BYTES} are read")]
    TooLarge(usize),
    /// Not JSON, or of another shape.
    #[error("the manifest cannot be read: {}; publish it again with `surefoot publish`", shown(.0))]
    Json(serde_json::Error),
    /// A format of the future.
    #[error("the manifest has format {0}, this program reads format {SPEC}; update Surefoot first")]
    Spec(u32),
    /// Somebody put one channel's manifest in another's place.
    #[error("the manifest is for channel '{found}', not for '{expected}'")]
    Channel {
        /// The channel that was asked for.
        expected: Name,
        /// The channel that the manifest names.
        found: Name,
    },
    /// Two releases with one name.
    #[error("the manifest names release '{0}' twice")]
    Duplicate(String),
}

impl From<Unreadable> for ManifestError {
    fn from(why: Unreadable) -> Self {
        match why {
            Unreadable::TooLarge(bytes) => Self::TooLarge(bytes),
            Unreadable::Json(error) => Self::Json(error),
            Unreadable::Spec(spec) => Self::Spec(spec),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        machine::state::Generation,
        offers::{Offers, Robot},
    };
    use proptest::prelude::*;

    fn manifest() -> Manifest {
        let system = |c: char| System {
            toplevel: format!("/nix/store/{}-nixos-system", c.to_string().repeat(32))
                .parse()
                .unwrap(),
            index: "closures/00.json.zst".into(),
            paths: 1,
            nar_size: 1,
        };
        let release = |id: &str, models: &[(&str, char)]| Release {
            id: id.parse().unwrap(),
            created: Timestamp::UNIX_EPOCH,
            notes: String::new(),
            reboot: RebootPolicy::Auto,
            again: false,
            moves: false,
            only: Vec::new(),
            needs: Vec::new(),
            rollout: None,
            from: None,
            step_back: false,
            systems: models
                .iter()
                .map(|(m, c)| (m.parse().unwrap(), system(*c)))
                .collect(),
            recalled: None,
        };
        Manifest {
            spec: SPEC,
            channel: "stable".parse().unwrap(),
            releases: [
                release("1", &[("picker", 'a'), ("mower", 'b')]),
                release("2", &[("picker", 'c')]),
            ]
            .map(|release| Listed::Known(Box::new(release)))
            .into(),
            gone: Vec::new(),
            foreign: Foreign::default(),
        }
    }

    fn release(manifest: &mut Manifest, at: usize) -> &mut Release {
        match &mut manifest.releases[at] {
            Listed::Known(release) => release,
            Listed::Other(other) => panic!("{other:?}"),
        }
    }

    /// What there is for a robot that no rollout keeps from it.
    fn offers(manifest: &Manifest, model: &str, labels: &[Label]) -> Offers {
        manifest.offers(&Robot::by_hand(&name(model), labels))
    }

    fn runs_now(system: StorePath) -> Generation {
        Generation {
            system,
            release: None,
            since: None,
        }
    }

    /// What a robot takes that has nothing confirmed.
    fn target(manifest: &Manifest, model: &str, labels: &[Label]) -> Option<Target> {
        offers(manifest, model, labels).choose(None).target
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_release_of_the_model_counts() {
        let mut manifest = manifest();
        let newest = |manifest: &Manifest, model| target(manifest, model, &[]).map(|t| t.release);
        assert_eq!(newest(&manifest, "picker"), Some(name("2")));
        assert_eq!(newest(&manifest, "mower"), Some(name("1")));
        assert_eq!(newest(&manifest, "digger"), None);
        release(&mut manifest, 1).recalled = Some(Recall {
            why: "drops things".into(),
            at: Timestamp::UNIX_EPOCH,
            to: None,
        });
        assert_eq!(newest(&manifest, "picker"), Some(name("1")));
    }

    #[test]
    fn a_release_may_be_for_some_labels_only() {
        let labels = |texts: &[&str]| -> Vec<Label> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let mut manifest = manifest();
        release(&mut manifest, 1).only = labels(&["site=lab", "site=hall-3", "arm=ur10"]);
        for (robot, release) in [
            (&[][..], "1"),
            (&["site=lab"], "1"),
            (&["arm=ur10", "site=hall-2"], "1"),
            (&["arm=ur10", "site=hall-3"], "2"),
            (&["arm=ur10", "site=lab", "x=y"], "2"),
        ] {
            let target = target(&manifest, "picker", &labels(robot)).unwrap();
            assert_eq!(target.release, name(release), "{robot:?}");
        }
        for (text, word) in [
            ("site", "KEY=VALUE"),
            ("=x", "is not a name"),
            ("a=b=c", "is not a name"),
        ] {
            let error = text.parse::<Label>().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let text = serde_json::to_string(&release(&mut manifest, 1).only).unwrap();
        assert_eq!(text, r#"["site=lab","site=hall-3","arm=ur10"]"#);
    }

    #[test]
    fn what_is_not_known_is_kept_by_who_writes_it_again() {
        let mut value = serde_json::to_value(manifest()).unwrap();
        value["weather"] = "fine".into();
        value["releases"][0]["wave"] = 1.into();
        value["releases"][0]["systems"]["picker"]["slot"] = "b".into();
        value["releases"][1]["reboot"] = "atNight".into();
        let bytes = serde_json::to_vec(&value).unwrap();
        let mut manifest = Manifest::parse_to_edit(&bytes, &name("stable")).unwrap();
        let added = release(&mut manifest, 0).clone();
        let added = Release {
            id: name("3"),
            ..added
        };
        manifest.releases.push(Listed::Known(Box::new(added)));
        let mut again: Value = serde_json::from_slice(&manifest.to_bytes().unwrap()).unwrap();
        let releases = again["releases"].as_array_mut().unwrap();
        let added = releases.pop().unwrap();
        assert_eq!(again, value);
        assert_eq!(added.get("wave"), None);
    }

    #[test]
    fn a_robot_is_served_by_the_release_that_it_tries_or_a_newer_one() {
        let mut two = manifest();
        let served = |manifest: &Manifest, model: &str, tried: &str| {
            manifest.serves(&name(model), &[], &name(tried))
        };
        for (model, tried) in [
            ("picker", "1"),
            ("picker", "2"),
            ("mower", "1"),
            ("mower", "gone"),
        ] {
            assert_eq!(served(&two, model, tried), Ok(()), "{model} {tried}");
        }
        let why = |manifest: &Manifest, model: &str, tried: &str| {
            served(manifest, model, tried).unwrap_err()
        };
        assert!(why(&two, "mower", "2").contains("neither release 2 nor a newer one"));
        assert!(why(&two, "piker", "gone").contains("no release for model 'piker'"));
        // Called back or not: that is another question.
        release(&mut two, 1).recalled = Some(Recall {
            at: Timestamp::UNIX_EPOCH,
            why: "it grips badly".to_owned(),
            to: None,
        });
        assert_eq!(served(&two, "picker", "2"), Ok(()));
        release(&mut two, 1).only = vec!["site=lab".parse().unwrap()];
        let here = ["site=lab".parse().unwrap()];
        assert_eq!(two.serves(&name("picker"), &here, &name("2")), Ok(()));
        let here = ["site=hall".parse().unwrap()];
        let why = two.serves(&name("picker"), &here, &name("2")).unwrap_err();
        assert!(
            why.ends_with("model 'picker' with the labels site=hall"),
            "{why}"
        );
    }

    #[test]
    fn what_needs_more_than_the_agent_knows_is_left_alone_and_nothing_older_is_taken() {
        let system = |c: char| -> StorePath {
            let base = format!("{}-nixos-system", c.to_string().repeat(32));
            StorePath::from_base_name(&base).unwrap()
        };
        let mut five = manifest();
        let two = release(&mut five, 1).clone();
        five.releases.truncate(1);
        for (id, c) in [("2", 'c'), ("3", 'd'), ("4", 'f'), ("5", 'g')] {
            let mut release = two.clone();
            release.id = name(id);
            let picker = release.systems.get_mut(&name("picker")).unwrap();
            picker.toplevel = system(c);
            five.releases.push(Listed::Known(Box::new(release)));
        }
        release(&mut five, 3).needs = vec![name("waves"), name("pauses")];
        release(&mut five, 4).needs = vec![name("waves")];
        let choose = |manifest: &Manifest, runs: Option<char>| {
            let runs = runs.map(|c| runs_now(system(c)));
            let choice = offers(manifest, "picker", &[]).choose(runs.as_ref());
            (
                choice.target.map(|t| t.release),
                choice.left.map(|left| left.why),
            )
        };
        let why = Some(
            "release 5 needs 'waves', which this agent does not know: update the agent first"
                .into(),
        );
        for (runs, target) in [
            (Some('a'), Some("3")),
            (Some('c'), Some("3")),
            (Some('d'), Some("3")),
            // Newer than what could be taken, unknown, or nothing at all: nothing older is taken.
            (Some('f'), None),
            (Some('z'), None),
            (None, None),
        ] {
            let target = target.map(name);
            assert_eq!(choose(&five, runs), (target, why.clone()), "{runs:?}");
        }
        // What runs needs no words, and what was recalled stays or is left for what its recall names.
        assert_eq!(choose(&five, Some('g')), (None, None));
        release(&mut five, 3).needs.clear();
        release(&mut five, 3).recalled = Some(Recall {
            why: "drops things".into(),
            at: Timestamp::UNIX_EPOCH,
            to: None,
        });
        assert_eq!(choose(&five, Some('f')), (None, why.clone()));
        if let Some(recall) = &mut release(&mut five, 3).recalled {
            recall.to = Some(name("3"));
        }
        assert_eq!(choose(&five, Some('f')), (Some(name("3")), why.clone()));
        // A recalled one asks for nothing.
        release(&mut five, 4).recalled = release(&mut five, 3).recalled.clone();
        assert_eq!(choose(&five, Some('z')), (Some(name("3")), None));

        let mut many = manifest();
        let needs = (0..=MAX_NEEDS).map(|n| name(&format!("n{n}"))).collect();
        release(&mut many, 1).needs = needs;
        let (target, why) = choose(&many, Some('a'));
        assert_eq!(target, Some(name("1")));
        assert!(why.unwrap().contains("at most 16"));
    }

    #[test]
    fn a_release_that_cannot_be_read_is_left_alone_and_the_others_are_not() {
        for (field, value) in [
            ("reboot", Value::from("atNight")),
            ("only", serde_json::json!([{"site": "lab"}])),
            ("id", Value::from("a/b")),
        ] {
            let good = manifest();
            let mut text = serde_json::to_value(&good).unwrap();
            text["releases"][1][field] = value;
            let bytes = serde_json::to_vec(&text).unwrap();
            let read = Manifest::parse(&bytes, &good.channel).unwrap();
            let one = "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-nixos-system";
            let runs = runs_now(one.parse().unwrap());
            let choice = offers(&read, "picker", &[]).choose(Some(&runs));
            assert_eq!(choice.target.unwrap().release, name("1"));
            let why = choice.left.unwrap().why;
            assert!(
                why.contains("in a way that this agent does not know"),
                "{why}"
            );
            // It has no system for this one.
            let mower = offers(&read, "mower", &[]).choose(None);
            assert_eq!(mower.left, None);
            text["releases"][1]["recalled"] = serde_json::json!({"by": "ada"});
            let bytes = serde_json::to_vec(&text).unwrap();
            let read = Manifest::parse(&bytes, &good.channel).unwrap();
            let choice = offers(&read, "picker", &[]).choose(None);
            assert_eq!(choice.target.unwrap().release, name("1"));
        }
    }

    #[test]
    fn it_survives_its_text_and_unknown_fields_pass() {
        let manifest = manifest();
        let mut value = serde_json::to_value(&manifest).unwrap();
        value["weather"] = "fine".into();
        value["releases"][0]["colour"] = 1.into();
        let bytes = serde_json::to_vec(&value).unwrap();
        assert_eq!(
            Manifest::parse(&bytes, &manifest.channel).unwrap(),
            manifest
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = manifest();
        let refuse = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = serde_json::to_value(&good).unwrap();
            change(&mut value);
            Manifest::parse(&serde_json::to_vec(&value).unwrap(), &good.channel)
                .unwrap_err()
                .to_string()
        };
        assert!(refuse(&|v| v["spec"] = 2.into()).contains("format 2"));
        assert!(refuse(&|v| v["channel"] = "beta".into()).contains("channel 'beta'"));
        assert!(refuse(&|v| v["releases"][1]["id"] = "1".into()).contains("twice"));
        assert!(refuse(&|v| v["releases"] = 1.into()).contains("cannot be read"));
        let huge = vec![b' '; (MAX_MANIFEST_BYTES + 1) as usize];
        assert!(matches!(
            Manifest::parse(&huge, &good.channel),
            Err(ManifestError::TooLarge(_))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::parse(&bytes, &name("stable"));
        }
    }
}
