//! Robots whose agent sees a wrong clock, in a container: it goes on updating as soon as something
//! that it trusts says the time, and no wrong clock does lasting harm.

use anyhow::{Result, ensure};
use surefoot_tests::{
    Fleet, Robot, attack,
    clock::{FalseClock, YEAR},
};

const RIGHT: FalseClock = FalseClock {
    offset: 0,
    synced: true,
};

/// Waits until the agent says what its clock is worth, after a look at the repository by it.
fn until_clock(robot: &Robot, worth: &str) -> Result<()> {
    let status = robot.until_status(&format!("a clock that is {worth}"), |status| {
        status["knowledge"]["clock"] == worth
    })?;
    // However wrong the clock: when the newest file was signed is known.
    let signed = status["knowledge"]["signed"].as_str().unwrap_or_default();
    let day = robot.sh("date --utc +%F")?;
    let yesterday = robot.sh("date --utc --date=yesterday +%F")?;
    ensure!(
        signed.starts_with(&day) || signed.starts_with(&yesterday),
        "signed {signed}, and today is {day}"
    );
    Ok(())
}

/// Waits until the repository is refused with these words.
fn until_refused(robot: &Robot, words: &str) -> Result<()> {
    robot.until_status(&format!("a check to fail with '{words}'"), |status| {
        let error = status["lastCheck"]["error"].as_str().unwrap_or_default();
        error.contains(words)
    })?;
    Ok(())
}

fn robot(clock: FalseClock) -> Result<(Fleet, Robot, String)> {
    let fleet = Fleet::new()?;
    let first = fleet.toplevel("1.0").build(&fleet.farm)?;
    let mut robot = fleet.robot(&first, "")?;
    fleet.push(&first)?;
    fleet.publish(&first, "1.0")?;
    robot.with_clock(clock)?;
    robot.start()?;
    robot.until_confirmed(&first)?;
    Ok((fleet, robot, first))
}

#[test]
fn a_robot_that_wakes_in_1970_or_2038_updates_and_forgets_the_wrong_time() -> Result<()> {
    let (fleet, robot, _) = robot(FalseClock::reads(1970, false)?)?;
    until_clock(&robot, "unsynced")?;
    let status = robot.sh("surefoot status")?;
    ensure!(status.contains("nothing keeps the clock here"), "{status}");
    let next = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&next)?;

    // The same in 2038, when everything that was signed has expired long ago.
    robot.set_clock(FalseClock::reads(2038, false)?)?;
    let next = fleet.release(&fleet.toplevel("1.2"))?;
    robot.until_confirmed(&next)?;
    until_clock(&robot, "unsynced")?;

    // Somebody sets the clock: nothing of all that is left.
    robot.set_clock(RIGHT)?;
    until_clock(&robot, "trusted")?;
    let next = fleet.release(&fleet.toplevel("1.3"))?;
    robot.until_confirmed(&next)?;
    Ok(())
}

#[test]
fn a_synced_clock_that_is_wrong_does_no_lasting_harm() -> Result<()> {
    let (fleet, mut robot, _) = robot(RIGHT)?;
    until_clock(&robot, "trusted")?;
    let old = attack::record(&fleet)?;

    // Stepped back by a year: found out by what was signed, and nothing old is believed again.
    robot.set_clock(FalseClock {
        offset: -YEAR,
        synced: true,
    })?;
    let next = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&next)?;
    until_clock(&robot, "stepped")?;
    let present = attack::replay(&fleet, &old)?;
    until_refused(&robot, "timestamp.json is version")?;
    attack::replay(&fleet, &present)?;

    // In 2038 everything has expired; whoever says so is believed, for as long as he says it.
    robot.set_clock(FalseClock::reads(2038, true)?)?;
    until_refused(&robot, "expired at")?;
    robot.stands_on(&next)?;
    robot.set_clock(RIGHT)?;
    let next = fleet.release(&fleet.toplevel("1.2"))?;
    robot.until_confirmed(&next)?;
    until_clock(&robot, "trusted")?;

    // After a power cut nobody has set the clock yet: what was seen still counts.
    robot.unplug()?;
    robot.write("/etc/false-clock", "-1000000000 0\n")?;
    let present = attack::replay(&fleet, &old)?;
    robot.start()?;
    until_refused(&robot, "timestamp.json is version")?;
    attack::replay(&fleet, &present)?;
    until_clock(&robot, "unsynced")?;
    robot.stands_on(&next)
}
