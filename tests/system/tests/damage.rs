//! Files of the store that are not what they were: nothing is tried on them, and somebody is told.

use anyhow::Result;
use serde_json::json;
use surefoot_tests::{Fleet, Robot};

/// Empties the padding of a system, as a power cut does. Gives its file, and what `sha256sum` said of it.
fn lose_padding(robot: &Robot, system: &str) -> Result<(String, String)> {
    let file = robot.sh(&format!(
        "nix-store --query --requisites {system} | grep -e -padding$"
    ))?;
    let before = robot.sh(&format!("sha256sum {file}"))?;
    robot.sh(&format!(
        "chmod u+w {file} && : >{file} && chmod u-w {file}"
    ))?;
    Ok((file, before))
}

#[test]
fn what_a_release_shares_with_the_store_is_read_before_it_is_tried() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("")?;
    let next = fleet.toplevel("1.1").padding(1 << 20);
    let second = next.build(&fleet.farm)?;
    fleet.push(&second)?;
    // It came some other way, and the power was cut.
    robot.sh(&format!(
        "nix-store --realise {second} --option substituters http://127.0.0.1/cache"
    ))?;
    let (file, before) = lose_padding(&robot, &second)?;
    fleet.publish(&second, "1.1")?;
    robot.until_confirmed(&second)?;
    assert_eq!(robot.sh(&format!("sha256sum {file}"))?, before);
    assert!(
        robot
            .journal()
            .contains("is not what was put into the store")
    );
    let history = robot.sh("surefoot history")?;
    for word in ["damaged", "repaired"] {
        let line = history.lines().find(|line| line.contains(word));
        assert!(line.is_some_and(|line| line.contains(&file)), "{history}");
    }
    Ok(())
}

#[test]
fn what_runs_is_read_over_and_its_damage_told_until_it_is_gone() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("[verify]\ninterval = \"1s\"\nrate = \"0B\"\n")?;
    let agent = fleet.agent();
    let file = robot.sh(&format!("find {agent} -type f ! -perm /111 | head -n 1"))?;
    assert!(!file.is_empty(), "there is no file to damage");
    let whole = robot.sh("surefoot doctor --deep --json || true")?;
    assert!(whole.contains("all are whole"), "{whole}");
    // One bit of its NAR.
    robot.sh(&format!("chmod a+x {file}"))?;
    let status = robot.until_status("the damage to be told", |status| {
        status["damaged"][0].to_string().contains(agent)
    })?;
    assert_eq!(status["state"], "idle", "{status:#}");
    let deep = robot.sh("surefoot doctor --deep --json || true")?;
    assert!(
        deep.contains("is not what was put into the store"),
        "{deep}"
    );
    // What shares it is not tried on it, and is not to blame.
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the damage to be named", |status| {
        let doing = status["doing"].to_string();
        doing.contains(agent) && doing.contains("what runs now uses it")
    })?;
    robot.stands_on(&first)?;
    robot.sh(&format!("chmod a-x {file}"))?;
    robot.until_confirmed(&second)?;
    robot.until_status("the damage to be gone", |status| {
        status["damaged"].is_null() || status["damaged"] == json!([])
    })?;
    Ok(())
}

#[test]
fn what_only_a_fallback_uses_is_brought_anew_by_itself() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("[verify]\ninterval = \"1s\"\nrate = \"0B\"\n")?;
    let second = fleet.release(&fleet.toplevel("1.1").padding(1 << 20))?;
    robot.until_confirmed(&second)?;
    let third = fleet.release(&fleet.toplevel("1.2"))?;
    robot.until_confirmed(&third)?;
    let (file, before) = lose_padding(&robot, &second)?;
    robot.until("surefoot history | grep repaired")?;
    assert_eq!(robot.sh(&format!("sha256sum {file}"))?, before);
    let history = robot.sh("surefoot history")?;
    for word in ["damaged", "repaired"] {
        let line = history.lines().find(|line| line.contains(word));
        assert!(line.is_some_and(|line| line.contains(&file)), "{history}");
    }
    robot.until_status("the damage to be gone", |status| {
        status["damaged"].is_null() || status["damaged"] == json!([])
    })?;
    // And it can be gone back to.
    robot.sh("surefoot rollback --wait --why 'it drops things'")?;
    robot.until_confirmed(&second)?;
    Ok(())
}
