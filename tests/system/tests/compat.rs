//! Two versions of Surefoot on the same robots, repository, index and socket, by their real programs:
//! `tests/compat/run` builds those of another commit and runs this.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::PathBuf;
use surefoot_tests::{Fleet, Programs, Robot, Toplevel, agent::blocked};

/// The programs of the other commit, and ours.
fn versions() -> Result<[Programs; 2]> {
    let given = |name: &str| {
        let given = std::env::var_os(name).map(PathBuf::from);
        given.with_context(|| format!("{name} is not set: run tests/compat/run"))
    };
    let (source, built) = (
        given("SUREFOOT_OTHER_SOURCE")?,
        given("SUREFOOT_OTHER_BUILT")?,
    );
    Ok([Programs::of(&source, &built), Programs::ours()?])
}

/// Waits until the agent of this package runs.
fn until_agent(robot: &Robot, package: &str) -> Result<()> {
    let exe = "readlink /proc/$(systemctl show --property=MainPID --value surefootd)/exe";
    robot.until(&format!("test $({exe}) = {package}/bin/surefootd"))?;
    Ok(())
}

/// Everything that a command line asks of the agent, by the one of a package.
fn asks(robot: &Robot, package: &str, confirmed: &str) -> Result<()> {
    let surefoot = format!("{package}/bin/surefoot");
    let said = robot.sh(&format!("{surefoot} --json status"))?;
    let said: Value = serde_json::from_str(&said).context(said.clone())?;
    anyhow::ensure!(said["confirmed"]["system"] == confirmed, "{said:#}");
    robot.sh(&format!(
        "set -e
         {surefoot} status; {surefoot} history
         {surefoot} doctor || true
         {surefoot} hold --why surgery --for 1h
         {surefoot} status | grep surgery
         {surefoot} resume
         {surefoot} lease gripper --why 'a crate' -- {surefoot} status | grep 'a crate'"
    ))?;
    Ok(())
}

/// A generation with the fleet's agent. It has no `nixos-rebuild`: agents before 27 November 2026 let that
/// build itself anew, which fails where there is no nixpkgs. That was their fault then, and is not what is
/// looked at here.
fn generation(fleet: &Fleet, name: &str) -> Toplevel {
    fleet.toplevel(name).text("nixosRebuild", "none")
}

/// A robot goes from one version to another, back, and forth again. What either of them remembers, the
/// other knows.
fn there_and_back(from: &Programs, to: &Programs) -> Result<()> {
    let mut fleet = Fleet::of(from)?;
    let (robot, first) = fleet.adopted(&generation(&fleet, "1.0"), "")?;
    let old = fleet.agent().to_owned();
    fleet.release(&generation(&fleet, "0.9").service("fails"))?;
    robot.until_blocked("0.9", &first)?;

    eprintln!("{first}: adopted, and the other version's release is next");
    fleet.takes(to)?;
    let new = fleet.agent().to_owned();
    anyhow::ensure!(new != old, "both versions are the same");
    let second = fleet.release(&generation(&fleet, "1.1"))?;
    robot.until_confirmed(&second)?;
    until_agent(&robot, &new)?;
    let status = robot.until_confirmed(&second)?;
    anyhow::ensure!(blocked(&status, "0.9").is_some(), "{status:#}");
    for package in [&old, &new] {
        robot.sh(&format!("nix-store --check-validity {package}"))?;
        asks(&robot, package, &second)?;
    }
    fleet.release(&generation(&fleet, "1.2").service("fails"))?;
    robot.until_blocked("1.2", &second)?;

    eprintln!("{second}: confirmed by both, and left for the one before");
    // Asked for by the older command line, and carried out with the older agent as its end.
    robot.sh(&format!(
        "{old}/bin/surefoot rollback --wait --why 'it drops things'"
    ))?;
    until_agent(&robot, &old)?;
    robot.until_blocked("1.1", &first)?;
    let trials = "journalctl --no-pager --quiet --unit 'surefoot-trial-*' | wc -l";
    let before = robot.sh(trials)?;
    for _ in 0..2 {
        let last = robot.status()?["lastCheck"]["when"].clone();
        robot.call("Update", &json!({}))?;
        let status = robot.until_status("another check", |status| {
            status["lastCheck"]["when"] != last && status["state"] == "idle"
        })?;
        for release in ["0.9", "1.1", "1.2"] {
            anyhow::ensure!(blocked(&status, release).is_some(), "{release}: {status:#}");
        }
    }
    anyhow::ensure!(robot.sh(trials)? == before, "what was left was tried again");
    robot.stands_on(&first)?;
    for package in [&old, &new] {
        asks(&robot, package, &first)?;
    }

    eprintln!("{first}: what was left is not tried again; both versions publish");
    // Published by the older command line into what the newer one wrote, and the other way.
    fleet.takes(from)?;
    let third = fleet.release(&generation(&fleet, "1.3"))?;
    robot.until_confirmed(&third)?;
    fleet.takes(to)?;
    let fourth = fleet.release(&generation(&fleet, "1.4"))?;
    robot.until_confirmed(&fourth)?;
    until_agent(&robot, &new)?;
    for programs in [from, to] {
        fleet.takes(programs)?;
        let repository = fleet.repository();
        let mut verify = fleet.surefoot(&["repo", "verify"])?;
        surefoot_tests::rig::run(verify.arg(repository))?;
    }
    Ok(())
}

#[test]
#[ignore = "needs the programs of another commit: tests/compat/run"]
fn a_robot_goes_from_the_other_version_to_this_one_and_back() -> Result<()> {
    let [other, ours] = versions()?;
    there_and_back(&other, &ours)
}

#[test]
#[ignore = "needs the programs of another commit: tests/compat/run"]
fn a_robot_goes_from_this_version_to_the_other_one_and_back() -> Result<()> {
    let [other, ours] = versions()?;
    there_and_back(&ours, &other)
}
