//! A boot loader that cannot start a system once: extlinux, say, or a board's own.
//!
//! Only used where the configuration accepts the risk. The system on trial becomes the default for
//! the time of the trial. Its agent, and the boot's deadline, put the one before back; a system that
//! does not get as far as systemd stays the default, and somebody has to come by.

use crate::{
    boot::{
        files::run,
        loader::{Loader, Mark},
    },
    robot::systemd,
};
use std::{path::PathBuf, process::Command};
use surefoot_api::finding::{Finding, Subject};
use surefoot_core::StorePath;

/// Whatever starts this robot.
#[derive(Debug)]
pub(super) struct Unguarded;

/// Has a system's own switcher install it as the default.
fn install(system: &StorePath) -> anyhow::Result<()> {
    let switcher = format!("{system}/bin/switch-to-configuration");
    let mut command = Command::new(&switcher);
    command
        .arg("boot")
        .env("PATH", format!("{system}/sw/bin:{}", systemd::PATH))
        .env("NIXOS_NO_CHECK", "1");
    run(&mut command, &[0]).map(|_| ())
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

    fn check(&self) -> Vec<Finding> {
        vec![Finding::warn(
            Subject::Loader,
            "boot loader",
            "none was found that can start a system once: a release that does not get as far as \
             systemd stays the default, and the robot is lost",
            "boot.accept_no_fallback accepts that; systemd-boot or GRUB would bring it back",
        )]
    }

    fn kernels(&self) -> PathBuf {
        "/boot".into()
    }

    fn aim(&self, system: &StorePath, previous: &StorePath) -> anyhow::Result<Mark> {
        install(system)?;
        Ok(Mark {
            default: Some(previous.clone()),
            ..Mark::default()
        })
    }

    fn started(&self, _mark: &Mark) -> Option<bool> {
        None
    }

    fn forget(&self, mark: Option<&Mark>) -> anyhow::Result<()> {
        match mark.and_then(|mark| mark.default.as_ref()) {
            Some(previous) => install(previous),
            None => Ok(()),
        }
    }

    fn is_guarded(&self) -> bool {
        false
    }
}
