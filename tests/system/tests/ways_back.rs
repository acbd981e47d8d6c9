//! Ways back on a robot where Nix or the boot partition cannot be used, or where the system before does not start.

use anyhow::{Context as _, Result};
use serde_json::Value;
use surefoot_tests::{Fleet, Robot};

/// Quick tries, so that a test sees several rounds of them.
const QUICK: &str = "[trial]\nretry_delay = '200ms'\n[health]\nsoak = '15s'\ndeadline = '90s'\ninterval = '200ms'\n\
    [[health.command]]\nname = 'grip'\nexec = ['/bin/sh', '-c', '! test -e /run/loose']\ntimeout = '5s'\n";

/// The database of Nix cannot be read any more, as it was seen after power cuts.
fn loses_nix(robot: &Robot) -> Result<()> {
    robot.sh(": >/nix/var/nix/db/schema; ! nix-env -p /tmp/profile --set /run/current-system")?;
    Ok(())
}

/// A robot whose second release is confirmed.
fn on_second(configuration: &str) -> Result<(Fleet, Robot, [String; 2])> {
    let (fleet, robot, first) = Fleet::with_robot(configuration)?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    Ok((fleet, robot, [first, second]))
}

fn says(robot: &Robot, words: &str) -> Result<Value> {
    robot.until_status("the robot to say it", |status| {
        status["doing"].to_string().contains(words)
    })
}

#[test]
fn a_rollback_needs_no_nix_and_no_reboot() -> Result<()> {
    let (_fleet, robot, [first, _]) = on_second("")?;
    let boot = robot.boot_id()?;
    loses_nix(&robot)?;
    robot.sh("surefoot rollback --why 'it grips badly' --wait")?;
    robot.until_blocked("1.1", &first)?;
    assert_eq!(robot.boot_id()?, boot);
    Ok(())
}

#[test]
fn a_trial_that_fails_is_left_without_nix() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot(QUICK)?;
    let boot = robot.boot_id()?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the trial", |status| {
        status["running"]["system"] == second && status["health"].is_object()
    })?;
    loses_nix(&robot)?;
    robot.sh("touch /run/loose")?;
    let blocked = robot.until_blocked("1.1", &first)?;
    assert_eq!(blocked["cause"], "unhealthy", "{blocked:#}");
    assert_eq!(robot.boot_id()?, boot);
    Ok(())
}

#[test]
fn a_rollback_runs_at_once_where_the_boot_partition_is_read_only_and_is_written_later() -> Result<()>
{
    let (_fleet, robot, [first, second]) = on_second("[trial]\nretry_delay = '200ms'\n")?;
    let boot = robot.boot_id()?;
    robot.sh("mount --bind /boot /boot; mount -o remount,bind,ro /boot")?;
    robot.sh("surefoot rollback --why 'it grips badly'")?;
    robot.until(&format!("test $(readlink /run/current-system) = {first}"))?;
    says(&robot, "having profile and boot loader name")?;
    says(&robot, "do not name it yet")?;
    assert_eq!(robot.loader_default()?, second);
    // The robot may work meanwhile.
    robot.sh("systemctl is-active robot.service")?;
    assert_eq!(robot.boot_id()?, boot);
    robot.sh("umount /boot; surefoot rollback --why 'the partition was repaired' --wait")?;
    robot.until_blocked("1.1", &first)?;
    let history = robot.call("History", &serde_json::json!({}))?.to_string();
    assert!(
        history.contains("it grips badly") && history.contains("the partition was repaired"),
        "{history}"
    );
    assert_eq!(robot.boot_id()?, boot);
    Ok(())
}

#[test]
fn without_an_agent_a_rollback_ends_where_the_boot_partition_is_read_only_and_says_what_is_left()
-> Result<()> {
    let (_fleet, robot, [first, second]) = on_second("[trial]\nretry_delay = '200ms'\n")?;
    robot
        .sh("systemctl stop surefootd; mount --bind /boot /boot; mount -o remount,bind,ro /boot")?;
    let said = robot.sh("surefootd --rollback --why 'it grips badly' 2>&1")?;
    assert!(said.contains("do not name it yet"), "{said}");
    assert_eq!(robot.current()?, first);
    assert_eq!(robot.loader_default()?, second);
    robot.sh("umount /boot; systemctl start surefootd")?;
    robot.until_blocked("1.1", &first)?;
    Ok(())
}

#[test]
fn without_an_agent_a_way_back_that_does_not_get_on_is_passed() -> Result<()> {
    let (_fleet, robot, [first, second]) = on_second("[trial]\nretry_delay = '200ms'\n")?;
    robot
        .sh("systemctl stop surefootd; mount --bind /boot /boot; mount -o remount,bind,ro /boot")?;
    robot.sh("surefootd --rollback --why 'it grips badly'")?;
    assert_eq!(robot.current()?, first);
    // The system that was gone back to has begun with its agent.
    robot.sh(&format!(
        "systemctl stop surefootd; surefootd --rollback --to {second} --why 'that one grips worse'"
    ))?;
    assert_eq!(robot.current()?, second);
    robot.sh("umount /boot; systemctl start surefootd")?;
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn a_technician_passes_a_way_back_that_does_not_get_on() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot(&QUICK.replace("'15s'", "'1s'"))?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    let boot = robot.boot_id()?;
    robot.sh(
        "printf '[health]\\nsoak = \"15s\"\\n' >/etc/surefoot/config.d/60-soak.toml
         systemctl restart surefootd.service",
    )?;
    let third = fleet.release(&fleet.toplevel("1.2"))?;
    robot.until_status("the trial", |status| {
        status["running"]["system"] == third && status["health"].is_object()
    })?;
    // The system before cannot be switched to, and somebody keeps the robot from the reboot that would help.
    robot.sh(&format!(
        "printf '#!/bin/sh\\nexit 7\\n' >/run/broken; chmod +x /run/broken
         mount --bind /run/broken {second}/bin/switch-to-configuration
         surefoot hold --why 'arm inside a patient'; touch /run/loose"
    ))?;
    let status = says(&robot, "when the hold of root ends")?;
    assert_eq!(status["state"], "reverting", "{status:#}");
    robot.sh(&format!(
        "rm /run/loose; surefoot rollback --to {first} --why 'the one before does not start' --wait"
    ))?;
    robot.until_status("both to be blocked", |status| {
        ["1.1", "1.2"].iter().all(|release| {
            let blocked = status["blocked"].as_array();
            blocked.is_some_and(|all| all.iter().any(|entry| entry["release"] == *release))
        })
    })?;
    robot.stands_on(&first)?;
    assert_eq!(robot.boot_id()?, boot);
    let holds = robot.status()?["holds"].take();
    holds.get(0).context("the hold ended")?;
    Ok(())
}
