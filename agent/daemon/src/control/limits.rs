//! What a client may take of the agent: so that none keeps it from its work, or others from being
//! answered. How long a message may be is said by the interface.

use super::rates::Rate;
use std::time::Duration;
use surefoot_api::method::Role;

/// What the users of one role may take. Each role has its own: nobody can take what is another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Connections of the role at the same time.
    pub(super) places: usize,
    /// Calls of one user, and statuses that a watcher is sent: what comes faster waits.
    pub(super) calls: Rate,
    /// Requests of one user that are written to the disk: what comes faster is refused.
    pub(super) changes: Rate,
    /// Comparisons of one user, of which one is under way at a time: what comes faster is refused. Each reads
    /// two systems, and others wait for it.
    pub(super) comparisons: Rate,
}

impl Limits {
    /// Those of a role.
    pub(super) const fn of(role: Role) -> Self {
        match role {
            // It may change nothing.
            Role::Anyone => Self {
                places: 32,
                calls: Rate::new(40, Duration::from_millis(100)),
                changes: Rate::new(1, Duration::from_secs(60)),
                comparisons: Rate::new(6, Duration::from_secs(10)),
            },
            // More places than there can be leases, and enough calls for all of them to be renewed each
            // second. A change is two writes of the journal at most: one each ten seconds wears no flash.
            Role::App => Self {
                places: 128,
                calls: Rate::new(400, Duration::from_millis(10)),
                changes: Rate::new(20, Duration::from_secs(10)),
                comparisons: Rate::new(6, Duration::from_secs(10)),
            },
            Role::Technician => Self {
                places: 32,
                calls: Rate::new(200, Duration::from_millis(20)),
                changes: Rate::new(30, Duration::from_secs(5)),
                comparisons: Rate::new(30, Duration::from_secs(5)),
            },
            Role::Root => Self {
                places: 32,
                calls: Rate::new(400, Duration::from_millis(10)),
                changes: Rate::new(60, Duration::from_secs(1)),
                comparisons: Rate::new(60, Duration::from_secs(1)),
            },
        }
    }
}

/// How long a client may be silent, or take to say something.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// How long a client may take to hear something.
pub(super) const WRITE: Duration = Duration::from_secs(10);

/// How long the agent may take to answer.
pub(crate) const ANSWER: Duration = surefoot_core::made::MAX_AGE;

/// Connections that are looked at as having waited for the agent: what a queue holds (`listen(2)`,
/// `systemd.socket(5)`, `Backlog=`).
pub(super) const MAX_QUEUE: usize = 4096;

/// How long the user database may take.
pub(super) const LOOKUP: Duration = Duration::from_secs(3);

/// How long nobody is taken in after that failed: for want of file descriptors, say.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
