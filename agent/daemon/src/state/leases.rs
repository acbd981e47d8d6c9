//! What the robot's software said: leases, for a restart of the agent within one boot.

use crate::{config::Config, robot};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use surefoot_base::file;
use surefoot_core::{lease::Leases, time::BootId};

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

    /// What was said in this boot. What cannot be read was not said.
    pub(crate) fn load(&self, boot: &BootId) -> Leases {
        let said = robot::read(&self.leases());
        let said = said.and_then(|text| serde_json::from_str::<Said>(&text).ok());
        let said = said.filter(|said| said.boot == *boot);
        said.map(|said| said.leases).unwrap_or_default()
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

    #[test]
    fn what_was_said_belongs_to_its_boot() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir(dir.path().to_owned());
        let boot = |name: &str| BootId(name.into());
        assert_eq!(runtime.load(&boot("1")), Leases::default());
        let mut leases = Leases::default();
        let lease = surefoot_core::lease::Lease {
            name: "gripper".parse().unwrap(),
            owner: "ros".into(),
            busy: true,
            why: Some("a crate".into()),
            until: surefoot_core::time::Instant(7),
        };
        leases.put(lease).unwrap();
        runtime.save(&boot("1"), &leases).unwrap();
        assert_eq!(runtime.load(&boot("1")), leases);
        assert_eq!(runtime.load(&boot("2")), Leases::default());
        fs::write(runtime.leases(), "{").unwrap();
        assert_eq!(runtime.load(&boot("1")), Leases::default());
    }
}
