//! What the robot's software said: leases, for a restart of the agent within one boot.

use crate::config::Config;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use surefoot_base::file;
use surefoot_core::{
    lease::Leases,
    time::{BootId, Instant},
};

/// A larger file is not read, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Where what lasts as long as a boot is kept.
#[derive(Debug)]
pub(crate) struct RuntimeDir(PathBuf);

/// What the robot's software said, and in which boot.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    boot: BootId,
    leases: Leases,
}

impl RuntimeDir {
    /// That of the unit (`systemd.exec(5)`, `RuntimeDirectory=`), else where the socket is.
    pub(crate) fn new(config: &Config) -> Self {
        let given = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
        let beside = || config.socket.parent().unwrap_or(Path::new("/run")).into();
        Self(given.unwrap_or_else(beside))
    }

    fn leases(&self) -> PathBuf {
        self.0.join("leases.json")
    }

    /// What was said in this boot, after a restart of the agent at this time. What cannot be read may
    /// have said that the robot is busy.
    pub(crate) fn load(&self, boot: &BootId, now: Instant) -> Leases {
        match self.read() {
            Ok(Some(said)) if said.boot == *boot => said.leases.restarted(now),
            Ok(_) => Leases::default(),
            Err(error) => {
                let path = self.leases();
                tracing::error!("cannot read {}: {error:#}", path.display());
                Leases::unreadable(now)
            }
        }
    }

    fn read(&self) -> anyhow::Result<Option<Said>> {
        let text = file::read_if_there(&self.leases(), MAX_BYTES)?;
        Ok(text.map(|text| serde_json::from_slice(&text)).transpose()?)
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
        let write = || file::replace_unsynced(&path, &serde_json::to_vec(&said)?, 0o600);
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
