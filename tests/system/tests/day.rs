//! A day in the fleet: eight robots, a release that is bad on some of them, and what an admin does.

use anyhow::{Result, ensure};
use serde_json::Value;
use std::{fmt::Write as _, fs::File, process::Command};
use surefoot_core::{
    identity::{self, Identity},
    release::Name,
};
use surefoot_tests::{Fleet, Nginx, Robot, fleet::MODEL, rig, toplevel::etc_with_unit};

/// The robots, the first of which is the canary.
const ROBOTS: usize = 8;

/// What a robot's agent keeps for node_exporter.
const TEXTFILE: &str = "var/lib/surefoot/robot.prom";

/// What a robot says of what came of a trial: a release, and how it ended.
fn outcomes(robot: &Robot) -> Result<Vec<(String, String)>> {
    robot.sh("journalctl --sync")?;
    let entries = "journalctl --quiet -o json MESSAGE_ID=d07014035c42418da41c2502ca5309b7";
    let entries = robot.sh(&format!(
        "{entries} _SYSTEMD_UNIT=surefootd.service || true"
    ))?;
    let entries = entries.lines().map(|line| {
        let entry: Value = serde_json::from_str(line)?;
        let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        Ok((field("RELEASE"), field("OUTCOME")))
    });
    entries.collect()
}

/// Who a robot is, as surefootd reads it.
fn identity(robot: &Robot, number: usize) -> Result<Identity> {
    let files = "/sys/class/dmi/id/product_uuid /sys/firmware/devicetree/base/serial-number \
                 /sys/block/mmcblk0/device/cid /sys/block/mmcblk1/device/cid";
    let numbers = robot.sh(&format!(
        "for file in {files}; do cat $file 2>/dev/null; echo; done"
    ))?;
    Ok(Identity {
        id: Some(format!("robot-{number}").parse()?),
        hardware: numbers.lines().find_map(identity::of_hardware),
    })
}

/// The desk's word about the repository.
fn desk(fleet: &Fleet, words: &[&str]) -> Result<String> {
    let mut command = fleet.surefoot(words)?;
    rig::run(command.arg("--repo").arg(fleet.repository()))
}

/// A system with this gripper service.
fn gripper(fleet: &Fleet, release: &str, run: &str) -> Result<String> {
    let unit = format!("[Service]\nExecStart=/bin/sh -c '{run} exec sleep infinity'\n");
    let files = etc_with_unit("gripper.service", &unit)?;
    let path = fleet
        .toplevel(release)
        .etc(files.path())
        .build(&fleet.farm)?;
    fleet.push(&path)?;
    Ok(path)
}

/// Eight robots of this fleet that run this system: all but the first have another gripper.
fn robots(fleet: &Fleet, system: &str) -> Result<Vec<Robot>> {
    let mut robots = Vec::new();
    for number in 0..ROBOTS {
        let ring = if number == 0 { "canary" } else { "all" };
        let configuration = format!(
            "id = \"robot-{number}\"\nlabels = [\"ring={ring}\"]\n[metrics]\ntextfile = \"/{TEXTFILE}\"\n"
        );
        let mut robot = fleet.robot(system, &configuration)?;
        if number > 0 {
            robot.write("/var/lib/gripper-b", "")?;
        }
        robot.start()?;
        robots.push(robot);
    }
    for robot in &robots {
        robot.until_confirmed(system)?;
    }
    Ok(robots)
}

/// A release's name under which two of the robots, the canary not counted, are let in with the first quarter;
/// and which these are.
fn name_of_quarter(robots: &[Robot]) -> Result<(Name, Vec<usize>)> {
    let all = robots.iter().enumerate().skip(1);
    let all = all.map(|(at, robot)| Ok((at, identity(robot, at)?)));
    let all: Vec<_> = all.collect::<Result<_>>()?;
    for number in 0..1000 {
        let name: Name = format!("2.{number}").parse()?;
        let is_early = |who: &Identity| {
            let place = who.place(&name);
            place.is_some_and(|place| place.millionths() < 250_000)
        };
        let early = all.iter().filter(|(_, who)| is_early(who));
        let early: Vec<usize> = early.map(|(at, _)| *at).collect();
        if early.len() == 2 {
            return Ok((name, early));
        }
    }
    anyhow::bail!("no name lets in two")
}

/// Holds that these are the outcomes of a release: by the files of the robots, and by a real Prometheus that
/// reads them, where there is one.
fn says(fleet: &Fleet, robots: &[Robot], words: &str) -> Result<()> {
    let files = tempfile::tempdir()?;
    let of = |robot: &Robot| robot.disk().join(TEXTFILE);
    let shows = |place: &str| {
        rig::wait_for(words, || {
            for (number, robot) in robots.iter().enumerate() {
                std::fs::copy(of(robot), files.path().join(format!("{number}.prom")))?;
            }
            let said = desk(fleet, &["releases", "--outcomes", place])?;
            Ok(said.contains(words).then_some(()))
        })
    };
    shows(&files.path().to_string_lossy())?;
    if !["promtool", "prometheus"].iter().all(|it| installed(it)) {
        eprintln!("SKIPPED: there is no Prometheus (Debian's package prometheus)");
        return Ok(());
    }
    for robot in robots {
        let mut check = Command::new("promtool");
        check
            .args(["check", "metrics"])
            .stdin(File::open(of(robot))?);
        rig::run(&mut check)?;
    }
    let (mut locations, mut targets) = (String::new(), String::new());
    for (number, robot) in robots.iter().enumerate() {
        let file = of(robot);
        let _ = writeln!(
            locations,
            "location = /{number} {{ default_type text/plain; alias {}; }}",
            file.display()
        );
        let _ = writeln!(
            targets,
            "  - targets: ['127.0.0.1:9100']\n    labels: {{instance: robot-{number}, __metrics_path__: /{number}}}"
        );
    }
    let _exporter = Nginx::start_in(&fleet.network, 9100, &locations)?;
    let home = tempfile::tempdir()?;
    let config = home.path().join("prometheus.yml");
    let scrape = "scrape_configs:\n- job_name: robots\n  scrape_interval: 1s\n  static_configs:\n";
    std::fs::write(&config, format!("{scrape}{targets}"))?;
    let mut prometheus = fleet.network.command("prometheus");
    prometheus
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            home.path().join("data").display()
        ))
        .arg("--web.listen-address=127.0.0.1:9090")
        .stderr(File::create(home.path().join("log"))?);
    let mut prometheus = prometheus.spawn()?;
    let shown = rig::wait_for(words, || {
        let said = desk(fleet, &["releases", "--outcomes", "http://127.0.0.1:9090"]);
        Ok(said.is_ok_and(|said| said.contains(words)).then_some(()))
    });
    prometheus.kill()?;
    prometheus.wait()?;
    shown
}

fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    found.is_ok_and(|output| output.status.success())
}

#[test]
fn a_bad_release_reaches_a_quarter_is_called_back_and_the_next_one_reaches_all() -> Result<()> {
    let fleet = Fleet::new()?;
    let first = fleet.release(&fleet.toplevel("1.0"))?;
    let robots = robots(&fleet, &first)?;
    let (bad, early) = name_of_quarter(&robots)?;
    let bad = bad.as_str();
    let late: Vec<&Robot> = (robots.iter().enumerate().skip(1))
        .filter(|(at, _)| !early.contains(at))
        .map(|(_, robot)| robot)
        .collect();
    let turn = |robot: &Robot, what: &str| {
        robot.until_status(what, |status| {
            status["turn"]
                .as_str()
                .is_some_and(|turn| turn.contains(what))
        })
    };

    // The canary takes it, and is well: its gripper is of the other kind.
    let second = gripper(&fleet, bad, "test ! -e /var/lib/gripper-b || exit 1;")?;
    let canaries = ["--model", MODEL, "--first", "ring=canary"];
    fleet.publish_with(&second, bad, &canaries)?;
    robots[0].until_confirmed(&second)?;
    for robot in &robots[1..] {
        turn(robot, "it is open to 0% of the robots")?;
    }

    // A quarter begins: both robots go back, and say so.
    desk(&fleet, &["rollout", bad, "--share", "25%"])?;
    for at in &early {
        robots[*at].until_blocked(bad, &first)?;
        let said = outcomes(&robots[*at])?;
        ensure!(
            said == [(bad.to_owned(), "reverted".to_owned())],
            "{said:?}"
        );
    }
    says(
        &fleet,
        &robots,
        "offered to 3: 1 confirmed, 2 reverted (2 unhealthy), 0 on trial, 0 silent; 5 wait for their turn",
    )?;
    desk(&fleet, &["rollout", bad, "pause"])?;
    for robot in &late {
        turn(robot, "it is paused since")?;
    }
    let recall = [
        "recall",
        bad,
        "--why",
        "grippers of kind b stop",
        "--to",
        "1.0",
    ];
    desk(&fleet, &recall)?;
    robots[0].until_confirmed(&first)?;

    // What is mended goes the same way, to the end.
    let third = gripper(&fleet, "3.0", "")?;
    fleet.publish_with(&third, "3.0", &canaries)?;
    robots[0].until_confirmed(&third)?;
    for robot in &robots[1..] {
        turn(robot, "it is open to 0% of the robots")?;
        robot.stands_on(&first)?;
    }
    desk(&fleet, &["rollout", "3.0", "finish"])?;
    for robot in &robots {
        robot.until_confirmed(&third)?;
    }
    for robot in late {
        let said = outcomes(robot)?;
        ensure!(
            said == [("3.0".to_owned(), "confirmed".to_owned())],
            "{said:?}"
        );
    }
    Ok(())
}
