//! Which old releases a channel can do without.

use crate::release::{Listed, Manifest, Name, Release};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// By which rule old releases go.
#[derive(Debug, Clone, Copy)]
pub struct Retiring<'a> {
    /// How many releases that are open to everybody stay of each model, at least one.
    pub keep: usize,
    /// Features that the agents of all robots know. A release that [needs](Release::needs) no other counts as
    /// one for every agent.
    pub all_know: &'a [Name],
    /// Models that have no robots any more. What they have does not count.
    pub no_robots: &'a [Name],
    /// When this is: whether a plan is over depends on it.
    pub now: Timestamp,
}

/// What one model has, looked at from the newest release on.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Releases that are open to everybody.
    open: usize,
    /// Whether one of them is for every agent.
    for_every_agent: bool,
    /// The place of the oldest one that counts.
    kept: usize,
    /// The place of the oldest release.
    oldest: usize,
}

impl Retiring<'_> {
    /// Whether every robot of its models may begin with a release, provided that its agent knows what it
    /// needs.
    fn is_open(&self, release: &Release) -> bool {
        release.recalled.is_none()
            && release.only.is_empty()
            && release.left_alone().is_none()
            && (release.rollout.as_ref()).is_none_or(|plan| plan.is_over(self.now))
    }

    /// Whether every agent of the fleet can read a release.
    fn is_for_every_agent(&self, release: &Release) -> bool {
        let mut needs = release.needs.iter();
        needs.all(|need| self.all_know.contains(need))
    }
}

impl Manifest {
    /// Takes releases out that no robot needs any more, and gives their names, oldest first. Their names
    /// stay [`gone`](Self::gone).
    ///
    /// Only the oldest go, as an unbroken run: never one that is newer than one that stays. So a robot that
    /// runs what was taken out runs what is older than all that is left. The run ends before the oldest of
    /// these:
    /// - of each model the newest [`keep`](Retiring::keep) releases that are open to everybody: not recalled,
    ///   not for some labels only, without a plan or with one that is over. Where there are fewer, all
    ///   releases of the model;
    /// - of each model the newest of them that every agent of the fleet can read;
    /// - what one that stays has to be come [from](Release::from), and where its recall leads to;
    /// - what this version cannot read.
    pub fn retire(&mut self, rule: &Retiring<'_>) -> Vec<Name> {
        let end = self.end_of_run(rule);
        let gone: Vec<Name> = (self.releases.drain(..end))
            .filter_map(|listed| listed.id().parse().ok())
            .collect();
        self.gone.extend(gone.iter().cloned());
        gone
    }

    /// How many of the oldest releases go.
    fn end_of_run(&self, rule: &Retiring<'_>) -> usize {
        let mut models: BTreeMap<&Name, Seen> = BTreeMap::new();
        let mut end = self.releases.len();
        for (at, listed) in self.releases.iter().enumerate().rev() {
            let Listed::Known(release) = listed else {
                end = at;
                continue;
            };
            let open = rule.is_open(release);
            let counts = |model: &&Name| !rule.no_robots.contains(model);
            for model in release.systems.keys().filter(counts) {
                let seen = models.entry(model).or_default();
                seen.oldest = at;
                if !open {
                    continue;
                }
                let first = !seen.for_every_agent && rule.is_for_every_agent(release);
                seen.for_every_agent |= first;
                if first || seen.open < rule.keep.max(1) {
                    seen.kept = at;
                }
                seen.open += 1;
            }
        }
        let kept = models.values().map(|seen| {
            if seen.open < rule.keep.max(1) {
                seen.oldest
            } else {
                seen.kept
            }
        });
        // Where nobody is served there is nothing to judge by.
        end = kept.min().map_or(0, |kept| kept.min(end));
        for (at, listed) in self.releases.iter().enumerate().rev() {
            if at < end {
                break;
            }
            for goal in listed.leads_to() {
                let place = self.releases.iter().position(|one| one.id() == goal);
                end = place.map_or(end, |place| place.min(end));
            }
        }
        end
    }
}

impl Listed {
    /// The releases that robots reach this one by, or go back to from it.
    fn leads_to(&self) -> impl Iterator<Item = &str> {
        let (from, to) = match self {
            Self::Known(release) => {
                let recall = release.recalled.as_ref();
                let to = recall.and_then(|recall| recall.to.as_ref());
                (
                    release.from.as_ref().map(Name::as_str),
                    to.map(Name::as_str),
                )
            }
            Self::Other(other) => {
                let recall = other.0.get("recalled");
                let to = recall.and_then(|recall| recall.get("to"));
                let from = other.0.get("from");
                (
                    from.and_then(|from| from.as_str()),
                    to.and_then(|to| to.as_str()),
                )
            }
        };
        from.into_iter().chain(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn manifest(releases: &[(&str, &str, Value)]) -> Manifest {
        let system = json!({
            "toplevel": format!("/nix/store/{}-nixos-system", "a".repeat(32)),
            "index": "closures/00.json.zst", "paths": 1, "narSize": 1,
        });
        let releases: Vec<Value> = (releases.iter())
            .map(|(id, models, more)| {
                let systems: serde_json::Map<String, Value> = (models.split(' '))
                    .map(|model| (model.to_owned(), system.clone()))
                    .collect();
                let mut release =
                    json!({ "id": id, "created": "2026-01-01T00:00:00Z", "systems": systems });
                release
                    .as_object_mut()
                    .unwrap()
                    .extend(more.as_object().unwrap().clone());
                release
            })
            .collect();
        let text = json!({ "spec": 1, "channel": "stable", "releases": releases }).to_string();
        Manifest::parse(text.as_bytes(), &"stable".parse().unwrap()).unwrap()
    }

    fn ids(manifest: &Manifest) -> Vec<&str> {
        manifest.releases.iter().map(Listed::id).collect()
    }

    /// What goes of these, of which so many stay for each model.
    fn gone(releases: &[(&str, &str, Value)], keep: usize) -> Vec<String> {
        gone_by(releases, &rule(keep))
    }

    fn gone_by(releases: &[(&str, &str, Value)], rule: &Retiring<'_>) -> Vec<String> {
        let mut manifest = manifest(releases);
        let all: Vec<String> = ids(&manifest).into_iter().map(Into::into).collect();
        let gone: Vec<String> = (manifest.retire(rule).iter().map(ToString::to_string)).collect();
        assert_eq!(gone, all[..gone.len()], "only the oldest go");
        assert_eq!(ids(&manifest), all[gone.len()..]);
        assert!(manifest.clone().retire(rule).is_empty(), "once and for all");
        gone
    }

    fn rule(keep: usize) -> Retiring<'static> {
        Retiring {
            keep,
            all_know: &[],
            no_robots: &[],
            now: "2026-11-27T12:00:00Z".parse().unwrap(),
        }
    }

    fn none() -> Value {
        json!({})
    }

    fn recalled(to: &str) -> Value {
        json!({ "recalled": { "why": "x", "at": "2026-01-01T00:00:00Z", "to": to } })
    }

    fn in_steps(share: u32) -> Value {
        json!({ "needs": ["rollouts"], "rollout": { "share": share } })
    }

    #[test]
    fn only_the_oldest_go_and_never_one_that_is_newer_than_one_that_stays() {
        let stone = |from: &str| json!({ "from": from, "needs": ["stones"] });
        let mut all = vec![
            ("1", "picker", none()),
            ("2", "picker", none()),
            ("3", "picker", none()),
            ("4", "picker", stone("2")),
            ("5", "picker", none()),
            ("6", "picker", none()),
        ];
        assert_eq!(gone(&all, 1), ["1", "2", "3", "4", "5"]);
        assert_eq!(gone(&all, 2), ["1", "2", "3", "4"]);
        // The stone of the 4th stays, and so does what is newer than the stone.
        assert_eq!(gone(&all, 3), ["1"]);
        all.truncate(4);
        assert_eq!(gone(&all, 1), ["1"]);
        // Where a recall leads to stays, also that of one which does not count.
        let mut all = [
            ("1", "picker", none()),
            ("2", "picker", none()),
            ("3", "picker", none()),
            ("4", "picker", recalled("2")),
            ("5", "picker", none()),
        ];
        assert_eq!(gone(&all, 1), ["1", "2", "3", "4"]);
        assert_eq!(gone(&all, 2), ["1"]);
        // Each model keeps what it has, and what stays for one stays for all.
        all[1].1 = "mower";
        all[4].1 = "picker mower";
        assert_eq!(gone(&all, 1), ["1", "2", "3", "4"]);
        all[4].1 = "picker";
        assert_eq!(gone(&all, 1), ["1"]);
        let without = [name("mower")];
        let rule = Retiring {
            no_robots: &without,
            ..rule(1)
        };
        assert_eq!(gone_by(&all, &rule), ["1", "2", "3", "4"]);
        // What cannot be read stays, and what leads from it.
        let odd = json!({ "reboot": "perhaps", "from": "1" });
        let odd = [
            ("0", "picker", none()),
            ("1", "picker", none()),
            ("2", "picker", none()),
            ("3", "picker", odd),
            ("4", "picker", none()),
        ];
        assert_eq!(gone(&odd, 1), ["0"]);
        // Names that went are known.
        let mut all = manifest(&all);
        all.retire(&rule);
        let bytes = all.to_bytes().unwrap();
        let read = Manifest::parse(&bytes, &all.channel).unwrap();
        assert!(read.names().any(|name| name == "1") && read.gone.len() == 4);
    }

    #[test]
    fn what_is_not_open_to_everybody_replaces_nothing() {
        let narrow = [
            json!({ "only": ["ring=canary"] }),
            json!({ "needs": ["rollouts"] }),
            json!({ "needs": ["telepathy"] }),
            in_steps(10_000),
            json!({ "needs": ["rollouts"], "rollout": { "share": 1_000_000, "paused": "2026-11-01T00:00:00Z" } }),
            json!({ "needs": ["rollouts"], "rollout": { "points": [{ "at": "2026-11-28T00:00:00Z", "share": 1_000_000 }] } }),
            recalled("2"),
        ];
        for narrow in narrow {
            let all = [
                ("1", "picker", none()),
                ("2", "picker", none()),
                ("3", "picker", narrow.clone()),
                ("4", "picker", narrow.clone()),
            ];
            assert_eq!(gone(&all, 1), ["1"], "{narrow}");
            // Fewer than are to stay: none goes, however many others there are.
            assert_eq!(gone(&all, 3), [""; 0], "{narrow}");
            assert_eq!(gone(&all[2..], 1), [""; 0], "{narrow}");
        }
    }

    #[test]
    fn the_newest_that_every_agent_reads_stays() {
        let over = json!({ "needs": ["rollouts"], "rollout": { "points": [{ "at": "2026-11-27T00:00:00Z", "share": 1_000_000 }] } });
        let all = [
            ("1", "picker", none()),
            ("2", "picker", none()),
            ("3", "picker", in_steps(1_000_000)),
            ("4", "picker", over),
        ];
        assert_eq!(gone(&all, 1), ["1"]);
        let known = [name("rollouts")];
        let rule = Retiring {
            all_know: &known,
            ..rule(1)
        };
        assert_eq!(gone_by(&all, &rule), ["1", "2", "3"]);
        // Where there was none nobody loses it.
        assert_eq!(gone(&all[2..], 1), ["3"]);
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }
}
