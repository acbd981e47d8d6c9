//! The agent, the robot and its surroundings break in the middle of an update. Wherever that is,
//! the robot ends on a system that is whole, by itself.

use anyhow::{Context as _, Result};
use serde_json::json;
use surefoot_tests::{Fleet, Robot};

/// Ends the agent for good at its next visit to a fault point, once; what it does when it starts is no
/// visit.
fn set_fault(robot: &Robot, point: &str) -> Result<()> {
    set_fault_that(robot, point, "kill")
}

/// The same, with what is to become of the agent.
pub(crate) fn set_fault_that(robot: &Robot, point: &str, does: &str) -> Result<()> {
    robot
        .sh("grep -q SUREFOOT_FAULT $(readlink -f /proc/$(systemctl show --property=MainPID --value surefootd)/exe)")
        .context("this agent was built without its fault points: `cargo nextest run` builds it with them")?;
    robot.sh(&format!(
        "mkdir -p /run/systemd/system/surefootd.service.d
         printf '[Service]\\nRestart=no\\nEnvironment=SUREFOOT_FAULT={point}:{does} SUREFOOT_FAULT_ONCE=/var/lib/surefoot/{point}\\n' \
           >/run/systemd/system/surefootd.service.d/fault.conf
         touch /var/lib/surefoot/{point}
         systemctl daemon-reload && systemctl restart surefootd.service"
    ))?;
    // The repository is asked after all else that a start brings.
    robot.until_status("the agent to be back", |status| {
        status["state"] == "idle" && !status["lastCheck"].is_null()
    })?;
    robot.sh(&format!("rm /var/lib/surefoot/{point}"))?;
    Ok(())
}

pub(crate) fn until_hit(robot: &Robot, point: &str) -> Result<()> {
    robot.until(&format!("test -e /var/lib/surefoot/{point}"))?;
    Ok(())
}

/// Pulls the plug at each of the points on the way to a good release of its own: the robot starts
/// from what its loader says, which is a confirmed system, and gets there all the same.
fn good_releases_survive_power_cuts(points: &[&str]) -> Result<()> {
    let (fleet, mut robot, mut confirmed) = Fleet::with_robot("")?;
    for point in points {
        set_fault(&robot, point)?;
        let next = fleet.release(&fleet.toplevel(point))?;
        until_hit(&robot, point)?;
        robot.unplug()?;
        robot.start()?;
        let booted = robot.sh("readlink /run/booted-system")?;
        assert!(
            booted == confirmed || booted == next,
            "{point}: booted {booted}"
        );
        robot.until_confirmed(&next)?;
        confirmed = next;
    }
    Ok(())
}

#[test]
fn power_cuts_before_the_trial_cost_nothing() -> Result<()> {
    good_releases_survive_power_cuts(&["after-fetch", "after-persist-ready"])
}

#[test]
fn power_cuts_in_the_trial_cost_nothing() -> Result<()> {
    good_releases_survive_power_cuts(&[
        "after-persist-trial-arming",
        "before-switch",
        "after-switch",
    ])
}

#[test]
fn power_cuts_in_the_commit_cost_nothing() -> Result<()> {
    good_releases_survive_power_cuts(&["after-persist-committing", "before-disarm"])
}

#[test]
fn the_dead_man_timer_goes_back_without_the_agent() -> Result<()> {
    let quick = "[trial]\nswitch_timeout = \"10s\"\n[health]\nsoak = \"3s\"\ndeadline = \"4s\"\n";
    let (fleet, robot, first) = Fleet::with_robot(quick)?;
    set_fault(&robot, "after-switch")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    until_hit(&robot, "after-switch")?;
    // systemd would bring it back: this agent is gone for good.
    robot.sh("systemctl stop surefootd")?;
    assert_eq!(robot.current()?, second);
    robot.sh("systemctl is-active surefoot-dead-man.timer")?;
    robot.until(&format!("test $(readlink /run/current-system) = {first}"))?;
    robot.stands_on(&first)?;
    // The switch back starts the agent, which is not waited for in vain, and knows what happened.
    let status = robot.until_status("the verdict", |status| {
        status["state"] == "idle" && status["blocked"][0]["cause"] == "deadMan"
    })?;
    assert_eq!(status["blocked"][0]["system"], json!(second), "{status:#}");
    robot.stands_on(&first)?;
    Ok(())
}

/// Somebody runs a switch of something else, in a unit that nixos-rebuild would give it.
const SOMEBODYS: &str = "nixos-rebuild-switch-to-configuration-7";

fn somebody_switches(robot: &Robot) -> Result<()> {
    robot.sh(&format!(
        "mkdir -p /run/robot && systemd-run --quiet --unit={SOMEBODYS} tail -f /dev/null"
    ))?;
    Ok(())
}

#[test]
fn a_rollback_in_the_middle_of_a_switch_ends_that_and_nobody_elses() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    somebody_switches(&robot)?;
    let slow = fleet.toplevel("1.1").expression("activateHangs", "true");
    let slow = fleet.release(&slow)?;
    let ours = format!(
        "systemctl show --property=ExecStart 'nixos-rebuild-switch-to-configuration*' | grep -q {slow}/bin/"
    );
    robot.until(&ours)?;
    robot.sh("surefoot rollback --why 'it takes too long'")?;
    robot.until_blocked("1.1", &first)?;
    robot.sh(&format!("! {ours} && systemctl is-active {SOMEBODYS}"))?;
    robot.stands_on(&first)?;
    Ok(())
}

#[test]
fn the_dead_man_timer_ends_the_trials_switch_and_nobody_elses() -> Result<()> {
    let quick = "[trial]\nswitch_timeout = \"10s\"\n[health]\nsoak = \"3s\"\ndeadline = \"4s\"\n";
    let (fleet, robot, first) = Fleet::with_robot(quick)?;
    somebody_switches(&robot)?;
    set_fault(&robot, "before-switch")?;
    let slow = fleet.toplevel("1.1").expression("activateHangs", "true");
    let slow = fleet.release(&slow)?;
    until_hit(&robot, "before-switch")?;
    robot.sh("systemctl stop surefootd")?;
    // The switch as the agent would have begun it, and a client of it that is gone.
    let unit = "nixos-rebuild-switch-to-configuration";
    robot.sh(&format!(
        "systemd-run --quiet --collect --unit={unit} {slow}/bin/switch-to-configuration test"
    ))?;
    robot.until(&format!(
        "test $(readlink /run/current-system) = {first} && ! systemctl is-active {unit}"
    ))?;
    robot.sh(&format!("systemctl is-active {SOMEBODYS}"))?;
    robot.sh("! journalctl --no-pager --unit surefoot-dead-man | grep 'going back failed'")?;
    Ok(())
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("")?;
    let output = robot.try_sh("surefootd")?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("/var/lib/surefoot/lock") || said.contains("another"),
        "{said}"
    );
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn a_nix_daemon_that_is_gone_is_waited_for() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    robot.sh("systemctl stop nix-daemon.socket nix-daemon.service")?;
    robot.sh("mv /nix/var/nix/daemon-socket/socket /nix/var/nix/daemon-socket/gone || true")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the missing Nix daemon to be named", |status| {
        status["doing"].to_string().contains("daemon-socket")
    })?;
    robot.stands_on(&first)?;
    robot.sh("systemctl start nix-daemon.socket")?;
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn a_fetch_that_waits_for_a_lock_says_whose() -> Result<()> {
    let configuration = "stalled_after = \"1s\"\n[fetch]\ndaemon_timeout = \"5s\"\n";
    let (fleet, robot, first) = Fleet::with_robot(configuration)?;
    let next = fleet.toplevel("1.1");
    let lock = format!("{}.lock", next.build(&fleet.farm)?);
    robot.sh(&format!(
        "systemd-run --quiet --unit=holder flock {lock} tail -f /dev/null"
    ))?;
    robot.until(&format!("test -e {lock} && ! flock --nonblock {lock} true"))?;
    let holder = robot.sh("systemctl show --property=MainPID --value holder")?;
    let second = fleet.release(&next)?;
    let status = robot.until_status("the stall to be said", |status| {
        !status["stalls"][0]["why"].is_null()
    })?;
    let stall = &status["stalls"][0];
    assert_eq!(stall["what"], "the fetch", "{stall:#}");
    let why = stall["why"].to_string();
    assert!(
        why.contains(&format!("process {}", holder.trim()))
            && why.contains(&format!(" holds {lock}")),
        "{why}"
    );
    let doctor = robot.try_sh("surefoot doctor")?;
    let found = String::from_utf8_lossy(&doctor.stdout);
    assert!(found.contains("nothing has come of the fetch"), "{found}");
    // It is given up, and tried again, for as long as that takes.
    robot.until_status("the silent daemon to be named", |status| {
        let doing = status["doing"].to_string();
        doing.contains("has been silent for 5s") && doing.contains(&lock)
    })?;
    assert!(
        robot
            .journal()
            .contains("nothing has come of the fetch for")
    );
    let history = robot.sh("surefoot history")?;
    let stalls: Vec<&str> = (history.lines())
        .filter(|line| line.contains("stalled"))
        .collect();
    assert_eq!(stalls.len(), 1, "{history}");
    assert!(stalls[0].contains("the fetch brought nothing"), "{history}");
    robot.stands_on(&first)?;
    robot.sh("systemctl stop holder.service")?;
    robot.until_confirmed(&second)?;
    let status = robot.status()?;
    assert!(
        status["stalls"].is_null() || status["stalls"] == json!([]),
        "{status:#}"
    );
    Ok(())
}

#[test]
fn a_full_disk_is_waited_out() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    robot.sh("systemctl stop surefootd.service
         mkdir -p /var/lib/surefoot/staging
         mount -t tmpfs -o size=4M,mode=700 tmpfs /var/lib/surefoot/staging
         systemctl start surefootd.service")?;
    let second = fleet.release(&fleet.toplevel("1.1").padding(12 << 20))?;
    robot.until_status("the full disk to be named", |status| {
        let doing = status["doing"].to_string();
        doing.contains("space") || doing.contains("room")
    })?;
    robot.stands_on(&first)?;
    robot.sh("mount -o remount,size=64M /var/lib/surefoot/staging")?;
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn a_store_without_room_is_refused_before_the_first_byte() -> Result<()> {
    let (mut fleet, robot, first) = Fleet::with_robot("[fetch]\nreserve = \"900TiB\"\n")?;
    fleet.release(&fleet.toplevel("1.1"))?;
    // The publisher looked into the cache, too.
    let published = fleet.server.requests()?.len();
    robot.until_status("the refusal", |status| {
        let doing = status["doing"].to_string();
        doing.contains("space") || doing.contains("free") || doing.contains("room")
    })?;
    robot.stands_on(&first)?;
    let asked = fleet.server.requests()?;
    fleet.server.stop();
    assert!(
        !(asked.iter().skip(published)).any(|request| request.uri.contains("/nar/")),
        "{asked:?}"
    );
    Ok(())
}

#[test]
fn a_server_that_is_gone_is_waited_for() -> Result<()> {
    let (mut fleet, robot, first) = Fleet::with_robot(
        "[gates]\ninterval = '1s'\n[[gates.command]]\nname = 'broken'\nstages = ['download']\n\
         exec = ['/bin/sh', '-c', 'test -e /run/broken']\n",
    )?;
    fleet.server.stop();
    robot.until_status("the failed check", |status| {
        status["lastCheck"]["result"] == "failed"
    })?;
    fleet.server.resume()?;
    let path = fleet.toplevel("1.1").padding(4 << 20).build(&fleet.farm)?;
    fleet.push(&path)?;
    // The publisher would refuse what is in no cache, so the robot waits until the cache is broken.
    fleet.publish(&path, "1.1")?;
    for broken in [
        "return 404;",
        "return 500;",
        "limit_rate 1; limit_rate_after 100k;",
    ] {
        let locations = format!(
            "location ~ ^/cache/nar/ {{ root {}; {broken} }} {}",
            fleet.cache().parent().unwrap_or(&fleet.cache()).display(),
            fleet.locations()
        );
        fleet.server.reconfigure(&locations)?;
        robot.sh("touch /run/broken")?;
        robot.until_status("the fetch", |status| status["state"] == "fetching")?;
        robot.stands_on(&first)?;
    }
    let locations = fleet.locations();
    fleet.server.reconfigure(&locations)?;
    robot.until_confirmed(&path)?;
    Ok(())
}

#[test]
fn a_switch_by_hand_is_noticed_and_nothing_is_done_by_surprise() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let second = fleet.toplevel("by-hand").build(&fleet.farm)?;
    fleet.push(&second)?;
    robot.sh(&format!("nix copy --from http://127.0.0.1/cache {second}"))?;
    robot.sh(&format!("{second}/bin/switch-to-configuration test"))?;
    let status = robot.until_status("the drift to be seen", |status| !status["drift"].is_null())?;
    let refusal = robot
        .call("Update", &json!({}))
        .expect_err("updates must wait");
    assert!(
        refusal.to_string().contains("somebody switched by hand"),
        "{refusal:#}"
    );
    assert_eq!(status["confirmed"]["system"], first);
    assert_eq!(
        robot.current()?,
        second,
        "by the default policy nothing is done about it"
    );
    Ok(())
}

#[test]
fn a_rollback_whose_caller_was_told_nothing_is_never_carried_out() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("2.0"))?;
    robot.until_confirmed(&second)?;
    // The agent dies between writing what was asked for and answering.
    let point = "after-persist-untold";
    set_fault(&robot, point)?;
    robot.sh(
        "varlinkctl call /run/surefoot/control.socket io.surefoot.Agent.Rollback \
           '{\"why\": \"it drops things\"}' && exit 1 || exit 0",
    )?;
    until_hit(&robot, point)?;
    robot.until("! systemctl --quiet is-active surefootd.service")?;
    robot.sh("grep -q '\"untold\": *{' /var/lib/surefoot/journal.0 /var/lib/surefoot/journal.1")?;
    robot.sh("systemctl start surefootd.service")?;
    let status = robot.until_confirmed(&second)?;
    assert_eq!(status["blocked"], json!([]), "{status:#}");
    let history = robot.sh("surefoot history --json")?;
    assert!(!history.contains("rolledBack"), "{history}");
    // Whoever is told gets what was asked for.
    robot.sh("surefoot rollback --why 'it drops things' --wait")?;
    robot.stands_on(&first)?;
    Ok(())
}

#[test]
fn a_trial_whose_rollback_was_told_and_lost_is_left_without_a_verdict_and_that_is_said()
-> Result<()> {
    let (fleet, robot, first) =
        Fleet::with_robot("[health]\nsoak = \"20s\"\ndeadline = \"90s\"\n")?;
    // The agent dies between answering and writing that it has.
    let point = "before-persist-told";
    set_fault(&robot, point)?;
    let second = fleet.release(&fleet.toplevel("2.0"))?;
    robot.until_status("the soak", |status| {
        status["state"] == "trial" && status["running"]["system"] == second.as_str()
    })?;
    let answer = robot.sh(
        "varlinkctl call /run/surefoot/control.socket io.surefoot.Agent.Rollback \
           '{\"why\": \"it drops things\"}'",
    )?;
    assert!(answer.contains("going back to"), "{answer}");
    until_hit(&robot, point)?;
    robot.until("! systemctl --quiet is-active surefootd.service")?;
    robot.sh("systemctl start surefootd.service")?;
    is_left_and_said(&robot, &first)?;
    robot.call("Update", &json!({}))?;
    let status = robot.until_confirmed(&second)?;
    assert_eq!(status["unheard"], json!(null), "{status:#}");
    Ok(())
}

/// The robot has left a trial because of a rollback that somebody may have been told of; it blames nobody,
/// and says so wherever somebody may look.
pub(crate) fn is_left_and_said(robot: &Robot, first: &str) -> Result<()> {
    let status = robot.until_status("the way back", |status| {
        status["state"] == "idle" && status["running"]["system"] == first
    })?;
    let said = status["unheard"].to_string();
    assert!(
        said.contains("root asked for a rollback (it drops things)"),
        "{said}"
    );
    assert_eq!(status["blocked"], json!([]), "{status:#}");
    robot.stands_on(first)?;
    let history = robot.sh("surefoot history")?;
    assert!(
        history.contains("may have been told that it happens"),
        "{history}"
    );
    assert!(!history.contains("rolled back"), "{history}");
    robot.sh("surefoot status | grep -q 'may have been told'")?;
    robot.sh("surefoot doctor >/tmp/doctor; grep -q 'may have been told' /tmp/doctor")?;
    let last = robot.status()?["lastCheck"]["when"].clone();
    robot.sh("systemctl restart surefootd.service")?;
    let status = robot.until_status("another check", |status| {
        status["state"] == "idle"
            && !status["lastCheck"].is_null()
            && status["lastCheck"]["when"] != last
    })?;
    assert_eq!(status["confirmed"]["system"], first, "{status:#}");
    assert_eq!(robot.current()?, first);
    Ok(())
}
