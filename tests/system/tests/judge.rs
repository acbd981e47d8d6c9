//! What the robot or the network does to a trial, and what a release does to the robot.

use crate::orphans::could_import_nothing_more;
use anyhow::Result;
use surefoot_tests::{
    Fleet, rig,
    toplevel::{etc, etc_with_unit},
};

/// A unit of a release that does one thing when it is started, and undoes it when it is stopped.
fn doing(does: &str, undoes: &str) -> String {
    format!(
        "[Unit]\nDescription=What the release does\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=/bin/sh -c '{does}'\nExecStop=/bin/sh -c '{undoes}'\n[Install]\nWantedBy=multi-user.target\n"
    )
}

#[test]
fn a_release_that_switches_the_nix_daemon_off_is_never_kept() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let units = "nix-daemon.socket nix-daemon.service";
    let unit = doing(
        &format!("systemctl --runtime mask {units} && systemctl stop {units}"),
        &format!("systemctl --runtime unmask {units} && systemctl start nix-daemon.socket"),
    );
    let brought = etc_with_unit("off.service", &unit)?;
    fleet.release(&fleet.toplevel("off").etc(brought.path()))?;
    could_import_nothing_more("off", &fleet, &robot, &first)
}

#[test]
fn a_release_that_hangs_the_nix_daemon_is_blocked_once_the_one_before_is_answered() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot(
        "[trial]\nattempts = 1\ndisturbances = 1\n[health]\ndeadline = \"25s\"\n",
    )?;
    let signal = |signal| {
        format!(
            "systemctl start nix-daemon.service && systemctl kill --kill-whom=main --signal={signal} nix-daemon.service"
        )
    };
    let brought = etc_with_unit("hang.service", &doing(&signal("STOP"), &signal("CONT")))?;
    fleet.release(&fleet.toplevel("hang").etc(brought.path()))?;
    robot.until_status("the release to be blocked", |status| {
        status["blocked"].to_string().contains("does not answer")
    })?;
    let history = robot.sh("surefoot history")?;
    assert!(
        history.contains("its trial failed in 'nix daemon'") && history.contains("1 of 1 times"),
        "{history}"
    );
    assert_eq!(robot.current()?, first);
    let good = fleet.release(&fleet.toplevel("good"))?;
    robot.until_confirmed(&good)?;
    Ok(())
}

#[test]
fn a_unit_that_only_waits_for_the_network_condemns_no_release() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("")?;
    let unit =
        "[Service]\nType=oneshot\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n";
    let brought = etc_with_unit("robot-wait-online.service", unit)?;
    let second = fleet.release(&fleet.toplevel("1.1").etc(brought.path()))?;
    robot.until_confirmed(&second)?;
    robot.sh("systemctl is-failed --quiet robot-wait-online.service")?;
    Ok(())
}

#[test]
fn a_release_from_a_stick_is_tried_and_kept_without_a_network() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let first = fleet.toplevel("1.0").build(&fleet.farm)?;
    let stick_only =
        "repository = \"file:///srv/repo\"\n[fetch]\ncaches = [\"file:///srv/cache\"]\n";
    let mut robot = fleet.robot(&first, stick_only)?;
    let stick = robot.share()?;
    robot.start()?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    fleet.server.stop();
    for from in [fleet.cache(), fleet.repository()] {
        rig::run(
            std::process::Command::new("cp")
                .arg("-r")
                .args([&from, &stick]),
        )?;
    }
    robot.until_confirmed(&second)?;
    // Its repository is there for the agent on trial as well, whatever the network is.
    robot.sh("! journalctl --no-pager -u surefootd | grep 'cannot be asked to prove itself'")?;
    Ok(())
}

#[test]
fn a_robot_that_has_just_started_begins_no_trial_and_says_so() -> Result<()> {
    let (fleet, mut robot, first) =
        Fleet::with_robot("[health]\nsoak = \"20s\"\ndeadline = \"50s\"\n")?;
    robot.power_cycle()?;
    let brought = etc(&[("robot/more", "1")])?;
    fleet.release(&fleet.toplevel("1.1").etc(brought.path()))?;
    let status = robot.until_status("the gate to be said", |status| {
        status["doing"].to_string().contains("has just started")
    })?;
    assert_eq!(status["state"], "ready", "{status:#}");
    assert_eq!(robot.current()?, first);
    robot.until_status("the trial to begin", |status| status["state"] == "trial")?;
    Ok(())
}
