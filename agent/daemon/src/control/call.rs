//! One call: what is asked, whether the caller may, and the answer.

use super::{
    Asked, Desk, Refused,
    roles::{Caller, Role},
    server::ANSWER,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use surefoot_api::{
    HistoryEntry, INTERFACE, INTERFACE_NAME, RollbackTo, StatusInfo, Why, finding::Finding,
    hold_time, lease_time,
};
use surefoot_core::{
    StorePath,
    machine::{Refusal, Request},
    release::{Name, NameError},
};
use tokio::sync::oneshot;

/// A call as it comes in.
#[derive(Debug, Deserialize)]
pub(super) struct Method {
    method: String,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
}

/// What a call leads to.
#[derive(Debug)]
pub(super) enum Answer {
    /// One answer.
    Reply(Reply),
    /// The status now and on each change.
    Watch,
}

/// The parameters of an answer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Reply {
    /// Of `Status` and `Watch`.
    Status {
        /// The status.
        status: Box<StatusInfo>,
    },
    /// Of everything that changes something.
    Done {
        /// What happens now, in one sentence.
        message: String,
    },
    /// Of `History`.
    History {
        /// Newest first.
        entries: Vec<HistoryEntry>,
    },
    /// Of `Doctor`.
    Doctor {
        /// In the order of their subjects.
        findings: Vec<Finding>,
    },
    /// Of `org.varlink.service`.
    Service(Value),
}

/// An error, as Varlink sends it.
#[derive(Debug, Serialize)]
pub(super) struct Error {
    error: String,
    parameters: Value,
}

impl Error {
    fn agent(name: &str, parameters: Value) -> Self {
        Self {
            error: format!("{INTERFACE_NAME}.{name}"),
            parameters,
        }
    }

    fn service(name: &str, parameters: Value) -> Self {
        Self {
            error: format!("org.varlink.service.{name}"),
            parameters,
        }
    }

    /// The standard's field, and why: the standard has no word for that.
    fn parameter(name: &str, why: &str) -> Self {
        Self::service("InvalidParameter", json!({ "parameter": name, "why": why }))
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let name = match refused {
            Refused::Refusal(Refusal::Refused(_)) => "Refused",
            Refused::Refusal(Refusal::NothingToDo(_)) => "NothingToDo",
            Refused::Failed(_) => "Failed",
        };
        Self::agent(name, json!({ "why": refused.to_string() }))
    }
}

/// Answers a call. `more`: whether the caller takes several answers.
pub(super) async fn answer(
    call: &Method,
    more: bool,
    caller: &Caller,
    desk: &Desk,
) -> Result<Answer, Error> {
    let mut parameters = Parameters(call.parameters.clone().unwrap_or_default());
    let (interface, method) = call
        .method
        .rsplit_once('.')
        .ok_or_else(|| Error::service("InterfaceNotFound", json!({ "interface": call.method })))?;
    match interface {
        INTERFACE_NAME => agent(method, &call.method, more, parameters, caller, desk).await,
        "org.varlink.service" => {
            let value = match method {
                "GetInfo" => json!({
                    "vendor": "Surefoot",
                    "product": "surefootd",
                    "version": env!("CARGO_PKG_VERSION"),
                    "url": env!("CARGO_PKG_REPOSITORY"),
                    "interfaces": ["org.varlink.service", INTERFACE_NAME],
                }),
                "GetInterfaceDescription" => {
                    let name = parameters.text("interface")?.unwrap_or_default();
                    let description = match name.as_str() {
                        INTERFACE_NAME => INTERFACE,
                        "org.varlink.service" => SERVICE,
                        _ => {
                            let found = json!({ "interface": name });
                            return Err(Error::service("InterfaceNotFound", found));
                        }
                    };
                    json!({ "description": description })
                }
                _ => return Err(no_method(&call.method)),
            };
            parameters.end()?;
            Ok(Answer::Reply(Reply::Service(value)))
        }
        _ => Err(Error::service(
            "InterfaceNotFound",
            json!({ "interface": interface }),
        )),
    }
}

fn no_method(method: &str) -> Error {
    Error::service("MethodNotFound", json!({ "method": method }))
}

/// Answers a call of the agent's own interface.
async fn agent(
    method: &str,
    full_name: &str,
    more: bool,
    mut parameters: Parameters,
    caller: &Caller,
    desk: &Desk,
) -> Result<Answer, Error> {
    let least = match method {
        "Status" | "Watch" | "History" | "Doctor" => Role::Anyone,
        "Hold" | "Resume" | "Lease" | "EndLease" => Role::App,
        "Update" | "Rollback" => Role::Technician,
        _ => return Err(no_method(full_name)),
    };
    let role = desk.roles.borrow().of(caller);
    if role < least {
        let needs = desk.roles.borrow().needs(least);
        tracing::info!(%caller, method, "refused: the caller may not do this");
        return Err(Error::agent("NotAuthorized", json!({ "needs": needs })));
    }
    let request = match method {
        "Status" => {
            parameters.end()?;
            let status = Box::new(desk.published.borrow().status());
            return Ok(Answer::Reply(Reply::Status { status }));
        }
        "Watch" => {
            parameters.end()?;
            if !more {
                return Err(Error::service("ExpectedMore", json!({})));
            }
            return Ok(Answer::Watch);
        }
        "History" => {
            let limit = parameters.whole("limit")?;
            parameters.end()?;
            let limit = match limit {
                None => usize::MAX,
                Some(limit) => usize::try_from(limit)
                    .map_err(|_| Error::parameter("limit", "it is negative"))?,
            };
            let entries = desk
                .published
                .borrow()
                .history
                .iter()
                .take(limit)
                .cloned()
                .collect();
            return Ok(Answer::Reply(Reply::History { entries }));
        }
        "Doctor" => {
            parameters.end()?;
            let findings = tokio::time::timeout(ANSWER, desk.practice.findings())
                .await
                .map_err(|_| {
                    Refused::Failed("the robot does not let itself be looked at".into())
                })?;
            let findings = findings.to_vec();
            return Ok(Answer::Reply(Reply::Doctor { findings }));
        }
        "Update" => Request::Update,
        "Rollback" => Request::Rollback {
            why: parameters.why()?,
            to: match parameters.text("to")? {
                None => None,
                Some(text) => {
                    let to: RollbackTo = (text.parse())
                        .map_err(|error| Error::parameter("to", &format!("{error}")))?;
                    Some(find(&to, &desk.published.borrow().status)?)
                }
            },
            force: parameters.flag("force")?.unwrap_or_default(),
            by: caller.name().await,
        },
        "Lease" => Request::Lease {
            name: parameters.name("name")?,
            busy: parameters
                .flag("busy")?
                .ok_or_else(|| Error::parameter("busy", "it must be said"))?,
            ttl: lease_time(parameters.whole("seconds")?.unwrap_or_default())
                .map_err(|error| Error::parameter("seconds", &error.to_string()))?,
            why: match parameters.text("why")? {
                None => None,
                Some(text) => Some(as_why(&text)?),
            },
            by: caller.name().await,
        },
        "EndLease" => Request::EndLease {
            name: parameters.name("name")?,
            by: own(role, caller).await,
        },
        "Hold" => Request::Hold {
            why: parameters.why()?,
            length: match parameters.whole("seconds")? {
                None => None,
                Some(seconds) => Some(
                    hold_time(seconds)
                        .map_err(|error| Error::parameter("seconds", &error.to_string()))?,
                ),
            },
            by: caller.name().await,
        },
        // What remains is "Resume": a technician ends every hold, the robot's software its own.
        _ => Request::Resume {
            by: own(role, caller).await,
        },
    };
    parameters.end()?;
    tracing::info!(%caller, method, "asked");
    let message = ask(desk, request).await?;
    Ok(Answer::Reply(Reply::Done { message }))
}

/// Whose things a caller may end: `None` for everybody's.
async fn own(role: Role, caller: &Caller) -> Option<String> {
    match role {
        Role::App => Some(caller.name().await),
        _ => None,
    }
}

fn as_why(text: &str) -> Result<String, Error> {
    text.parse()
        .map(|why: Why| why.as_str().to_owned())
        .map_err(|error| Error::parameter("why", &format!("{error}")))
}

/// Hands a request to the agent and waits for its answer.
async fn ask(desk: &Desk, request: Request) -> Result<String, Refused> {
    let (reply, answer) = oneshot::channel();
    let asking = async {
        let gone = |_| Refused::Failed("the agent is shutting down".into());
        desk.requests
            .send(Asked { request, reply })
            .await
            .map_err(|_| Refused::Failed("the agent is shutting down".into()))?;
        answer
            .await
            .map_err(|error: oneshot::error::RecvError| gone(error))?
    };
    tokio::time::timeout(ANSWER, asking)
        .await
        .unwrap_or_else(|_| {
            Err(Refused::Failed(
                "the agent did not answer in time; look at its journal: journalctl -u surefootd"
                    .into(),
            ))
        })
}

/// Finds the system to roll back to among those that are kept. A store path is left to the agent.
fn find(to: &RollbackTo, status: &StatusInfo) -> Result<StorePath, Refused> {
    if let RollbackTo::System(path) = to {
        return Ok(path.clone());
    }
    let kept = || status.fallbacks.iter().chain(&status.confirmed);
    kept()
        .find(|system| to.names(&system.system, system.release.as_ref()))
        .map(|system| system.system.clone())
        .ok_or_else(|| {
            let names: Vec<String> = kept()
                .filter_map(|system| system.release.as_ref().map(ToString::to_string))
                .collect();
            let kept = match names.as_slice() {
                [] => "no kept system came with a release; name it by its store path".to_owned(),
                names => format!("the releases that are kept are {}", names.join(", ")),
            };
            Refusal::NothingToDo(format!(
                "no kept system came with the release '{to}': {kept}"
            ))
            .into()
        })
}

/// The parameters of a call that were not looked at yet.
#[derive(Debug)]
struct Parameters(Map<String, Value>);

impl Parameters {
    fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Error::parameter(name, "it must be a string")),
        }
    }

    fn whole(&mut self, name: &str) -> Result<Option<i64>, Error> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_i64()
                .map(Some)
                .ok_or_else(|| Error::parameter(name, "it must be a whole number")),
        }
    }

    fn flag(&mut self, name: &str) -> Result<Option<bool>, Error> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(Error::parameter(name, "it must be true or false")),
        }
    }

    fn name(&mut self, name: &str) -> Result<Name, Error> {
        let text = self.text(name)?.unwrap_or_default();
        text.parse()
            .map_err(|error: NameError| Error::parameter(name, &error.to_string()))
    }

    fn why(&mut self) -> Result<String, Error> {
        as_why(&self.text("why")?.unwrap_or_default())
    }

    /// What nobody asked for is not passed over: it may be a slip of the pen in a rollback.
    fn end(self) -> Result<(), Error> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::parameter(name, "there is no such parameter")),
        }
    }
}

/// The standard interface: <https://varlink.org/Service>.
const SERVICE: &str = include_str!("org.varlink.service.varlink");
