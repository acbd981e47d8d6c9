//! `packaging/demo`: the whole story on one robot, for people or, with `--json`, for programs.
//!
//! Every step ends with a look at the robot itself: what runs, what its loader would boot, what it
//! says. A step that did not really happen ends the demo with exit status 1.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};
use std::{
    io::IsTerminal,
    process::{Child, ExitCode, Stdio},
    time::Instant,
};
use surefoot_tests::{Fleet, Robot, attack, rig};

/// Size of what differs between the first two systems, and how fast it may come, for there to be
/// something to see.
const PADDING: usize = 24 << 20;
const RATE: &str = "limit_rate 12m;";

fn main() -> ExitCode {
    let json = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--json") => true,
        Some(other) => {
            eprintln!("surefoot-demo: there is no argument '{other}'; there is --json");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let mut steps = Map::new();
    let result = Demo::new(json).and_then(|mut demo| demo.play(&mut steps));
    if json {
        let mut object = Value::Object(steps);
        if let Err(error) = &result {
            object["error"] = format!("{error:#}").into();
        }
        println!("{object}");
    }
    match result {
        Ok(()) if !json => println!("\nThat was all of it: {} s.", begun.elapsed().as_secs()),
        Ok(()) => {}
        Err(error) => {
            eprintln!("surefoot-demo: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

struct Demo {
    fleet: Fleet,
    robot: Robot,
    json: bool,
    /// The systems that are confirmed one after the other.
    first: String,
}

/// One step of the story: its name in the JSON, its heading, what it comes to, and how.
type Step = (
    &'static str,
    &'static str,
    &'static str,
    fn(&mut Demo) -> Result<()>,
);

const STEPS: [Step; 6] = [
    ("update", "An update, confirmed", "confirmed", Demo::update),
    (
        "bad_release",
        "A bad release, reverted and blocked",
        "reverted",
        Demo::bad_release,
    ),
    (
        "tampered_nar",
        "A tampered NAR, refused",
        "refused",
        Demo::tampered_nar,
    ),
    (
        "replayed",
        "A replayed timestamp, refused",
        "refused",
        Demo::replayed,
    ),
    (
        "below_threshold",
        "A release with too few signatures, refused",
        "refused",
        Demo::below_threshold,
    ),
    ("rollback", "A rollback by hand", "done", Demo::rollback),
];

impl Demo {
    /// Makes the fleet and starts its robot on the first system.
    fn new(json: bool) -> Result<Self> {
        if !json {
            println!("A fleet: keys, a signed repository, a binary cache, nginx. And a robot.");
        }
        let mut fleet = Fleet::new()?;
        let slow = format!("{RATE} {}", fleet.locations());
        fleet.server.reconfigure(&slow)?;
        let first = fleet.toplevel("1.0").build(&fleet.farm)?;
        fleet.push(&first)?;
        fleet.publish(&first, "1.0")?;
        let mut robot = fleet.robot(&first, "[health]\nrequired_units = [\"robot.service\"]\n")?;
        robot.start()?;
        let demo = Self {
            fleet,
            robot,
            json,
            first,
        };
        demo.robot
            .until_status("the agent adopts the system that it finds", |status| {
                status["confirmed"]["system"] == demo.first.as_str()
            })?;
        demo.show("surefoot status")?;
        Ok(demo)
    }

    fn play(&mut self, steps: &mut Map<String, Value>) -> Result<()> {
        for (number, (name, heading, outcome, step)) in STEPS.into_iter().enumerate() {
            self.say(&format!("\n{} · {heading}\n", number + 1));
            match step(self) {
                Ok(()) => steps.insert(name.into(), outcome.into()),
                Err(error) => {
                    steps.insert(name.into(), "failed".into());
                    return Err(error.context(format!("{heading}: this did not happen")))
                        .with_context(|| self.robot.journal());
                }
            };
        }
        Ok(())
    }

    fn update(&mut self) -> Result<()> {
        let release = self.fleet.toplevel("1.1").padding(PADDING);
        self.say("$ surefoot publish --repo repo --channel stable --model picker … --release 1.1");
        let new = self.fleet.release(&release)?;
        let watch = self.watch()?;
        self.robot.until_confirmed(&new)?;
        end(watch)?;
        self.show("surefoot status")
    }

    fn bad_release(&mut self) -> Result<()> {
        let good = self.robot.current()?;
        self.say("Release 1.2 has a service that fails at its start.");
        let bad = self
            .fleet
            .release(&self.fleet.toplevel("1.2").service("fails"))?;
        let watch = self.watch()?;
        let evidence = self.robot.until_blocked("1.2", &good)?.to_string();
        end(watch)?;
        ensure!(
            evidence.contains(&bad),
            "the block does not name the system: {evidence}"
        );
        ensure!(
            evidence.contains("robot.service") && evidence.contains("cannot find its motor"),
            "the evidence does not name the unit and what it said: {evidence}"
        );
        self.show("surefoot history")?;
        ensure!(
            self.robot.sh("systemctl is-active robot.service")? == "active",
            "the robot's application does not run again"
        );
        Ok(())
    }

    fn tampered_nar(&mut self) -> Result<()> {
        let good = self.robot.current()?;
        let path = self.fleet.toplevel("1.3").build(&self.fleet.farm)?;
        self.fleet.push(&path)?;
        self.say("The release is in order; then one bit of a NAR is flipped in the cache.");
        // The publisher would notice what was changed before, so the robot asks only afterwards.
        self.robot.sh("systemctl stop surefootd.service")?;
        self.fleet.publish(&path, "1.3")?;
        attack::tamper(&self.fleet, &path)?;
        self.robot.sh("systemctl start surefootd.service")?;
        self.refused("the NAR is refused", "doing", &["1.3", "digest"])?;
        self.robot.stands_on(&good)?;
        let output = self
            .robot
            .try_sh(&format!("nix-store --check-validity {path}"))?;
        ensure!(
            !output.status.success(),
            "the tampered path is in the store"
        );

        self.say("The cache is repaired; the robot goes on by itself.");
        std::fs::remove_dir_all(self.fleet.cache())?;
        self.fleet.push(&path)?;
        self.robot.until_confirmed(&path)?;
        Ok(())
    }

    fn replayed(&mut self) -> Result<()> {
        let good = self.robot.current()?;
        let old = attack::record(&self.fleet)?;
        // A release for other robots: the repository moves on, this robot has nothing to do.
        let other = self.fleet.toplevel("1.3").build(&self.fleet.farm)?;
        self.fleet.publish_for(&other, "1.3-sorter", "sorter")?;
        self.until_checked()?;
        self.say("Somebody serves the timestamp of a minute ago, with all its good signatures.");
        let present = attack::replay(&self.fleet, &old)?;
        self.refused(
            "the timestamp is refused",
            "error",
            &["timestamp", "version"],
        )?;
        self.robot.stands_on(&good)?;
        attack::replay(&self.fleet, &present)?;
        self.until_checked()
    }

    fn below_threshold(&mut self) -> Result<()> {
        let good = self.robot.current()?;
        self.say("Somebody has the online keys and one of the two keys that sign releases.");
        let before = attack::undersign(&self.fleet)?;
        self.refused("the release is refused", "error", &["targets", "1", "2"])?;
        self.robot.stands_on(&good)?;
        // What the online keys signed counts: the fleet has to get ahead of it.
        attack::replay(&self.fleet, &before)?;
        for release in ["1.4-sorter", "1.5-sorter"] {
            self.fleet.publish_for(&good, release, "sorter")?;
        }
        self.until_checked()
    }

    fn rollback(&mut self) -> Result<()> {
        let status = self.robot.status()?;
        let left = self.robot.current()?;
        let fallback = status["fallbacks"][0]["system"]
            .as_str()
            .context("no fallback")?;
        ensure!(fallback != left, "the fallback is what runs");
        self.show("surefoot rollback --why 'it grips badly'")?;
        self.robot
            .until_status("the system before to run", |status| {
                status["running"]["system"] == fallback
                    && status["confirmed"]["system"] == fallback
                    && status["state"] == "idle"
            })?;
        self.robot.stands_on(fallback)?;
        self.show("surefoot status")
    }

    /// Waits until the last check of the repository went well, later than now.
    fn until_checked(&self) -> Result<()> {
        let before = self.robot.status()?["lastCheck"]["when"].clone();
        self.robot
            .until_status("the robot to believe the repository", |status| {
                status["lastCheck"]["when"] != before
                    && status["lastCheck"]["result"]
                        .as_str()
                        .is_some_and(|result| result != "failed")
            })?;
        Ok(())
    }

    /// Waits for a refusal with these words in a field of the status, and shows it.
    fn refused(&self, what: &str, field: &str, words: &[&str]) -> Result<()> {
        let message = |status: &Value| {
            let value = if field == "error" {
                &status["lastCheck"][field]
            } else {
                &status[field]
            };
            let text = value.as_str().unwrap_or_default().to_owned();
            words.iter().all(|word| text.contains(word)).then_some(text)
        };
        let found = rig::wait_for(what, || Ok(message(&self.robot.status()?)))
            .with_context(|| format!("{:#}", self.robot.status().unwrap_or_default()))?;
        self.say(&format!("  {found}"));
        Ok(())
    }

    fn say(&self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }

    /// Shows a command in the robot and what it says.
    fn show(&self, line: &str) -> Result<()> {
        self.say(&format!("robot$ {line}"));
        let said = self.robot.sh(line)?;
        self.say(&said);
        Ok(())
    }

    /// Shows what the robot does, as it does it: with progress bars on a terminal.
    fn watch(&self) -> Result<Option<Child>> {
        if self.json {
            return Ok(None);
        }
        self.say("robot$ surefoot watch");
        let mut watch = self.robot.command(["surefoot", "watch"]);
        if std::io::stdout().is_terminal() {
            let terminal = std::env::var("TERM").unwrap_or_else(|_| "xterm".into());
            watch = self
                .robot
                .command(["env", &format!("TERM={terminal}"), "surefoot", "watch"]);
        }
        Ok(Some(watch.stdin(Stdio::null()).spawn()?))
    }
}

fn end(watch: Option<Child>) -> Result<()> {
    if let Some(mut watch) = watch {
        watch.kill()?;
        watch.wait()?;
        println!();
    }
    Ok(())
}
