//! The agent is killed at every point where it writes its journal or does something, once, and
//! comes back: a good release still ends confirmed, a bad one blocked, and nothing is left behind.

use anyhow::Result;
use surefoot_tests::{Fleet, Robot};

/// The agent dies at the named point of `/srv/fault.env`, but only the first time.
const DROP_IN: &str = "[Service]\nEnvironmentFile=-/srv/fault.env\nRestartSec=100ms\n";

struct Story {
    fleet: Fleet,
    robot: Robot,
    confirmed: String,
    releases: u32,
}

impl Story {
    fn new() -> Result<Self> {
        let fleet = Fleet::new()?;
        let first = fleet.toplevel("1.0").build(&fleet.farm)?;
        let mut robot = fleet.robot(&first, "")?;
        robot.share()?;
        robot.write(
            "/usr/lib/systemd/system/surefootd.service.d/fault.conf",
            DROP_IN,
        )?;
        robot.start()?;
        robot.until_confirmed(&first)?;
        Ok(Self {
            fleet,
            robot,
            confirmed: first,
            releases: 0,
        })
    }

    /// The next start of the agent ends here, once.
    fn arm(&self, point: &str) -> Result<()> {
        std::fs::write(
            self.robot.share()?.join("fault.env"),
            format!(
                "SUREFOOT_FAULT={point}:kill\nSUREFOOT_FAULT_ONCE=/var/lib/surefoot/died-{point}\n"
            ),
        )?;
        self.robot.sh("systemctl restart surefootd")?;
        Ok(())
    }

    fn died(&self, point: &str) -> Result<bool> {
        let marker = format!("test -e /var/lib/surefoot/died-{point}");
        Ok(self.robot.try_sh(&marker)?.status.success())
    }

    fn next_name(&mut self) -> String {
        self.releases += 1;
        format!("1.{}", self.releases)
    }

    fn good_release_killed_at(&mut self, point: &str) -> Result<()> {
        let name = self.next_name();
        self.arm(point)?;
        let system = self.fleet.release(&self.fleet.toplevel(&name))?;
        self.robot.until_confirmed(&system)?;
        assert!(self.died(point)?, "nothing ended at {point}");
        self.confirmed = system;
        self.nothing_left()
    }

    fn bad_release_killed_at(&mut self, point: &str) -> Result<()> {
        let name = self.next_name();
        self.arm(point)?;
        self.fleet
            .release(&self.fleet.toplevel(&name).service("fails"))?;
        self.robot.until_blocked(&name, &self.confirmed)?;
        assert!(self.died(point)?, "nothing ended at {point}");
        self.nothing_left()
    }

    /// No timer, no unit, no root of what failed.
    fn nothing_left(&self) -> Result<()> {
        self.robot
            .until("! systemctl is-active --quiet surefoot-dead-man.timer")?;
        self.robot.until(
            "test -z \"$(systemctl list-units --all --plain --no-legend 'surefoot-*-*.service')\"",
        )?;
        let roots = self.robot.sh("ls /nix/var/nix/gcroots/surefoot")?;
        assert!(
            !roots.contains("next") && !roots.contains("previous"),
            "{roots}"
        );
        Ok(())
    }
}

/// Both sides of a point.
fn around(name: &str) -> [String; 2] {
    [format!("before-{name}"), format!("after-{name}")]
}

#[test]
fn a_kill_on_the_way_to_the_trial() -> Result<()> {
    let mut story = Story::new()?;
    for name in ["persist-fetching", "fetch", "persist-ready", "inspect"] {
        for point in around(name) {
            story.good_release_killed_at(&point)?;
        }
    }
    Ok(())
}

#[test]
fn a_kill_before_the_switch() -> Result<()> {
    let mut story = Story::new()?;
    for name in [
        "persist-trial-arming",
        "arm-dead-man",
        "persist-trial-switching",
    ] {
        for point in around(name) {
            story.good_release_killed_at(&point)?;
        }
    }
    Ok(())
}

#[test]
fn a_kill_in_the_trial() -> Result<()> {
    let mut story = Story::new()?;
    for name in ["switch", "persist-trial-soaking", "probe"] {
        for point in around(name) {
            story.good_release_killed_at(&point)?;
        }
    }
    Ok(())
}

#[test]
fn a_kill_in_the_commit() -> Result<()> {
    let mut story = Story::new()?;
    for name in ["persist-committing", "persist-idle"] {
        for point in around(name) {
            story.good_release_killed_at(&point)?;
        }
    }
    Ok(())
}

#[test]
fn a_kill_on_the_way_back() -> Result<()> {
    let mut story = Story::new()?;
    for name in ["persist-reverting", "switch", "probe", "persist-idle"] {
        for point in around(name) {
            story.bad_release_killed_at(&point)?;
        }
    }
    Ok(())
}

#[test]
fn a_commit_that_was_cut_off_is_done_without_an_agent_before_root_goes_back() -> Result<()> {
    let mut story = Story::new()?;
    story
        .robot
        .sh("mkdir -p /run/systemd/system/surefootd.service.d
         printf '[Service]\\nRestart=no\\n' >/run/systemd/system/surefootd.service.d/zz-dead.conf
         systemctl daemon-reload")?;
    let first = story.confirmed.clone();
    let point = "after-persist-committing";
    story.arm(point)?;
    let name = story.next_name();
    story.fleet.release(&story.fleet.toplevel(&name))?;
    story
        .robot
        .until(&format!("test -e /var/lib/surefoot/died-{point}"))?;
    story
        .robot
        .until("! systemctl --quiet is-active surefootd.service")?;
    story
        .robot
        .sh("surefoot rollback --why 'it drops things'")?;
    story.robot.stands_on(&first)?;
    story.robot.sh("systemctl start surefootd.service")?;
    story.robot.until_confirmed(&first)?;
    let history = story.robot.sh("surefoot history --json")?;
    assert!(history.contains("it drops things"), "{history}");
    story.nothing_left()
}
