//! Which old releases a channel can do without.

use crate::release::{Listed, Manifest, Name};
use std::collections::{BTreeMap, BTreeSet};

impl Manifest {
    /// Takes releases out that no robot needs any more, and gives their names, oldest first. Their names
    /// stay [`gone`](Self::gone).
    ///
    /// What stays: of each model the newest `keep` releases, at least one; what one that stays has to be
    /// come [from](crate::release::Release::from), and where its recall leads to, and so on; and whatever
    /// this version cannot read. A robot that runs what was taken out takes the newest release that is open
    /// to it, by way of the stones that this has.
    pub fn retire(&mut self, keep: usize) -> Vec<Name> {
        let mut stays: BTreeSet<Name> = BTreeSet::new();
        let mut of_model: BTreeMap<&Name, usize> = BTreeMap::new();
        let known = || {
            self.releases
                .iter()
                .rev()
                .filter_map(|listed| match listed {
                    Listed::Known(release) => Some(&**release),
                    Listed::Other(_) => None,
                })
        };
        for release in known() {
            let mut newest = release.systems.is_empty();
            for model in release.systems.keys() {
                let seen = of_model.entry(model).or_default();
                // One that was called back serves nobody who begins.
                newest |= *seen < keep.max(1);
                *seen += usize::from(release.recalled.is_none());
            }
            // What it leads to is older, and so comes later here.
            if newest || stays.contains(&release.id) {
                stays.insert(release.id.clone());
                stays.extend(release.from.clone());
                stays.extend(
                    release
                        .recalled
                        .as_ref()
                        .and_then(|recall| recall.to.clone()),
                );
            }
        }
        let goes = |listed: &Listed| match listed {
            Listed::Known(release) => !stays.contains(&release.id),
            Listed::Other(_) => false,
        };
        let mut gone = Vec::new();
        self.releases.retain(|listed| {
            if goes(listed)
                && let Listed::Known(release) = listed
            {
                gone.push(release.id.clone());
                return false;
            }
            true
        });
        self.gone.extend(gone.iter().cloned());
        gone
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

    #[test]
    fn the_newest_of_each_model_stay_with_what_leads_to_them() {
        let none = || json!({});
        let recalled = |to: &str| json!({ "recalled": { "why": "x", "at": "2026-01-01T00:00:00Z", "to": to } });
        let mut all = manifest(&[
            ("1", "picker", none()),
            ("2", "picker", none()),
            ("3", "mower", none()),
            ("4", "picker", json!({ "from": "2", "needs": ["stones"] })),
            ("5", "picker", none()),
            ("6", "picker", json!({ "from": "4", "needs": ["stones"] })),
            ("7", "picker", recalled("5")),
            ("8", "picker", none()),
        ]);
        // The 7th is called back: whoever runs it is led to the 5th.
        assert_eq!(all.clone().retire(2), [name("1")]);
        assert_eq!(
            all.clone().retire(1),
            [
                name("1"),
                name("2"),
                name("4"),
                name("5"),
                name("6"),
                name("7")
            ]
        );
        let gone = all.retire(2);
        assert_eq!(ids(&all), ["2", "3", "4", "5", "6", "7", "8"]);
        assert_eq!(all.gone, gone);
        // What cannot be read stays, and so does everything the second time.
        let mut odd = manifest(&[
            ("9", "picker", json!({ "reboot": "perhaps" })),
            ("10", "picker", none()),
        ]);
        assert!(odd.retire(0).is_empty() && all.retire(2).is_empty());
        let bytes = all.to_bytes().unwrap();
        let read = Manifest::parse(&bytes, &all.channel).unwrap();
        assert!(read.names().any(|name| name == "1"));
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }
}
