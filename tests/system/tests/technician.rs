//! The technician beside the robot.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use surefoot_tests::{Fleet, toplevel::etc};

/// The entry of a system in a list of them.
fn entry<'a>(systems: &'a Value, system: &str) -> Result<&'a Value> {
    let mut systems = systems.as_array().context("no list")?.iter();
    let entry = systems.find(|entry| entry["system"] == system);
    entry.with_context(|| format!("{system} is not listed"))
}

#[test]
fn the_systems_of_a_robot_are_listed_and_compared() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let more = etc(&[("robot/more", "1")])?;
    let second = fleet.release(&fleet.toplevel("2.0").etc(more.path()))?;
    robot.until_confirmed(&second)?;

    let listed = robot.call("Systems", &json!({}))?["systems"].take();
    let runs = entry(&listed, &second)?;
    for part in ["running", "confirmed", "default"] {
        let parts = runs["parts"].as_array().context("no parts")?;
        assert!(parts.contains(&json!(part)), "{runs}");
    }
    assert_eq!(runs["differs"], "");
    let before = entry(&listed, &first)?;
    assert_eq!(before["proven"], true);
    assert_eq!(before["agent"], true);
    assert_eq!(before["reboot"], json!([]));
    assert!(
        before["ownSize"].as_u64() < before["size"].as_u64(),
        "{before}"
    );

    // By the command line as well.
    let told = robot.surefoot_as("root", &["--json", "systems", "--diff", "2.0", &first])?;
    let difference: Value = serde_json::from_slice(&told.stdout)?;
    assert_eq!(
        difference["etc"]["removed"],
        json!(["robot/more"]),
        "{difference}"
    );
    assert_eq!(
        difference["nixos"]["before"], "26.05.robot.2.0",
        "{difference}"
    );
    let nowhere = robot.surefoot_as("root", &["systems", "--diff", "7.7"])?;
    assert_eq!(nowhere.status.code(), Some(3));

    // With the agent dead, root sees the same.
    robot.sh("systemctl stop surefootd.service")?;
    let told = robot.sh("/run/current-system/sw/bin/surefoot --json systems 2>/dev/null")?;
    let without: Value = serde_json::from_str(&told)?;
    assert_eq!(without["systems"], listed);
    Ok(())
}

#[test]
fn a_report_is_complete_and_names_what_is_missing_when_the_agent_is_dead() -> Result<()> {
    let (_fleet, robot, _) = Fleet::with_robot("")?;
    let report = "/run/current-system/sw/bin/surefoot --json report -o /srv/report.tar.zst";
    robot.share()?;
    let told: Value = serde_json::from_str(&robot.sh(report)?)?;
    assert_eq!(told["missing"], json!([]), "{told}");
    robot.sh("test \"$(stat -c %a /srv/report.tar.zst)\" = 600")?;

    robot.sh("systemctl stop surefootd.service")?;
    let told: Value = serde_json::from_str(&robot.sh(report)?)?;
    let missing = told["missing"].as_array().context("no list")?;
    assert_eq!(missing.len(), 2, "{told}");
    let files = told["files"].to_string();
    for name in ["doctor.json", "systems.json", "memory.json", "agent.log"] {
        assert!(files.contains(name), "{files}");
    }
    Ok(())
}
