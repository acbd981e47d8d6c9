//! The quick start, followed to the letter: its commands are taken from the page.

use anyhow::{Context, Result, ensure};
use std::{path::Path, process::Command};
use surefoot_tests::{
    Farm, Network, Nginx, Programs, Robot, Toplevel, rig, toplevel::etc_with_unit,
};

/// The blocks of code of one kind below a heading of the page, put together.
fn blocks(page: &str, heading: &str, kind: &str) -> Result<String> {
    let section = page
        .split("\n## ")
        .find(|section| section.starts_with(&format!("{heading}\n")))
        .with_context(|| format!("the page has no heading '{heading}'"))?;
    let fence = format!("```{kind}\n");
    let blocks: String = section
        .split(&fence)
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .collect();
    ensure!(!blocks.is_empty(), "'{heading}' has no block of {kind}");
    Ok(blocks)
}

/// The desk of the page: its places lie in a directory, its web server in a network of the test's.
struct Desk {
    home: tempfile::TempDir,
    network: Network,
    farm: Farm,
    page: String,
    _server: Nginx,
}

impl Desk {
    fn new() -> Result<Self> {
        let home = tempfile::tempdir()?;
        let www = home.path().join("www");
        std::fs::create_dir(&www)?;
        let network = Network::new()?;
        let root = format!("location / {{ root {}; }}", www.display());
        let server = Nginx::start_in(&network, 80, &root)?;
        let page = std::fs::read_to_string(rig::source().join("docs/src/quick-start.md"))?
            .replace("/srv/www", &www.to_string_lossy())
            .replace("https://updates.example.org", "http://127.0.0.1");
        Ok(Self {
            home,
            network,
            farm: Farm::shared(),
            page,
            _server: server,
        })
    }

    /// Types what stands below a heading.
    fn types(&self, heading: &str, system: &str) -> Result<String> {
        self.types_lines(&blocks(&self.page, heading, "sh")?, system)
    }

    fn types_lines(&self, lines: &str, system: &str) -> Result<String> {
        let programs = Programs::ours()?;
        let directory = programs.surefoot.parent().context("no directory")?;
        let nix = rig::run(Command::new(rig::program("nix")).arg("--bin"))?;
        let path = std::env::var("PATH")?;
        rig::run(
            self.network
                .command("bash")
                .args(["-euo", "pipefail", "-c"])
                .arg(lines)
                .env("PATH", format!("{}:{nix}:{path}", directory.display()))
                .env("HOME", self.home.path())
                .env("NIX_REMOTE", self.farm.store())
                .env("system", system),
        )
    }

    fn read(&self, path: &str) -> Result<String> {
        let path = self.home.path().join(path);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }
}

/// A system as the page wants it: it has the agent, and the unit that the page's configuration names.
fn system(farm: &Farm, agent: &str, name: &str, unit: &Path) -> Result<String> {
    Toplevel::named(name).with(agent).etc(unit).build(farm)
}

#[test]
fn the_quick_start_ends_with_an_updated_robot() -> Result<()> {
    let desk = Desk::new()?;
    let agent = desk.farm.agent_of(&Programs::ours()?, "1", |unit| unit)?;
    let unit = etc_with_unit(
        "motion-controller.service",
        "[Service]\nExecStart=/bin/sleep infinity\n",
    )?;
    let first = system(&desk.farm, &agent, "1.0", unit.path())?;
    desk.types("At the desk", &first)?;
    let said = desk.types("Publish a system", &first)?;
    ensure!(said.contains("picker"), "{said}");

    let mut robot = Robot::new(&desk.farm, &first)?.in_network(&desk.network);
    robot.write(
        "/etc/surefoot/root.json",
        desk.read("www/fleet/metadata/1.root.json")?,
    )?;
    let key = desk.read("fleet-keys/cache.pub")?;
    robot.write(
        "/etc/nix/robot.conf",
        format!("trusted-public-keys = {key}\n"),
    )?;
    let configuration = blocks(&desk.page, "On the robot", "toml")?;
    robot.write("/etc/surefoot/config.toml", configuration)?;
    // Nobody waits two minutes here, nor keeps a gigabyte free.
    robot.write(
        "/etc/surefoot/config.d/50-test.toml",
        "[poll]\ninterval = '1s'\njitter = 0.0\n[fetch]\nreserve = '1MiB'\n\
         [health]\nsoak = '1s'\ninterval = '200ms'\n",
    )?;
    robot.start()?;
    robot.sh(&blocks(&desk.page, "On the robot", "sh")?)?;
    robot.until_confirmed(&first)?;

    let second = system(&desk.farm, &agent, "1.1", unit.path())?;
    desk.types("Publish a system", &second)?;
    // The first of its blocks is for the robot, the other one for the desk.
    let commands = blocks(&desk.page, "Update", "sh")?;
    let (robots, desks) = commands.split_at(commands.find("surefoot repo").context("no desk")?);
    let history = robot.sh(robots)?;
    robot.until_confirmed(&second)?;
    ensure!(history.contains("confirmed"), "{history}");
    let said = desk.types_lines(desks, &second)?;
    ensure!(said.contains("timestamp"), "{said}");
    robot.sh(&blocks(&desk.page, "Day to day", "sh")?)?;
    robot.until_confirmed(&first)?;
    Ok(())
}
