//! An agent that says what it is told to.

#![allow(dead_code, reason = "every test program uses a part of it")]

use assert_cmd::Command;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    thread::JoinHandle,
};

/// An agent for some connections, each a list of answers per call. Gives the calls.
pub(crate) struct Agent {
    pub(crate) socket: PathBuf,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) thread: JoinHandle<Vec<Value>>,
}

pub(crate) fn agent(connections: Vec<Vec<Vec<Value>>>) -> Agent {
    agent_with(connections, |_, _| ())
}

/// The same, with something to do after each connection: its directory, and how many there were.
pub(crate) fn agent_with(
    connections: Vec<Vec<Vec<Value>>>,
    after: impl Fn(&Path, usize) + Send + 'static,
) -> Agent {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_owned();
    let socket = dir.path().join("control.socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || {
        let mut calls = Vec::new();
        for (n, answers) in connections.into_iter().enumerate() {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            for answers in answers {
                let mut call = Vec::new();
                stream.read_until(0, &mut call).unwrap();
                assert_eq!(call.pop(), Some(0));
                calls.push(serde_json::from_slice(&call).unwrap());
                for answer in answers {
                    stream
                        .get_mut()
                        .write_all(answer.to_string().as_bytes())
                        .unwrap();
                    stream.get_mut().write_all(b"\0").unwrap();
                }
            }
            after(&place, n + 1);
        }
        calls
    });
    Agent {
        socket,
        dir,
        thread,
    }
}

pub(crate) fn surefoot(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_surefoot"));
    command.args(args).arg("--socket").arg(socket);
    command
}

pub(crate) fn out(assert: &assert_cmd::assert::Assert) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let output = assert.get_output();
    (text(&output.stdout), text(&output.stderr))
}

pub(crate) fn message(text: &str) -> Value {
    json!({ "parameters": { "message": text } })
}

pub(crate) fn status(change: Value) -> Value {
    let mut status = json!({
        "version": "0.1.0", "model": "picker", "channel": "stable", "repository": "file:///x",
        "state": "idle", "doing": "nothing to do", "checking": false,
        "fallbacks": [], "blocked": [], "holds": [],
    });
    for (key, value) in change.as_object().unwrap() {
        status[key] = value.clone();
    }
    json!({ "parameters": { "status": status }, "continues": true })
}

pub(crate) fn system(release: &str) -> Value {
    json!({ "system": format!("/nix/store/7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-{release}"), "release": release })
}
