//! The client half: calls over the socket, one after the other, each waited for.

use crate::{
    error::ErrorReply,
    interface::{INTERFACE_NAME, MAX_REPLY_BYTES},
    message::{IncomingReply, OutgoingCall, encode},
    method::{Method, Parameters, StatusReply},
    status::StatusInfo,
};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};
use surefoot_base::socket::connect_within;

/// How long the agent may take to answer: a little more than it gives itself.
pub(crate) const ANSWER: Duration = Duration::from_secs(40);

/// How long the agent may take to take a caller in, where others wait as well: whoever cannot wait, root
/// with a rollback, does without the agent then.
const CONNECT: Duration = Duration::from_secs(10);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answers at the socket.
    #[error("no agent answers at {}: {why}; start it with: systemctl start surefootd", .socket.display())]
    NotThere {
        /// The socket.
        socket: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The agent was there and is not any more, or is silent.
    #[error("the agent at {} does not answer: {why}; look at its journal: journalctl -u surefootd", .socket.display())]
    Gone {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        why: String,
    },
    /// What came is not an answer.
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
pub struct Client {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
}

impl Client {
    /// Connects to the agent's socket: [`SOCKET`], unless it was configured to lie elsewhere.
    ///
    /// The agent hangs up on a connection that is silent for a minute, unless it holds a lease: one that
    /// calls less often connects for each call.
    ///
    /// # Errors
    /// [`CallError::NotThere`].
    ///
    /// [`SOCKET`]: crate::SOCKET
    pub fn connect(socket: impl AsRef<Path>) -> Result<Self, CallError> {
        let socket = socket.as_ref();
        let fail = |why| CallError::NotThere {
            socket: socket.to_owned(),
            why,
        };
        let stream = connect_within(socket, CONNECT).map_err(fail)?;
        stream.set_read_timeout(Some(ANSWER)).map_err(fail)?;
        stream.set_write_timeout(Some(ANSWER)).map_err(fail)?;
        Ok(Self {
            stream: BufReader::new(stream),
            socket: socket.to_owned(),
        })
    }

    /// Calls a method and waits for its answer, for 40 seconds at most. [`Watch`] has a call of its
    /// own: [`Client::watch`].
    ///
    /// # Errors
    /// [`CallError`].
    ///
    /// [`Watch`]: crate::method::Watch
    pub fn call<P: Parameters>(&mut self, parameters: &P) -> Result<P::Reply, CallError> {
        self.ask(parameters)?;
        self.next()
    }

    /// Calls a method; the answer is left to [`Client::next`].
    pub(crate) fn ask<P: Parameters>(&mut self, parameters: &P) -> Result<(), CallError> {
        let parameters = serde_json::to_value(parameters);
        let parameters = parameters.map_err(|error| CallError::Invalid(error.to_string()))?;
        self.send(P::METHOD, false, Some(parameters))
    }

    /// The same connection once more, to say something there while an answer is waited for here.
    pub(crate) fn twin(&self) -> Result<Self, CallError> {
        let stream = self.stream.get_ref().try_clone();
        Ok(Self {
            stream: BufReader::new(stream.map_err(|error| self.gone(error))?),
            socket: self.socket.clone(),
        })
    }

    /// Ends the connection, for its twin as well.
    pub(crate) fn hang_up(&self) {
        // It may have ended already.
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
    }

    /// Watches the agent. It is the last call of its connection.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn watch(mut self) -> Result<Watching, CallError> {
        self.wait_at_most(None)?;
        self.send(Method::Watch, true, None)?;
        Ok(Watching(self))
    }

    pub(crate) fn wait_at_most(&self, time: Option<Duration>) -> Result<(), CallError> {
        self.stream
            .get_ref()
            .set_read_timeout(time)
            .map_err(|error| self.gone(error))
    }

    fn send(
        &mut self,
        method: Method,
        more: bool,
        parameters: Option<Value>,
    ) -> Result<(), CallError> {
        let call = OutgoingCall {
            method: format!("{INTERFACE_NAME}.{}", method.name()),
            more,
            parameters,
        };
        let message = encode(&call).map_err(|error| CallError::Invalid(error.to_string()))?;
        self.stream
            .get_mut()
            .write_all(&message)
            .map_err(|error| self.gone(error))
    }

    /// Waits for the next answer.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<T, CallError> {
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
        let message: IncomingReply =
            serde_json::from_slice(&bytes).map_err(|e| self.garbage(&e))?;
        match message.error {
            Some(error) => Err(understood(error, message.parameters)),
            None => serde_json::from_value(message.parameters).map_err(|e| self.garbage(&e)),
        }
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

/// A connection on which the agent says its status, now and on each change.
#[derive(Debug)]
pub struct Watching(Client);

impl Watching {
    /// Waits for the next status. The first comes at once; others may be hours apart.
    ///
    /// # Errors
    /// [`CallError`]; after any of them, connect anew.
    pub fn next_status(&mut self) -> Result<StatusInfo, CallError> {
        let StatusReply { status } = self.0.next()?;
        Ok(status)
    }

    /// The longest time to wait for the next status; `None` for as long as it takes. A time of zero
    /// changes nothing.
    pub fn wait_at_most(&self, time: Option<Duration>) {
        // What the socket refuses is a time of zero.
        let _ = self.0.wait_at_most(time);
    }
}

/// An error that the agent sent. An agent that leaves its parameters out is understood, too.
fn understood(error: String, parameters: Value) -> CallError {
    let fields = if parameters.is_null() {
        json!({})
    } else {
        parameters.clone()
    };
    match ErrorReply::deserialize(json!({ "error": error, "parameters": fields })) {
        Ok(ErrorReply::NotAuthorized { needs }) => CallError::NotAuthorized(needs),
        Ok(ErrorReply::Refused { why } | ErrorReply::NothingToDo { why }) => {
            CallError::Refused(why)
        }
        Ok(ErrorReply::Failed { why }) => CallError::Failed(why),
        Ok(ErrorReply::InvalidParameter { parameter, why }) => {
            CallError::Invalid(format!("{parameter}: {why}"))
        }
        Ok(ErrorReply::MethodNotFound { .. }) => CallError::Invalid(
            "it is too old for this command, or too new; update both together".into(),
        ),
        Ok(ErrorReply::InterfaceNotFound { .. } | ErrorReply::ExpectedMore {}) | Err(_) => {
            CallError::Failed(format!("{error} {parameters}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_understood() {
        let said = |name: &str, parameters| understood(name.to_owned(), parameters).to_string();
        for (name, parameters, words) in [
            (
                "io.surefoot.Agent.NotAuthorized",
                json!({ "needs": "root" }),
                "you may not do this; it needs root",
            ),
            (
                "io.surefoot.Agent.Refused",
                json!({ "why": "busy", "new": 1 }),
                "busy",
            ),
            (
                "io.surefoot.Agent.NothingToDo",
                json!({ "why": "no hold" }),
                "no hold",
            ),
            ("io.surefoot.Agent.Failed", Value::Null, ""),
            (
                "org.varlink.service.InvalidParameter",
                json!({ "parameter": "why" }),
                "the agent does not take this: why: ",
            ),
            (
                "org.varlink.service.ExpectedMore",
                json!({}),
                "org.varlink.service.ExpectedMore {}",
            ),
            (
                "io.surefoot.Agent.Tired",
                json!({ "by": 3 }),
                "io.surefoot.Agent.Tired {\"by\":3}",
            ),
            (
                "io.surefoot.Agent.Tired",
                Value::Null,
                "io.surefoot.Agent.Tired null",
            ),
        ] {
            assert_eq!(said(name, parameters), words, "{name}");
        }
        assert!(
            said(
                "org.varlink.service.MethodNotFound",
                json!({ "method": "x" })
            )
            .contains("too old")
        );
    }

    #[test]
    fn calls_go_out_as_they_always_did() {
        let (own, other) = UnixStream::pair().unwrap();
        let mut client = Client {
            stream: BufReader::new(own),
            socket: "x".into(),
        };
        let mut other = BufReader::new(other);
        let mut heard = move || {
            let mut bytes = Vec::new();
            other.read_until(0, &mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        client.send(Method::Status, false, Some(json!({}))).unwrap();
        assert_eq!(
            heard(),
            "{\"method\":\"io.surefoot.Agent.Status\",\"parameters\":{}}\0"
        );
        let hold = crate::method::Hold {
            why: "a vase".parse().unwrap(),
            length: None,
        };
        client
            .send(
                Method::Hold,
                false,
                Some(serde_json::to_value(hold).unwrap()),
            )
            .unwrap();
        assert_eq!(
            heard(),
            "{\"method\":\"io.surefoot.Agent.Hold\",\"parameters\":{\"seconds\":null,\"why\":\"a vase\"}}\0"
        );
        client.watch().unwrap();
        assert_eq!(
            heard(),
            "{\"method\":\"io.surefoot.Agent.Watch\",\"more\":true}\0"
        );
    }
}
