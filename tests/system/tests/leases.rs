//! Leases on a robot: what is busy stays so, whatever becomes of whoever said it.

use anyhow::Result;
use serde_json::{Value, json};
use surefoot_tests::{Fleet, Robot, rig::words};

const SUREFOOT: &str = "/run/current-system/sw/bin/surefoot";

/// A robot with a technician, and software of two users.
fn robot(gates: &str) -> Result<(Fleet, Robot, String)> {
    let configuration = format!(
        "[control]\ntechnician_group = 'technicians'\napp_group = 'app'\n\
         [gates]\ninterval = '1s'\n{gates}"
    );
    let (fleet, robot, first) = Fleet::with_robot(&configuration)?;
    robot.sh("groupadd -g 4242 technicians && groupadd -g 4243 app")?;
    robot.sh("useradd -G technicians alice && useradd -G app arm && useradd -G app eve")?;
    robot.sh("systemctl reload surefootd")?;
    Ok((fleet, robot, first))
}

/// Starts a unit of the robot's software that holds the lease; it runs until it is killed.
fn hold(robot: &Robot) -> Result<()> {
    robot.sh(&format!(
        "systemd-run --quiet --unit=mission --uid=arm {SUREFOOT} lease gripper --why 'a crate' -- sleep infinity"
    ))?;
    robot.until_status("the lease", is_held)?;
    Ok(())
}

fn is_held(status: &Value) -> bool {
    let lease = &status["leases"][0];
    lease["name"] == "gripper" && lease["busy"] == true && lease["lost"].is_null()
}

fn waits(status: &Value) -> bool {
    status["gates"][0]["gate"] == "lease gripper"
}

/// Somebody asks for the update again and again, and each time the gates are asked anew.
fn is_not_switched(robot: &Robot, system: &str) -> Result<()> {
    for _ in 0..3 {
        robot.sh(&format!("{SUREFOOT} update"))?;
        robot.until_status("the release to wait", waits)?;
        robot.stands_on(system)?;
    }
    let journal = robot.sh("journalctl --no-pager -o cat -u surefootd")?;
    assert!(!journal.contains("-> trial"), "{journal}");
    Ok(())
}

#[test]
fn a_busy_robot_whose_holder_was_killed_is_not_switched() -> Result<()> {
    let (fleet, robot, first) = robot("")?;
    hold(&robot)?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the release to wait", waits)?;

    robot.sh("kill -9 $(systemctl show --value --property=MainPID mission)")?;
    let status = robot.until_status("the loss", |now| now["leases"][0]["lost"].is_string())?;
    assert_eq!(status["leases"][0]["lost"], "its holder died", "{status:#}");
    is_not_switched(&robot, &first)?;
    assert!(waits(&robot.status()?));

    let said = words(&robot.surefoot_as("alice", &["status"])?);
    let why = "gripper by arm is busy: a crate; its holder died, for ";
    assert!(said.contains(why), "{said}");
    assert!(said.contains("surefoot lease gripper --end"), "{said}");
    let said = words(&robot.surefoot_as("alice", &["doctor"])?);
    assert!(
        said.contains("arm said that the robot is busy, and its holder died"),
        "{said}"
    );

    // Another user of the app group cannot end it; a technician can.
    let end = ["lease", "gripper", "--end"];
    let output = robot.surefoot_as("eve", &end)?;
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    let output = robot.surefoot_as("alice", &end)?;
    assert!(output.status.success(), "{}", words(&output));
    let status = robot.until_confirmed(&second)?;
    assert_eq!(status["leases"], json!([]));
    Ok(())
}

#[test]
fn what_a_command_ends_with_says_whether_the_robot_is_free() -> Result<()> {
    let (fleet, robot, _) = robot("")?;
    let lease = |options: &[&str], exit: &str| {
        let mut words = vec!["lease", "gripper"];
        words.extend(options);
        words.extend(["--", "sh", "-c", exit]);
        robot.surefoot_as("arm", &words)
    };
    let output = lease(&[], "exit 0")?;
    assert_eq!(
        (output.status.code(), words(&output).as_str()),
        (Some(0), "")
    );
    assert_eq!(robot.status()?["leases"], json!([]));

    let output = lease(&["--free-on-failure"], "exit 7")?;
    assert_eq!(output.status.code(), Some(7), "{}", words(&output));
    assert_eq!(robot.status()?["leases"], json!([]));

    let output = lease(&[], "exit 1")?;
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("the robot stays busy, since the command failed"),
        "{said}"
    );
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the release to wait", waits)?;

    // The same user takes it again, and it ends as any other.
    let output = lease(&[], "exit 0")?;
    assert!(output.status.success(), "{}", words(&output));
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn a_holder_outlasts_restarts_of_the_agent() -> Result<()> {
    let (fleet, robot, first) = robot("")?;
    hold(&robot)?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the release to wait", waits)?;
    for restart in [
        "systemctl restart surefootd",
        "systemctl kill -s KILL surefootd",
    ] {
        let pid = robot.sh("systemctl show --value --property=MainPID surefootd")?;
        robot.sh(restart)?;
        robot.until(&format!(
            "test $(systemctl show --value --property=MainPID surefootd) != {pid}"
        ))?;
        robot.until_status("the holder to come back", |now| {
            // An agent that answers never takes the robot for free in between.
            if !now.is_null() {
                assert_eq!(now["leases"][0]["busy"], true, "{now:#}");
            }
            is_held(now)
        })?;
        robot.until_status("the release to wait", waits)?;
        robot.stands_on(&first)?;
    }
    let journal = robot.sh("journalctl --no-pager -o cat -u surefootd")?;
    assert!(!journal.contains("-> trial"), "{journal}");
    // The program is asked to end: the command is, and it fails.
    robot.sh("systemctl kill --kill-whom=main mission")?;
    robot.until_status("the loss", |now| now["leases"][0]["lost"].is_string())?;
    robot.sh(&format!("{SUREFOOT} lease gripper --end"))?;
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn leases_that_cannot_be_read_keep_the_robot_as_it_is() -> Result<()> {
    let (fleet, robot, first) = robot("")?;
    robot.call("Lease", &json!({ "name": "gripper", "busy": true }))?;
    robot.sh(
        "systemctl kill -s STOP surefootd
         find /run/surefoot* -name leases.json | grep . | while read file; do echo '{\"boot\":' >$file; done
         systemctl kill -s KILL surefootd",
    )?;
    let unreadable = |now: &Value| now["leases"][0]["name"] == "unreadable";
    robot.until_status("the word for it", unreadable)?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the release to wait", |now| {
        now["gates"][0]["gate"] == "lease unreadable"
    })?;
    robot.stands_on(&first)?;
    let output = robot.surefoot_as("arm", &["lease", "unreadable", "--end"])?;
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    let output = robot.surefoot_as("alice", &["lease", "unreadable", "--end"])?;
    assert!(output.status.success(), "{}", words(&output));
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn another_users_free_is_refused() -> Result<()> {
    let (fleet, robot, first) = robot("leases = [{ name = 'gripper', user = 'arm' }]\n")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the release to wait", waits)?;
    let free = ["lease", "gripper", "--free", "--ttl", "10min"];
    let output = robot.surefoot_as("eve", &free)?;
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    let said = words(&output);
    assert!(
        said.contains("the lease 'gripper' is arm's alone"),
        "{said}"
    );
    robot.stands_on(&first)?;
    let output = robot.surefoot_as("arm", &free)?;
    assert!(output.status.success(), "{}", words(&output));
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn without_an_agent_a_busy_robot_is_not_switched() -> Result<()> {
    let (fleet, robot, first) = robot("")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    hold(&robot)?;
    robot.sh("systemctl stop surefootd.service")?;
    let refused = robot.sh("surefoot rollback --why='-1.1 drops things' 2>&1 || test $? = 3")?;
    assert!(
        refused.contains("the robot is busy: lease gripper"),
        "{refused}"
    );
    assert!(refused.contains("surefoot rollback --force"), "{refused}");
    robot.stands_on(&second)?;
    robot.sh("surefoot rollback --force --why='-1.1 drops things'")?;
    robot.stands_on(&first)?;
    Ok(())
}

/// A guard that nobody remembers, as long as the robot says that it is: that of a trial beside the running
/// kernel, or the deadline of a boot.
fn nobody_gets_busy_under(robot: &Robot, guard: &str) -> Result<()> {
    robot.sh(&format!(
        "systemd-run --quiet --unit={guard} --on-active=1h --timer-property=AccuracySec=1s true"
    ))?;
    let refused = robot
        .call(
            "Lease",
            &json!({ "name": "gripper", "busy": true, "seconds": 60 }),
        )
        .expect_err("the guard would hit whoever is busy");
    let refused = format!("{refused:#}");
    assert!(refused.contains("a guard is armed"), "{guard}: {refused}");
    robot.sh(&format!("systemctl stop {guard}.timer"))?;
    Ok(())
}

#[test]
fn nobody_gets_busy_under_a_guard_that_an_agent_which_stands_still_does_not_take_back() -> Result<()>
{
    let (_fleet, robot, first) = Fleet::with_robot("")?;
    robot.sh(
        "mkdir -p /etc/surefoot/config.d && echo '[health' >/etc/surefoot/config.d/80-typing.toml
         systemctl restart surefootd.service",
    )?;
    robot.until_status("the agent to stand still", |status| {
        status["fault"].to_string().contains("80-typing.toml")
    })?;
    for guard in ["surefoot-dead-man", "surefoot-deadline"] {
        nobody_gets_busy_under(&robot, guard)?;
    }
    let busy = json!({ "name": "gripper", "busy": true, "seconds": 60 });
    robot.call("Lease", &busy)?;
    // What is in the hand already may be said again.
    robot.sh("systemd-run --quiet --unit=surefoot-deadline --on-active=1h true")?;
    robot.call("Lease", &busy)?;
    robot.sh("systemctl stop surefoot-deadline.timer")?;
    robot.stands_on(&first)?;
    Ok(())
}

#[test]
fn nobody_gets_busy_under_a_guard_of_which_the_memory_is_lost() -> Result<()> {
    let (_fleet, robot, first) = Fleet::with_robot("")?;
    for guard in ["surefoot-dead-man", "surefoot-deadline"] {
        robot.sh(&format!(
            "systemctl stop surefootd.service
             for slot in /var/lib/surefoot/journal.0 /var/lib/surefoot/journal.1; do echo rust >$slot; done
             systemd-run --quiet --unit={guard} --on-active=1h true
             systemctl start surefootd.service"
        ))?;
        // More than one look at the robot has been taken.
        let checked = |status: &serde_json::Value| {
            !status["lost"].is_null() && !status["lastCheck"].is_null()
        };
        robot.until_status("the loss to be said", checked)?;
        robot.call("Update", &json!({}))?;
        robot.sh(&format!("systemctl is-active --quiet {guard}.timer"))?;
        let refused = robot
            .call(
                "Lease",
                &json!({ "name": "gripper", "busy": true, "seconds": 60 }),
            )
            .expect_err("the guard would hit whoever is busy");
        assert!(
            format!("{refused:#}").contains("a guard is armed"),
            "{refused:#}"
        );
        robot.sh(&format!("systemctl stop {guard}.timer"))?;
    }
    robot.stands_on(&first)?;
    Ok(())
}
