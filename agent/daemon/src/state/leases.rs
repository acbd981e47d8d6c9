//! What the robot's software said: leases, for a restart of the agent within one boot.

use crate::config::Config;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use surefoot_base::file;
use surefoot_core::{
    foreign::{self, Foreign},
    lease::Leases,
    time::{BootId, Instant},
};
use surefoot_store::verify::Verified;

/// A larger file is not read, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Where what lasts as long as a boot is kept.
#[derive(Debug)]
pub(crate) struct RuntimeDir(PathBuf);

/// What the robot's software said, and in which boot.
#[derive(Debug, Serialize, Deserialize)]
struct Said<L> {
    boot: BootId,
    leases: L,
}

impl RuntimeDir {
    /// That of the unit (`systemd.exec(5)`, `RuntimeDirectory=`), else where the socket is.
    pub(crate) fn new(config: &Config) -> Self {
        let given = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
        let beside = || config.socket.parent().unwrap_or(Path::new("/run")).into();
        Self(given.unwrap_or_else(beside))
    }

    /// What of the store was found good in this boot.
    pub(crate) fn verified(&self, boot: &BootId) -> Verified {
        Verified::load(self.0.join("verified"), &boot.0)
    }

    fn leases(&self) -> PathBuf {
        self.0.join("leases.json")
    }

    /// What was said in this boot, after a restart of the agent at this time. What cannot be read may
    /// have said that the robot is busy.
    pub(crate) fn load(&self, boot: &BootId, now: Instant) -> Leases {
        match self.read() {
            Ok(Some(said)) if said.boot == *boot => Leases::read(said.leases, now).restarted(now),
            Ok(_) => Leases::default(),
            Err(error) => {
                let path = self.leases();
                tracing::error!("cannot read {}: {error:#}", path.display());
                Leases::unreadable(now)
            }
        }
    }

    fn read(&self) -> anyhow::Result<Option<Said<Vec<Value>>>> {
        let text = file::read_if_there(&self.leases(), MAX_BYTES)?;
        Ok(text.map(|text| serde_json::from_slice(&text)).transpose()?)
    }

    /// What another version of the agent wrote there in this boot.
    fn foreign(&self, boot: &BootId) -> Foreign {
        let text = file::read(&self.leases(), MAX_BYTES);
        let said = text.ok().and_then(|text| {
            let (said, foreign) = foreign::read::<Said<Leases>>(&text).ok()?;
            (said.boot == *boot).then_some(foreign)
        });
        said.unwrap_or_default()
    }

    /// Keeps it, for a restart of the agent. It need not outlast the power.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn save(&self, boot: &BootId, leases: &Leases) -> anyhow::Result<()> {
        let said = Said {
            boot: boot.clone(),
            leases: leases.clone(),
        };
        let path = self.leases();
        let write = || {
            let text = foreign::to_bytes(&said, &self.foreign(boot))?;
            file::replace_unsynced(&path, &text, 0o600)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::next;
    use std::fs;
    use surefoot_core::lease::{Holder, Kept, Lease, Loss, Owner};

    fn leases(kept: Kept) -> Leases {
        let mut leases = Leases::default();
        let lease = Lease {
            name: "gripper".parse().unwrap(),
            owner: Owner {
                uid: 400,
                name: "ros".into(),
                counted: "uid 400".into(),
            },
            busy: true,
            why: Some("a crate".into()),
            kept,
        };
        leases.put(lease, Holder(1), &[]).unwrap();
        leases
    }

    #[test]
    fn what_was_said_belongs_to_its_boot() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir(dir.path().to_owned());
        let load = |boot: &str| runtime.load(&BootId(boot.into()), Instant(9));
        assert_eq!(load("1"), Leases::default());
        let said = leases(Kept::Until(Instant(7)));
        runtime.save(&BootId("1".into()), &said).unwrap();
        assert_eq!(load("1"), said);
        assert_eq!(load("2"), Leases::default());
        // What a connection held is waited for.
        let held = leases(Kept::By(Holder(1)));
        runtime.save(&BootId("1".into()), &held).unwrap();
        let orphan = Kept::Orphan {
            loss: Loss::Restart,
            since: Instant(9),
        };
        assert_eq!(load("1"), leases(orphan));
    }

    #[test]
    fn what_another_version_wrote_is_kept_and_a_lease_that_it_alone_can_read_is_busy() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir(dir.path().to_owned());
        let boot = BootId("1".into());
        let text =
            || -> Value { serde_json::from_slice(&fs::read(runtime.leases()).unwrap()).unwrap() };
        runtime
            .save(&boot, &leases(Kept::Until(Instant(7))))
            .unwrap();
        let mut newer = text();
        newer["weather"] = "fine".into();
        newer["leases"][0]["joint"] = 3.into();
        newer["leases"][0]["owner"]["unit"] = "ros.service".into();
        fs::write(runtime.leases(), newer.to_string()).unwrap();
        let said = runtime.load(&boot, Instant(5));
        assert_eq!(said, leases(Kept::Until(Instant(7))));
        runtime.save(&boot, &said).unwrap();
        assert_eq!(text(), newer);
        // The others are what they were.
        let mut other = newer["leases"][0].clone();
        other["name"] = "arm".into();
        other["busy"] = false.into();
        other["kept"] = serde_json::json!({"whileMoving": {"joint": 3}});
        newer["leases"].as_array_mut().unwrap().push(other);
        fs::write(runtime.leases(), newer.to_string()).unwrap();
        let said = runtime.load(&boot, Instant(5));
        let seen = said.iter().map(|lease| (lease.name.as_str(), lease.busy));
        assert_eq!(
            seen.collect::<Vec<_>>(),
            [("gripper", true), ("unreadable", true)]
        );
        // What was said in another boot is gone, all of it.
        runtime
            .save(&BootId("2".into()), &leases(Kept::Until(Instant(7))))
            .unwrap();
        assert_eq!(text().get("weather"), None);
    }

    #[test]
    fn recorded_leases_are_read_and_nothing_that_a_later_version_adds_makes_a_busy_robot_free() {
        let recorded = include_str!("../../../../tests/recorded/0.2/leases.json");
        let dir = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir(dir.path().to_owned());
        let boot = BootId("4c6c1ad2-1b3a-4b1b-8b0a-2f6d5b1f6d3e".into());
        let load = |text: &str| {
            fs::write(runtime.leases(), text).unwrap();
            runtime.load(&boot, Instant(90_450))
        };
        let said = |leases: &Leases| -> Vec<(String, bool)> {
            let said = leases
                .iter()
                .map(|lease| (lease.name.to_string(), lease.busy));
            said.collect()
        };
        let before = load(recorded);
        let pair = |name: &str, busy| (name.to_owned(), busy);
        let all = [
            pair("arm", false),
            pair("gripper", true),
            pair("mission", true),
        ];
        assert_eq!(said(&before), all);

        let text: Value = serde_json::from_str(recorded).unwrap();
        let mut newer = next::versions(&text, &["loss"]);
        // How a lease is kept is a word that has something of its own.
        for n in 0..all.len() {
            let at = format!("/leases/{n}/kept");
            let mut next = text.clone();
            *next.pointer_mut(&at).unwrap() = serde_json::json!({"quiteNew": 1});
            newer.push((at, next));
        }
        for (at, next) in newer {
            let after = load(&next.to_string());
            if after == before {
                runtime.save(&boot, &after).unwrap();
                let again = fs::read(runtime.leases()).unwrap();
                let again: Value = serde_json::from_slice(&again).unwrap();
                // What its connection held is an orphan since the restart, and another object by that.
                let kept = again.to_string().contains("quiteNew");
                assert_eq!(kept, at != "/leases/1", "{at}");
                continue;
            }
            // One that cannot be read: it stands there, busy, and the others say what they said.
            let said = said(&after);
            assert!(said.contains(&pair("unreadable", true)), "{at}");
            let others = said.iter().filter(|lease| all.contains(lease));
            assert_eq!(others.count(), all.len() - 1, "{at}");
        }
    }

    #[test]
    fn what_cannot_be_read_means_busy() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir(dir.path().to_owned());
        let load = || runtime.load(&BootId("1".into()), Instant(9));
        for torn in [
            "",
            "{",
            r#"{"boot":"1","leases":[{"name":"arm","busy":true}]}"#,
        ] {
            fs::write(runtime.leases(), torn).unwrap();
            let closed = load().closed(&[], Instant(10));
            assert_eq!(
                closed[0].to_string(),
                "lease unreadable (busy; what was said before the agent restarted cannot be read; it is \
                 ended by: surefoot lease unreadable --end)"
            );
        }
        fs::remove_file(runtime.leases()).unwrap();
        fs::create_dir(runtime.leases()).unwrap();
        assert_eq!(load().closed(&[], Instant(10)).len(), 1);
    }
}
