//! Calls of the agent's control socket.

use crate::output::{Output, sanitize};
use serde_json::json;
use std::path::PathBuf;
use surefoot_api::{
    CallError, Client, SOCKET,
    method::{Done, Parameters},
};

/// Where the agent is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SocketArgs {
    /// The agent's control socket.
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
}

impl SocketArgs {
    /// Connects to the agent.
    ///
    /// # Errors
    /// [`CallError::NotThere`].
    pub(crate) fn connect(&self) -> Result<Client, CallError> {
        Client::connect(&self.socket)
    }

    /// Calls a method over a connection of its own.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) fn call<P: Parameters>(&self, parameters: &P) -> Result<P::Reply, CallError> {
        self.connect()?.call(parameters)
    }
}

/// Prints what the agent says that it did.
///
/// # Errors
/// Standard output takes nothing.
pub(crate) fn print_done(done: &Done, output: Output) -> anyhow::Result<()> {
    output.result(&json!({ "message": done.message }), |_| {
        sanitize(&done.message)
    })
}
