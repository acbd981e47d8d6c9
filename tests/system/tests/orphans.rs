//! Releases that would leave a robot without an agent that can bring it anything more.

use anyhow::{Context as _, Result};
use std::path::Path;
use surefoot_tests::{
    Fleet, Robot, Toplevel,
    fleet::{CHANNEL, MODEL},
    rig,
    toplevel::etc,
};

/// Publishes a system for the channel `night` of the fleet.
fn publish_at_night(fleet: &Fleet, path: &str, release: &str) -> Result<()> {
    let mut publish = fleet.surefoot(&["publish", "--channel", "night", "--model", MODEL])?;
    publish.arg("--new");
    publish.args(["--cache", "http://127.0.0.1/cache", "--release", release]);
    rig::run(publish.arg("--repo").arg(fleet.repository()).arg(path))?;
    Ok(())
}

/// Nothing of the robot was touched for the sake of a release.
fn undisturbed(robot: &Robot) -> Result<()> {
    let switches = robot.sh("journalctl --no-pager --quiet --unit 'surefoot-trial-*' | wc -l")?;
    assert_eq!(switches.trim(), "0");
    Ok(())
}

/// Releases a system with this /etc, which is meant to lead its robots elsewhere.
fn moving(fleet: &Fleet, name: &str, brought: &Path) -> Result<String> {
    let path = fleet.toplevel(name).etc(brought).build(&fleet.farm)?;
    fleet.push(&path)?;
    fleet.publish_with(&path, name, &["--model", MODEL, "--moves"])?;
    Ok(path)
}

/// A release is blocked as unfit, with these words, and nothing was touched for its sake.
fn unfit(robot: &Robot, release: &str, stays_on: &str, said: &str) -> Result<()> {
    let blocked = robot.until_blocked(release, stays_on)?;
    assert_eq!(blocked["cause"], "unfit", "{blocked:#}");
    assert!(blocked.to_string().contains(said), "{blocked:#}");
    undisturbed(robot)
}

#[test]
fn a_release_whose_agent_would_refuse_its_configuration_is_never_tried() -> Result<()> {
    // What the robot has of its own is good beside what the system brings today.
    let (fleet, robot, first) = Fleet::with_robot("[health]\nsoak = \"3s\"\n")?;
    let contradiction = "surefoot/config.d/40-deadline.toml";
    for (name, file, content, said) in [
        (
            "soak",
            "surefoot/config.d/70-soak.toml",
            "[health]\nsoak = \"10h\"\n",
            "/etc/surefoot/config.d/70-soak.toml:2:8",
        ),
        (
            "typo",
            "surefoot/config.d/70-model.toml",
            "modle = \"crane\"\n",
            "70-model.toml:1:1: there is no key 'modle'; did you mean 'model'?",
        ),
        (
            "together",
            contradiction,
            "[health]\ndeadline = \"2s\"\n",
            "/etc/surefoot/config.d/50-test.toml:2:8",
        ),
    ] {
        let brought = etc(&[(file, content)])?;
        fleet.release(&fleet.toplevel(name).etc(brought.path()))?;
        unfit(&robot, name, &first, said)?;
    }
    // Beside another soak the same deadline is good.
    let brought = etc(&[
        (contradiction, "[health]\ndeadline = \"20s\"\n"),
        (
            "surefoot/config.d/60-soak.toml",
            "[health]\nsoak = \"1s\"\n",
        ),
    ])?;
    let good = fleet.release(&fleet.toplevel("good").etc(brought.path()))?;
    robot.until_confirmed(&good)?;
    // What that system brought goes with it.
    let last = fleet.release(&fleet.toplevel("last"))?;
    robot.until_confirmed(&last)?;
    Ok(())
}

#[test]
fn a_configuration_that_is_refused_already_is_held_against_no_release() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let own = "/etc/surefoot/config.d/70-soak.toml";
    robot.sh(&format!(
        "mkdir -p /etc/surefoot/config.d; printf '[health]\\nsoak = \"10h\"\\n' >{own}"
    ))?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the release to wait", |status| {
        let doing = status["doing"].to_string();
        doing.contains("refused by its present agent too") && doing.contains("70-soak.toml:2:8")
    })?;
    robot.stands_on(&first)?;
    undisturbed(&robot)?;
    robot.sh(&format!("rm {own}"))?;
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn a_release_whose_agent_is_not_there_is_never_tried() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let other = fleet.farm.agent_with("other", |unit| {
        unit.replace("ExecStart=/usr/bin/surefootd", "ExecStart=/bin/no-agent")
    })?;
    fleet.release(&Toplevel::named("gone").with(&other))?;
    unfit(&robot, "gone", &first, "/bin/no-agent")?;
    fleet.release(&Toplevel::named("none"))?;
    let blocked = robot.until_blocked("none", &first)?;
    assert_eq!(blocked["cause"], "unfit", "{blocked:#}");
    undisturbed(&robot)?;

    // The agent that drives goes on, whatever becomes of its unit: only the next boot would show it.
    let masked = fleet.farm.agent_with("masked", |_| String::new())?;
    fleet.release(&Toplevel::named("masked").with(&masked))?;
    unfit(&robot, "masked", &first, "is masked")?;
    let unwanted = (fleet.farm).agent_with("unwanted", |unit| {
        unit.replace("WantedBy=multi-user.target", "")
    })?;
    fleet.release(&Toplevel::named("unwanted").with(&unwanted))?;
    unfit(&robot, "unwanted", &first, "pulls in its agent's unit")?;
    Ok(())
}

#[test]
fn a_release_that_would_lead_the_robot_elsewhere_is_tried_only_if_that_is_meant() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let file = "surefoot/config.d/60-place.toml";
    for (name, content, said) in [
        (
            "crane",
            "model = \"crane\"\n",
            "model 'crane' instead of 'picker'",
        ),
        (
            "typo",
            "model = \"piker\"\n",
            "model 'piker' instead of 'picker'",
        ),
        (
            "channel",
            "channel = \"stabel\"\n",
            "channel 'stabel' instead of 'stable'",
        ),
        (
            "repository",
            "repository = \"http://127.0.0.1/other\"\n",
            "repository 'http://127.0.0.1/other' instead of 'http://127.0.0.1/repo'",
        ),
    ] {
        let brought = etc(&[(file, content)])?;
        fleet.release(&fleet.toplevel(name).etc(brought.path()))?;
        unfit(&robot, name, &first, said)?;
    }

    // It is meant, and there is nothing for the robot at the other place.
    let brought = etc(&[(file, "channel = \"night\"\n")])?;
    let move_with = |name: &str| moving(&fleet, name, brought.path());
    move_with("early")?;
    let blocked = robot.until_blocked("early", &first)?;
    let failure = &blocked["failures"][0];
    assert_eq!(failure["check"], "agent", "{blocked:#}");
    assert!(
        failure.to_string().contains("has no channel 'night'"),
        "{blocked:#}"
    );

    // There is: the robot follows the other channel from then on.
    let next = fleet.toplevel("next").etc(brought.path());
    let next = next.build(&fleet.farm)?;
    fleet.push(&next)?;
    publish_at_night(&fleet, &next, "next")?;
    let moved = move_with("moved")?;
    robot.until_confirmed(&moved)?;
    robot.sh("systemctl reload surefootd")?;
    robot.until_confirmed(&next)?;
    Ok(())
}

/// Publishes a release whose agent's unit has one more line.
fn confined(fleet: &Fleet, release: &str, line: &str) -> Result<()> {
    let agent = fleet.farm.agent_with(release, |unit| {
        unit.replace("\n[Install]", &format!("{line}\n\n[Install]"))
    })?;
    fleet.release(&Toplevel::named(release).with(&agent))?;
    Ok(())
}

/// A release is left because no other could come after it, and the next one is taken.
pub(crate) fn could_import_nothing_more(
    release: &str,
    fleet: &Fleet,
    robot: &Robot,
    first: &str,
) -> Result<()> {
    let blocked = robot.until_blocked(release, first)?;
    assert_eq!(blocked["failures"][0]["check"], "agent", "{blocked:#}");
    assert!(
        blocked.to_string().contains("could import nothing more"),
        "{blocked:#}"
    );
    let good = fleet.release(&fleet.toplevel("good"))?;
    robot.until_confirmed(&good)?;
    Ok(())
}

#[test]
fn a_release_whose_agent_could_not_bring_the_next_one_is_never_kept() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    confined(
        &fleet,
        "lonely",
        "InaccessiblePaths=/nix/var/nix/daemon-socket",
    )?;
    could_import_nothing_more("lonely", &fleet, &robot, &first)?;
    robot.sh("! journalctl --no-pager -u surefootd | grep 'cannot be asked to prove itself'")?;
    Ok(())
}

#[test]
fn a_release_that_could_import_nothing_is_not_kept_because_the_network_is_away_as_well()
-> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("[health]\nmanifest_server = false\n")?;
    confined(
        &fleet,
        "lonely",
        "InaccessiblePaths=/nix/var/nix/daemon-socket\nPrivateNetwork=yes",
    )?;
    let blocked = robot.until_blocked("lonely", &first)?;
    assert!(
        blocked.to_string().contains("could import nothing more"),
        "{blocked:#}"
    );
    // What only has no network is not asked for it there.
    confined(&fleet, "offline", "PrivateNetwork=yes")?;
    robot.until_status("the release without a network to be kept", |status| {
        status["confirmed"]["release"] == "offline"
    })?;
    Ok(())
}

#[test]
fn a_release_whose_agent_reaches_nothing_is_judged_by_what_the_one_before_reaches() -> Result<()> {
    let (fleet, robot, first) =
        Fleet::with_robot("[trial]\nattempts = 1\n[health]\ndeadline = \"5s\"\n")?;
    confined(&fleet, "deaf", "PrivateNetwork=yes")?;
    let blocked = robot.until_blocked("deaf", &first)?;
    assert_eq!(blocked["cause"], "deadline", "{blocked:#}");
    let failure = &blocked["failures"][0];
    assert_eq!(failure["check"], "manifest server", "{blocked:#}");
    assert!(
        failure.to_string().contains("by the agent on trial"),
        "{blocked:#}"
    );
    Ok(())
}

#[test]
fn a_release_with_another_trust_anchor_is_tried_only_if_that_is_meant() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let brought = etc(&[("surefoot/root.json", "{}")])?;
    fleet.release(&fleet.toplevel("other").etc(brought.path()))?;
    unfit(&robot, "other", &first, "another trust anchor")?;
    // No agent could begin with this one, whether or not another one is meant.
    let brought = etc(&[("surefoot/root.json", "<!DOCTYPE html>")])?;
    moving(&fleet, "page", brought.path())?;
    unfit(&robot, "page", &first, "that no agent could begin with")?;
    Ok(())
}

#[test]
fn a_robot_moves_to_another_trust_anchor_only_if_its_new_place_is_signed_by_that() -> Result<()> {
    let (mut fleet, robot, first) =
        Fleet::with_robot("[trial]\nattempts = 1\n[health]\ndeadline = \"5s\"\n")?;
    // The other place, with keys of its own.
    let other = fleet.repository().with_file_name("other");
    let mut init = fleet.surefoot(&["repo", "init"])?;
    rig::run(init.arg(&other).args(["--keys", "root=1"]))?;
    let anchor = std::fs::read_to_string(other.join("metadata/1.root.json"))?;
    let at = other.parent().context("it lies somewhere")?.display();
    let locations = format!("{} location /other/ {{ root {at}; }}", fleet.locations());
    fleet.server.reconfigure(&locations)?;
    let root = ("surefoot/root.json", anchor.as_str());
    let place = |repository: &str| format!("repository = \"http://127.0.0.1/{repository}\"\n");
    let moves = |name: &str, repository: &str| -> Result<String> {
        let place = place(repository);
        let brought = etc(&[root, ("surefoot/config.d/60-place.toml", &place)])?;
        moving(&fleet, name, brought.path())
    };
    // The anchor alone: what the place has is not signed by it.
    moves("half", "repo")?;
    let blocked = robot.until_blocked("half", &first)?;
    assert_eq!(
        blocked["failures"][0]["check"], "manifest server",
        "{blocked:#}"
    );
    assert!(
        blocked.to_string().contains("by the agent on trial"),
        "{blocked:#}"
    );

    // What is good gets all the time that it needs.
    robot.sh("printf '[health]\\ndeadline = \"60s\"\\n' >/etc/surefoot/config.d/70-time.toml; systemctl reload surefootd")?;
    // Both, and the new place has the next release.
    let brought = etc(&[root, ("surefoot/config.d/60-place.toml", &place("other"))])?;
    let next = fleet
        .toplevel("next")
        .etc(brought.path())
        .build(&fleet.farm)?;
    fleet.push(&next)?;
    let mut publish =
        fleet.surefoot(&["publish", "--channel", CHANNEL, "--model", MODEL, "--new"])?;
    publish.args(["--cache", "http://127.0.0.1/cache", "--release", "next"]);
    rig::run(publish.arg("--repo").arg(&other).arg(&next))?;
    let moved = moves("moved", "other")?;
    robot.until_confirmed(&moved)?;
    robot.sh("systemctl reload surefootd")?;
    robot.until_confirmed(&next)?;
    Ok(())
}

#[test]
fn a_release_whose_nix_daemon_would_import_nothing_is_never_tried() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let right = robot.sh("cut -d= -f2- /etc/nix/robot.conf")?;
    let other = "other-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let file = "nix/nix.conf";
    for (name, keys, said) in [
        ("other", other, "none of the trusted-public-keys"),
        (
            "malformed",
            "fleet-1:AAAA",
            "'fleet-1:AAAA', which is not a key",
        ),
    ] {
        let brought = etc(&[(file, &format!("trusted-public-keys = {keys}\n"))])?;
        fleet.release(&fleet.toplevel(name).etc(brought.path()))?;
        unfit(&robot, name, &first, said)?;
    }
    // Keys change one after the other.
    let both = format!("trusted-public-keys = {other}\nextra-trusted-public-keys = {right}\n");
    let brought = etc(&[(file, &both)])?;
    let good = fleet.release(&fleet.toplevel("both").etc(brought.path()))?;
    robot.until_confirmed(&good)?;
    Ok(())
}
