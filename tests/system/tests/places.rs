//! Who may take what of the agent: users with thousands of user ids, floods, and a daemon that was
//! stopped.

use anyhow::{Context, Result};
use serde_json::json;
use surefoot_tests::{Fleet, Robot, rig::words};

const SOCKET: &str = "/run/surefoot/control.socket";

/// A robot with a technician, software of its own, and a guest who has subordinate user ids.
fn robot(configuration: &str) -> Result<(Fleet, Robot, String)> {
    let groups = "[control]\ntechnician_group = \"technicians\"\napp_group = \"app\"\n";
    let (fleet, robot, first) = Fleet::with_robot(&(groups.to_owned() + configuration))?;
    robot.sh("groupadd -g 4242 technicians && groupadd -g 4243 app")?;
    robot.sh("useradd -G technicians alice && useradd -G app arm && useradd guest")?;
    robot.sh("echo guest:100000:65536 >/etc/subuid && systemctl reload surefootd")?;
    Ok((fleet, robot, first))
}

/// Takes what can be taken: watches as 50 subordinate users, makes calls that are refused without
/// waiting for the answers, connects and says nothing, and connects and goes.
const GREED: &str = r#"
import os, socket, threading, time

def connect():
    talk = socket.socket(socket.AF_UNIX)
    talk.connect("/run/surefoot/control.socket")
    return talk

def watch():
    talk = connect()
    talk.sendall(b'{"method":"io.surefoot.Agent.Watch","more":true}\0')
    while talk.recv(1 << 16):
        pass

def refused():
    talk = connect()
    threading.Thread(target=lambda: [talk.recv(1 << 16) for _ in iter(int, 1)], daemon=True).start()
    while True:
        talk.sendall(b'{"method":"io.surefoot.Agent.Update"}\0' * 100)

def silent():
    connect().recv(1)

def hasty():
    for _ in range(50):
        connect().close()

def greedy(uid, what):
    if os.fork():
        return
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    while True:
        try:
            what()
        except OSError:
            pass
        time.sleep(0.5)

for n in range(50):
    greedy(100000 + n, watch)
for n in range(3):
    greedy(100100 + n, refused)
    greedy(100200 + n, silent)
    greedy(100300 + n, hasty)
while True:
    time.sleep(60)
"#;

fn main_pid(robot: &Robot) -> Result<String> {
    robot.sh("systemctl show --value --property=MainPID surefootd")
}

#[test]
fn stopped_means_stopped_and_a_restart_loses_no_caller() -> Result<()> {
    let (fleet, mut robot, first) = Fleet::with_robot("")?;
    robot.sh("useradd guest")?;

    // Whoever calls while it restarts waits for it: by itself after a crash, and by hand.
    for restart in [
        "systemctl kill -s KILL surefootd",
        "systemctl restart surefootd",
    ] {
        let before = main_pid(&robot)?;
        let call =
            format!("{restart}; until varlinkctl info {SOCKET} >/dev/null; do echo lost; done");
        let lost = robot.sh(&call)?;
        assert!(!lost.contains("lost"), "{restart}: {lost}");
        robot.until(&format!(
            "test $(systemctl show --value --property=MainPID surefootd) != {before}"
        ))?;
    }

    // Nobody who calls starts it again.
    robot.sh("systemctl stop surefootd")?;
    for _ in 0..3 {
        let output = robot.surefoot_as("guest", &["status"])?;
        assert_eq!(output.status.code(), Some(1), "{}", words(&output));
        assert!(
            words(&output).contains("systemctl start surefootd"),
            "{}",
            words(&output)
        );
    }
    let active = robot.sh("systemctl is-active surefootd || true")?;
    assert_eq!(active, "inactive");

    // Started again it answers; and after a power cut it runs without being called.
    robot.sh("systemctl start surefootd")?;
    robot.until_confirmed(&first)?;
    robot.sh("systemctl stop surefootd")?;
    robot.power_cycle()?;
    robot.until("systemctl is-active surefootd")?;
    robot.until_confirmed(&first)?;

    // An update that brings another agent: the old one exits and the new one answers.
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    robot.sh("systemctl stop surefootd")?;
    let rollback = [
        "/run/current-system/sw/bin/surefoot",
        "rollback",
        "--why",
        "x",
    ];
    let output = robot.command(rollback).output()?;
    assert!(output.status.success(), "{}", words(&output));
    robot.stands_on(&first)?;
    // A switch starts what its targets want, so it may have started the agent as well.
    robot.sh("systemctl start surefootd")?;
    robot.until_blocked("1.1", &first)?;
    // The socket may be gone for a reason that nobody knows.
    robot.sh(&format!("rm {SOCKET}; systemctl restart surefootd"))?;
    robot.until_confirmed(&first)?;
    robot.call("Status", &json!({})).context("no socket")?;
    Ok(())
}

#[test]
fn a_user_with_many_uids_keeps_nobody_from_anything() -> Result<()> {
    let (fleet, robot, first) = robot("")?;
    robot.sh(&format!("cat >/tmp/greed.py <<'END'\n{GREED}\nEND"))?;
    robot.sh("systemd-run --quiet --unit=greed python3 /tmp/greed.py")?;
    let turned = "journalctl -u surefootd | grep -q 'took the place of another'";
    robot.until(turned)?;

    // The robot's software holds a lease, and its connection is never lost meanwhile.
    let lease = ["lease", "gripper", "--", "sleep", "6"];
    let output = robot.surefoot_as("arm", &lease)?;
    assert_eq!(
        (output.status.code(), words(&output).as_str()),
        (Some(0), "")
    );
    // An update runs as always, and a technician goes back from it.
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    let output = robot.surefoot_as("alice", &["rollback", "--why", "grips badly"])?;
    assert!(output.status.success(), "{}", words(&output));
    robot.until_blocked("1.1", &first)?;
    // Another user who is nobody in particular is answered as well.
    robot.sh("useradd visitor")?;
    for _ in 0..5 {
        let output = robot.surefoot_as("visitor", &["status"])?;
        assert!(output.status.success(), "{}", words(&output));
    }
    robot.sh("systemctl is-active greed")?;

    // All of that stands in the journal, and little of what was refused.
    let journal = robot.sh("journalctl --no-pager -o cat -u surefootd")?;
    for line in [
        "idle -> fetching",
        "trial -> committing",
        "committing -> idle",
    ] {
        assert!(journal.contains(line), "{line}: {journal}");
    }
    for refused in ["the caller may not do this", "took the place of another"] {
        let lines = journal.matches(refused).count();
        assert!(
            (1..30).contains(&lines),
            "{lines} times {refused}: {journal}"
        );
    }
    assert!(!robot.sh("journalctl --no-pager")?.contains("Suppressed"));
    Ok(())
}

#[test]
fn guests_do_not_see_what_services_and_commands_printed() -> Result<()> {
    let (fleet, robot, first) = robot(
        "[[gates.command]]\nname = 'docked'\nstages = ['download']\n\
         exec = ['/bin/sh', '-c', 'test -e /run/docked || { cat /run/says/dock; exit 1; }']\n\
         [gates]\ninterval = '1s'\n\
         [[health.command]]\nname = 'arm'\ntimeout = '5s'\n\
         exec = ['/bin/sh', '-c', 'grep -v 1.1 /etc/robot/generation || { cat /run/says/pin; exit 1; }']\n",
    )?;
    // From files: the words of a command line are everybody's to see, in systemctl status as well.
    robot.sh(
        "mkdir -m 700 /run/says; echo not in its dock > /run/says/dock; echo its pin is 4711 > /run/says/pin",
    )?;
    let all = |user: &str| -> Result<String> {
        let mut said = String::new();
        for command in ["status", "history", "doctor"] {
            said += &words(&robot.surefoot_as(user, &["--json", command])?);
            said += &words(&robot.surefoot_as(user, &[command])?);
        }
        let systemctl = format!(
            "setpriv --reuid {user} --regid {user} --init-groups systemctl status surefootd"
        );
        Ok(said + &words(&robot.try_sh(&systemctl)?))
    };
    fleet.release(&fleet.toplevel("1.1").service("fails"))?;
    robot.until_status("the gate to close", |status| status["gates"] != json!([]))?;
    assert!(all("arm")?.contains("not in its dock"));
    let seen = all("guest")?;
    assert!(!seen.contains("not in its dock"), "{seen}");
    assert!(seen.contains("command docked"), "{seen}");

    robot.sh("touch /run/docked")?;
    robot.until_blocked("1.1", &first)?;
    let (motor, pin) = ("cannot find its motor", "its pin is 4711");
    for user in ["arm", "alice"] {
        let seen = all(user)?;
        assert!(seen.contains(motor) && seen.contains(pin), "{user}: {seen}");
    }
    let seen = all("guest")?;
    assert!(!seen.contains(motor) && !seen.contains(pin), "{seen}");
    assert!(seen.contains("is shown to root"), "{seen}");
    robot.sh("gpasswd -a guest adm")?;
    assert!(all("guest")?.contains(motor));
    Ok(())
}

/// A guest who waits for an agent, over as many connections as fit into the queue and more than it has places.
const CROWD: &str = r#"
import os, socket, time
os.setgroups([])
os.setresgid(4242, 4242, 4242)
os.setresuid(4242, 4242, 4242)
crowd = []
for _ in range(300):
    talk = socket.socket(socket.AF_UNIX)
    talk.connect("/run/surefoot/control.socket")
    crowd.append(talk)
open("/tmp/crowd", "w").close()
time.sleep(1 << 20)
"#;

#[test]
fn a_crowd_that_waits_for_the_agent_keeps_no_other_role_from_it() -> Result<()> {
    let (_fleet, robot, _) = Fleet::with_robot("")?;
    robot.sh(
        "useradd --uid 4242 guest
         mkdir -p /run/systemd/system/surefootd.service.d
         printf '[Service]\\nRestartSec=1h\\n' >/run/systemd/system/surefootd.service.d/zz-later.conf
         systemctl daemon-reload && systemctl kill --signal=KILL surefootd.service",
    )?;
    robot.until("! systemctl --quiet is-active surefootd.service")?;
    robot.sh(&format!(
        "cat >/tmp/crowd.py <<'END'\n{CROWD}\nEND\nsystemd-run --unit crowd python3 /tmp/crowd.py"
    ))?;
    robot.until("test -e /tmp/crowd")?;
    robot.sh(&format!(
        "systemd-run --unit waits --remain-after-exit \
           varlinkctl call --timeout=infinity {SOCKET} io.surefoot.Agent.Status '{{}}'"
    ))?;
    robot.until("test $(grep -c control.socket /proc/net/unix) -ge 302")?;
    robot.sh("systemctl start surefootd.service")?;
    robot.until("test $(systemctl show --value --property=SubState waits) = exited")?;
    robot.sh("systemctl is-active crowd waits")?;
    Ok(())
}
