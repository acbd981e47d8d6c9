//! Commands of health and gates, whatever they do: they end in time, with all that they started, and
//! cost the agent no memory.

use anyhow::Result;
use surefoot_tests::{Fleet, Robot, rig};

/// Waits until no process of this robot sleeps for so long.
fn until_nobody_sleeps(robot: &Robot, seconds: &str) -> Result<()> {
    let (first, last) = seconds.split_at(seconds.len() - 1);
    // Brackets, so that the one who looks does not find themselves.
    robot.until(&format!(
        "! grep -lz '^{first}[{last}]$' /proc/[0-9]*/cmdline"
    ))?;
    Ok(())
}

/// Puts a drop-in beside a unit; gives its directory.
fn drop_in(robot: &Robot, unit: &str, text: &str) -> Result<String> {
    let directory = format!("/run/systemd/system/{unit}.d");
    robot.sh(&format!(
        "mkdir -p {directory} && cat >{directory}/test.conf <<'END'\n{text}END\nsystemctl daemon-reload"
    ))?;
    Ok(directory)
}

#[test]
fn what_a_command_leaves_behind_ends_with_it() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot(
        "[gates]\ninterval = '1s'\n\
         [[gates.command]]\nname = 'leaver'\nstages = ['download']\n\
         exec = ['/bin/sh', '-c', 'systemd-cat -p err echo asked-again; sleep 4711 & setsid sleep 4712 & exit 0']\n\
         [[gates.command]]\nname = 'docked'\nstages = ['download']\n\
         exec = ['/bin/sh', '-c', 'test -e /run/docked']\n\
         [[health.command]]\nname = 'leaver'\ntimeout = '10s'\n\
         exec = ['/bin/sh', '-c', 'sleep 4711 & setsid sleep 4712 & exit 0']\n",
    )?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until("test $(journalctl --no-pager -o cat | grep -c '^asked-again') -ge 5")?;
    robot.sh("touch /run/docked")?;
    // The exit counts: it is healthy.
    robot.until_confirmed(&second)?;
    until_nobody_sleeps(&robot, "4711")?;
    until_nobody_sleeps(&robot, "4712")?;
    // Nor does it fill the journal.
    robot.sh("! journalctl --no-pager -o cat | grep 'surefoot-command-.*[Dd]eactivated'")?;
    Ok(())
}

#[test]
fn what_a_command_prints_without_end_costs_no_memory() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot(
        "[[health.command]]\nname = 'flood'\ntimeout = '3s'\nexec = ['/bin/cat', '/dev/zero']\n\
         [[health.command]]\nname = 'words'\ntimeout = '10s'\n\
         exec = ['/bin/sh', '-c', 'echo it grips badly >&2; exit 3']\n",
    )?;
    fleet.release(&fleet.toplevel("1.1"))?;
    let blocked = robot.until_blocked("1.1", &first)?.to_string();
    for words in [
        "no answer within 3000 ms",
        "exit status: 3",
        "it grips badly",
    ] {
        assert!(blocked.contains(words), "{words}: {blocked}");
    }
    let peak = robot.sh(
        "sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/$(systemctl show -P MainPID surefootd)/status",
    )?;
    let peak: u64 = peak.trim().parse()?;
    assert!(peak < 100_000, "{peak} kB");
    robot.sh("test -z \"$(systemctl list-units --all --no-legend 'surefoot-command-*')\"")?;
    Ok(())
}

#[test]
fn a_killed_agent_leaves_no_command_behind() -> Result<()> {
    let (_fleet, robot, _) = Fleet::with_robot(
        "[gates]\ninterval = '1s'\n\
         [[gates.command]]\nname = 'waits'\nstages = ['check']\ntimeout = '1h'\n\
         exec = ['/bin/sh', '-c', 'test ! -e /run/wait || setsid -w sleep 4713']\n",
    )?;
    robot.sh("touch /run/wait")?;
    robot.until("grep -lz '^471[3]$' /proc/[0-9]*/cmdline")?;
    robot.sh("rm /run/wait; systemctl kill --kill-whom=main --signal=KILL surefootd")?;
    until_nobody_sleeps(&robot, "4713")?;
    // Nor does one that is stopped.
    robot.sh("touch /run/wait; systemctl restart surefootd")?;
    robot.until("grep -lz '^471[3]$' /proc/[0-9]*/cmdline")?;
    robot.sh("systemctl stop surefootd")?;
    until_nobody_sleeps(&robot, "4713")?;
    Ok(())
}

#[test]
fn a_drop_in_gives_commands_what_the_agent_has_not() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot(
        "[[health.command]]\nname = 'writes'\ntimeout = '10s'\n\
         exec = ['/bin/sh', '-c', 'touch /srv/written']\n",
    )?;
    let loose = "[Service]\nReadWritePaths=/srv\n";
    drop_in(&robot, "surefoot-command-.service", loose)?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    robot.sh("test -e /srv/written")?;
    // The agent itself sees a file system that it can only read.
    robot.sh("grep -q ' / ro[, ]' /proc/$(systemctl show -P MainPID surefootd)/mountinfo")?;
    Ok(())
}

#[test]
fn a_boot_step_that_takes_too_long_ends_with_all_that_it_started() -> Result<()> {
    let (fleet, robot, first) =
        Fleet::with_robot("[boot]\nloader = 'none'\naccept_no_fallback = true\n")?;
    let slow = "[Service]\nTimeoutStartSec=1s\n\
                ExecStartPre=/bin/sh -c 'setsid sleep 4714 & exec sleep 4714'\n";
    let slow = drop_in(&robot, "surefoot-boot-step.service", slow)?;
    fleet.release(&fleet.toplevel("1.1").text("kernel", "6.12.2"))?;
    robot.until("journalctl --unit surefootd.service | grep 'no answer within 100000 ms'")?;
    rig::wait_for("the way back from what was staged", || {
        Ok(robot.stands_on(&first).ok())
    })?;
    robot.sh(&format!("rm -r {slow}; systemctl daemon-reload"))?;
    until_nobody_sleeps(&robot, "4714")?;
    Ok(())
}
