//! Robots that follow a fleet: what becomes of good releases, of bad ones, and of attacks.

use anyhow::Result;
use surefoot_tests::{Fleet, Robot};

/// A fleet and its robot, which runs release 1.0 and has adopted it.
fn fleet() -> Result<(Fleet, Robot, String)> {
    let fleet = Fleet::new()?;
    let first = fleet.toplevel("1.0").build(&fleet.farm)?;
    let mut robot = fleet.robot(&first, "")?;
    robot.start()?;
    robot.until_confirmed(&first)?;
    Ok((fleet, robot, first))
}

#[test]
fn a_good_release_is_confirmed() -> Result<()> {
    let (fleet, mut robot, first) = fleet()?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    let status = robot.until_confirmed(&second)?;
    assert_eq!(status["confirmed"]["release"], "1.1");
    assert_eq!(status["fallbacks"][0]["system"], first);
    robot.power_cycle()?;
    robot.until_confirmed(&second)?;
    Ok(())
}
