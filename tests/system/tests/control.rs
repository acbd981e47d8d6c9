//! The control socket and the command line on a robot: by systemd's own client, by the real users
//! of the robot, and with the agent dead.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::process::Output;
use surefoot_tests::{Fleet, Robot, rig::words};

const SOCKET: &str = "/run/surefoot/control.socket";
const TECHNICIANS: &str = "4242";
const APPS: &str = "4243";

/// A robot that has a technician and software of its own.
fn robot() -> Result<(Fleet, Robot, String)> {
    let fleet = Fleet::new()?;
    let first = fleet.release(&fleet.toplevel("1.0"))?;
    let groups = "[control]\ntechnician_group = \"technicians\"\napp_group = \"app\"\n";
    let mut robot = fleet.robot(&first, groups)?;
    robot.start()?;
    robot.until_confirmed(&first)?;
    robot.sh(&format!("groupadd -g {TECHNICIANS} technicians"))?;
    robot.sh(&format!("groupadd -g {APPS} app"))?;
    robot.sh("useradd -G technicians alice && useradd -G app arm && useradd guest")?;
    // Groups that did not exist when the agent started give nobody anything until it looks again.
    robot.sh("systemctl reload surefootd")?;
    Ok((fleet, robot, first))
}

#[test]
fn varlinkctl_understands_it() -> Result<()> {
    let (_fleet, robot, first) = robot()?;
    let info = robot.sh(&format!("varlinkctl info {SOCKET}"))?;
    assert!(info.contains("io.surefoot.Agent"), "{info}");
    for interface in ["io.surefoot.Agent", "org.varlink.service"] {
        let file = format!("/tmp/{interface}.varlink");
        robot.sh(&format!(
            "varlinkctl introspect {SOCKET} {interface} > {file}"
        ))?;
        robot.sh(&format!("varlinkctl validate-idl {file}"))?;
    }
    assert_eq!(robot.status()?["confirmed"]["system"], first);
    // The first answer of a watch; then varlinkctl is ended. It separates answers by RFC 7464.
    let watch = format!(
        "timeout 20 varlinkctl call --more --json=short {SOCKET} io.surefoot.Agent.Watch {{}} | head -n 1 | tr -d '\\036'"
    );
    let status: Value = serde_json::from_str(&robot.sh(&watch)?)?;
    assert_eq!(status["status"]["confirmed"]["system"], first);
    let refused = robot.call("Rollback", &json!({ "why": "" })).unwrap_err();
    assert!(
        format!("{refused:#}").contains("InvalidParameter"),
        "{refused:#}"
    );
    Ok(())
}

#[test]
fn users_may_what_their_groups_may() -> Result<()> {
    let (_fleet, robot, _first) = robot()?;
    for (user, command, code) in [
        ("guest", &["status"][..], 0),
        ("guest", &["hold", "--why", "x"], 3),
        ("guest", &["rollback", "--why", "x"], 3),
        ("arm", &["rollback", "--why", "x"], 3),
        ("arm", &["hold", "--why", "carrying a vase"], 0),
        ("alice", &["hold", "--for", "4h", "--why", "inspection"], 0),
    ] {
        let output = robot.surefoot_as(user, command)?;
        let said = words(&output);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{user} {command:?}: {said}"
        );
        if code == 3 {
            assert!(said.contains("the group 'technicians'"), "{said}");
        }
    }
    let status = words(&robot.surefoot_as("guest", &["status"])?);
    assert!(
        status.contains("by arm until somebody resumes: carrying a vase"),
        "{status}"
    );
    assert!(status.contains("by alice for 3h 59min"), "{status}");

    // An update is refused while somebody holds; the robot's software ends its own hold only.
    let update = robot.surefoot_as("alice", &["update", "--wait", "--timeout", "3min"])?;
    assert_eq!(update.status.code(), Some(3), "{}", words(&update));
    assert!(robot.surefoot_as("arm", &["resume"])?.status.success());
    let holds = robot.status()?["holds"].take();
    assert_eq!(holds.as_array().context("no holds")?.len(), 1, "{holds}");
    assert!(robot.surefoot_as("alice", &["resume"])?.status.success());
    assert_eq!(robot.status()?["holds"], json!([]));
    Ok(())
}

#[test]
fn an_update_is_asked_for_and_followed() -> Result<()> {
    let (fleet, robot, _first) = robot()?;
    let update = || {
        robot.surefoot_as(
            "alice",
            &["--json", "update", "--wait", "--timeout", "3min"],
        )
    };
    let last = |output: &Output| -> Result<Value> {
        serde_json::from_slice(&output.stdout).with_context(|| words(output))
    };
    assert_eq!(last(&update()?)?["outcome"], "upToDate");

    fleet.release(&fleet.toplevel("1.1"))?;
    let output = update()?;
    assert_eq!(
        last(&output)?,
        json!({ "outcome": "confirmed", "release": "1.1" })
    );

    fleet.release(&fleet.toplevel("1.2").service("fails"))?;
    let output = update()?;
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(
        words(&output).contains("release 1.2 was given up"),
        "{}",
        words(&output)
    );

    let history = words(&robot.surefoot_as("guest", &["history"])?);
    assert!(history.contains("reverted    release 1.2"), "{history}");
    assert!(history.contains("confirmed   release 1.1"), "{history}");
    Ok(())
}

#[test]
fn with_the_agent_dead_root_still_rolls_back() -> Result<()> {
    let (fleet, robot, first) = robot()?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    robot.sh("systemctl stop surefootd")?;

    let output = robot.surefoot_as("alice", &["rollback", "--why", "it drops things"])?;
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("sudo surefoot rollback"));
    assert_eq!(robot.current()?, second);

    // Whatever root's `PATH` leads to, by mistake or because somebody else had a say in it.
    robot.sh("mkdir /tmp/trap && cd /tmp/trap && for name in surefootd systemctl systemd-run journalctl; do
        printf '#!/bin/sh\\ntouch /tmp/caught\\nexit 1\\n' >$name; chmod +x $name
    done")?;
    robot
        .sh("cd /tmp/trap && umask 0
            export PATH=/tmp/trap:$PATH LD_PRELOAD=/tmp/trap/none.so SYSTEMD_PAGER=/tmp/trap/systemctl
            /run/current-system/sw/bin/surefoot doctor --json >/tmp/doctor
            /run/current-system/sw/bin/surefoot rollback --why 'it drops things'")
        .with_context(|| robot.journal())?;
    robot.sh("test -s /tmp/doctor && ! test -e /tmp/caught")?;
    robot.sh("! find /var/lib/surefoot -perm /022 ! -type l | grep .")?;
    robot.stands_on(&first)?;

    // The agent goes on from there, and does not try again what was left.
    robot.sh("systemctl start surefootd")?;
    let status = robot.until_confirmed(&first)?;
    assert_eq!(status["blocked"][0]["release"], "1.1", "{status:#}");
    Ok(())
}
