//! What is asked of the agent happens now or never.

use anyhow::{Context, Result};
use serde_json::Value;
use surefoot_tests::{Fleet, Robot, Toplevel};

const SOCKET: &str = "/run/surefoot/control.socket";
const ROLLBACK: &str = "io.surefoot.Agent.Rollback '{\"why\": \"it drops things\"}'";

/// A robot with three confirmed systems, the newest of which runs.
fn robot() -> Result<(Fleet, Robot, [String; 3])> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("2.0"))?;
    robot.until_confirmed(&second)?;
    let third = fleet.release(&fleet.toplevel("2.1"))?;
    robot.until_confirmed(&third)?;
    Ok((fleet, robot, [first, second, third]))
}

/// The releases that people rolled back, by the history.
fn rollbacks(robot: &Robot) -> Result<usize> {
    let history = robot.call("History", &serde_json::json!({}))?;
    let entries = history["entries"].as_array().context("no history")?;
    let rolled_back = |entry: &&Value| entry["what"] == "rolledBack";
    Ok(entries.iter().filter(rolled_back).count())
}

#[test]
fn nothing_is_done_for_a_caller_that_has_left() -> Result<()> {
    let (_fleet, robot, [_, _, third]) = robot()?;
    // The daemon hangs: the call waits, and its caller is ended.
    robot.sh("kill -STOP $(systemctl show --property MainPID --value surefootd)")?;
    robot.sh(&format!(
        "varlinkctl call --timeout=1 {SOCKET} {ROLLBACK} && exit 1 || exit 0"
    ))?;
    robot.sh("kill -CONT $(systemctl show --property MainPID --value surefootd)")?;
    robot.until(
        "journalctl --unit surefootd --grep 'nothing was done for a caller that has left'",
    )?;
    assert_eq!(rollbacks(&robot)?, 0);
    robot.stands_on(&third)?;
    Ok(())
}

#[test]
fn a_call_that_waited_while_root_rolled_back_does_not_roll_back_once_more() -> Result<()> {
    let (_fleet, robot, [_, second, _]) = robot()?;
    // The daemon dies, and systemd keeps its socket until it starts it again.
    robot.sh("mkdir -p /run/systemd/system/surefootd.service.d
         printf '[Service]\\nRestartSec=1h\\n' >/run/systemd/system/surefootd.service.d/zz-later.conf
         systemctl daemon-reload && systemctl kill --signal=KILL surefootd.service")?;
    robot.until("! systemctl --quiet is-active surefootd.service")?;
    // Two wait in the socket's queue: one says what it saw, one does not.
    robot.sh(&format!(
        "systemd-run --unit waits --remain-after-exit \
           varlinkctl call --timeout=infinity {SOCKET} {ROLLBACK}
         systemd-run --unit waits-too --remain-after-exit \
           /run/current-system/sw/bin/surefoot rollback --why 'it drops things'"
    ))?;
    robot.until(
        "test $(ss --no-header --unix --all src unix:/run/surefoot/control.socket | wc -l) -ge 3 \
                 || test $(grep -c control.socket /proc/net/unix) -ge 3",
    )?;
    robot.sh("surefootd --rollback --why 'it drops things'")?;
    robot.stands_on(&second)?;
    robot.sh("systemctl start surefootd.service")?;
    for unit in ["waits", "waits-too"] {
        robot.until(&format!("systemctl is-failed {unit}.service"))?;
    }
    robot.until_confirmed(&second)?;
    assert_eq!(rollbacks(&robot)?, 1);
    Ok(())
}

#[test]
fn without_an_agent_a_hold_ends_where_root_says_so_and_the_history_has_it() -> Result<()> {
    let (_fleet, robot, [_, second, third]) = robot()?;
    robot.sh("systemctl stop surefootd.service
         mkdir -p /var/lib/surefoot/holds && echo nonsense >/var/lib/surefoot/holds/hold-1")?;
    let refused = robot.sh("surefoot rollback --why 'it drops things' 2>&1 || test $? = 3")?;
    let offered = refused.contains("a hold that cannot be read (hold-1) holds the robot")
        && refused.contains("rollback --resume");
    assert!(offered, "{refused}");
    robot.stands_on(&third)?;
    // One that is refused ends nothing.
    robot.sh("surefoot rollback --resume --to 9.9 --why 'it drops things' || test $? = 3")?;
    robot.sh("test -e /var/lib/surefoot/holds/hold-1")?;
    robot.sh("surefoot rollback --resume --why 'it drops things'")?;
    robot.stands_on(&second)?;
    robot.sh("test ! -e /var/lib/surefoot/holds/hold-1 && systemctl start surefootd.service")?;
    robot.until_confirmed(&second)?;
    let history = robot.sh("surefoot history --json")?;
    let said =
        "it drops things; for that these holds were ended: a hold that cannot be read (hold-1)";
    assert!(history.contains(said), "{history}");
    Ok(())
}

#[test]
fn of_two_who_roll_back_at_once_one_is_told_that_it_has_happened() -> Result<()> {
    let (_fleet, robot, [_, second, third]) = robot()?;
    let rollback = |seen: &str| {
        let parameters = serde_json::json!({ "why": "x", "made": { "running": seen } });
        robot.call("Rollback", &parameters)
    };
    rollback(&third)?;
    robot.until_confirmed(&second)?;
    let refused = format!("{:#}", rollback(&third).unwrap_err());
    assert!(refused.contains("Refused"), "{refused}");
    robot.stands_on(&second)?;
    Ok(())
}

#[test]
fn a_rollback_is_followed_to_its_end() -> Result<()> {
    let (_fleet, robot, [_, second, _]) = robot()?;
    let said =
        robot.sh("surefoot --json rollback --wait --timeout 3min --why 'it drops things'")?;
    let said: Value = serde_json::from_str(&said).context(said.clone())?;
    assert_eq!(said["outcome"], "rolledBack");
    assert_eq!(said["system"], second);
    assert_eq!(robot.status()?["state"], "idle");
    robot.stands_on(&second)?;
    Ok(())
}

#[test]
fn a_rollback_is_followed_over_a_restart_of_the_agent() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let slow = fleet.toplevel("2.0").expression("activateHangs", "true");
    robot.sh("mkdir -p /run/robot && touch /run/robot/go-on")?;
    let second = fleet.release(&slow)?;
    robot.until_confirmed(&second)?;
    // The way back is another agent's as well: it takes over when the robot is there.
    let third = fleet.release(&Toplevel::named("2.1").with(&fleet.farm.agent("2")?))?;
    robot.until_confirmed(&third)?;
    robot.sh("rm /run/robot/go-on")?;
    robot.sh(&format!(
        "systemd-run --unit follows --property StandardOutput=file:/run/followed --remain-after-exit \
           {third}/sw/bin/surefoot --json rollback --wait --timeout 3min --why 'it drops things'"
    ))?;
    robot.until_status("the way back to begin", |status| {
        status["state"] == "committing" && status["target"]["system"] == second
    })?;
    robot.until("test -s /run/nixos/start-list")?;
    let pid = "systemctl show --property MainPID --value surefootd";
    let before = robot.sh(pid)?;
    robot.sh("systemctl kill --signal=KILL surefootd.service")?;
    robot.until(&format!(
        "test $({pid}) -ne 0 && test $({pid}) -ne {before}"
    ))?;
    robot.until_status("the agent to go on", |status| {
        status["state"] == "committing"
    })?;
    robot.sh(
        "systemctl is-active follows.service && ! test -s /run/followed && touch /run/robot/go-on",
    )?;
    robot.until("test -s /run/followed || systemctl is-failed follows.service")?;
    let said = robot.sh("cat /run/followed; systemctl status --no-pager follows.service >&2")?;
    let said: Value = serde_json::from_str(&said).context(said.clone())?;
    assert_eq!(said["outcome"], "rolledBack");
    assert_eq!(said["system"], second);
    robot.until_blocked("2.1", &second)?;
    assert_eq!(rollbacks(&robot)?, 1);
    assert_eq!(robot.status()?["fallbacks"][0]["system"], first);
    Ok(())
}

#[test]
fn while_the_journal_cannot_be_written_nothing_is_decided_and_it_goes_on_afterwards() -> Result<()>
{
    let (fleet, robot, [_, _, third]) = robot()?;
    // For the daemon alone its disk is read-only now.
    let pid = robot.sh("systemctl show --property MainPID --value surefootd")?;
    let inside = format!("nsenter --target {pid} --mount");
    robot.sh(&format!(
        "{inside} mount -t tmpfs -o ro tmpfs /var/lib/surefoot"
    ))?;
    let failed = robot.call("Hold", &serde_json::json!({ "why": "a vase" }));
    let failed = format!("{:#}", failed.unwrap_err());
    assert!(failed.contains("Failed"), "{failed}");
    let next = fleet.release(&fleet.toplevel("2.2"))?;
    robot.until_status("the fault to be named", |status| {
        status["fault"].is_string() && status["doing"].to_string().contains("nothing is decided")
    })?;
    for _ in 0..3 {
        robot.call("Resume", &serde_json::json!({})).unwrap_err();
    }
    robot.stands_on(&third)?;
    // Each reason is told once.
    let twice = robot.sh(
        "journalctl --unit surefootd --output cat --grep 'nothing is decided until' | sort | uniq -d",
    )?;
    assert_eq!(twice, "", "{}", robot.journal());

    robot.sh(&format!("{inside} umount /var/lib/surefoot"))?;
    let status = robot.until_confirmed(&next)?;
    assert!(status["fault"].is_null(), "{status:#}");
    // What was answered as failed did not happen.
    assert_eq!(status["holds"], serde_json::json!([]));

    // It is ended at once while it cannot write.
    let pid = robot.sh("systemctl show --property MainPID --value surefootd")?;
    robot.sh(&format!(
        "nsenter --target {pid} --mount mount -t tmpfs -o ro tmpfs /var/lib/surefoot"
    ))?;
    let failed = robot.call("Hold", &serde_json::json!({ "why": "a vase" }));
    failed.unwrap_err();
    robot.sh("systemctl stop surefootd.service")?;
    assert_eq!(
        robot.sh("systemctl show --property Result --value surefootd")?,
        "success"
    );
    Ok(())
}
