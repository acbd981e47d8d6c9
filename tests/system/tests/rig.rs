//! The rig itself: what the other tests stand on behaves as the real thing does.

use anyhow::Result;
use surefoot_tests::{Farm, Network, Nginx, Robot, Toplevel, rig};

fn switch(robot: &Robot, toplevel: &str, action: &str) -> Result<i32> {
    let line = format!("{toplevel}/bin/switch-to-configuration {action}");
    Ok(robot.try_sh(&line)?.status.code().unwrap_or(-1))
}

/// A robot that runs generation a and has the others in its store.
fn robot(farm: &Farm, others: &[&String]) -> Result<(Robot, String)> {
    let a = Toplevel::named("a").build(farm)?;
    let mut robot = Robot::new(farm, &a)?;
    for other in others {
        farm.push(other, &robot.disk().join("cache"), "none", None)?;
    }
    robot.start()?;
    for other in others {
        robot.sh(&format!(
            "nix copy --no-check-sigs --from file:///cache {other}"
        ))?;
    }
    Ok((robot, a))
}

#[test]
fn a_robot_boots_what_its_loader_says() -> Result<()> {
    let farm = Farm::shared();
    let b = Toplevel::named("b").build(&farm)?;
    let (mut robot, a) = robot(&farm, &[&b])?;
    assert_eq!(robot.current()?, a);
    assert_eq!(robot.sh("cat /etc/robot/generation")?, "a");
    assert_eq!(robot.sh("systemctl is-active robot.service")?, "active");
    assert_eq!(robot.loader_default()?, a);

    // A toplevel that is not the profile's: `boot` says it is done, and nothing has changed.
    assert_eq!(switch(&robot, &b, "boot")?, 0);
    assert_eq!(robot.loader_default()?, a);
    robot.sh(&format!(
        "nix-env -p /nix/var/nix/profiles/system --set {b}"
    ))?;
    assert_eq!(switch(&robot, &b, "boot")?, 0);
    assert_eq!(robot.loader_default()?, b);
    assert_eq!(robot.current()?, a);

    let boot = robot.boot_id()?;
    robot.sh("systemctl reboot || true")?;
    robot.rebooted_since(&boot)?;
    assert_eq!(robot.current()?, b);
    assert_eq!(robot.sh("readlink /run/booted-system")?, b);

    // Default back to a, and b once.
    assert_eq!(switch(&robot, &a, "boot")?, 0);
    robot.sh("echo nixos-generation-2.conf > /boot/loader/oneshot")?;
    robot.power_cycle()?;
    assert_eq!(robot.current()?, b);
    robot.power_cycle()?;
    assert_eq!(robot.current()?, a);
    Ok(())
}

#[test]
fn a_power_cut_keeps_the_disk_and_nothing_else() -> Result<()> {
    let (mut robot, _) = robot(&Farm::shared(), &[])?;
    let boot = robot.boot_id()?;
    robot.sh("echo kept > /var/lib/kept; echo lost > /run/lost; echo lost > /tmp/lost")?;
    robot.power_cycle()?;
    assert_ne!(robot.boot_id()?, boot);
    assert_eq!(robot.sh("cat /var/lib/kept")?, "kept");
    assert!(
        !robot
            .try_sh("cat /run/lost || cat /tmp/lost")?
            .status
            .success()
    );
    Ok(())
}

#[test]
fn switches_exit_as_the_real_ones_do() -> Result<()> {
    let farm = Farm::shared();
    let fails = Toplevel::named("fails").service("fails").build(&farm)?;
    let silent = Toplevel::named("silent")
        .service("silent")
        .text("startTimeout", "1s")
        .build(&farm)?;
    let activate = Toplevel::named("activate")
        .expression("activateFails", "true")
        .build(&farm)?;
    let check = Toplevel::named("check")
        .expression("checkFails", "true")
        .build(&farm)?;
    let loader = Toplevel::named("loader")
        .expression("bootLoaderFails", "true")
        .build(&farm)?;
    let init = Toplevel::named("init")
        .text("initInterface", "systemd 3")
        .build(&farm)?;
    let inhibited = |name: &str, dbus: &str| {
        let value = format!("{{ dbus = \"{dbus}\"; }}");
        Toplevel::named(name)
            .expression("inhibitors", &value)
            .build(&farm)
    };
    let (broker, classic) = (
        inhibited("broker", "broker")?,
        inhibited("classic", "dbus")?,
    );
    let all = [
        &fails, &silent, &activate, &check, &loader, &init, &broker, &classic,
    ];
    let (robot, a) = robot(&farm, &all)?;

    assert_eq!(switch(&robot, &fails, "test")?, 4);
    assert_eq!(
        robot.current()?,
        fails,
        "exit status 4 comes after the new system is live"
    );
    assert_eq!(robot.loader_default()?, a, "test leaves the loader alone");
    assert_eq!(switch(&robot, &silent, "test")?, 4);
    assert_eq!(switch(&robot, &a, "test")?, 0);
    assert_eq!(robot.sh("systemctl is-active robot.service")?, "active");

    assert_eq!(switch(&robot, &activate, "test")?, 2);
    assert_eq!(
        robot.current()?,
        activate,
        "a failed activation does not end the switch"
    );
    assert_eq!(switch(&robot, &a, "test")?, 0);

    assert_eq!(switch(&robot, &check, "check")?, 1);
    assert_eq!(switch(&robot, &check, "test")?, 1);
    assert_eq!(switch(&robot, &loader, "switch")?, 1);
    assert_eq!(switch(&robot, &init, "test")?, 100);
    assert_eq!(robot.current()?, a);
    let line = format!("NIXOS_NO_CHECK=1 {check}/bin/switch-to-configuration test");
    assert_eq!(robot.try_sh(&line)?.status.code(), Some(0));

    // A key that is new does not inhibit, one that changes does; `boot` goes.
    assert_eq!(switch(&robot, &broker, "test")?, 0);
    assert_eq!(switch(&robot, &classic, "test")?, 1);
    assert_eq!(switch(&robot, &classic, "boot")?, 0);

    let lock = "flock /run/nixos/switch-to-configuration.lock";
    let locked = robot.try_sh(&format!("{lock} {a}/bin/switch-to-configuration test"))?;
    assert_eq!(locked.status.code(), Some(11));
    Ok(())
}

#[test]
fn an_interrupted_switch_is_finished_by_the_next() -> Result<()> {
    let farm = Farm::shared();
    let hangs = Toplevel::named("hangs")
        .expression("activateHangs", "true")
        .build(&farm)?;
    let (robot, a) = robot(&farm, &[&hangs])?;
    robot.sh(&format!(
        "systemd-run --quiet --unit=try --collect {hangs}/bin/switch-to-configuration test"
    ))?;
    robot.until(
        "grep -q robot.service /run/nixos/start-list && ! systemctl is-active robot.service",
    )?;
    robot.sh("systemctl kill --signal=KILL try.service")?;
    robot.until("! systemctl is-active try.service")?;
    assert_eq!(robot.current()?, a);
    assert!(
        !robot
            .try_sh("systemctl is-active robot.service")?
            .status
            .success()
    );

    // Nothing differs from what runs, and yet the service is started: the list says so.
    assert_eq!(switch(&robot, &a, "test")?, 0);
    assert_eq!(robot.sh("systemctl is-active robot.service")?, "active");
    assert!(
        !robot
            .try_sh("test -s /run/nixos/start-list")?
            .status
            .success()
    );
    Ok(())
}

#[test]
fn nixos_rebuild_comes_in_two_flavours() -> Result<()> {
    let farm = Farm::shared();
    let old = Toplevel::named("old")
        .text("nixosRebuild", "old")
        .build(&farm)?;
    let fails = Toplevel::named("fails").service("fails").build(&farm)?;
    let (robot, a) = robot(&farm, &[&old, &fails])?;
    // As the real one, it would first build itself from a configuration that no robot has.
    let output = robot.try_sh(&format!("nixos-rebuild test --store-path {old}"))?;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("config.system.build.nixos-rebuild"), "{said}");
    assert_eq!(robot.current()?, a);
    robot.sh(&format!(
        "nixos-rebuild test --no-reexec --store-path {old}"
    ))?;
    assert_eq!(robot.current()?, old);
    let output = robot.try_sh(&format!("nixos-rebuild test --store-path {a}"))?;
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("unrecognized arguments: --store-path")
    );

    // As the real one, it sets the profile first, keeps it so, and makes a 4 a 1.
    assert_eq!(switch(&robot, &a, "test")?, 0);
    let output = robot.try_sh(&format!(
        "_NIXOS_REBUILD_REEXEC=1 nixos-rebuild switch --store-path {fails}"
    ))?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(robot.sh("readlink -f /nix/var/nix/profiles/system")?, fails);
    assert_eq!(robot.loader_default()?, fails);
    Ok(())
}

#[test]
fn servers_outlive_the_robots_of_their_network() -> Result<()> {
    let network = Network::new()?;
    let files = tempfile::tempdir()?;
    std::fs::write(files.path().join("hello"), "hello robot")?;
    let location = format!("location / {{ root {}; }}", files.path().display());
    let mut server = Nginx::start_in(&network, 80, &location)?;
    let mut robot = Robot::bare()?.in_network(&network);
    robot.start()?;
    assert_eq!(robot.sh("curl -sS http://127.0.0.1/hello")?, "hello robot");
    robot.power_cycle()?;
    assert_eq!(robot.sh("curl -sS http://127.0.0.1/hello")?, "hello robot");
    server.stop();
    assert!(
        !robot
            .try_sh("curl -sS http://127.0.0.1/hello")?
            .status
            .success()
    );
    server.resume()?;
    assert_eq!(
        robot.sh("curl -sS -r 6-10 http://127.0.0.1/hello")?,
        "robot"
    );
    let last = server.requests_after(3)?.pop().expect("three");
    assert_eq!(
        (last.status, last.range.as_deref()),
        (206, Some("bytes=6-10"))
    );
    Ok(())
}

#[test]
fn an_nginx_has_a_port_of_its_own() -> Result<()> {
    let one = Nginx::start("location / { return 200 one; }")?;
    let two = Nginx::start("location / { return 503; }")?;
    let status = |url: &str| {
        rig::run(std::process::Command::new("curl").args([
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            url,
        ]))
    };
    assert_eq!(status(&one.url())?, "200");
    assert_eq!(status(&two.url())?, "503");
    assert!(Nginx::start("this is not a configuration").is_err());
    Ok(())
}
