//! Who may do what, by what the kernel says of the process at the other end of the socket.

use crate::config::{Control, GroupName};
use nix::unistd::{Group, User, geteuid};
use std::fmt;

/// What a caller may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Read.
    Anyone,
    /// Hold, and end the own holds: the robot's own software.
    App,
    /// Update, roll back, end all holds.
    Technician,
    /// Everything.
    Root,
}

/// The groups that make somebody more than anyone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roles {
    technicians: Option<KnownGroup>,
    apps: Option<KnownGroup>,
}

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

/// The process at the other end, as it was when it connected: `SO_PEERCRED` and `SO_PEERGROUPS`,
/// `unix(7)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// Its effective user.
    pub(super) uid: u32,
    /// Its process, for the log.
    pub(super) pid: i32,
    /// Its effective group and its supplementary ones.
    pub(super) groups: Vec<u32>,
}

impl Caller {
    /// The caller's name for people and as owner of holds: `alice`, or `uid 1000` where the user
    /// database has none.
    ///
    /// The database may lie on a network, so it is asked from a thread of its own.
    pub(super) async fn name(&self) -> String {
        let uid = self.uid;
        let lookup = tokio::task::spawn_blocking(move || User::from_uid(uid.into()));
        match tokio::time::timeout(super::server::LOOKUP, lookup).await {
            Ok(Ok(Ok(Some(user)))) => user.name,
            _ => format!("uid {uid}"),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {} pid {}", self.uid, self.pid)
    }
}
