//! What a trial leaves: after its commit, after a way back, and what people did meanwhile.

use anyhow::Result;
use surefoot_tests::{Fleet, Robot, agent::blocked, rig, toplevel::etc_with_unit};

/// Whether the history has something of this kind, with these words.
fn has_happened(robot: &Robot, what: &str, words: &str) -> Result<bool> {
    let history = robot.sh("surefoot history --json")?;
    let history: serde_json::Value = serde_json::from_str(&history)?;
    let entries = history
        .as_array()
        .cloned()
        .or_else(|| history["entries"].as_array().cloned());
    Ok(entries
        .into_iter()
        .flatten()
        .any(|entry| entry["what"] == what && entry["why"].to_string().contains(words)))
}

#[test]
fn a_rollback_to_a_system_whose_activation_fails_is_done_and_says_so() -> Result<()> {
    let fleet = Fleet::new()?;
    let (robot, first) = fleet.adopted(
        &fleet.toplevel("1.0").expression("activateFails", "true"),
        "",
    )?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    robot.sh("surefoot rollback --wait --why 'it drops things'")?;
    robot.stands_on(&first)?;
    assert!(has_happened(
        &robot,
        "rolledBack",
        "the activation script failed (exit 2)"
    )?);
    Ok(())
}

#[test]
fn what_a_way_back_leaves_worse_is_told_and_a_reboot_at_a_permitted_moment_mends_it() -> Result<()>
{
    let fleet = Fleet::new()?;
    let service = |run: &str| {
        let text = format!("[Service]\nExecStart=/bin/sh -c '{run} exec sleep infinity'\n");
        etc_with_unit("gripper.service", &text)
    };
    // The new one changes what the old one then cannot read, until the next boot.
    let old = service("test ! -e /run/new-format || exit 1;")?;
    let new = service("touch /run/new-format;")?;
    let (robot, first) = fleet.adopted(
        &fleet.toplevel("1.0").etc(old.path()),
        "[gates]\ninterval = '1s'\n[[gates.command]]\nname = 'docked'\nstages = ['reboot']\n\
         exec = ['/bin/sh', '-c', 'test -e /var/lib/docked']\n",
    )?;
    robot.until("systemctl is-active gripper.service")?;
    let boot = robot.boot_id()?;
    fleet.release(&fleet.toplevel("1.1").etc(new.path()).service("fails"))?;
    robot.until_blocked("1.1", &first)?;
    let status = robot.until_status("the worse robot to wait for its reboot", |status| {
        let worse = status["worse"].to_string();
        worse.contains("unit gripper.service") && status["gates"][0]["gate"] == "command docked"
    })?;
    assert_eq!(status["gates"][0]["stage"], "reboot", "{status:#}");
    assert!(has_happened(&robot, "worse", "gripper.service")?);
    let doctor = robot.try_sh("surefoot doctor")?;
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("gripper.service"), "{doctor}");
    assert_eq!(robot.boot_id()?, boot);

    // Somebody who sits at the robot holds a lock against shutdowns: logind denies root's reboots as well.
    robot.sh(
        "mkdir -p /run/wrappers/bin && cat >/run/wrappers/bin/systemctl <<'END' && chmod +x /run/wrappers/bin/*
#!/bin/sh
[ \"$*\" != reboot ] || { touch /var/lib/surefoot/denied; exit 1; }
exec /usr/bin/systemctl \"$@\"
END",
    )?;
    robot.sh("touch /var/lib/docked")?;
    robot.rebooted_since(&boot)?;
    robot.sh("test -e /var/lib/surefoot/denied")?;
    robot.until("systemctl is-active gripper.service")?;
    robot.until_status("the robot to be as it was", |status| {
        status["worse"].is_null() && status["state"] == "idle"
    })?;
    assert!(has_happened(&robot, "rebooted", "gripper.service")?);
    robot.stands_on(&first)?;
    Ok(())
}

#[test]
fn what_only_fails_after_the_switch_of_the_commit_is_not_kept() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let once = etc_with_unit(
        "calibrate.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'test ! -e /run/calibrated && touch /run/calibrated'\n",
    )?;
    // Its own switcher says that a unit failed; nixos-rebuild has one exit status for everything.
    let new = fleet.toplevel("1.1").text("nixosRebuild", "none");
    fleet.release(&new.etc(once.path()))?;
    let blocked = robot.until_blocked("1.1", &first)?;
    assert_eq!(blocked["cause"], "unhealthy", "{blocked:#}");
    let why = blocked["why"].to_string();
    assert!(
        why.contains("not after the switch of its commit") && why.contains("calibrate.service"),
        "{blocked:#}"
    );
    Ok(())
}

#[test]
fn what_somebody_makes_the_next_boot_during_a_trial_ends_with_it_and_is_told_otherwise()
-> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("[health]\nsoak = '20s'\ndeadline = '1min'\n")?;
    let bad = fleet.release(&fleet.toplevel("1.1").service("exits"))?;
    robot.until_status("the trial", |status| {
        status["running"]["system"] == bad && status["health"].is_object()
    })?;
    let install = |system: &str| {
        robot.sh(&format!(
            "nix-env -p /nix/var/nix/profiles/system --set {system} && {system}/bin/switch-to-configuration boot"
        ))
    };
    install(&bad)?;
    assert_eq!(robot.loader_default()?, bad);
    robot.sh("touch /run/robot/exit")?;
    robot.until_status("the release to be blocked", |status| {
        blocked(status, "1.1").is_some()
    })?;
    rig::wait_for("profile and loader to name the confirmed system", || {
        Ok(robot.stands_on(&first).ok())
    })?;
    robot.until_status("the way back to be over", |status| {
        status["state"] == "idle"
    })?;
    assert!(has_happened(
        &robot,
        "restored",
        "it failed, or somebody installed it"
    )?);

    // What somebody wants at the next boot while nothing is going on is theirs.
    install(&bad)?;
    let status = robot.until_status("the changed profile to be told", |status| {
        status["changed"].to_string().contains(&bad)
    })?;
    assert!(status["drift"].is_null(), "{status:#}");
    assert_eq!(robot.loader_default()?, bad);
    Ok(())
}

#[test]
fn what_somebody_had_stopped_and_an_update_started_is_named() -> Result<()> {
    let fleet = Fleet::new()?;
    let runs = etc_with_unit(
        "gripper.service",
        "[Service]\nExecStart=/bin/sleep infinity\n",
    )?;
    let (robot, _) = fleet.adopted(&fleet.toplevel("1.0").etc(runs.path()), "")?;
    robot.until("systemctl is-active gripper.service")?;
    robot.sh("systemctl stop gripper.service")?;
    let second = fleet.release(&fleet.toplevel("1.1").etc(runs.path()))?;
    robot.until_confirmed(&second)?;
    let started = has_happened(&robot, "started", "gripper.service")?;
    let runs = robot
        .try_sh("systemctl is-active gripper.service")?
        .status
        .success();
    anyhow::ensure!(started && runs, "started {started}, runs {runs}");
    Ok(())
}
