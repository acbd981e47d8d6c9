//! Who may do what, by what the kernel says of the process at the other end of the socket.

use super::caller::Caller;
use crate::config::{Control, GroupName};
use nix::unistd::{Group, geteuid};
use surefoot_api::method::Role;

/// The groups that make somebody more than anyone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roles {
    technicians: Option<KnownGroup>,
    apps: Option<KnownGroup>,
    /// Groups to which journald shows what all services print.
    journal_readers: Vec<u32>,
}

/// Their names, `journalctl(1)`.
const JOURNAL_READERS: [&str; 3] = ["systemd-journal", "adm", "wheel"];

#[derive(Debug, Clone)]
struct KnownGroup {
    name: String,
    gid: u32,
}

impl Roles {
    /// Looks the configured groups up.
    ///
    /// A group that does not exist gives nobody anything; what is said about it comes back as
    /// warnings. That must not keep the agent from running: root can still do everything.
    pub(crate) fn resolve(control: &Control) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut group = |key: &str, name: &Option<GroupName>| {
            let GroupName(name) = name.as_ref()?;
            match Group::from_name(name) {
                Ok(Some(group)) => Some(KnownGroup {
                    name: name.clone(),
                    gid: group.gid.as_raw(),
                }),
                Ok(None) => {
                    warnings.push(format!("control.{key}: there is no group '{name}'"));
                    None
                }
                Err(error) => {
                    warnings.push(format!(
                        "control.{key}: the group '{name}' cannot be looked up: {error}"
                    ));
                    None
                }
            }
        };
        let roles = Self {
            technicians: group("technician_group", &control.technician_group),
            apps: group("app_group", &control.app_group),
            journal_readers: (JOURNAL_READERS.iter())
                .filter_map(|name| Group::from_name(name).ok()?)
                .map(|group| group.gid.as_raw())
                .collect(),
        };
        (roles, warnings)
    }

    /// Roles with groups that need not exist.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn of_groups(technicians: u32, apps: u32) -> Self {
        let group = |name: &str, gid| {
            Some(KnownGroup {
                name: name.into(),
                gid,
            })
        };
        Self {
            technicians: group("technicians", technicians),
            apps: group("robot", apps),
            journal_readers: Vec::new(),
        }
    }

    /// What a caller may do. The user that the daemon runs as may do everything anyway.
    pub(super) fn of(&self, caller: &Caller) -> Role {
        let member = |group: &Option<KnownGroup>| {
            group
                .as_ref()
                .is_some_and(|group| caller.groups.contains(&group.gid))
        };
        if caller.uid == 0 || caller.uid == geteuid().as_raw() {
            Role::Root
        } else if member(&self.technicians) {
            Role::Technician
        } else if member(&self.apps) {
            Role::App
        } else {
            Role::Anyone
        }
    }

    /// Whether a caller may see what the robot's services printed.
    pub(super) fn sees_evidence(&self, caller: &Caller) -> bool {
        let reads = |gid| caller.groups.contains(gid);
        self.of(caller) >= Role::App || self.journal_readers.iter().any(reads)
    }

    /// Says who has at least a role.
    pub(super) fn needs(&self, role: Role) -> String {
        let named = |key: &str, group: &Option<KnownGroup>| match group {
            Some(group) => format!("a member of the group '{}'", group.name),
            None => format!("a member of a group that {key} would name"),
        };
        let technician = named("control.technician_group", &self.technicians);
        match role {
            Role::Anyone => "anyone".into(),
            Role::App => format!(
                "root, {technician}, or {}",
                named("control.app_group", &self.apps)
            ),
            Role::Technician => format!("root or {technician}"),
            Role::Root => "root".into(),
        }
    }
}
