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
