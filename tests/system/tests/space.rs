//! Room: what the agent made goes before there is none, and nothing else does.

use anyhow::Result;
use surefoot_tests::{Fleet, Robot};

/// The numbers of the profile's generations.
fn generations(robot: &Robot) -> Result<String> {
    let list =
        "cd /nix/var/nix/profiles && ls -d system-*-link | sed 's/system-//; s/-link//' | sort -n";
    Ok(robot.sh(list)?.trim().replace('\n', " "))
}

#[test]
fn seven_releases_leave_a_few_generations_and_what_is_kept() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("[fetch]\nkeep = 1\n[space]\ngenerations = 2\n")?;
    let mut systems = vec![first];
    for n in 1..=7 {
        let system = fleet.release(&fleet.toplevel(&format!("1.{n}")))?;
        robot.until_confirmed(&system)?;
        systems.push(system);
        if n == 2 {
            robot.sh("surefoot keep 1.1")?;
            // Somebody else's.
            robot.sh("ln -s $(readlink -f /nix/var/nix/profiles/system-1-link) /nix/var/nix/profiles/system-4-link")?;
        }
    }
    // What the robot was installed with, what is kept, somebody else's, and the agent's newest.
    assert_eq!(generations(&robot)?, "1 2 4 7 8 9", "{}", robot.journal());
    let entries = robot.sh("cat /boot/loader/entries/*.conf | grep -c '^version'")?;
    assert_eq!(entries.trim(), "6");
    let status = robot.status()?;
    assert_eq!(status["kept"][0]["release"], "1.1", "{status:#}");
    assert_eq!(status["kept"][0]["system"], systems[1]);
    assert_eq!(status["kept"][0]["by"], "root");
    let history = robot.sh("surefoot history")?;
    for gone in ["1.2", "1.3", "1.4"] {
        let line = history
            .lines()
            .find(|line| line.contains("pruned") && line.contains(gone));
        assert!(line.is_some(), "{gone}: {history}");
    }
    // No collection takes what is kept, whatever becomes of its generation.
    robot.sh("nix-env -p /nix/var/nix/profiles/system --delete-generations old; nix-store --gc")?;
    robot.sh(&format!("nix-store --check-validity {}", systems[1]))?;
    robot.sh("surefoot keep 1.1 --undo")?;
    robot.sh("nix-store --gc")?;
    robot.sh(&format!("! nix-store --check-validity {}", systems[1]))?;
    Ok(())
}

#[test]
fn nothing_goes_after_a_loss_of_memory() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("[fetch]\nkeep = 1\n[space]\ngenerations = 1\n")?;
    for n in 1..=3 {
        let system = fleet.release(&fleet.toplevel(&format!("1.{n}")))?;
        robot.until_confirmed(&system)?;
    }
    assert_eq!(generations(&robot)?, "1 2 3 4");
    robot.sh(
        "systemctl stop surefootd; rm /var/lib/surefoot/journal.*; systemctl start surefootd",
    )?;
    let system = fleet.release(&fleet.toplevel("1.4"))?;
    robot.until_confirmed(&system)?;
    let system = fleet.release(&fleet.toplevel("1.5"))?;
    robot.until_confirmed(&system)?;
    assert_eq!(generations(&robot)?, "1 2 3 4 5 6");
    Ok(())
}

/// Gives the robot a disk with room for four more systems with a padding of 20 MiB.
fn shrink_disk(robot: &Robot) -> Result<()> {
    robot.sh(
        "systemctl stop surefootd.service nix-daemon.socket nix-daemon.service
         size=$(($(du -s -B1 /nix | cut -f1) * 11 / 10 + (88 << 20)))
         mkdir -p /tmp/nix && mount -t tmpfs -o size=$size,mode=755 tmpfs /tmp/nix
         cp -a /nix/. /tmp/nix && mount --bind /tmp/nix /nix
         systemctl start nix-daemon.socket surefootd.service",
    )?;
    Ok(())
}

#[test]
fn a_store_without_room_gives_up_the_oldest_generations_of_the_agent() -> Result<()> {
    let configuration = "[fetch]\nkeep = 1\nreserve = \"1MiB\"\n[space]\ncollect = true\n";
    let (fleet, robot, first) = Fleet::with_robot(&format!("{configuration}generations = 100\n"))?;
    shrink_disk(&robot)?;
    robot.until_confirmed(&first)?;
    let mut systems = Vec::new();
    for n in 1..=5 {
        let system = fleet.release(&fleet.toplevel(&format!("1.{n}")).padding(20 << 20))?;
        robot.until_confirmed(&system)?;
        systems.push(system);
        if n == 2 {
            robot.sh("surefoot keep 1.2")?;
        }
    }
    // There is room for four. What the robot was installed with stays, and no more goes than it takes.
    assert_eq!(generations(&robot)?, "1 3 4 5 6", "{}", robot.journal());
    robot.sh(&format!("! nix-store --check-validity {}", systems[0]))?;
    robot.sh(&format!("nix-store --check-validity {}", systems[1]))?;
    let history = robot.sh("surefoot history")?;
    let mut lines = history.lines();
    assert!(
        lines.any(|line| line.contains("pruned") && line.contains("1.1")),
        "{history}"
    );
    Ok(())
}

#[test]
fn a_store_without_room_gives_up_what_nothing_keeps_where_that_is_wished() -> Result<()> {
    let configuration = "[fetch]\nkeep = 1\nreserve = \"1MiB\"\n[space]\ngenerations = 1\n";
    let (fleet, robot, first) = Fleet::with_robot(configuration)?;
    shrink_disk(&robot)?;
    robot.until_confirmed(&first)?;
    let mut systems = Vec::new();
    let mut waits = None;
    for n in 1..=9 {
        let release = format!("1.{n}");
        let system = fleet.release(&fleet.toplevel(&release).padding(20 << 20))?;
        let status = robot.until_status("the release or that it waits", |status| {
            status["confirmed"]["release"] == release.as_str()
                || status["doing"].to_string().contains("bytes free")
        })?;
        systems.push(system);
        if status["confirmed"]["release"] != release.as_str() {
            waits = Some(status);
            break;
        }
    }
    let status = waits.expect("the disk is full at last");
    assert_eq!(status["room"]["reservedBytes"], 1 << 20, "{status:#}");
    let last = systems.last().expect("there is one");
    let confirmed = &systems[systems.len() - 2];
    // Nothing has gone by itself.
    robot.sh(&format!("nix-store --check-validity {}", systems[0]))?;
    robot.sh("mkdir -p /etc/surefoot/config.d
         printf '[space]\\ncollect = true\\n' >/etc/surefoot/config.d/60-collect.toml
         systemctl reload surefootd; surefoot update || true")?;
    robot.until_confirmed(last)?;
    robot.sh(&format!("! nix-store --check-validity {}", systems[0]))?;
    robot.sh(&format!("nix-store --check-validity {confirmed}"))?;
    let history = robot.sh("surefoot history")?;
    let line = history.lines().find(|line| line.contains("collected"));
    assert!(line.is_some(), "{history}");
    let journal = robot.journal();
    assert!(
        journal.contains("paths that nothing keeps take"),
        "{journal}"
    );
    Ok(())
}
