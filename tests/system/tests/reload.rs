//! A robot whose configuration changes while it runs (`systemctl reload`), or cannot be used.

use anyhow::Result;
use std::path::{Path, PathBuf};
use surefoot_tests::{Fleet, Robot, fleet::MODEL, rig};

/// A second repository of the same web server, with keys of its own.
fn second(fleet: &Fleet) -> Result<PathBuf> {
    let directory = fleet.repository().join("second");
    rig::run(fleet.surefoot(&["repo", "init"])?.arg(&directory))?;
    Ok(directory)
}

fn release(fleet: &Fleet, repository: &Path, name: &str) -> Result<String> {
    let path = fleet.toplevel(name).build(&fleet.farm)?;
    fleet.push(&path)?;
    let mut publish = fleet.surefoot(&["publish", "--channel", "night", "--model", MODEL])?;
    publish.args(["--cache", "http://127.0.0.1/cache", "--release", name]);
    rig::run(publish.arg("--repo").arg(repository).arg(&path))?;
    Ok(path)
}

/// Puts a file in its place as one step.
fn put(robot: &Robot, path: &str, content: &[u8]) -> Result<()> {
    let share = robot.share()?;
    std::fs::write(share.join("new"), content)?;
    robot.sh(&format!(
        "mkdir -p $(dirname {path}) && cp /srv/new {path}.new && mv {path}.new {path}"
    ))?;
    Ok(())
}

fn reload(robot: &Robot) -> Result<()> {
    robot.sh("systemctl reload surefootd")?;
    Ok(())
}

#[test]
fn another_repository_is_followed_after_a_reload_and_a_wrong_one_never() -> Result<()> {
    let fleet = Fleet::new()?;
    let first = fleet.toplevel("1.0").build(&fleet.farm)?;
    let mut robot = fleet.robot(&first, "")?;
    robot.share()?;
    robot.start()?;
    robot.until_confirmed(&first)?;
    let process = robot.sh("systemctl show --value -p MainPID surefootd")?;

    // Another repository, its anchor, another channel.
    let repository = second(&fleet)?;
    let next = release(&fleet, &repository, "2.0")?;
    let anchor = std::fs::read(repository.join("metadata/1.root.json"))?;
    put(&robot, "/etc/surefoot/second.json", &anchor)?;
    let follow = b"repository = \"http://127.0.0.1/repo/second\"
        channel = \"night\"
        root = \"/etc/surefoot/second.json\"\n";
    put(&robot, "/etc/surefoot/config.d/60-second.toml", follow)?;
    reload(&robot)?;
    robot.until_confirmed(&next)?;

    // An anchor that is none: said, and the old one stays in force.
    put(&robot, "/etc/surefoot/second.json", b"{}")?;
    reload(&robot)?;
    robot.until("journalctl -u surefootd | grep -q 'the old repository stays in use'")?;
    let next = release(&fleet, &repository, "2.1")?;
    robot.until_confirmed(&next)?;

    // Somebody else's anchor under the same name: that repository is not believed any more.
    let other = std::fs::read(fleet.repository().join("metadata/1.root.json"))?;
    put(&robot, "/etc/surefoot/second.json", &other)?;
    reload(&robot)?;
    robot.until_status("the repository to be refused", |status| {
        let error = status["lastCheck"]["error"].as_str().unwrap_or_default();
        error.contains("required signatures are valid")
    })?;
    release(&fleet, &repository, "2.2")?;
    robot.stands_on(&next)?;

    // The right one again.
    put(&robot, "/etc/surefoot/second.json", &anchor)?;
    reload(&robot)?;
    let last = release(&fleet, &repository, "2.3")?;
    robot.until_confirmed(&last)?;
    let still = robot.sh("systemctl show --value -p MainPID surefootd")?;
    assert_eq!(process, still, "all of it by one process");
    Ok(())
}

/// A drop-in that says the opposite of another layer.
const CONTRADICTION: &str = "/etc/surefoot/config.d/70-soak.toml";

fn contradict(robot: &Robot) -> Result<()> {
    robot.sh(&format!(
        "mkdir -p /etc/surefoot/config.d && printf '[health]\\nsoak = \"10h\"\\n' >{CONTRADICTION}"
    ))?;
    Ok(())
}

#[test]
fn a_configuration_that_a_reload_refused_is_said_until_a_good_one_comes() -> Result<()> {
    let (_fleet, robot, first) = Fleet::with_robot("")?;
    robot.until_confirmed(&first)?;
    let process = robot.sh("systemctl show --value -p MainPID surefootd")?;
    contradict(&robot)?;
    let refused = robot.try_sh("systemctl reload surefootd")?;
    assert!(!refused.status.success());
    robot.until_status("the refusal", |status| {
        let said = status["configuration"].as_str().unwrap_or_default();
        said.contains("70-soak.toml:2:8") && status["fault"].is_null()
    })?;
    robot.sh("surefoot status | grep -q 70-soak.toml")?;
    robot.sh("surefoot doctor --json >/tmp/doctor; grep -q 70-soak.toml /tmp/doctor")?;
    robot.sh(&format!("rm {CONTRADICTION}"))?;
    reload(&robot)?;
    robot.until_status("no refusal", |status| {
        status["state"].is_string() && status["configuration"].is_null()
    })?;
    let still = robot.sh("systemctl show --value -p MainPID surefootd")?;
    assert_eq!(process, still, "it went on with the old one");
    Ok(())
}

#[test]
fn an_agent_without_a_configuration_that_it_can_use_answers_and_rolls_back() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    contradict(&robot)?;
    robot.sh("systemctl restart surefootd")?;
    let says = |status: &serde_json::Value| {
        let fault = status["fault"].as_str().unwrap_or_default();
        fault.contains("70-soak.toml:2:8")
    };
    robot.until_status("why it stands still", says)?;
    let restarts = "systemctl show --value -p NRestarts surefootd";
    let before = robot.sh(restarts)?;
    robot.sh("surefoot history | grep -q 1.1")?;
    robot.sh("surefoot doctor --json >/tmp/doctor; grep -q 70-soak.toml /tmp/doctor")?;
    robot.sh("! surefoot update")?;
    robot.stands_on(&second)?;

    robot.sh("surefoot rollback --why 'it grips badly'")?;
    robot.until(&format!("test $(readlink /run/current-system) = {first}"))?;
    robot.until_status("the rollback to be remembered", |status| {
        says(status) && status["confirmed"]["system"] == *first
    })?;
    assert_eq!(robot.sh(restarts)?, before, "it was not restarted for ever");

    // Mended: it goes on by itself, and knows what was left.
    robot.sh(&format!("rm {CONTRADICTION}"))?;
    reload(&robot)?;
    robot.until_status("it to go on", |status| {
        status["state"].is_string() && status["fault"].is_null()
    })?;
    let status = robot.until_confirmed(&first)?;
    assert_eq!(status["blocked"][0]["release"], "1.1", "{status:#}");
    robot.stands_on(&first)?;
    Ok(())
}

#[test]
fn a_rollback_out_of_a_trial_blocks_it_where_the_configuration_cannot_be_used() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("[health]\nsoak = '25s'\ndeadline = '2min'\n")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the soak", |status| {
        let doing = status["doing"].as_str().unwrap_or_default();
        status["state"] == "trial" && doing.contains("healthy")
    })?;
    robot.until(&format!("test $(readlink /run/current-system) = {second}"))?;
    contradict(&robot)?;
    robot.sh("systemctl kill --signal=KILL surefootd")?;
    robot.until_status("why it stands still", |status| status["fault"].is_string())?;
    robot.sh("surefoot rollback --why 'it grips badly'")?;
    robot.until(&format!("test $(readlink /run/current-system) = {first}"))?;
    robot.sh(&format!("rm {CONTRADICTION}"))?;
    robot.until_status("it to go on", |status| {
        status["state"] == "idle" && status["fault"].is_null()
    })?;
    let status = robot.status()?;
    assert_eq!(status["blocked"][0]["release"], "1.1", "{status:#}");
    robot.stands_on(&first)?;
    Ok(())
}

#[test]
fn without_an_agent_and_a_configuration_root_rolls_back_and_looks_the_robot_over() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    contradict(&robot)?;
    robot.sh("echo '[health' >/etc/surefoot/config.d/80-typing.toml")?;
    robot.sh("systemctl stop surefootd")?;
    robot.sh("surefoot doctor --json >/tmp/doctor; grep -q 80-typing.toml /tmp/doctor")?;
    robot.sh("surefoot rollback --why 'it grips badly' 2>/tmp/said")?;
    robot.sh("grep -q 70-soak.toml:2:8 /tmp/said && grep -q 'defaults for' /tmp/said")?;
    robot.stands_on(&first)?;
    Ok(())
}
