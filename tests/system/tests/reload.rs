//! A robot that is given another repository while it runs: `systemctl reload`.

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
