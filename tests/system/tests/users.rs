//! People who log in: nothing that they may do without rights changes what the robot does.

use anyhow::Result;
use surefoot_tests::Fleet;

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

#[test]
fn a_guest_who_kills_his_manager_in_a_trial_keeps_no_release_from_the_robot() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot(
        "[health]\nsoak = '20s'\ndeadline = '60s'\nmax_failures = 1\n[poll]\ninterval = '1s'\n",
    )?;
    robot.sh("useradd --uid 4242 guest && mkdir -p /run/systemd/system")?;
    robot.sh(&format!(
        "printf %s '{USER_MANAGER}' >/run/systemd/system/user@.service && systemctl daemon-reload"
    ))?;
    let manager = "user@4242.service";
    robot.sh(&format!("systemctl start {manager}"))?;

    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the trial", |now| now["state"] == "trial")?;
    let kill = format!("kill -9 $(systemctl show --value --property=MainPID {manager})");
    let as_guest = [
        "setpriv",
        "--reuid=4242",
        "--clear-groups",
        "sh",
        "-c",
        &kill,
    ];
    assert!(robot.command(as_guest).status()?.success());
    robot.until(&format!("systemctl is-failed {manager}"))?;
    assert_eq!(robot.status()?["state"], "trial");
    let status = robot.until_confirmed(&second)?;
    assert!(
        status["blocked"].as_array().is_none_or(Vec::is_empty),
        "{status:#}"
    );
    Ok(())
}
