//! Calls over the control socket: Varlink, which is JSON with a zero byte behind each message.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};
use surefoot_api::{INTERFACE_NAME, MAX_REPLY_BYTES};

/// How long the agent may take to answer: a little more than it gives itself.
const ANSWER: Duration = Duration::from_secs(40);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nobody answers at the socket.
    #[error("no agent answers at {}: {source}; start it with: systemctl start surefootd", .socket.display())]
    NotThere {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent was there and is not any more, or is silent.
    #[error("the agent at {} does not answer: {why}; look at its journal: journalctl -u surefootd", .socket.display())]
    Gone {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        why: String,
    },
    /// What came is no answer.
    #[error("{} answers what cannot be understood: {why}", .socket.display())]
    Garbage {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The caller may not do this.
    #[error("you may not do this; it needs {0}")]
    NotAuthorized(String),
    /// A gate or a policy says no, or there is nothing to do.
    #[error("{0}")]
    Refused(String),
    /// The agent tried and failed.
    #[error("{0}")]
    Failed(String),
    /// The agent takes the call for wrong.
    #[error("the agent does not take this: {0}")]
    Invalid(String),
}

/// A connection to the agent.
#[derive(Debug)]
pub(super) struct Agent {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
}

/// A message from the agent.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    parameters: Value,
    error: Option<String>,
}

impl Agent {
    /// Connects.
    pub(super) fn connect(socket: &Path) -> Result<Self, CallError> {
        let fail = |source| CallError::NotThere {
            socket: socket.to_owned(),
            source,
        };
        let stream = UnixStream::connect(socket).map_err(fail)?;
        stream.set_read_timeout(Some(ANSWER)).map_err(fail)?;
        stream.set_write_timeout(Some(ANSWER)).map_err(fail)?;
        Ok(Self {
            stream: BufReader::new(stream),
            socket: socket.to_owned(),
        })
    }

    /// Calls a method and waits for its answer.
    pub(super) fn call<T: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: Value,
    ) -> Result<T, CallError> {
        self.send(&json!({
            "method": format!("{INTERFACE_NAME}.{method}"),
            "parameters": parameters,
        }))?;
        self.next()
    }

    /// Begins to watch; [`Self::next`] gives each answer. They may be hours apart.
    pub(super) fn watch(&mut self) -> Result<(), CallError> {
        self.stream
            .get_ref()
            .set_read_timeout(None)
            .map_err(|error| self.gone(error))?;
        self.send(&json!({
            "method": format!("{INTERFACE_NAME}.Watch"),
            "more": true,
        }))
    }

    /// The longest time to wait for the next answer.
    pub(super) fn patience(&self, time: Option<Duration>) {
        // What it refuses is a time of zero, and that is not asked for.
        let _ = self.stream.get_ref().set_read_timeout(time);
    }

    /// Waits for the next answer.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<T, CallError> {
        let mut bytes = Vec::new();
        let read = (&mut self.stream)
            .take(MAX_REPLY_BYTES as u64)
            .read_until(0, &mut bytes);
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(self.gone("it is silent"));
            }
            Err(error) => return Err(self.gone(error)),
            Ok(0) => return Err(self.gone("it hung up")),
            Ok(_) if bytes.pop() != Some(0) => return Err(self.gone("its answer has no end")),
            Ok(_) => {}
        }
        let message: Message = serde_json::from_slice(&bytes).map_err(|e| self.garbage(&e))?;
        match message.error {
            Some(error) => Err(said(&error, &message.parameters)),
            None => serde_json::from_value(message.parameters).map_err(|e| self.garbage(&e)),
        }
    }

    fn send(&mut self, call: &Value) -> Result<(), CallError> {
        let mut bytes = call.to_string().into_bytes();
        bytes.push(0);
        self.stream
            .get_mut()
            .write_all(&bytes)
            .map_err(|error| self.gone(error))
    }

    fn gone(&self, why: impl ToString) -> CallError {
        CallError::Gone {
            socket: self.socket.clone(),
            why: why.to_string(),
        }
    }

    fn garbage(&self, why: &dyn std::error::Error) -> CallError {
        CallError::Garbage {
            socket: self.socket.clone(),
            why: why.to_string(),
        }
    }
}

/// An error that the agent sent.
fn said(error: &str, parameters: &Value) -> CallError {
    let text = |name: &str| parameters[name].as_str().unwrap_or_default().to_owned();
    let own = error
        .strip_prefix(INTERFACE_NAME)
        .and_then(|rest| rest.strip_prefix('.'));
    match own {
        Some("NotAuthorized") => CallError::NotAuthorized(text("needs")),
        Some("Refused" | "NothingToDo") => CallError::Refused(text("why")),
        Some("Failed") => CallError::Failed(text("why")),
        _ => match error {
            "org.varlink.service.InvalidParameter" => {
                CallError::Invalid(format!("{}: {}", text("parameter"), text("why")))
            }
            "org.varlink.service.MethodNotFound" => CallError::Invalid(
                "it is too old for this command, or too new; update both together".into(),
            ),
            _ => CallError::Failed(format!("{error} {parameters}")),
        },
    }
}
