//! Why a system cannot be tried without a reboot, if so. When the robot reboots is decided in
//! `machine/reboot.rs`, and nowhere else.
//!
//! Source: nixpkgs `nixos/modules/system/activation/top-level.nix` (what lies in a toplevel) and
//! the switch inhibitors of NixOS 26.05.

use crate::release::RebootPolicy;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The parts of a toplevel that only a boot can bring in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootParts {
    /// `kernel`, links resolved.
    pub kernel: Option<String>,
    /// `initrd`, links resolved.
    pub initrd: Option<String>,
    /// `kernel-modules`, links resolved.
    pub modules: Option<String>,
    /// Contents of `kernel-params`.
    pub params: Option<String>,
    /// `switch-inhibitors`: a switch is refused where a key has another value in the new system.
    pub inhibitors: BTreeMap<String, String>,
    /// What of the agent's unit only its start shows: what has to be there before it, and what runs before it.
    pub agent: Option<String>,
}

/// Why a reboot is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "name")]
pub enum Reason {
    /// Another kernel.
    Kernel,
    /// Another initrd.
    Initrd,
    /// Other kernel modules.
    Modules,
    /// Other kernel parameters.
    Params,
    /// A switch inhibitor with this name changed.
    Inhibitor(String),
    /// Its agent is started otherwise, and a live switch does not start it.
    Agent,
    /// The switcher said so (exit 100): another init.
    Init,
    /// The release asks for it.
    Release,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("another kernel"),
            Self::Initrd => f.write_str("another initrd"),
            Self::Modules => f.write_str("other kernel modules"),
            Self::Params => f.write_str("other kernel parameters"),
            Self::Inhibitor(name) => write!(f, "switch inhibitor '{name}' changed"),
            Self::Agent => f.write_str("its agent is started in another way"),
            Self::Init => f.write_str("another init"),
            Self::Release => f.write_str("the release asks for it"),
        }
    }
}

/// Compares what was booted with what is to come; empty means that a live switch will do.
#[must_use]
pub fn reasons(booted: &BootParts, new: &BootParts, policy: RebootPolicy) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if policy == RebootPolicy::Always {
        reasons.push(Reason::Release);
    }
    for (differs, reason) in [
        (booted.kernel != new.kernel, Reason::Kernel),
        (booted.initrd != new.initrd, Reason::Initrd),
        (booted.modules != new.modules, Reason::Modules),
        (booted.params != new.params, Reason::Params),
        (
            booted.agent.is_some() && new.agent.is_some() && booted.agent != new.agent,
            Reason::Agent,
        ),
    ] {
        if differs {
            reasons.push(reason);
        }
    }
    for (key, value) in &booted.inhibitors {
        if new.inhibitors.get(key).is_some_and(|other| other != value) {
            reasons.push(Reason::Inhibitor(key.clone()));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_alone_demands_a_reboot() {
        let old = BootParts {
            kernel: Some("k1".into()),
            agent: Some("Type=notify".into()),
            inhibitors: [("dbus".into(), "a".into()), ("gone".into(), "x".into())].into(),
            ..BootParts::default()
        };
        let check = |change: &dyn Fn(&mut BootParts)| {
            let mut new = old.clone();
            change(&mut new);
            reasons(&old, &new, RebootPolicy::Auto)
        };
        assert_eq!(check(&|_| ()), []);
        assert_eq!(check(&|p| p.kernel = Some("k2".into())), [Reason::Kernel]);
        assert_eq!(check(&|p| p.initrd = Some("i".into())), [Reason::Initrd]);
        assert_eq!(check(&|p| p.modules = Some("m".into())), [Reason::Modules]);
        assert_eq!(
            check(&|p| p.params = Some("quiet".into())),
            [Reason::Params]
        );
        assert_eq!(
            check(&|p| p.agent = Some("Type=exec".into())),
            [Reason::Agent]
        );
        // Where there was none, or is none, there is nothing to compare.
        assert_eq!(check(&|p| p.agent = None), []);
        // A key that only one of the two has does not inhibit.
        assert_eq!(check(&|p| drop(p.inhibitors.remove("gone"))), []);
        assert_eq!(
            check(&|p| drop(p.inhibitors.insert("dbus".into(), "b".into()))),
            [Reason::Inhibitor("dbus".into())]
        );
        assert_eq!(reasons(&old, &old, RebootPolicy::Always), [Reason::Release]);
    }
}
