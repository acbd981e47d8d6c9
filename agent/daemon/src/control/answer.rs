//! One call: what is asked, whether the caller may, and the answer.

use super::{
    client::Client,
    handle::{AgentHandle, Asked, RequestError},
    holding::Holding,
    limits::ANSWER,
    line::Line,
    places::Doing,
};
use crate::tally::Turned;
use surefoot_api::{
    ErrorReply, Made, Why,
    message::{self, IncomingCall},
    method::{
        Call, CompareReply, DoctorReply, Done, HistoryReply, Method, Parameters, Role, StatusReply,
        SystemsReply, Watch,
    },
    service::{ServiceInfo, Target},
};
use surefoot_core::{
    lease::{Ender, Owner},
    machine::{Refusal, Request},
    made::Way,
};
use tokio::sync::oneshot;

/// Who answers.
const INFO: ServiceInfo = ServiceInfo {
    vendor: "Surefoot",
    product: "surefootd",
    version: env!("CARGO_PKG_VERSION"),
    url: env!("CARGO_PKG_REPOSITORY"),
};

/// What a call leads to.
#[derive(Debug)]
pub(super) enum Response {
    /// One answer, as a message.
    Reply(Vec<u8>),
    /// The status now and on each change.
    Watch(Watch),
}

impl From<RequestError> for ErrorReply {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refusal(Refusal::Refused(why)) => Self::Refused { why },
            RequestError::Refusal(Refusal::NothingToDo(why)) => Self::NothingToDo { why },
            RequestError::Failed(why) => Self::Failed { why },
        }
    }
}

/// Answers a call.
pub(super) async fn answer(
    call: IncomingCall,
    caller: &Client,
    holding: &mut Holding,
    agent: &AgentHandle,
) -> Result<Response, ErrorReply> {
    match Target::of(&call)? {
        Target::Service(method) => method.answer(call, &INFO).map(Response::Reply),
        Target::Agent(method) => {
            let role = authorize(method, caller, agent)?;
            let more = call.more;
            let call = method.read(call.parameters)?;
            admit(method, caller)?;
            granted(call, more, role, caller, holding, agent).await
        }
    }
}

/// What the caller is, if that is enough for the method. Before that is known nothing of what was
/// said along is looked at.
fn authorize(method: Method, caller: &Client, agent: &AgentHandle) -> Result<Role, ErrorReply> {
    let roles = agent.roles.borrow();
    let role = roles.of(caller);
    if role < method.least_role() {
        let needs = roles.needs(method.least_role());
        if caller.counts(Turned::Down) {
            tracing::info!(%caller, method = method.name(), "refused: the caller may not do this");
        }
        return Err(ErrorReply::NotAuthorized { needs });
    }
    Ok(role)
}

/// Lets what is written to the disk in unless there is too much of it. That is known before anything is
/// looked up for it.
fn admit(method: Method, caller: &Client) -> Result<(), ErrorReply> {
    match method {
        Method::Status
        | Method::Watch
        | Method::History
        | Method::Doctor
        | Method::Systems
        | Method::Compare => {}
        // The robot's software says them every few seconds, and a lease must not lapse.
        Method::Lease | Method::EndLease => {
            tracing::debug!(%caller, method = method.name(), "asked");
        }
        Method::Hold
        | Method::Resume
        | Method::Update
        | Method::Keep
        | Method::Unblock
        | Method::Rollback => {
            caller.may_change()?;
            tracing::info!(%caller, method = method.name(), "asked");
        }
    }
    Ok(())
}

/// Answers a call that the caller may make. `more`: whether the caller takes several answers.
async fn granted(
    call: Call,
    more: bool,
    role: Role,
    caller: &Client,
    holding: &mut Holding,
    agent: &AgentHandle,
) -> Result<Response, ErrorReply> {
    let waited = caller.line.waited();
    let way = |made: &Option<Made>| Way {
        made: made.clone(),
        waited: false,
    };
    match call {
        Call::Status(call) => {
            let status = agent.status_for(caller);
            reply(&call, &StatusReply { status })
        }
        Call::Watch(call) if more => Ok(Response::Watch(call)),
        Call::Watch(_) => Err(ErrorReply::ExpectedMore {}),
        Call::History(call) => {
            let limit = call.limit.map_or(usize::MAX, |limit| {
                usize::try_from(limit).unwrap_or(usize::MAX)
            });
            let history = agent.published.borrow().history.clone();
            let entries = history.iter().take(limit).cloned().collect();
            reply(&call, &HistoryReply { entries })
        }
        Call::Doctor(call) => {
            let findings = tokio::time::timeout(ANSWER, agent.doctor.findings())
                .await
                .map_err(|_| slow())?
                .to_vec();
            reply(&call, &DoctorReply { findings })
        }
        Call::Systems(call) => {
            let systems = tokio::time::timeout(ANSWER, agent.systems.list())
                .await
                .map_err(|_| slow())?
                .to_vec();
            reply(&call, &SystemsReply { systems })
        }
        Call::Compare(call) => {
            let comparing = caller.may_compare()?;
            let systems = &agent.systems;
            let compared = systems.compare(call.from.clone(), call.to.clone(), comparing);
            let difference = tokio::time::timeout(ANSWER, compared)
                .await
                .map_err(|_| slow())?
                .map_err(RequestError::from)?;
            reply(&call, &CompareReply { difference })
        }
        Call::Hold(call) => {
            let request = Request::Hold {
                length: call.length,
                why: words(&call.why),
                by: caller.name().await,
                counted: (role <= Role::App).then(|| caller.counted()),
            };
            done(&call, request, Way::default(), caller, agent).await
        }
        Call::Resume(call) => {
            let by = whose(role, caller).await;
            let way = way(&call.made);
            done(&call, Request::Resume { by }, way, caller, agent).await
        }
        Call::Lease(call) => {
            let request = Request::Lease {
                name: call.name.clone(),
                busy: call.busy,
                why: call.why.as_ref().map(words),
                ttl: call.ttl,
                by: Owner {
                    uid: caller.uid,
                    name: caller.name().await,
                    counted: caller.counted(),
                },
                over: holding.holder(),
            };
            holding.asks(&call);
            let message = ask(request, Way::default(), caller, agent).await?;
            holding.granted(&call);
            // With `more` the caller stays, for as long as it holds the lease.
            if more && call.ttl.is_none() {
                encoded(message::reply_and_more(&call, &Done { message }))
            } else {
                reply(&call, &Done { message })
            }
        }
        Call::EndLease(call) => {
            let request = Request::EndLease {
                name: call.name.clone(),
                by: match role {
                    // What a program holds itself it ends as its owner: it may be another's by now.
                    Role::Technician | Role::Root if !holding.has(&call.name) => Ender::Anyone,
                    _ => Ender::Owner(caller.uid, holding.holder()),
                },
            };
            let message = ask(request, Way::default(), caller, agent).await?;
            holding.ended(&call);
            reply(&call, &Done { message })
        }
        Call::Update(call) => {
            let way = way(&call.made);
            done(&call, Request::Update, way, caller, agent).await
        }
        Call::Keep(call) => {
            let request = Request::Keep {
                what: call.what.clone(),
                undo: call.undo,
                by: caller.name().await,
            };
            done(&call, request, Way::default(), caller, agent).await
        }
        Call::Unblock(call) => {
            let request = Request::Unblock {
                what: call.what.clone(),
                why: words(&call.why),
                by: caller.name().await,
            };
            done(&call, request, Way::default(), caller, agent).await
        }
        Call::Rollback(call) => {
            let request = Request::Rollback {
                to: call.to.clone(),
                force: call.force,
                end_holds: false,
                why: words(&call.why),
                by: caller.name().await,
            };
            let way = Way {
                waited,
                ..way(&call.made)
            };
            done(&call, request, way, caller, agent).await
        }
    }
}

fn slow() -> ErrorReply {
    ErrorReply::Failed {
        why: "the robot does not let itself be looked at".into(),
    }
}

fn words(why: &Why) -> String {
    why.as_str().to_owned()
}

/// Whose things a caller may end: a technician everybody's (`None`), the robot's software its own.
async fn whose(role: Role, caller: &Client) -> Option<String> {
    match role {
        Role::Technician | Role::Root => None,
        Role::App | Role::Anyone => Some(caller.name().await),
    }
}

fn reply<P: Parameters>(call: &P, parameters: &P::Reply) -> Result<Response, ErrorReply> {
    encoded(message::reply(call, parameters))
}

fn encoded<E: std::fmt::Display>(message: Result<Vec<u8>, E>) -> Result<Response, ErrorReply> {
    let failed = |error: E| ErrorReply::Failed {
        why: error.to_string(),
    };
    message.map(Response::Reply).map_err(failed)
}

/// Hands a request to the agent, waits for its answer, and passes that on.
async fn done<P: Parameters<Reply = Done>>(
    call: &P,
    request: Request,
    way: Way,
    caller: &Client,
    agent: &AgentHandle,
) -> Result<Response, ErrorReply> {
    let message = ask(request, way, caller, agent).await?;
    reply(call, &Done { message })
}

/// Hands a request to the agent and waits for its answer.
async fn ask(
    request: Request,
    way: Way,
    caller: &Client,
    agent: &AgentHandle,
) -> Result<String, ErrorReply> {
    caller.does(Doing::Kept);
    let (receipt, told) = oneshot::channel();
    let is_told_first = request.is_told_first();
    let message = answered(agent, request, way, (caller.line.clone(), told)).await?;
    if is_told_first {
        caller.owes(receipt);
    }
    Ok(message)
}

async fn answered(
    agent: &AgentHandle,
    request: Request,
    way: Way,
    (line, told): (Line, oneshot::Receiver<()>),
) -> Result<String, RequestError> {
    let (reply, answer) = oneshot::channel();
    let gone = || RequestError::Failed("the agent is shutting down".into());
    let asking = async {
        agent
            .requests
            .send(Asked {
                request,
                way,
                line,
                reply,
                told,
            })
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    };
    tokio::time::timeout(ANSWER, asking)
        .await
        .unwrap_or_else(|_| {
            Err(RequestError::Failed(
                "the agent did not answer in time; look at its journal: journalctl -u surefootd"
                    .into(),
            ))
        })
}
