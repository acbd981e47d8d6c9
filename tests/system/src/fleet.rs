//! A fleet: a signed repository and a binary cache behind a web server, and robots that follow it.

use crate::{Farm, Network, Nginx, Programs, Robot, Toplevel, rig};
use anyhow::{Context, Result};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The publisher's side, and the network it shares with its robots.
///
/// The server answers on port 80 of that network: `/repo` is the repository, `/cache` the cache.
#[derive(Debug)]
pub struct Fleet {
    /// The web server in front of repository and cache.
    pub server: Nginx,
    /// The network of server and robots.
    pub network: Network,
    /// Where generations are built.
    pub farm: Farm,
    directory: tempfile::TempDir,
    agent: String,
    surefoot: PathBuf,
}

/// The names that the robots of the tests go by.
pub const CHANNEL: &str = "stable";
/// Their model.
pub const MODEL: &str = "picker";

impl Fleet {
    /// A new fleet: new keys (root needs two of its three), an empty repository and cache.
    ///
    /// # Errors
    /// When a part of it cannot be made.
    pub fn new() -> Result<Self> {
        Self::of(&Programs::ours()?)
    }

    /// A new fleet of the robots and the publisher that have these programs.
    ///
    /// # Errors
    /// When a part of it cannot be made.
    pub fn of(programs: &Programs) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = directory.path();
        let farm = Farm::shared();
        let agent = farm.agent_of(programs, "1", |unit| unit)?;
        let network = Network::new()?;
        std::fs::create_dir(at.join("cache"))?;
        let server = Nginx::start_in(&network, 80, &locations(at))?;
        let fleet = Self {
            server,
            network,
            farm,
            agent,
            directory,
            surefoot: programs.surefoot.clone(),
        };
        let mut init = fleet.surefoot(&["repo", "init"])?;
        init.arg(fleet.repository())
            .args(["--keys", "root=3,targets=2"]);
        rig::run(init.args(["--threshold", "root=2,targets=2"]))?;
        let secret =
            rig::run(rig::nix("nix").args(["key", "generate-secret", "--key-name", "fleet-1"]))?;
        std::fs::write(fleet.cache_key(), secret)?;
        Ok(fleet)
    }

    /// A fleet and its robot, configured by these lines: it runs release 1.0 and has adopted it.
    ///
    /// # Errors
    /// When a part cannot be made, or the robot does not get there.
    pub fn with_robot(configuration: &str) -> Result<(Self, Robot, String)> {
        let fleet = Self::new()?;
        let (robot, first) = fleet.adopted(&fleet.toplevel("1.0"), configuration)?;
        Ok((fleet, robot, first))
    }

    /// A robot, configured by these lines, that runs a system and has adopted it.
    ///
    /// # Errors
    /// When the system cannot be made, or the robot does not get there.
    pub fn adopted(&self, system: &Toplevel, configuration: &str) -> Result<(Robot, String)> {
        let path = system.build(&self.farm)?;
        let mut robot = self.robot(&path, configuration)?;
        robot.start()?;
        robot.until_confirmed(&path)?;
        Ok((robot, path))
    }

    /// The configuration of the server with nothing wrong: to come back to after a fault.
    pub fn locations(&self) -> String {
        locations(self.directory.path())
    }

    /// The signed repository.
    pub fn repository(&self) -> PathBuf {
        self.directory.path().join("repo")
    }

    /// The private keys of the repository.
    pub fn keys(&self) -> PathBuf {
        self.directory.path().join("repo-keys")
    }

    /// The binary cache.
    pub fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    fn cache_key(&self) -> PathBuf {
        self.directory.path().join("cache.key")
    }

    /// The store path of the agent that [`Fleet::toplevel`] puts into generations.
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// From now on the publisher, and the generations that are built, have these programs.
    ///
    /// # Errors
    /// When Nix fails.
    pub fn takes(&mut self, programs: &Programs) -> Result<()> {
        self.agent = self.farm.agent_of(programs, "1", |unit| unit)?;
        self.surefoot.clone_from(&programs.surefoot);
        Ok(())
    }

    /// `surefoot` with these words, in the fleet's network.
    ///
    /// # Errors
    /// None: it fails when it is run.
    pub fn surefoot(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.network.command(&self.surefoot.to_string_lossy());
        command.args(words);
        Ok(command)
    }

    /// A generation that contains the agent.
    pub fn toplevel(&self, name: &str) -> Toplevel {
        Toplevel::named(name).with(&self.agent)
    }

    /// Builds a generation, pushes it to the cache and publishes it as the release of its name;
    /// gives its store path.
    ///
    /// # Errors
    /// When a part fails.
    pub fn release(&self, toplevel: &Toplevel) -> Result<String> {
        let path = toplevel.build(&self.farm)?;
        self.push(&path)?;
        self.publish(&path, toplevel.name())?;
        Ok(path)
    }

    /// Pushes a closure to the cache, signed and in zstd.
    ///
    /// # Errors
    /// When Nix fails.
    pub fn push(&self, path: &str) -> Result<()> {
        self.farm
            .push(path, &self.cache(), "zstd", Some(&self.cache_key()))
    }

    /// Publishes what is in the cache.
    ///
    /// # Errors
    /// When `surefoot publish` fails.
    pub fn publish(&self, path: &str, release: &str) -> Result<()> {
        self.publish_with(path, release, &["--model", MODEL])
    }

    /// Publishes what is in the cache for robots of another model.
    ///
    /// # Errors
    /// When `surefoot publish` fails.
    pub fn publish_for(&self, path: &str, release: &str, model: &str) -> Result<()> {
        self.publish_with(path, release, &["--model", model, "--new"])
    }

    /// Publishes what is in the cache with these options, the models among them.
    ///
    /// # Errors
    /// When `surefoot publish` fails.
    pub fn publish_with(&self, path: &str, release: &str, options: &[&str]) -> Result<()> {
        let mut publish = self.surefoot(&["publish", "--channel", CHANNEL])?;
        publish
            .args(["--cache", "http://127.0.0.1/cache", "--release", release])
            .args(options);
        rig::run(publish.arg("--repo").arg(self.repository()).arg(path))?;
        Ok(())
    }

    /// A robot of this fleet that is off and will boot this generation, configured by the lines
    /// given here on top of a short soak and quick polls.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn robot(&self, toplevel: &str, configuration: &str) -> Result<Robot> {
        let robot = Robot::new(&self.farm, toplevel)?.in_network(&self.network);
        let anchor = std::fs::read(self.repository().join("metadata/1.root.json"))
            .context("the repository has no trust anchor")?;
        robot.write("/etc/surefoot/root.json", anchor)?;
        robot.write("/etc/surefoot/config.toml", base_configuration())?;
        if !configuration.is_empty() {
            robot.write("/etc/surefoot/config.d/50-test.toml", configuration)?;
        }
        // Two seconds are good for robots; here they add up.
        let quick = "[Service]\nRestartSec=100ms\n";
        robot.write(
            "/usr/local/lib/systemd/system/surefootd.service.d/quick.conf",
            quick,
        )?;
        let public = rig::run(
            rig::nix("nix")
                .args(["key", "convert-secret-to-public"])
                .stdin(std::fs::File::open(self.cache_key())?),
        )?;
        robot.write(
            "/etc/nix/robot.conf",
            format!("trusted-public-keys = {public}\n"),
        )?;
        Ok(robot)
    }
}

fn locations(at: &Path) -> String {
    let at = at.display();
    format!("location /repo/ {{ root {at}; }} location /cache/ {{ root {at}; }}")
}

fn base_configuration() -> String {
    let mut text = String::new();
    let _ = writeln!(text, "repository = \"http://127.0.0.1/repo\"");
    let _ = writeln!(text, "channel = \"{CHANNEL}\"\nmodel = \"{MODEL}\"");
    text + "
[poll]
interval = \"1s\"
jitter = 0.0
backoff_base = \"200ms\"
backoff_max = \"1s\"
timeout = \"5s\"

[fetch]
reserve = \"1MiB\"

[trial]
switch_timeout = \"30s\"

[health]
soak = \"1s\"
deadline = \"20s\"
interval = \"200ms\"
"
}
