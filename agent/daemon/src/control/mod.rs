//! The control socket: `io.surefoot.Agent` over Varlink.
//!
//! Nothing is decided here. Readers get the last [`Published`] status and history; what people
//! ask for goes to the agent as [`Asked`], once it is known that they may ask.
//!
//! Every client is bounded: in how much it may say, how long it may take, and how many it may be.
//! One that is slow, silent or hostile costs a place among its own user's few and nothing else.

mod call;
mod client;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod listen;
mod roles;
mod server;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use listen::listen;
pub(crate) use roles::Roles;
pub(crate) use server::serve;

use crate::doctor::Practice;
use std::sync::Arc;
use surefoot_api::{HistoryEntry, StatusInfo};
use surefoot_core::machine;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// A request to the agent, from somebody who may make it.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What is asked.
    pub(crate) request: machine::Request,
    /// Where the answer goes. Nobody may be waiting for it any more; that is no error.
    pub(crate) reply: oneshot::Sender<Result<String, Refused>>,
}

/// Why a request was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
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
    fn status(&self) -> StatusInfo {
        self.status.aged(self.at.elapsed())
    }
}

/// The server's ways to the agent.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    /// Requests go here.
    pub(crate) requests: mpsc::Sender<Asked>,
    /// Status and history come from here. The server ends when its sender is gone.
    pub(crate) published: watch::Receiver<Published>,
    /// Who may do what; a reload of the configuration may change it.
    pub(crate) roles: watch::Receiver<Roles>,
    /// Who looks the robot over.
    pub(crate) practice: Practice,
}
