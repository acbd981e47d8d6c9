//! The ways between the server and the agent: what is asked goes there, what is published comes back.

use super::{caller::Caller, line::Line, roles::Roles};
use crate::{doctor::Doctor, systems::Systems};
use std::sync::Arc;
use surefoot_api::{HistoryEntry, StatusInfo, method::Role};
use surefoot_core::{lease::Holder, machine, made::Way};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// A request to the agent, from somebody who may make it.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What is asked.
    pub(crate) request: machine::Request,
    /// How it came here: whether it may still be decided.
    pub(crate) way: Way,
    /// Whether its caller is still there.
    pub(crate) line: Line,
    /// Where the answer goes. Nobody may be waiting for it any more; that is not an error.
    pub(crate) reply: oneshot::Sender<Result<String, RequestError>>,
    /// Says that the answer was handed to its caller; closed if it cannot be.
    pub(crate) told: oneshot::Receiver<()>,
}

/// Why a request was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// The machine said no.
    #[error(transparent)]
    Refusal(#[from] machine::Refusal),
    /// It was granted but could not be done: the journal cannot be written, say.
    #[error("{0}")]
    Failed(String),
}

/// What the agent says of itself, for all who listen.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// The status.
    pub(crate) status: Arc<StatusInfo>,
    /// What happened, newest first.
    pub(crate) history: Arc<[HistoryEntry]>,
    /// When it was said: what counts down in it has gone on since.
    pub(crate) at: Instant,
}

impl Published {
    /// What is to be said now.
    pub(crate) fn now(status: StatusInfo, history: Arc<[HistoryEntry]>) -> Self {
        Self {
            status: Arc::new(status),
            history,
            at: Instant::now(),
        }
    }

    /// The status, with what counts down in it as it is by now.
    pub(super) fn status(&self) -> StatusInfo {
        self.status.aged(self.at.elapsed())
    }
}

/// What the server needs of the agent.
#[derive(Debug, Clone)]
pub(crate) struct AgentHandle {
    /// Requests go here.
    pub(crate) requests: mpsc::Sender<Asked>,
    /// The connections that have ended and may have held leases go here.
    pub(crate) lost: mpsc::UnboundedSender<Holder>,
    /// Status and history come from here. The server ends when its sender is gone.
    pub(crate) published: watch::Receiver<Published>,
    /// Who may do what; a reload of the configuration may change it.
    pub(crate) roles: watch::Receiver<Roles>,
    /// Who looks the robot over.
    pub(crate) doctor: Doctor,
    /// Who knows the systems that are there.
    pub(crate) systems: Systems,
}

impl AgentHandle {
    /// The status, as far as a caller may see it.
    pub(super) fn status_for(&self, caller: &Caller) -> StatusInfo {
        let status = self.published.borrow().status();
        let roles = self.roles.borrow();
        if roles.sees_evidence(caller) {
            status
        } else {
            status.without_evidence(roles.needs(Role::App))
        }
    }
}
