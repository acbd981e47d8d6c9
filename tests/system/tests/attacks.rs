//! What a robot does when repository or cache are in somebody else's hands.

use anyhow::Result;
use serde_json::Value;
use surefoot_tests::{Fleet, Robot, attack};

fn fleet() -> Result<(Fleet, Robot, String)> {
    let fleet = Fleet::new()?;
    let first = fleet.toplevel("1.0").build(&fleet.farm)?;
    let mut robot = fleet.robot(&first, "")?;
    fleet.push(&first)?;
    fleet.publish(&first, "1.0")?;
    robot.start()?;
    robot.until_confirmed(&first)?;
    robot.until_status("the repository to be believed", believes)?;
    Ok((fleet, robot, first))
}

/// Publishes release 1.1 from a cache that is in order, which somebody changes before the robot asks.
fn published(
    fleet: &Fleet,
    robot: &Robot,
    path: &str,
    change: impl FnOnce() -> Result<()>,
) -> Result<()> {
    robot.sh("systemctl stop surefootd.service")?;
    fleet.publish(path, "1.1")?;
    change()?;
    robot.sh("systemctl start surefootd.service")?;
    Ok(())
}

/// Waits until a check failed with these words.
fn refused(robot: &Robot, words: &[&str]) -> Result<()> {
    robot.until_status(&format!("a check to fail with {words:?}"), |status| {
        let error = status["lastCheck"]["error"].as_str().unwrap_or_default();
        words.iter().all(|word| error.contains(word))
    })?;
    Ok(())
}

fn believes(status: &Value) -> bool {
    let result = &status["lastCheck"]["result"];
    result == "upToDate" || result == "found"
}

#[test]
fn a_tampered_nar_does_not_enter_the_store() -> Result<()> {
    let (fleet, robot, first) = fleet()?;
    let path = fleet.toplevel("1.1").build(&fleet.farm)?;
    fleet.push(&path)?;
    published(&fleet, &robot, &path, || attack::tamper(&fleet, &path))?;
    robot.until_status("the NAR to be refused", |status| {
        let doing = status["doing"].as_str().unwrap_or_default();
        doing.contains("1.1") && doing.contains("sha256")
    })?;
    robot.stands_on(&first)?;
    assert!(
        !robot
            .try_sh(&format!("nix-store --check-validity {path}"))?
            .status
            .success()
    );

    // The release is not to blame: once the cache is in order, the robot goes on by itself.
    std::fs::remove_dir_all(fleet.cache())?;
    fleet.push(&path)?;
    robot.until_confirmed(&path)?;
    Ok(())
}

#[test]
fn another_nar_under_the_right_name_does_not_enter_the_store() -> Result<()> {
    let (fleet, robot, first) = fleet()?;
    let path = fleet.toplevel("1.1").build(&fleet.farm)?;
    let other = fleet.toplevel("other").build(&fleet.farm)?;
    fleet.push(&path)?;
    fleet.push(&other)?;
    published(&fleet, &robot, &path, || {
        std::fs::copy(attack::nar(&fleet, &other)?, attack::nar(&fleet, &path)?)?;
        Ok(())
    })?;
    robot.until_status("the NAR to be refused", |status| {
        status["state"] == "fetching" && status["doing"].to_string().contains("NAR")
            || status["doing"].to_string().contains("bytes")
    })?;
    robot.stands_on(&first)?;
    assert!(
        !robot
            .try_sh(&format!("nix-store --check-validity {path}"))?
            .status
            .success()
    );
    Ok(())
}

#[test]
fn replayed_metadata_is_refused() -> Result<()> {
    let (fleet, robot, _) = fleet()?;
    let old = attack::record(&fleet)?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    let present = attack::replay(&fleet, &old)?;
    refused(&robot, &["timestamp", "version"])?;
    robot.stands_on(&second)?;
    attack::replay(&fleet, &present)?;
    robot.until_status("the repository to be believed again", believes)?;
    Ok(())
}

#[test]
fn metadata_below_the_threshold_is_refused() -> Result<()> {
    let (fleet, robot, first) = fleet()?;
    let before = attack::undersign(&fleet)?;
    refused(&robot, &["targets", "2"])?;
    robot.stands_on(&first)?;
    // What the online keys signed counts: the fleet has to get ahead of it.
    attack::replay(&fleet, &before)?;
    fleet.publish_for(&first, "1.0-sorter", "sorter")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn garbage_for_metadata_is_refused() -> Result<()> {
    let (fleet, robot, first) = fleet()?;
    let good = attack::record(&fleet)?;
    for (garbage, word) in [
        (good[..good.len() / 2].to_vec(), "timestamp"),
        (Vec::new(), "timestamp"),
        (b"[1, 2, 3]".to_vec(), "timestamp"),
        (vec![b' '; 64 << 20], "timestamp"),
    ] {
        attack::replay(&fleet, &garbage)?;
        refused(&robot, &[word])?;
        attack::replay(&fleet, &good)?;
        robot.until_status("the repository to be believed again", believes)?;
    }
    robot.stands_on(&first)?;
    Ok(())
}
