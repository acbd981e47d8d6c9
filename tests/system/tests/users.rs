//! People who log in: nothing that they may do without rights changes what the robot does.

use anyhow::Result;
use surefoot_tests::{Fleet, Robot};

/// As systemd's own, whose login manager robots in containers do not have.
const USER_MANAGER: &str = "[Service]
User=%i
Slice=user-%i.slice
RuntimeDirectory=user/%i
Environment=XDG_RUNTIME_DIR=/run/user/%i
Type=notify
ExecStart=/usr/lib/systemd/systemd --user
KillMode=mixed
Delegate=pids memory
";

const MANAGER: &str = "user@4242.service";

/// A guest logs in.
fn log_in(robot: &Robot) -> Result<()> {
    robot.sh("useradd --uid 4242 guest && mkdir -p /run/systemd/system")?;
    robot.sh(&format!(
        "printf %s '{USER_MANAGER}' >/run/systemd/system/user@.service && systemctl daemon-reload"
    ))?;
    robot.sh(&format!("systemctl start {MANAGER}"))?;
    // As the switcher hears from logind.
    robot.sh("mkdir -p /run/robot && echo 4242 4242 >/run/robot/users")?;
    Ok(())
}

#[test]
fn a_guest_who_kills_his_manager_in_a_trial_keeps_no_release_from_the_robot() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot(
        "[health]\nsoak = '20s'\ndeadline = '60s'\nmax_failures = 1\n[poll]\ninterval = '1s'\n",
    )?;
    log_in(&robot)?;

    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the trial", |now| now["state"] == "trial")?;
    let kill = format!("kill -9 $(systemctl show --value --property=MainPID {MANAGER})");
    let as_guest = [
        "setpriv",
        "--reuid=4242",
        "--clear-groups",
        "sh",
        "-c",
        &kill,
    ];
    assert!(robot.command(as_guest).status()?.success());
    robot.until(&format!("systemctl is-failed {MANAGER}"))?;
    assert_eq!(robot.status()?["state"], "trial");
    let status = robot.until_confirmed(&second)?;
    assert!(
        status["blocked"].as_array().is_none_or(Vec::is_empty),
        "{status:#}"
    );
    Ok(())
}

#[test]
fn a_guest_who_stops_what_a_switch_runs_as_him_keeps_no_release_from_the_robot() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot(
        "[trial]\nswitch_timeout = '24s'\n[health]\nsoak = '1s'\n[poll]\ninterval = '1s'\n",
    )?;
    log_in(&robot)?;
    // He takes it out of the switch's control group as well, and there is another one.
    robot.sh("useradd --uid 4243 visitor && systemctl start user@4243.service")?;
    robot.sh("echo 4243 4243 >>/run/robot/users")?;
    robot.sh(
        "systemd-run --quiet --unit=guest --uid=4242 sh -c 'while :; do \
           p=$(pgrep -u 4242 -f [s]witch-to-conf) && kill -STOP $p && busctl call org.freedesktop.systemd1 \
             /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager AttachProcessesToUnit ssau \
             user@4242.service \"\" 1 $p; sleep 0.1; done'",
    )?;
    robot.sh("systemd-run --quiet --unit=visitor --uid=4243 \
           sh -c 'while :; do pkill -STOP -u 4243 -f [s]witch-to-conf; sleep 0.1; done'")?;

    let second = fleet.release(&fleet.toplevel("1.1"))?;
    let status = robot.until_confirmed(&second)?;
    assert!(
        status["blocked"].as_array().is_none_or(Vec::is_empty),
        "{status:#}"
    );
    let log = robot.journal();
    for user in [4242, 4243] {
        let ended = format!("ending what the switcher runs as user {user}");
        assert!(log.contains(&ended), "{log}");
    }
    Ok(())
}
