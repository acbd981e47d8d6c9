//! What a client may take of the agent: so that none keeps it from its work, or others from being
//! answered. How long a message may be is said by the interface.

use std::time::Duration;

/// Clients at the same time; root comes in beyond them.
pub(super) const MAX_CLIENTS: usize = 64;

/// Clients of one user at the same time, root excepted: nobody can shut the others out.
pub(super) const MAX_CLIENTS_OF_USER: usize = 8;

/// How long a client may be silent, or take to say something.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// How long a client may take to hear something.
pub(super) const WRITE: Duration = Duration::from_secs(10);

/// How long the agent may take to answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// How long the user database may take.
pub(super) const LOOKUP: Duration = Duration::from_secs(3);

/// How long nobody is taken in after that failed: for want of file descriptors, say.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
