//! The robot side of the command line from outside, with an agent that says what it is told to.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use agent::{Agent, agent, agent_with, message, out, status, surefoot, system};
use assert_cmd::Command;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};

mod agent;

#[test]
fn what_is_asked_is_what_was_typed() {
    let typed: &[(&[&str], Value)] = &[
        (
            &["update"],
            json!({ "method": "io.surefoot.Agent.Update", "parameters": {} }),
        ),
        (
            &["hold", "--for", "4h", "--why", "a vase"],
            json!({ "method": "io.surefoot.Agent.Hold", "parameters": { "why": "a vase", "seconds": 14400 } }),
        ),
        (
            &["rollback", "--why", "it drops things", "--to", "2026.10"],
            json!({ "method": "io.surefoot.Agent.Rollback", "parameters": { "why": "it drops things", "to": "2026.10", "force": false } }),
        ),
        (
            &["unblock", "2026.10", "--why", "mended"],
            json!({ "method": "io.surefoot.Agent.Unblock", "parameters": { "what": "2026.10", "why": "mended" } }),
        ),
        (
            &["lease", "gripper", "--why", "a crate"],
            json!({ "method": "io.surefoot.Agent.Lease", "parameters": { "name": "gripper", "busy": true, "seconds": 30, "why": "a crate" } }),
        ),
        (
            &["lease", "gripper", "--free", "--ttl", "1min"],
            json!({ "method": "io.surefoot.Agent.Lease", "parameters": { "name": "gripper", "busy": false, "seconds": 60, "why": null } }),
        ),
        (
            &["lease", "gripper", "--end"],
            json!({ "method": "io.surefoot.Agent.EndLease", "parameters": { "name": "gripper" } }),
        ),
        (
            &["resume"],
            json!({ "method": "io.surefoot.Agent.Resume", "parameters": {} }),
        ),
    ];
    for (args, call) in typed {
        let agent = agent(vec![vec![vec![message("so be it")]]]);
        let (stdout, _) = out(&surefoot(&agent.socket, args).assert().success());
        assert_eq!(stdout, "so be it\n");
        let mut heard = agent.thread.join().unwrap();
        // What lets the robot change says when that was asked; whether a system runs here is another
        // matter.
        let says_when = ["update", "rollback", "resume"].contains(&args[0]);
        let made = heard[0]["parameters"]
            .as_object_mut()
            .unwrap()
            .remove("made");
        assert_eq!(made.is_some(), says_when);
        if let Some(made) = made {
            assert!(made["boot"].is_string() && made["at"].is_u64(), "{made}");
        }
        assert_eq!(heard, std::slice::from_ref(call));
    }
}

/// The methods that were called.
fn methods(calls: &[Value]) -> Vec<&str> {
    let names = calls.iter().map(|call| call["method"].as_str().unwrap());
    names.map(|name| name.rsplit('.').next().unwrap()).collect()
}

/// `surefoot lease arm -- sh -c SCRIPT`, with the options before the command.
fn leased(agent: &Agent, options: &[&str], script: &str) -> assert_cmd::assert::Assert {
    let socket = agent.socket.to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_surefoot"));
    command.args(["lease", "arm", "--socket", socket]);
    command.args(options);
    command.args(["--", "/bin/sh", "-c", script]).assert()
}

#[test]
fn a_command_runs_with_its_lease_and_hands_its_exit_status_on() {
    let held = "Lease";
    for (options, script, status, calls) in [
        (&[][..], ":", 0, &[held, "EndLease"][..]),
        // Whoever fails or dies may have left something in the gripper.
        (&[], "exit 7", 7, &[held]),
        (&[], "kill -9 $$", 137, &[held]),
        (&["--free-on-failure"], "exit 7", 7, &[held, "EndLease"]),
    ] {
        let answers = calls.iter().map(|_| vec![message("so be it")]);
        let agent = agent(vec![answers.collect()]);
        let (_, stderr) = out(&leased(&agent, options, script).code(status));
        let said = agent.thread.join().unwrap();
        assert_eq!(methods(&said), calls, "{script}");
        assert_eq!(said[0]["parameters"]["seconds"], Value::Null);
        assert_eq!(
            stderr.contains("surefoot lease arm --end"),
            calls.len() == 1,
            "{stderr}"
        );
    }
}

#[test]
fn what_was_not_started_leaves_the_robot_free() {
    let agent = agent(vec![vec![
        vec![message("so be it")],
        vec![message("so be it")],
    ]]);
    let socket = agent.socket.to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_surefoot"));
    command.args(["lease", "arm", "--socket", socket, "--", "/nowhere"]);
    command.assert().code(1);
    assert_eq!(
        methods(&agent.thread.join().unwrap()),
        ["Lease", "EndLease"]
    );
}

#[test]
fn a_lease_is_taken_again_while_its_command_runs() {
    let said = || vec![message("so be it")];
    // The agent hangs up twice.
    let connections = vec![vec![said()], vec![said()], vec![said(), said()]];
    let agent = agent_with(connections, |dir, served| {
        if served == 2 {
            fs::write(dir.join("go"), "\n").unwrap();
        }
    });
    let go = agent.dir.path().join("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    leased(&agent, &[], &format!("read -r _ <'{}'", go.display())).success();
    let calls = agent.thread.join().unwrap();
    assert_eq!(methods(&calls), ["Lease", "Lease", "Lease", "EndLease"]);
}

#[test]
fn a_command_is_not_run_while_the_robot_may_not_be_busy() {
    let refusal = json!({ "error": "io.surefoot.Agent.Refused", "parameters": { "why": "an update is under way" } });
    let agent = agent(vec![vec![vec![refusal]]]);
    let (_, stderr) = out(&leased(&agent, &[], "echo it ran >&2").code(3));
    assert_eq!(stderr, "surefoot: an update is under way\n");
}

#[test]
fn json_is_one_object() {
    let agent = agent(vec![vec![vec![status(
        json!({ "confirmed": system("2") }),
    )]]]);
    let (stdout, _) = out(&surefoot(&agent.socket, &["--json", "status"])
        .assert()
        .success());
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(value["confirmed"]["release"], "2");
}

#[test]
fn a_robot_that_would_not_come_back_is_told_by_the_exit_code() {
    let finding = |level: &str| {
        json!({ "subject": "loader", "level": level, "what": "default", "found": "x",
            "advice": "put it back" })
    };
    for (levels, worst, code) in [
        (&["ok", "warn"][..], "warn", 0),
        (&["ok", "fail", "warn"], "fail", 1),
    ] {
        let findings: Vec<Value> = levels.iter().map(|level| finding(level)).collect();
        let answer = json!({ "parameters": { "findings": findings } });
        for json in [false, true] {
            let agent = agent(vec![vec![vec![answer.clone()]]]);
            let args: &[&str] = if json {
                &["--json", "doctor"]
            } else {
                &["doctor"]
            };
            let (stdout, stderr) = out(&surefoot(&agent.socket, args).assert().code(code));
            assert_eq!(stderr, "", "everything was said already");
            if json {
                let value: Value = serde_json::from_str(&stdout).unwrap();
                assert_eq!(value["worst"], worst);
                assert_eq!(value["findings"].as_array().unwrap().len(), levels.len());
            } else {
                assert!(stdout.contains("> put it back"), "{stdout}");
            }
        }
    }
}

#[test]
fn every_end_has_its_exit_code() {
    for (error, parameters, code, words) in [
        (
            "io.surefoot.Agent.NotAuthorized",
            json!({ "needs": "root or alice" }),
            3,
            "it needs root or alice",
        ),
        (
            "io.surefoot.Agent.Refused",
            json!({ "why": "docking" }),
            3,
            "docking",
        ),
        (
            "io.surefoot.Agent.NothingToDo",
            json!({ "why": "no hold" }),
            3,
            "no hold",
        ),
        (
            "io.surefoot.Agent.Failed",
            json!({ "why": "disk full" }),
            1,
            "disk full",
        ),
        (
            "org.varlink.service.InvalidParameter",
            json!({ "parameter": "why", "why": "too long" }),
            2,
            "why: too long",
        ),
        (
            "org.varlink.service.MethodNotFound",
            json!({}),
            2,
            "too old",
        ),
        ("org.example.Strange", json!({}), 1, "org.example.Strange"),
    ] {
        let agent = agent(vec![vec![vec![
            json!({ "error": error, "parameters": parameters }),
        ]]]);
        let assert = surefoot(&agent.socket, &["--json", "resume"])
            .assert()
            .code(code);
        let (stdout, stderr) = out(&assert);
        assert!(stderr.contains(words), "{stderr}");
        let value: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(value["exit"], code);
    }
}

#[test]
fn an_agent_that_talks_nonsense_is_named() {
    for (answers, words) in [
        (vec![], "it hung up"),
        (
            vec![json!({ "parameters": { "status": 3 } })],
            "cannot be understood",
        ),
        (vec![json!([])], "cannot be understood"),
    ] {
        let agent = agent(vec![vec![answers]]);
        let (_, stderr) = out(&surefoot(&agent.socket, &["status"]).assert().code(1));
        assert!(stderr.contains(words), "{stderr}");
    }
    let dir = tempfile::tempdir().unwrap();
    let (_, stderr) = out(&surefoot(&dir.path().join("x"), &["status"])
        .assert()
        .code(1));
    assert!(stderr.contains("systemctl start surefootd"), "{stderr}");
}

#[test]
fn an_update_is_followed_over_a_restart_of_the_agent() {
    let fetching = |bytes: u64| {
        status(json!({
            "state": "fetching", "doing": "bringing release 3", "confirmed": system("2"),
            "progress": {
                "paths": bytes / 50, "pathsTotal": 2, "bytes": bytes, "bytesTotal": 100, "rate": 0,
                "alreadyPresent": 5, "resumedBytes": 1, "wastedBytes": 0,
            },
        }))
    };
    let before = status(json!({ "confirmed": system("2") }));
    let checking = status(json!({ "confirmed": system("2"), "checking": true }));
    let after = status(json!({ "confirmed": system("3") }));
    let agent = agent(vec![
        vec![
            vec![before],
            vec![message("looking for an update")],
            vec![checking, fetching(1), fetching(55), fetching(100)],
        ],
        vec![vec![after]],
    ]);
    let args = ["update", "--wait", "--timeout", "1min"];
    let (stdout, _) = out(&surefoot(&agent.socket, &args).assert().success());
    assert!(stdout.contains("55 B of 100 B (55 %)"), "{stdout}");
    assert!(
        stdout.contains("fetched 2 paths, 100 B; 5 were there; resumed 1 B, wasted 0 B\n"),
        "{stdout}"
    );
    assert!(stdout.ends_with("release 3 is confirmed\n"), "{stdout}");
    let methods: Vec<Value> = agent.thread.join().unwrap();
    assert_eq!(methods.last().unwrap()["more"], true);
}

#[test]
fn an_update_that_was_given_up_is_a_failure_and_a_held_one_is_refused() {
    let blocked = json!([{
        "release": "3", "system": system("3")["system"], "cause": "unhealthy",
        "why": "arm.service failed", "failures": [], "log": [],
    }]);
    let hold = json!([{ "owner": "alice", "why": "a vase" }]);
    for (after, code, words) in [
        (
            json!({ "blocked": blocked }),
            1,
            "release 3 was given up: arm.service failed",
        ),
        (
            json!({ "state": "ready", "holds": hold }),
            3,
            "held by alice: a vase",
        ),
    ] {
        let agent = agent(vec![vec![
            vec![status(json!({}))],
            vec![message("looking")],
            vec![status(after)],
        ]]);
        let assert = surefoot(&agent.socket, &["update", "--wait"])
            .assert()
            .code(code);
        assert!(out(&assert).1.contains(words));
    }
}

#[test]
fn without_an_agent_root_rolls_back_through_the_daemons_program() {
    let agent = agent(vec![vec![vec![]], vec![vec![]]]);
    let place = agent.dir.path();
    let surefoot = place.join("surefoot");
    fs::copy(env!("CARGO_BIN_EXE_surefoot"), &surefoot).unwrap();
    let daemon = place.join("surefootd");
    let said = place.join("said");
    let script = format!(
        "#!/bin/sh\necho \"$@\" > {}\necho went back to 1\n",
        said.display()
    );
    fs::write(&daemon, script).unwrap();
    fs::set_permissions(&daemon, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(&surefoot);
        command
            .args(["rollback", "--json", "--why", "it drops", "--to", "1"])
            .args(more)
            .arg("--socket")
            .arg(&agent.socket);
        command.assert()
    };
    if nix::unistd::geteuid().is_root() {
        // Holds end, and leases are passed over, only where that was asked for.
        for (more, asked) in [
            (&[][..], ""),
            (&["--resume"], "--resume "),
            (&["--force"], "--force "),
        ] {
            let (stdout, stderr) = out(&run(more).success());
            assert_eq!(stdout, "{\"message\":\"went back to 1\"}\n");
            assert!(stderr.contains("rolling back without it"), "{stderr}");
            assert_eq!(
                fs::read_to_string(&said).unwrap(),
                format!("--rollback --why=it drops {asked}--to=1\n")
            );
        }
    } else {
        let (_, stderr) = out(&run(&[]).code(1));
        assert!(stderr.contains("sudo surefoot rollback"), "{stderr}");
        assert!(!said.exists());
    }
}

#[test]
fn a_refusal_of_the_daemons_program_is_a_refusal() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root rolls back without an agent");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let surefoot = place.path().join("surefoot");
    fs::copy(env!("CARGO_BIN_EXE_surefoot"), &surefoot).unwrap();
    let daemon = place.path().join("surefootd");
    for code in [1, 3] {
        fs::write(&daemon, format!("#!/bin/sh\nexit {code}\n")).unwrap();
        fs::set_permissions(&daemon, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(&surefoot);
        command.args(["rollback", "--why", "x", "--socket", "/nowhere"]);
        command.assert().code(code);
    }
}
