//! A boot loader that cannot start a system once: extlinux, say, or a board's own.
//!
//! Only used where the configuration accepts the risk. The system on trial becomes the default for
//! the time of the trial. Its agent, and the boot's deadline, put the one before back; a system that
//! does not get as far as systemd stays the default, and somebody has to come by.

use crate::boot::{
    files::run,
    loader::{Loader, OneShot},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use surefoot_api::finding::{Finding, Subject};
use surefoot_base::environment;
use surefoot_core::StorePath;

/// Whatever starts this robot.
#[derive(Debug)]
pub(super) struct Unguarded {
    /// The loaders that would be better, for people.
    better: String,
}

/// What has to become the default again.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Empty, as ever in this file.
    #[serde(skip_deserializing)]
    entry: (),
    /// Likewise.
    #[serde(skip_deserializing)]
    before: (),
    default: StorePath,
}

impl Unguarded {
    /// With the names of the loaders that would be better.
    pub(super) const fn new(better: String) -> Self {
        Self { better }
    }
}

/// Has a system's own switcher install it as the default.
fn install(system: &StorePath) -> anyhow::Result<()> {
    let switcher = format!("{system}/bin/switch-to-configuration");
    let mut command = environment::command(&switcher);
    command
        .env("PATH", format!("{system}/sw/bin:{}", environment::PATH))
        .env("NIXOS_NO_CHECK", "1");
    run(command, ["boot"], &[0]).map(|_| ())
}

impl Loader for Unguarded {
    fn name(&self) -> &'static str {
        "a boot loader without a one-shot"
    }

    fn default(&self) -> anyhow::Result<Option<StorePath>> {
        Ok(None)
    }

    fn falls_back_to(&self, previous: &StorePath) -> anyhow::Result<String> {
        Ok(format!(
            "it is taken to be {previous}, which nothing can tell"
        ))
    }

    fn is_guarded(&self) -> bool {
        false
    }

    fn check(&self) -> Vec<Finding> {
        vec![Finding::warn(
            Subject::Loader,
            "boot loader",
            "none was found that can start a system once: a release that does not get as far as \
             systemd stays the default, and the robot is lost",
            format!(
                "boot.accept_no_fallback accepts that; {} would bring it back",
                self.better
            ),
        )]
    }

    fn kernels(&self) -> PathBuf {
        "/boot".into()
    }
}

impl OneShot for Unguarded {
    type Mark = Mark;

    fn aim(&self, system: &StorePath, previous: &StorePath) -> anyhow::Result<Mark> {
        install(system)?;
        Ok(Mark {
            entry: (),
            before: (),
            default: previous.clone(),
        })
    }

    fn started(&self, _mark: &Mark) -> Option<bool> {
        None
    }

    fn take_back(&self, mark: Option<&Mark>) -> anyhow::Result<()> {
        mark.map_or(Ok(()), |mark| install(&mark.default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_mark_lies_on_the_disk_as_ever() {
        let base = "7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-a";
        let mark = Mark {
            entry: (),
            before: (),
            default: StorePath::from_base_name(base).unwrap(),
        };
        let text = format!(r#"{{"entry":null,"before":null,"default":"/nix/store/{base}"}}"#);
        assert_eq!(serde_json::to_string(&mark).unwrap(), text);
        assert_eq!(serde_json::from_str::<Mark>(&text).unwrap(), mark);
    }
}
