//! The server from outside: real sockets, real credentials, an agent that answers.

use super::{
    AgentHandle, Asked, Published, RequestError, Roles,
    caller::Caller,
    client::Clients,
    conversation::converse,
    limits::{IDLE, Limits, WRITE},
    listen::Listening,
    server,
    users::User,
};
use crate::{doctor::Doctor, systems::Systems};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{self, Read as _},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use surefoot_api::{
    CallError, HistoryEntry, State, StatusInfo,
    method::{self, Role},
    samples::{findings, path, status as full},
};
use surefoot_core::{
    RollbackTo,
    lease::{Ender, Holder, Owner},
    machine::{Refusal, Request},
    time::Instant,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
};

const TECHNICIANS: u32 = 4242;
const APPS: u32 = 4243;
const NOBODY: u32 = 65534;

/// A server, and the far ends of its handle.
struct House {
    path: PathBuf,
    _dir: tempfile::TempDir,
    requests: mpsc::Receiver<Asked>,
    lost: mpsc::UnboundedReceiver<Holder>,
    published: watch::Sender<Published>,
    _roles: watch::Sender<Roles>,
    systems: Systems,
    handle: AgentHandle,
    server: tokio::task::JoinHandle<std::convert::Infallible>,
}

impl Drop for House {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn history() -> Arc<[HistoryEntry]> {
    surefoot_api::samples::history().into()
}

fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (asking, requests) = mpsc::channel(4);
    let (published, reading) = watch::channel(Published::now(full(), history()));
    let (roles, roles_reading) = watch::channel(Roles::of_groups(TECHNICIANS, APPS));
    let (lost_in, lost) = mpsc::unbounded_channel();
    let systems = Systems::having_seen(surefoot_api::samples::systems());
    let handle = AgentHandle {
        requests: asking,
        lost: lost_in,
        published: reading,
        roles: roles_reading,
        doctor: Doctor::having_seen(findings()),
        systems: systems.clone(),
    };
    House {
        path,
        _dir: dir,
        requests,
        lost,
        published,
        _roles: roles,
        systems,
        handle: handle.clone(),
        server: tokio::spawn(server::serve(
            Listening {
                listener,
                waited: VecDeque::new(),
            },
            handle,
        )),
    }
}

impl House {
    async fn client(&self) -> Client {
        Client(BufReader::new(
            UnixStream::connect(&self.path).await.unwrap(),
        ))
    }

    /// One call on a connection of its own.
    async fn call(&self, method: &str, parameters: Value) -> Value {
        let mut client = self.client().await;
        client
            .say(&json!({ "method": format!("io.surefoot.Agent.{method}"), "parameters": parameters }))
            .await;
        client.hear().await.unwrap()
    }

    /// One call while the agent answers what it is asked.
    async fn asked(
        &mut self,
        method: &str,
        parameters: Value,
        answer: Result<String, RequestError>,
    ) -> (Value, Request) {
        let mut client = self.client().await;
        client
            .say(&json!({ "method": format!("io.surefoot.Agent.{method}"), "parameters": parameters }))
            .await;
        let asked = self.requests.recv().await.unwrap();
        asked.reply.send(answer).unwrap();
        (client.hear().await.unwrap(), asked.request)
    }
}

#[tokio::test]
async fn the_agent_hears_whether_its_answer_was_heard() {
    let mut house = house();
    let call = json!({ "method": "io.surefoot.Agent.Update", "parameters": {} });
    let mut client = house.client().await;
    client.say(&call).await;
    let asked = house.requests.recv().await.unwrap();
    let mut told = asked.told;
    assert!(told.try_recv().is_err(), "nothing was answered yet");
    asked.reply.send(Ok("so be it".to_owned())).unwrap();
    told.await.unwrap();
    client.hear().await.unwrap();
    // Whoever hangs up is not told, whatever was decided.
    client.say(&call).await;
    let asked = house.requests.recv().await.unwrap();
    drop(client);
    while asked.line.is_up() {
        tokio::task::yield_now().await;
    }
    let _ = asked.reply.send(Ok("so be it".to_owned()));
    asked.told.await.unwrap_err();
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_not_waited_for_and_nothing_comes_of_what_it_asks() {
    let mut house = house();
    let (own, mut other) = UnixStream::pair().unwrap();
    own.writable().await.unwrap();
    let mut unread = 0;
    loop {
        match own.try_write(&[b'x'; 4096]) {
            Ok(count) => unread += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let caller = Caller::of(&own).unwrap();
    let role = house.handle.roles.borrow().of(&caller);
    let entered = Clients::default().enter(caller, role, User::Unlisted);
    let (client, _) = entered.unwrap();
    let (read, write) = own.into_split();
    let talk = tokio::spawn(converse(read, write, client, house.handle.clone()));
    let call = json!({ "method": "io.surefoot.Agent.Update", "parameters": {} });
    let mut call = serde_json::to_vec(&call).unwrap();
    call.push(0);
    other.write_all(&call).await.unwrap();
    let asked = house.requests.recv().await.unwrap();
    asked.reply.send(Ok("so be it".to_owned())).unwrap();
    // Before anything is read, and not because the connection has ended.
    asked.told.await.unwrap_err();
    assert!(asked.line.is_up());
    // It hears that nothing was done, once it reads.
    other.read_exact(&mut vec![0; unread]).await.unwrap();
    let mut client = Client(BufReader::new(other));
    let heard = client.hear().await.unwrap();
    let (error, parameters) = error(&heard);
    assert_eq!(error, "io.surefoot.Agent.Failed");
    let why = parameters["why"].as_str().unwrap();
    assert!(why.contains("nothing was done"), "{why}");
    drop(client);
    talk.await.unwrap();
}

#[tokio::test]
async fn whoever_is_answered_too_late_hears_that_nothing_was_done() {
    let mut house = house();
    let call = json!({ "method": "io.surefoot.Agent.Update", "parameters": {} });
    let mut client = house.client().await;
    client.say(&call).await;
    let Asked { reply, told, .. } = house.requests.recv().await.unwrap();
    // The agent gave up waiting.
    drop(told);
    reply.send(Ok("so be it".to_owned())).unwrap();
    let heard = client.hear().await.unwrap();
    assert_eq!(error(&heard).0, "io.surefoot.Agent.Failed");
}

struct Client(BufReader<UnixStream>);

impl Client {
    async fn say(&mut self, call: &Value) {
        let mut bytes = serde_json::to_vec(call).unwrap();
        bytes.push(0);
        self.0.write_all(&bytes).await.unwrap();
    }

    /// The next answer; `None` if the server hung up.
    async fn hear(&mut self) -> Option<Value> {
        let mut bytes = Vec::new();
        // Whether it hangs up in the middle of what we said makes a difference to the kernel only.
        match self.0.read_until(0, &mut bytes).await {
            Ok(0) => return None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            result => result.unwrap(),
        };
        assert_eq!(bytes.pop(), Some(0), "half an answer");
        Some(serde_json::from_slice(&bytes).unwrap())
    }
}

fn error(reply: &Value) -> (&str, &Value) {
    (reply["error"].as_str().unwrap(), &reply["parameters"])
}

/// What zlink's own client needs to know.
#[derive(Debug, serde::Deserialize)]
struct Reply {
    status: StatusInfo,
}

#[derive(Debug, zlink::ReplyError)]
#[zlink(interface = "io.surefoot.Agent")]
enum Error {
    Failed { why: String },
}

#[zlink::proxy("io.surefoot.Agent")]
trait Agent {
    async fn status(&mut self) -> zlink::Result<Result<Reply, Error>>;
}

#[tokio::test]
async fn file_descriptors_that_come_along_are_dropped() {
    let house = house();
    let (mut read, write) = io::pipe().unwrap();
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut connection = zlink::tokio::unix::connect(&house.path).await.unwrap();
    let call = zlink::Call::new(json!({ "method": "io.surefoot.Agent.Status" }));
    connection
        .send_call(&call, vec![write.into()])
        .await
        .unwrap();
    let (reply, _) = connection.receive_reply::<Reply, Error>().await.unwrap();
    assert_eq!(reply.unwrap().parameters().unwrap().status, full());
    // The client is still there; but nobody holds the other end of the pipe.
    assert_eq!(read.read(&mut [0]).unwrap(), 0);
}

#[tokio::test]
async fn zlinks_own_client_understands_it() {
    let house = house();
    let mut connection = zlink::tokio::unix::connect(&house.path).await.unwrap();
    let reply = connection.status().await.unwrap().unwrap();
    assert_eq!(reply.status, full());
}

#[tokio::test]
async fn the_client_half_understands_it() {
    let mut house = house();
    let path = house.path.clone();
    let talk = tokio::task::spawn_blocking(move || {
        let mut client = surefoot_api::Client::connect(&path).unwrap();
        let status = client.call(&method::Status {}).unwrap().status;
        let entries = client.call(&method::History { limit: Some(1) }).unwrap();
        let rollback = method::Rollback {
            why: "x".parse().unwrap(),
            to: Some("9".parse().unwrap()),
            force: false,
            made: None,
        };
        let refused = client.call(&rollback).unwrap_err();
        assert!(matches!(refused, CallError::Refused(_)), "{refused}");
        let watched = client.watch().unwrap().next_status().unwrap();
        (status, entries.entries, watched)
    });
    let asked = house.requests.recv().await.unwrap();
    let refused = Refusal::NothingToDo("there is none".into());
    asked.reply.send(Err(refused.into())).unwrap();
    let (status, entries, watched) = talk.await.unwrap();
    assert_eq!((&status, &watched), (&full(), &full()));
    assert_eq!(entries, history()[..1]);
}

#[tokio::test]
async fn it_describes_itself() {
    let house = house();
    let mut client = house.client().await;
    client
        .say(&json!({ "method": "org.varlink.service.GetInfo" }))
        .await;
    let info = client.hear().await.unwrap();
    assert_eq!(info["parameters"]["interfaces"][1], "io.surefoot.Agent");
    for interface in ["io.surefoot.Agent", "org.varlink.service"] {
        client
            .say(&json!({
                "method": "org.varlink.service.GetInterfaceDescription",
                "parameters": { "interface": interface },
            }))
            .await;
        let reply = client.hear().await.unwrap();
        let description = reply["parameters"]["description"].as_str().unwrap();
        let parsed = zlink::idl::Interface::try_from(description).unwrap();
        assert_eq!(parsed.name().as_str(), interface);
    }
}

#[tokio::test]
async fn what_is_asked_reaches_the_agent() {
    let mut house = house();
    let done = || Ok("as you say".to_owned());
    let uid = nix::unistd::geteuid().as_raw();
    let me = super::names::in_database(uid).unwrap_or_else(|| format!("uid {uid}"));

    let (reply, request) = house.asked("Update", json!({}), done()).await;
    assert_eq!(reply["parameters"]["message"], "as you say");
    assert_eq!(request, Request::Update);

    let why = json!({ "why": " drops things ", "to": "1" });
    let (_, request) = house.asked("Rollback", why, done()).await;
    let expected = Request::Rollback {
        to: Some(RollbackTo::Release("1".parse().unwrap())),
        force: false,
        end_holds: false,
        why: "drops things".into(),
        by: me.clone(),
    };
    assert_eq!(request, expected);

    let what = json!({ "what": "7", "undo": true });
    let (_, request) = house.asked("Keep", what, done()).await;
    let expected = Request::Keep {
        what: RollbackTo::Release("7".parse().unwrap()),
        undo: true,
        by: me.clone(),
    };
    assert_eq!(request, expected);

    let what = json!({ "what": "7", "why": "the gripper was loose" });
    let (_, request) = house.asked("Unblock", what, done()).await;
    let expected = Request::Unblock {
        what: RollbackTo::Release("7".parse().unwrap()),
        why: "the gripper was loose".into(),
        by: me.clone(),
    };
    assert_eq!(request, expected);

    let (_, request) = house
        .asked("Hold", json!({ "why": "a vase", "seconds": 60 }), done())
        .await;
    let expected = Request::Hold {
        length: Some(Duration::from_secs(60)),
        why: "a vase".into(),
        by: me.clone(),
        counted: None,
    };
    assert_eq!(request, expected);

    let said = json!({ "name": "gripper", "busy": true, "seconds": 30 });
    let (_, request) = house.asked("Lease", said, done()).await;
    let Request::Lease { over, .. } = request else {
        panic!("{request:?}")
    };
    let expected = Request::Lease {
        name: "gripper".parse().unwrap(),
        busy: true,
        why: None,
        ttl: Some(Duration::from_secs(30)),
        by: Owner {
            uid: nix::unistd::geteuid().as_raw(),
            counted: format!("uid {}", nix::unistd::geteuid()),
            name: me,
        },
        over,
    };
    assert_eq!(request, expected);
    let (_, request) = house
        .asked("EndLease", json!({ "name": "gripper" }), done())
        .await;
    let expected = Request::EndLease {
        name: "gripper".parse().unwrap(),
        by: Ender::Anyone,
    };
    assert_eq!(request, expected);

    let (_, request) = house.asked("Resume", Value::Null, done()).await;
    assert_eq!(request, Request::Resume { by: None });
}

fn lease(seconds: Option<u32>) -> Value {
    let parameters = json!({ "name": "gripper", "busy": true, "seconds": seconds });
    json!({ "method": "io.surefoot.Agent.Lease", "parameters": parameters })
}

/// Says something, and has it granted.
async fn granted(house: &mut House, client: &mut Client, call: Value) -> (Value, Request) {
    client.say(&call).await;
    let asked = house.requests.recv().await.unwrap();
    asked.reply.send(Ok("so be it".to_owned())).unwrap();
    (client.hear().await.unwrap(), asked.request)
}

#[tokio::test(start_paused = true)]
async fn a_connection_holds_its_lease_until_it_ends() {
    let mut house = house();
    let mut client = house.client().await;
    let (_, request) = granted(&mut house, &mut client, lease(None)).await;
    let Request::Lease {
        ttl: None, over, ..
    } = request
    else {
        panic!("{request:?}")
    };
    // It may be silent for as long as it likes.
    tokio::time::advance(IDLE * 100).await;
    let end =
        json!({ "method": "io.surefoot.Agent.EndLease", "parameters": { "name": "gripper" } });
    let (_, request) = granted(&mut house, &mut client, end).await;
    // It ends what it holds itself, and not what is another's by then, whatever else it may.
    let Request::EndLease {
        by: Ender::Owner(_, holder),
        ..
    } = request
    else {
        panic!("{request:?}")
    };
    assert_eq!(holder, over);
    assert!(house.lost.try_recv().is_err());
    drop(client);
    assert_eq!(house.lost.recv().await, Some(over));
}

#[tokio::test]
async fn the_end_of_a_holder_is_told_whatever_became_of_its_call() {
    let mut house = house();
    let mut client = house.client().await;
    client.say(&lease(None)).await;
    let asked = house.requests.recv().await.unwrap();
    drop(client);
    // Whether the agent still answers or not.
    drop(asked);
    assert!(house.lost.recv().await.is_some());
    // What is said for a time does not hang on the connection.
    let mut client = house.client().await;
    granted(&mut house, &mut client, lease(Some(9))).await;
    drop(client);
    house.call("Status", Value::Null).await;
    assert!(house.lost.try_recv().is_err());
}

#[tokio::test]
async fn a_call_for_more_stays_open_behind_its_answer() {
    let mut house = house();
    let mut client = house.client().await;
    let mut call = lease(None);
    call["more"] = json!(true);
    let (reply, _) = granted(&mut house, &mut client, call).await;
    assert_eq!(reply["continues"], true);
}

#[tokio::test]
async fn every_refusal_has_its_name_and_words() {
    let mut house = house();
    for (refused, name) in [
        (
            Refusal::Refused("it is carrying a vase".into()).into(),
            "Refused",
        ),
        (
            Refusal::NothingToDo("it is carrying a vase".into()).into(),
            "NothingToDo",
        ),
        (
            RequestError::Failed("it is carrying a vase".into()),
            "Failed",
        ),
    ] {
        let (reply, _) = house.asked("Update", json!({}), Err(refused)).await;
        let (error, parameters) = error(&reply);
        assert_eq!(error, format!("io.surefoot.Agent.{name}"));
        assert_eq!(parameters["why"], "it is carrying a vase");
    }
}

#[tokio::test]
async fn a_request_brings_along_what_it_is_about_and_whether_its_caller_is_there() {
    let mut house = house();
    let call = json!({
        "method": "io.surefoot.Agent.Rollback",
        "parameters": {
            "why": "x",
            "made": { "boot": "b", "at": 7, "running": path("1"), "mood": "good" },
        },
    });
    let mut client = house.client().await;
    client.say(&call).await;
    let asked = house.requests.recv().await.unwrap();
    let made = asked.way.made.unwrap();
    assert_eq!((made.at, made.running), (Some(Instant(7)), Some(path("1"))));
    assert!(!asked.way.waited && asked.line.is_up());
    drop(client);
    assert!(!asked.line.is_up());
}

#[tokio::test]
async fn rollbacks_that_waited_for_the_agent_say_so_and_later_ones_do_not() {
    let mut house = house();
    let (client, server) = std::os::unix::net::UnixStream::pair().unwrap();
    house.server.abort();
    let listener = UnixListener::bind(house.path.with_extension("again")).unwrap();
    let (requests, asked) = mpsc::channel(4);
    house.requests = asked;
    let handle = AgentHandle {
        requests,
        lost: mpsc::unbounded_channel().0,
        published: house.published.subscribe(),
        roles: house._roles.subscribe(),
        doctor: Doctor::having_seen(findings()),
        systems: Systems::having_seen(surefoot_api::samples::systems()),
    };
    let waited = VecDeque::from([server]);
    house.server = tokio::spawn(server::serve(Listening { listener, waited }, handle));
    client.set_nonblocking(true).unwrap();
    let mut client = Client(BufReader::new(UnixStream::from_std(client).unwrap()));
    let call = json!({
        "method": "io.surefoot.Agent.Rollback",
        "parameters": { "why": "x" },
    });
    for _ in 0..2 {
        client.say(&call).await;
    }
    for waited in [true, true, false] {
        if !waited {
            client.say(&call).await;
        }
        let asked = house.requests.recv().await.unwrap();
        assert_eq!(asked.way.waited, waited);
        asked.reply.send(Ok("as you say".into())).unwrap();
        client.hear().await.unwrap();
    }
}

#[tokio::test]
async fn bad_calls_are_named() {
    let house = house();
    for (method, parameters, name, value) in [
        ("Rollback", json!({}), "InvalidParameter", "why"),
        (
            "Rollback",
            json!({ "why": "a\u{7}b" }),
            "InvalidParameter",
            "why",
        ),
        (
            "Rollback",
            json!({ "why": "x", "to": "/etc" }),
            "InvalidParameter",
            "to",
        ),
        (
            "Rollback",
            json!({ "why": "x", "two": "1" }),
            "InvalidParameter",
            "two",
        ),
        (
            "Hold",
            json!({ "why": "x", "seconds": "1h" }),
            "InvalidParameter",
            "seconds",
        ),
        (
            "Hold",
            json!({ "why": "x", "seconds": 0 }),
            "InvalidParameter",
            "seconds",
        ),
        (
            "History",
            json!({ "limit": -1 }),
            "InvalidParameter",
            "limit",
        ),
        ("Watch", json!({}), "ExpectedMore", ""),
        ("Fly", json!({}), "MethodNotFound", "io.surefoot.Agent.Fly"),
    ] {
        let reply = house.call(method, parameters).await;
        let (error, parameters) = error(&reply);
        assert_eq!(error, format!("org.varlink.service.{name}"), "{method}");
        let said: Vec<&Value> = parameters.as_object().unwrap().values().collect();
        assert!(value.is_empty() || said.contains(&&json!(value)), "{reply}");
    }
    let mut client = house.client().await;
    client
        .say(&json!({ "method": "org.example.Nothing" }))
        .await;
    let reply = client.hear().await.unwrap();
    assert_eq!(error(&reply).0, "org.varlink.service.InterfaceNotFound");
    client.say(&json!({ "method": "nodots" })).await;
    let reply = client.hear().await.unwrap();
    assert_eq!(error(&reply).0, "org.varlink.service.InterfaceNotFound");
}

#[tokio::test]
async fn anyone_may_have_the_robot_looked_over() {
    let house = house();
    let reply = house.call("Doctor", json!({})).await;
    let findings = reply["parameters"]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 2);
    assert_eq!(findings[0]["advice"], Value::Null);
    assert_eq!(findings[1]["level"], "warn");
    assert_eq!(findings[1]["advice"], "get one");
}

#[tokio::test]
async fn anyone_may_see_which_systems_are_there() {
    let house = house();
    let reply = house.call("Systems", json!({})).await;
    let systems = reply["parameters"]["systems"].as_array().unwrap();
    assert_eq!(systems.len(), 2);
    assert_eq!(systems[1]["reboot"], json!(["another kernel"]));
    let reply = house.call("Compare", json!({ "to": "99" })).await;
    let (error, parameters) = error(&reply);
    assert_eq!(error, "io.surefoot.Agent.NothingToDo");
    assert!(
        parameters["why"]
            .as_str()
            .unwrap()
            .contains("surefoot systems")
    );
    let reply = house.call("Compare", json!({ "to": "a b" })).await;
    assert_eq!(
        self::error(&reply).0,
        "org.varlink.service.InvalidParameter"
    );
}

#[tokio::test]
async fn history_is_told_newest_first() {
    let house = house();
    let reply = house.call("History", json!({ "limit": 2 })).await;
    let entries = reply["parameters"]["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["what"], "confirmed");
    let reply = house.call("History", json!({})).await;
    assert_eq!(reply["parameters"]["entries"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_watcher_hears_every_change() {
    let house = house();
    let mut client = house.client().await;
    client
        .say(&json!({ "method": "io.surefoot.Agent.Watch", "more": true }))
        .await;
    for state in [State::Trial, State::Committing, State::Idle] {
        let reply = client.hear().await.unwrap();
        assert_eq!(reply["continues"], true);
        assert_eq!(reply["parameters"]["status"]["state"], state.to_string());
        let next = if state == State::Trial {
            State::Committing
        } else {
            State::Idle
        };
        let status = StatusInfo {
            state: next.into(),
            ..full()
        };
        house
            .published
            .send_replace(Published::now(status, history()));
    }
    // Out of turn.
    client
        .say(&json!({ "method": "io.surefoot.Agent.Status" }))
        .await;
    while let Some(reply) = client.hear().await {
        assert_eq!(reply["continues"], true);
    }
}

#[tokio::test(start_paused = true)]
async fn what_counts_down_goes_on() {
    let house = house();
    tokio::time::advance(Duration::from_secs(20)).await;
    let reply = house.call("Status", json!({})).await;
    let status = &reply["parameters"]["status"];
    assert_eq!(status["nextCheckSeconds"], 10);
    assert_eq!(status["holds"][0]["secondsLeft"], 80);
}

#[tokio::test]
async fn garbage_and_endless_calls_are_hung_up_on() {
    let house = house();
    let endless = vec![b'x'; 100 << 10];
    for bytes in [
        &b"what?\0"[..],
        b"\0",
        b"[]\0",
        b"{\"method\":3}\0",
        b"\xff\xfe\0",
        &endless,
    ] {
        let mut client = house.client().await;
        // The server may hang up before everything is said.
        let _ = client.0.write_all(bytes).await;
        assert_eq!(client.hear().await, None);
    }
    assert!(house.call("Status", json!({})).await["error"].is_null());
}

#[tokio::test(start_paused = true)]
async fn the_silent_and_the_deaf_do_not_hold_anybody_up() {
    let house = house();
    let mut silent = house.client().await;
    silent.0.write_all(b"{\"method\":").await.unwrap();

    // More than any socket's buffer holds, so that the answer gets stuck.
    let status = StatusInfo {
        doing: "x".repeat(4 << 20),
        ..full()
    };
    house
        .published
        .send_replace(Published::now(status, history()));
    let mut deaf = house.client().await;
    deaf.say(&json!({ "method": "io.surefoot.Agent.Status" }))
        .await;
    deaf.0.get_ref().readable().await.unwrap();

    house
        .published
        .send_replace(Published::now(full(), history()));
    let before = tokio::time::Instant::now();
    assert!(house.call("Status", json!({})).await["error"].is_null());
    assert!(before.elapsed() < WRITE, "others wait for the deaf one");

    tokio::time::advance(WRITE).await;
    let mut heard = Vec::new();
    deaf.0.read_to_end(&mut heard).await.unwrap();
    assert!(heard.len() < 4 << 20, "the deaf one was waited for");
    tokio::time::advance(IDLE).await;
    assert_eq!(silent.hear().await, None);
}

#[tokio::test]
async fn a_watcher_is_hung_up_on_when_others_need_its_place() {
    let house = house();
    let watch = json!({ "method": "io.surefoot.Agent.Watch", "more": true });
    let mut watchers = Vec::new();
    for _ in 0..Limits::of(Role::Root).places {
        let mut client = house.client().await;
        client.say(&watch).await;
        client.hear().await.unwrap();
        watchers.push(client);
    }
    assert!(house.call("Status", json!({})).await["error"].is_null());
    assert_eq!(watchers[0].hear().await, None);
    // One was enough; the others hear what happens.
    house
        .published
        .send_replace(Published::now(full(), history()));
    assert!(watchers[1].hear().await.is_some());
}

#[tokio::test]
async fn a_watcher_that_holds_a_lease_keeps_its_place() {
    let mut house = house();
    let watch = json!({ "method": "io.surefoot.Agent.Watch", "more": true });
    let mut holder = house.client().await;
    granted(&mut house, &mut holder, lease(None)).await;
    let mut watchers = vec![holder];
    while watchers.len() < Limits::of(Role::Root).places {
        watchers.push(house.client().await);
    }
    for watcher in &mut watchers {
        watcher.say(&watch).await;
        watcher.hear().await.unwrap();
    }
    assert!(house.call("Status", json!({})).await["error"].is_null());
    assert_eq!(watchers[1].hear().await, None);
    assert!(house.lost.try_recv().is_err());
    house
        .published
        .send_replace(Published::now(full(), history()));
    assert!(watchers[0].hear().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn calls_without_end_are_made_to_wait() {
    let house = house();
    let rate = Limits::of(Role::Root).calls;
    let calls = rate.burst + 10;
    let mut client = house.client().await;
    let before = tokio::time::Instant::now();
    for _ in 0..calls {
        client
            .say(&json!({ "method": "io.surefoot.Agent.Status" }))
            .await;
        client.hear().await.unwrap();
    }
    assert!(before.elapsed() >= rate.every * 9);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_to_the_disk_is_not_asked_for_without_end() {
    let mut house = house();
    let done = || Ok("as you say".to_owned());
    let hold = || json!({ "why": "a vase" });
    let rate = Limits::of(Role::Root).changes;
    for _ in 0..rate.burst {
        house.asked("Hold", hold(), done()).await;
    }
    let refused = house.call("Hold", hold()).await;
    let (name, parameters) = error(&refused);
    assert_eq!(name, "io.surefoot.Agent.Refused");
    let why = parameters["why"].as_str().unwrap();
    assert!(why.contains("try again in"), "{why}");
    // A lease must not lapse for that: it is said again as often as it has to be.
    let lease = json!({ "name": "gripper", "busy": true, "seconds": 1 });
    for _ in 0..100 {
        house.asked("Lease", lease.clone(), done()).await;
    }
    tokio::time::advance(rate.every).await;
    house.asked("Hold", hold(), done()).await;
}

#[tokio::test(start_paused = true)]
async fn systems_are_not_compared_without_end() {
    let house = house();
    let rate = Limits::of(Role::Root).comparisons;
    let compare = || house.call("Compare", json!({ "to": "99" }));
    for _ in 0..rate.burst {
        assert_eq!(error(&compare().await).0, "io.surefoot.Agent.NothingToDo");
    }
    let refused = compare().await;
    let (name, parameters) = error(&refused);
    assert_eq!(name, "io.surefoot.Agent.Refused");
    let why = parameters["why"].as_str().unwrap();
    assert!(why.contains("try again in"), "{why}");
    tokio::time::advance(rate.every).await;
    assert_eq!(error(&compare().await).0, "io.surefoot.Agent.NothingToDo");
}

#[tokio::test]
async fn a_comparison_that_takes_long_keeps_nobody_from_the_systems_and_its_caller_from_another() {
    let house = house();
    let long = house.systems.compares().await;
    let call = json!({ "method": "io.surefoot.Agent.Compare", "parameters": { "to": "99" } });
    let (mut one, mut other) = (house.client().await, house.client().await);
    one.say(&call).await;
    other.say(&call).await;
    // The list is there for everybody meanwhile.
    let listed = house.call("Systems", json!({})).await;
    assert!(listed["parameters"]["systems"].is_array(), "{listed}");
    let (refused, mut waits) = tokio::select! {
        refused = one.hear() => (refused.unwrap(), other),
        refused = other.hear() => (refused.unwrap(), one),
    };
    let (name, parameters) = error(&refused);
    assert_eq!(name, "io.surefoot.Agent.Refused");
    let why = parameters["why"].as_str().unwrap();
    assert!(why.contains("being compared for you already"), "{why}");
    // It is under way until its end, whether its caller is there or not.
    drop(long);
    let answer = waits.hear().await.unwrap();
    assert_eq!(error(&answer).0, "io.surefoot.Agent.NothingToDo");
    waits.say(&call).await;
    let answer = waits.hear().await.unwrap();
    assert_eq!(error(&answer).0, "io.surefoot.Agent.NothingToDo");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_answer_is_reported() {
    let mut house = house();
    let mut client = house.client().await;
    client
        .say(&json!({ "method": "io.surefoot.Agent.Update" }))
        .await;
    let _unanswered = house.requests.recv().await.unwrap();
    let reply = client.hear().await.unwrap();
    assert_eq!(error(&reply).0, "io.surefoot.Agent.Failed");
}

/// Not a test of its own: what [`as_user`] runs as somebody else.
#[test]
fn child_of_another_user() {
    let (Ok(socket), Ok(calls)) = (std::env::var("CALL_SOCKET"), std::env::var("CALLS")) else {
        return;
    };
    use std::io::{BufRead, Write};
    let mut stream =
        std::io::BufReader::new(std::os::unix::net::UnixStream::connect(socket).unwrap());
    for call in calls.split('\n') {
        stream.get_mut().write_all(call.as_bytes()).unwrap();
        stream.get_mut().write_all(b"\0").unwrap();
        let mut reply = Vec::new();
        stream.read_until(0, &mut reply).unwrap();
        reply.pop();
        println!("REPLY {}", String::from_utf8(reply).unwrap());
    }
}

/// Makes calls as a user with these groups, while the agent says yes to everything.
async fn as_user(house: &mut House, groups: &[u32], calls: &[(&str, Value)]) -> Vec<Value> {
    // The binary may lie where others cannot go.
    let program = house._dir.path().join("child");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for (path, mode) in [
        (house._dir.path(), 0o755),
        (&house.path, 0o666),
        (&program, 0o755),
    ] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, mode).unwrap();
    }
    let calls: Vec<String> = calls
        .iter()
        .map(|(method, parameters)| {
            let method = format!("io.surefoot.Agent.{method}");
            json!({ "method": method, "parameters": parameters }).to_string()
        })
        .collect();
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let mut child = tokio::process::Command::new("setpriv");
    child
        .args([
            "--reuid",
            &NOBODY.to_string(),
            "--regid",
            &NOBODY.to_string(),
        ])
        .args(["--groups", &groups.join(",")])
        .arg(&program)
        .args([
            "--exact",
            "control::tests::child_of_another_user",
            "--nocapture",
        ])
        .env("CALL_SOCKET", &house.path)
        .env("CALLS", calls.join("\n"))
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let output = child.output();
    let yes = async {
        let mut waiting = Vec::new();
        while let Some(asked) = house.requests.recv().await {
            let said = format!("{:?}", asked.request);
            let _ = asked.reply.send(Ok(said));
            waiting.push(asked.told);
        }
        std::future::pending().await
    };
    let output = tokio::select! {
        output = output => output.unwrap(),
        never = yes => never,
    };
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once("REPLY "))
        // Hung up on.
        .filter(|(_, reply)| !reply.is_empty())
        .map(|(_, reply)| serde_json::from_str(reply).unwrap())
        .collect()
}

/// Whether a directory lets everybody through.
fn may_be_entered(directory: &std::path::Path) -> bool {
    let mode = std::fs::metadata(directory)
        .map(|m| std::os::unix::fs::PermissionsExt::mode(&m.permissions()));
    mode.is_ok_and(|mode| mode & 0o001 != 0)
}

#[tokio::test]
async fn who_may_do_what_is_what_the_kernel_says() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let mut house = house();
    // A builder's directory is its own.
    if !house._dir.path().ancestors().skip(1).all(may_be_entered) {
        eprintln!("skipped: nobody else can reach the socket");
        return;
    }
    let calls = [
        ("Status", json!({})),
        ("Hold", json!({ "why": "x" })),
        ("Resume", json!({})),
        ("Lease", json!({ "name": "x", "busy": true, "seconds": 9 })),
        ("EndLease", json!({ "name": "x" })),
        ("Update", json!({})),
        ("Rollback", json!({ "why": "x" })),
    ];
    // As many groups as a caller may be in.
    let stranger: Vec<u32> = (50_000..50_128).collect();
    let app = [&stranger[..127], &[APPS]].concat();
    for (groups, allowed) in [
        (&[NOBODY][..], 1),
        (&[NOBODY, APPS][..], 5),
        (&[TECHNICIANS][..], 7),
        (&[APPS, TECHNICIANS][..], 7),
        (&stranger, 1),
        (&app, 5),
    ] {
        let replies = as_user(&mut house, groups, &calls).await;
        assert_eq!(replies.len(), calls.len());
        for (index, reply) in replies.iter().enumerate() {
            if index < allowed {
                assert_eq!(reply["error"], Value::Null, "{groups:?} {index}: {reply}");
            } else {
                let (name, parameters) = error(reply);
                assert_eq!(name, "io.surefoot.Agent.NotAuthorized");
                let needs = parameters["needs"].as_str().unwrap();
                assert!(needs.contains("the group 'technicians'"), "{needs}");
            }
        }
        // What services printed is for those who have to do with the robot.
        let status = &replies[0]["parameters"]["status"];
        let withheld = status["evidenceWithheld"].as_str().unwrap_or_default();
        assert_eq!(status.to_string().contains("no motor"), allowed > 1);
        assert_eq!(withheld.contains("the group 'robot'"), allowed == 1);
        // The robot's software ends its own holds, a technician everybody's.
        if allowed > 1 {
            let own = replies[2]["parameters"]["message"].as_str().unwrap();
            assert_eq!(own.contains("Some("), allowed == 5, "{own}");
        }
    }
    // One more, and nobody is listened to: that must not be how an agent is stopped.
    let too_many = [&stranger[..], &[APPS]].concat();
    assert_eq!(
        as_user(&mut house, &too_many, &calls).await,
        [Value::Null; 0]
    );
    let replies = as_user(&mut house, &[APPS], &calls).await;
    assert_eq!(replies.len(), calls.len());
}
