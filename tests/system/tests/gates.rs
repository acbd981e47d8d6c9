//! What keeps a robot from an update for now, and which robots a release is for.

use anyhow::Result;
use serde_json::json;
use surefoot_tests::{Fleet, fleet::MODEL};

#[test]
fn a_release_waits_for_a_command_and_for_the_robots_own_word() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot(
        "[gates]\ninterval = '1s'\nleases = ['gripper']\n\
         [[gates.command]]\nname = 'docked'\nstages = ['download']\n\
         exec = ['/bin/sh', '-c', 'test -e /run/docked || { echo not in its dock; exit 1; }']\n",
    )?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    let closed =
        |stage: &str, gate: &str, why: &str| json!([{ "stage": stage, "gate": gate, "why": why }]);
    let docked = closed("download", "command docked", "not in its dock");
    let status = robot.until_status("the download to wait", |now| now["gates"] == docked)?;
    assert_eq!(
        status["doing"],
        "release 1.1 waits to be fetched: command docked"
    );
    robot.sh(&format!("! nix-store --check-validity {second}"))?;

    robot.sh("touch /run/docked")?;
    let silent = closed("activate", "lease gripper", "silent, which means busy");
    robot.until_status("the trial to wait", |now| now["gates"] == silent)?;
    let busy = json!({ "name": "gripper", "busy": true, "seconds": 600, "why": "a crate" });
    robot.call("Lease", &busy)?;
    // What was said outlasts the agent.
    robot.sh("systemctl restart surefootd")?;
    let busy = closed("activate", "lease gripper", "busy: a crate");
    let status = robot.until_status("the crate", |now| now["gates"] == busy)?;
    assert_eq!(status["leases"][0]["owner"], "root");
    robot.stands_on(&first)?;

    let free = json!({ "name": "gripper", "busy": false, "seconds": 3600 });
    robot.call("Lease", &free)?;
    let status = robot.until_confirmed(&second)?;
    assert_eq!(status["gates"], json!([]));
    Ok(())
}

#[test]
fn a_release_reaches_the_robots_with_its_labels_only() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("labels = ['site=hall-2', 'arm=ur10']\n")?;
    let publish = |name: &str, only: &[&str]| -> Result<String> {
        let path = fleet.toplevel(name).build(&fleet.farm)?;
        fleet.push(&path)?;
        let only = only.iter().flat_map(|label| ["--only", label]);
        let options: Vec<&str> = ["--model", MODEL].into_iter().chain(only).collect();
        fleet.publish_with(&path, name, &options)?;
        Ok(path)
    };
    let here = publish("1.1", &["site=hall-1", "site=hall-2"])?;
    publish("1.2", &["site=hall-3"])?;
    let status = robot.until_confirmed(&here)?;
    assert_eq!(status["labels"], json!(["site=hall-2", "arm=ur10"]));
    let all = publish("1.3", &[])?;
    robot.until_confirmed(&all)?;
    Ok(())
}
