//! What keeps a robot from an update for now, and which robots a release is for.

use anyhow::Result;
use serde_json::{Value, json};
use surefoot_tests::{Fleet, Robot, fleet::MODEL, toplevel::etc_with_unit};

/// Waits until this gate says no, with these words, and holds that nothing was begun for a release.
fn until_closed(robot: &Robot, gate: &str, words: &str) -> Result<()> {
    let says = |now: &Value| {
        let gates = now["gates"].as_array();
        gates.is_some_and(|gates| {
            (gates.iter()).any(|it| it["gate"] == gate && it["why"].to_string().contains(words))
        })
    };
    let status = robot.until_status(&format!("{gate} to say {words}"), says)?;
    assert_eq!(status["state"], "ready", "{status:#}");
    robot.sh("! systemctl is-active surefoot-dead-man.timer")?;
    let tried = robot.sh("surefoot history --json | grep -c '\"tried\"' || true")?;
    assert_eq!(tried.trim(), "0");
    let switches = robot.sh("journalctl --no-pager --quiet --unit 'surefoot-trial-*' | wc -l")?;
    assert_eq!(switches.trim(), "0");
    Ok(())
}

#[test]
fn what_is_in_the_way_of_every_system_is_waited_for_and_nothing_is_begun() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("[gates]\ninterval = '1s'\n")?;
    let lock = "/run/nixos/switch-to-configuration.lock";
    robot.sh(&format!(
        "mkdir -p /run/nixos; systemd-run --quiet --unit=other flock {lock} sleep infinity"
    ))?;
    robot.until(&format!("! flock -n {lock} true"))?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    let holder = robot.sh("systemctl show --property=MainPID --value other")?;
    let words = format!("process {} (flock) holds {lock}", holder.trim());
    until_closed(&robot, "switcher", &words)?;

    // Then the boot partition is read-only, as after an error of its file system.
    robot.sh("mount --bind /boot /boot; mount -o remount,bind,ro /boot; systemctl stop other")?;
    until_closed(&robot, "boot loader", "/boot cannot be written")?;

    // Then the disk is full.
    robot.sh("umount /boot
         mkdir /run/full; mount -t tmpfs -o size=4M tmpfs /run/full
         cp -a /nix/var/nix/profiles/. /run/full; mount --bind /run/full /nix/var/nix/profiles
         dd if=/dev/zero of=/run/full/fill bs=4k 2>/dev/null; test -e /run/full/fill")?;
    until_closed(&robot, "disk", "/nix/var/nix/profiles has ")?;
    robot.stands_on(&first)?;
    robot.sh("umount /nix/var/nix/profiles")?;
    robot.until_confirmed(&second)?;
    // Whoever can read the file could hold its lock: it has been kept to root since.
    robot.sh(&format!(
        "flock -n {lock} true && ! setpriv --reuid 65534 --clear-groups flock -n {lock} true"
    ))?;
    Ok(())
}

#[test]
fn a_proven_system_waits_for_the_boot_partition_and_blames_nobody() -> Result<()> {
    let (fleet, robot, first) =
        Fleet::with_robot("[health]\nsoak = '4s'\n[trial]\nretry_delay = '500ms'\n")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the trial", |now| now["running"]["system"] == second)?;
    robot.sh("mount --bind /boot /boot; mount -o remount,bind,ro /boot")?;
    robot.until_status("the commit to wait", |now| {
        now["state"] == "committing" && now["doing"].to_string().contains("boot loader refused")
    })?;
    assert_eq!(robot.loader_default()?, first);
    robot.sh("umount /boot; surefoot update")?;
    let status = robot.until_confirmed(&second)?;
    assert_eq!(status["blocked"], json!([]));
    Ok(())
}

#[test]
fn a_release_whose_own_service_holds_the_switchers_lock_is_left_and_blocked() -> Result<()> {
    let (fleet, robot, first) =
        Fleet::with_robot("[trial]\nretry_delay = '4s'\nswitch_timeout = '15s'\n")?;
    let locks = etc_with_unit(
        "locker.service",
        "[Service]\nExecStart=/usr/bin/flock /run/nixos/switch-to-configuration.lock sleep infinity\n",
    )?;
    let second = fleet.release(&fleet.toplevel("1.1").etc(locks.path()))?;
    robot.until_status("the commit to wait", |now| {
        now["state"] == "committing" && now["doing"].to_string().contains("another switch")
    })?;
    assert_eq!(robot.loader_default()?, first);
    robot.until_status("it to be left", |now| now["state"] == "reverting")?;
    robot.until_status("the robot to be back", |now| {
        now["running"]["system"] == first && now["state"] == "idle"
    })?;
    let blocked = robot.until_blocked("1.1", &first)?;
    assert_eq!(blocked["system"], second);
    assert_eq!(blocked["cause"], "inItsOwnWay", "{blocked:#}");
    let text = blocked.to_string();
    assert!(text.contains("its own locker.service"), "{blocked:#}");
    Ok(())
}

#[test]
fn the_unit_of_a_technicians_nixos_rebuild_is_waited_for() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("[gates]\ninterval = '1s'\n")?;
    let unit = "nixos-rebuild-switch-to-configuration.service";
    robot.sh(&format!("systemd-run --quiet --unit={unit} sleep infinity"))?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    until_closed(&robot, "switcher", "somebody's nixos-rebuild runs")?;
    robot.sh(&format!("systemctl stop {unit}"))?;
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn what_a_technicians_nixos_rebuild_left_is_waited_for() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("[gates]\ninterval = '1s'\n")?;
    let unit = "nixos-rebuild-switch-to-configuration.service";
    for (release, left, end) in [
        ("1.1", "false", "reset-failed"),
        ("1.2", "--property=RemainAfterExit=yes true", "stop"),
    ] {
        robot.sh(&format!("systemd-run --quiet --unit={unit} {left}"))?;
        let next = fleet.release(&fleet.toplevel(release))?;
        let says = format!("systemctl {end} {unit}");
        robot.until_status("the gate to say what to do", |status| {
            status["state"] == "ready" && status["gates"].to_string().contains(&says)
        })?;
        robot.sh(&says)?;
        robot.until_confirmed(&next)?;
    }
    Ok(())
}

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

#[test]
fn a_robot_at_work_is_not_taken_back_because_the_network_went() -> Result<()> {
    let (mut fleet, robot, first) = Fleet::with_robot(
        "[gates]\ninterval = '1s'\n[health]\nsoak = '2s'\ndeadline = '4s'\n[trial]\nswitch_timeout = '10s'\n\
         [[gates.command]]\nname = 'docked'\nstages = ['activate']\n\
         exec = ['/bin/sh', '-c', 'test -e /run/docked || { echo not in its dock; exit 1; }']\n",
    )?;
    robot.sh("touch /run/docked")?;
    let second = fleet.release(&fleet.toplevel("1.1").service("good"))?;
    robot.until_status("the trial", |now| now["running"]["system"] == second)?;
    fleet.server.stop();
    robot.sh("rm /run/docked")?;
    let late = |now: &Value| {
        now["doing"]
            .to_string()
            .contains("waits to be left (command docked)")
    };
    robot.until_status("the time to be up", late)?;
    // It is guarded, and for longer than it was.
    let timer = "systemctl show --property=Id --property=ActiveEnterTimestampMonotonic \
                 'surefoot-dead-man*.timer' | tr -d '\\n'";
    let armed = robot.sh(timer)?;
    robot.until(&format!(
        "systemctl is-active --quiet 'surefoot-dead-man*.timer' && test '{armed}' != \"$({timer})\""
    ))?;
    let busy = json!({ "name": "gripper", "busy": true, "seconds": 600, "why": "a crate" });
    robot.call("Lease", &busy)?;
    robot.sh("touch /run/docked; systemctl restart surefootd")?;
    robot.until_status("the crate", |now| {
        now["gates"][0]["gate"] == "lease gripper"
    })?;
    assert_eq!(robot.current()?, second);
    robot.call("EndLease", &json!({ "name": "gripper" }))?;
    robot.until(&format!("test $(readlink /run/current-system) = {first}"))?;
    // What is good gets all the time that it needs.
    robot.sh("printf '[health]\\ndeadline = \"60s\"\\n' >/etc/surefoot/config.d/70-time.toml; systemctl reload surefootd")?;
    // Only once the system before reaches it again does it count, once.
    fleet.server.resume()?;
    let counts = "manifest server' in 1 of its trials";
    let status =
        robot.until_status("the doubt", |now| now["doubt"].to_string().contains(counts))?;
    assert_eq!(status["blocked"], json!([]));
    robot.sh("surefoot history | grep doubted")?;
    robot.until_confirmed(&second)?;
    Ok(())
}
