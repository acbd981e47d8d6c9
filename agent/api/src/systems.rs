//! The systems that are on the robot.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use surefoot_core::{StorePath, generations::Part, release::Name, word::Word};

/// A system that is on the robot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemInfo {
    /// Its store path.
    pub system: StorePath,
    /// The release that brought it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Name>,
    /// The numbers of its generations in the system's profile, oldest first.
    #[serde(default)]
    pub generations: Vec<u64>,
    /// What it is here.
    #[serde(default)]
    pub parts: Vec<Word<Part>>,
    /// Whether it was confirmed here, now or before.
    #[serde(default)]
    pub proven: bool,
    /// When it was confirmed last, or else when its newest generation was made. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Its version of NixOS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nixos: Option<String>,
    /// The version of its kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Whether it has an agent: without one nothing brings the robot back from it.
    #[serde(default)]
    pub agent: bool,
    /// Size of its closure in the store, bytes; `None` if the Nix daemon did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// How much of that no other system of the list needs, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_size: Option<u64>,
    /// What differs from what runs, in one line; empty if nothing does.
    #[serde(default)]
    pub differs: String,
    /// Why the robot reboots to get there, a reason each; empty if a switch will do.
    #[serde(default)]
    pub reboot: Vec<String>,
    /// What its agent could not go on with, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_on: Option<String>,
}

impl SystemInfo {
    /// Whether it is this here.
    #[must_use]
    pub fn is(&self, part: Part) -> bool {
        self.parts.iter().any(|word| *word == part)
    }
}
