//! What goes into a report, and where it comes from.

use super::scrub::{REMOVED, Scrubber};
use crate::agent::{socket::SocketArgs, standalone};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};
use surefoot_api::{Client, method};
use surefoot_base::{
    environment, file,
    program::{self, Limits},
};

/// How long all of it may take: with packing it stays within two minutes.
const IN_ALL: Duration = Duration::from_secs(100);

/// How long one part may take.
const EACH: Duration = Duration::from_secs(25);

/// How much of one part is taken, bytes: of what grows the end tells.
const MAX_PART: usize = 4 << 20;

/// Files of one directory that are taken: the newest.
const MAX_FILES: usize = 40;

/// How much of such a file is taken, bytes.
const MAX_FILE: u64 = 256 << 10;

/// Files with secrets that are looked at, and how much of each, to know what must not be in a report.
const MAX_SECRETS: usize = 64;
const MAX_SECRET: u64 = 64 << 10;

/// Where NixOS' own secrets lie that may be printed by something.
const SECRETS: [&str; 3] = [
    "/run/credentials/surefootd.service",
    "/etc/nix/netrc",
    "/root/.netrc",
];

/// The settings that name files with secrets.
const SECRET_SETTINGS: [&str; 4] = ["client_key", "netrc_file", "headers", "s3_credentials"];

/// A file of the report.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its name in the archive.
    pub(crate) name: String,
    /// What it is, in a few words.
    pub(crate) what: &'static str,
    /// What is in it; or why it is missing.
    pub(crate) content: Result<Vec<u8>, String>,
}

/// Where everything lies.
#[derive(Debug, Clone)]
pub(super) struct Robot {
    /// The root of its disk: `/`, but for tests.
    pub(super) root: PathBuf,
    /// The agent's socket.
    pub(super) socket: SocketArgs,
}

type Source = (
    &'static str,
    &'static str,
    Box<dyn FnOnce(&Robot, &Scrubber) -> anyhow::Result<String> + Send>,
);

impl Robot {
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

/// Collects all of it. What hangs or fails is missing, and everything else is there.
pub(super) fn collect(robot: &Robot, mut told: impl FnMut(&str)) -> Vec<Part> {
    let latest = Instant::now() + IN_ALL;
    let robot = Arc::new(robot.clone());
    let learning = Arc::clone(&robot);
    // A disk or a service that hangs takes its thread along, and nothing else.
    let scrubber = match within(EACH, move || Ok(learn(&learning))) {
        Ok(scrubber) => Arc::new(scrubber),
        Err(why) => {
            let content = Err(format!("nobody knows what is secret here: {why:#}"));
            return vec![Part {
                name: "all".to_owned(),
                what: "everything",
                content,
            }];
        }
    };
    let mut parts = Vec::new();
    for (name, what, source) in sources() {
        told(what);
        let left = latest.saturating_duration_since(Instant::now()).min(EACH);
        let content = if left.is_zero() {
            Err("the time was over".to_owned())
        } else {
            let (robot, scrubber) = (Arc::clone(&robot), Arc::clone(&scrubber));
            // An error's words may quote anything.
            let words = Arc::clone(&scrubber);
            within(left, move || source(&robot, &scrubber))
                .map(|text| tail(text.into_bytes()))
                .map_err(|error| words.text(&format!("{error:#}")))
        };
        parts.push(Part {
            name: name.to_owned(),
            what,
            content,
        });
    }
    parts
}

fn tail(mut bytes: Vec<u8>) -> Vec<u8> {
    let surplus = bytes.len().saturating_sub(MAX_PART);
    bytes.drain(..surplus);
    bytes
}

/// Does something in a thread of its own, and waits for it so long.
fn within<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (done, result) = mpsc::channel();
    std::thread::Builder::new().spawn(move || {
        // Nobody may be waiting for it any more.
        let _ = done.send(work());
    })?;
    match result.recv_timeout(time) {
        Ok(result) => result,
        Err(_) => bail!("it did not come within {} s", time.as_secs()),
    }
}

/// What is secret on this robot.
fn learn(robot: &Robot) -> Scrubber {
    let mut scrubber = Scrubber::default();
    let mut files: Vec<PathBuf> = SECRETS.iter().map(|path| robot.at(path)).collect();
    let mut names = Vec::new();
    for (_, text) in configuration(robot) {
        match text.as_deref().map(str::parse::<toml::Table>) {
            Ok(Ok(table)) => secret_settings(&toml::Value::Table(table), &mut names),
            // A file that cannot be used names secrets all the same.
            Ok(Err(_)) => names.extend(secret_lines(text.as_deref().unwrap_or_default())),
            Err(_) => {}
        }
    }
    let credentials = Path::new("/run/credentials/surefootd.service");
    files.extend(
        names
            .iter()
            .map(|path| robot.at(&credentials.join(path).to_string_lossy())),
    );
    for path in files.into_iter().take(MAX_SECRETS) {
        let inside = fs::read_dir(&path).into_iter().flatten().flatten();
        for path in inside
            .map(|entry| entry.path())
            .take(MAX_SECRETS)
            .chain([path])
        {
            if let Ok(text) = file::read_text(&path, MAX_SECRET) {
                scrubber.learn(&text);
            }
        }
    }
    scrubber
}

/// The files that the settings for secrets name.
fn secret_settings(value: &toml::Value, names: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                match value {
                    toml::Value::String(path) if SECRET_SETTINGS.contains(&name.as_str()) => {
                        names.push(path.clone());
                    }
                    value => secret_settings(value, names),
                }
            }
        }
        toml::Value::Array(values) => {
            for value in values {
                secret_settings(value, names);
            }
        }
        _ => {}
    }
}

/// The same of a text that is not TOML: line by line, as most of it will be.
fn secret_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let name = name.trim().rsplit('.').next()?;
        let value = value.trim().trim_start_matches(['"', '\'']);
        let value = value.split(['"', '\'']).next()?;
        (SECRET_SETTINGS.contains(&name)).then(|| value.to_owned())
    })
}

/// The configuration's files, as the agent reads them, and why one cannot be read.
fn configuration(robot: &Robot) -> Vec<(String, Result<String, String>)> {
    let main = robot.at("/etc/surefoot/config.toml");
    let drop_ins = fs::read_dir(robot.at("/etc/surefoot/config.d"));
    let drop_ins = drop_ins.into_iter().flatten().flatten();
    let mut drop_ins: Vec<PathBuf> = drop_ins.map(|entry| entry.path()).collect();
    drop_ins.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with('.') && name.ends_with(".toml")
    });
    drop_ins.sort();
    (std::iter::once(main).chain(drop_ins).take(MAX_FILES))
        .map(|path| {
            let text = file::read_text(&path, MAX_FILE).map_err(|error| error.to_string());
            (path.display().to_string(), text)
        })
        .collect()
}

/// A setting for a report: the arguments of programs may be anything.
fn shown(value: &toml::Value, scrubber: &Scrubber) -> Value {
    match value {
        toml::Value::Table(table) => (table.iter())
            .map(|(name, value)| {
                let shown = match value {
                    toml::Value::Array(words) if name == "exec" => {
                        let program = words.first().and_then(toml::Value::as_str);
                        let program = scrubber.text(program.unwrap_or_default());
                        json!([
                            program,
                            format!("{} arguments {REMOVED}", words.len().saturating_sub(1))
                        ])
                    }
                    value => shown(value, scrubber),
                };
                (name.clone(), shown)
            })
            .collect(),
        toml::Value::Array(values) => values.iter().map(|value| shown(value, scrubber)).collect(),
        toml::Value::String(text) => scrubber.text(text).into(),
        other => other.to_string().into(),
    }
}

fn sources() -> Vec<Source> {
    vec![
        (
            "status.json",
            "what the agent says of itself and the robot",
            Box::new(|robot, scrubber| {
                pretty(scrubber, &call(robot)?.call(&method::Status {})?.status)
            }),
        ),
        (
            "history.json",
            "what happened to the robot's systems",
            Box::new(|robot, scrubber| {
                pretty(
                    scrubber,
                    &call(robot)?.call(&method::History { limit: None })?.entries,
                )
            }),
        ),
        (
            "systems.json",
            "the systems that are on the robot",
            Box::new(|robot, scrubber| {
                let told =
                    call(robot).and_then(|mut agent| Ok(agent.call(&method::Systems {})?.systems));
                pretty(
                    scrubber,
                    &told.or_else(|why| alone(robot, why, "--systems"))?,
                )
            }),
        ),
        (
            "doctor.json",
            "what a look at the whole robot found",
            Box::new(|robot, scrubber| {
                let told =
                    call(robot).and_then(|mut agent| Ok(agent.call(&method::Doctor {})?.findings));
                pretty(
                    scrubber,
                    &told.or_else(|why| alone(robot, why, "--doctor"))?,
                )
            }),
        ),
        (
            "configuration.json",
            "the configuration, without secrets and arguments of programs",
            Box::new(|robot, scrubber| {
                let files: Value = (configuration(robot).into_iter())
                    .map(|(path, text)| {
                        // What is wrong with it stands in what the doctor found: an error here would quote it.
                        let table = text.map(|text| text.parse::<toml::Table>());
                        let told = match table {
                            Ok(Ok(table)) => shown(&toml::Value::Table(table), scrubber),
                            Ok(Err(_)) => "it is not TOML".into(),
                            Err(why) => format!("it cannot be read: {why}").into(),
                        };
                        (path, told)
                    })
                    .collect::<serde_json::Map<_, _>>()
                    .into();
                pretty(scrubber, &files)
            }),
        ),
        (
            "memory.json",
            "what the agent remembers: its journals",
            Box::new(memory),
        ),
        (
            "agent.log",
            "what the agent logged within seven days",
            Box::new(|_, scrubber| journal(scrubber, &["-u", "surefootd.service"])),
        ),
        (
            "switches.log",
            "what units of switches and checks logged within seven days",
            Box::new(|_, scrubber| journal(scrubber, &["-u", "surefoot-*"])),
        ),
        (
            "switches.txt",
            "what switches printed",
            Box::new(|robot, scrubber| files(scrubber, &robot.at("/var/lib/surefoot/switches"))),
        ),
        (
            "boot.txt",
            "the entries of the boot loader",
            Box::new(|robot, scrubber| {
                let mut text = String::new();
                for place in ["/boot", "/efi", "/boot/efi"] {
                    text += &listing(&robot.at(place).join("loader"));
                    text += &listing(&robot.at(place).join("surefoot"));
                    text += &files(scrubber, &robot.at(place).join("loader/entries"))?;
                    let settings = robot.at(place).join("loader/loader.conf");
                    if let Ok(settings) = file::read_text(&settings, MAX_FILE) {
                        text += &scrubber.text(&settings);
                    }
                }
                Ok(text)
            }),
        ),
        (
            "generations.txt",
            "the generations of the system's profile, and what is kept",
            Box::new(|robot, _| {
                let places = [
                    "/nix/var/nix/profiles",
                    "/nix/var/nix/gcroots/surefoot",
                    "/run",
                ];
                Ok(places
                    .iter()
                    .map(|place| listing(&robot.at(place)))
                    .collect())
            }),
        ),
        (
            "files.txt",
            "names and sizes of what the agent keeps",
            Box::new(|robot, _| {
                let places = [
                    "/var/lib/surefoot",
                    "/var/lib/surefoot/staging",
                    "/var/lib/surefoot/trust",
                    "/var/lib/surefoot/holds",
                ];
                Ok(places
                    .iter()
                    .map(|place| listing(&robot.at(place)))
                    .collect())
            }),
        ),
        (
            "space.txt",
            "room on the disks and in memory",
            Box::new(|_, scrubber| {
                Ok(printed(
                    scrubber,
                    &[
                        &["df", "-kT"],
                        &["df", "-iT"],
                        &["cat", "/proc/meminfo", "/proc/loadavg", "/proc/uptime"],
                    ],
                ))
            }),
        ),
        (
            "versions.txt",
            "versions of what takes part",
            Box::new(|robot, scrubber| {
                let nixos = robot.at("/run/current-system/nixos-version");
                let nixos = file::read_text(&nixos, MAX_FILE).unwrap_or_default();
                let programs = printed(
                    scrubber,
                    &[
                        &["uname", "-srvm"],
                        &["systemctl", "--version"],
                        &["nix", "--version"],
                    ],
                );
                Ok(format!(
                    "surefoot {}\nNixOS {nixos}\n{programs}",
                    env!("CARGO_PKG_VERSION")
                ))
            }),
        ),
        (
            "units.txt",
            "units of systemd that failed, and those of the agent",
            Box::new(|_, scrubber| {
                Ok(printed(
                    scrubber,
                    &[
                        &["systemctl", "--no-pager", "--failed"],
                        &[
                            "systemctl",
                            "--no-pager",
                            "list-units",
                            "--all",
                            "surefoot*",
                            "nix-daemon*",
                        ],
                        &[
                            "systemctl",
                            "--no-pager",
                            "list-timers",
                            "--all",
                            "surefoot*",
                        ],
                        &[
                            "systemctl",
                            "show",
                            "surefootd.service",
                            "-p",
                            "ActiveState,SubState,Result,NRestarts,MemoryPeak,ExecMainStatus,ActiveEnterTimestamp",
                        ],
                    ],
                ))
            }),
        ),
    ]
}

fn call(robot: &Robot) -> anyhow::Result<Client> {
    anyhow::ensure!(robot.root == Path::new("/"), "that system does not run");
    Ok(robot.socket.connect()?)
}

/// What the daemon's program finds where the daemon does not answer.
fn alone<T: serde::de::DeserializeOwned>(
    robot: &Robot,
    why: anyhow::Error,
    how: &str,
) -> anyhow::Result<T> {
    if robot.root != Path::new("/") {
        return Err(why);
    }
    standalone::look(&[how])
}

fn pretty(scrubber: &Scrubber, value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(
        &scrubber.json(&serde_json::to_value(value)?),
    )?)
}

/// The two journals of the agent: a line, then JSON.
fn memory(robot: &Robot, scrubber: &Scrubber) -> anyhow::Result<String> {
    let mut all = serde_json::Map::new();
    for name in ["journal.0", "journal.1"] {
        let path = robot.at("/var/lib/surefoot").join(name);
        let read = file::read(&path, surefoot_core::journal::MAX_JOURNAL_BYTES);
        let value = match read {
            Ok(bytes) => {
                let body = bytes
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map(|at| &bytes[at..]);
                match serde_json::from_slice::<Value>(body.unwrap_or_default()) {
                    Ok(value) => scrubber.json(&value),
                    Err(error) => {
                        format!("{} bytes that are not JSON: {error}", bytes.len()).into()
                    }
                }
            }
            Err(error) => error.to_string().into(),
        };
        all.insert(name.to_owned(), value);
    }
    Ok(serde_json::to_string_pretty(&all)?)
}

fn journal(scrubber: &Scrubber, units: &[&str]) -> anyhow::Result<String> {
    let mut command = environment::command("journalctl");
    command
        .args([
            "--no-pager",
            "--no-hostname",
            "--output=short-iso",
            "--since=-7d",
            "--lines=20000",
        ])
        .args(units);
    run(scrubber, command)
}

fn run(scrubber: &Scrubber, command: std::process::Command) -> anyhow::Result<String> {
    let limits = Limits {
        time: EACH,
        output: MAX_PART,
    };
    let ended = program::run_blocking(command, limits)?;
    let said = String::from_utf8_lossy(ended.stdout.end()).into_owned();
    let wrong = String::from_utf8_lossy(ended.stderr.end()).into_owned();
    Ok(scrubber.text(&(said + &wrong)))
}

/// What programs print, one after the other.
fn printed(scrubber: &Scrubber, programs: &[&[&str]]) -> String {
    let mut text = String::new();
    for words in programs {
        let Some((name, arguments)) = words.split_first() else {
            continue;
        };
        let mut command = environment::command(name);
        command.args(arguments);
        text += &format!("# {}\n", words.join(" "));
        text += &run(scrubber, command).unwrap_or_else(|error| format!("{error:#}\n"));
        text += "\n";
    }
    text
}

/// The newest files of a directory, each with its name before it.
fn files(scrubber: &Scrubber, dir: &Path) -> anyhow::Result<String> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", dir.display())),
    };
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|entry| {
            let changed = entry.metadata().and_then(|meta| meta.modified()).ok();
            (std::cmp::Reverse(changed), entry.path())
        })
        .collect();
    paths.sort();
    let mut text = String::new();
    for (_, path) in paths.into_iter().take(MAX_FILES) {
        text += &format!("# {}\n", path.display());
        match file::read_start(&path, MAX_FILE) {
            Ok(bytes) => text += &scrubber.text(&String::from_utf8_lossy(&bytes)),
            Err(error) => text += &format!("{error}\n"),
        }
        text += "\n";
    }
    Ok(text)
}

/// The names in a directory, with sizes, or where links lead to.
fn listing(dir: &Path) -> String {
    let mut lines: Vec<String> = (fs::read_dir(dir).into_iter().flatten().flatten())
        .take(1000)
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            match fs::read_link(entry.path()) {
                Ok(target) => format!("{name} -> {}", target.display()),
                Err(_) => {
                    let size = entry.metadata().map_or(0, |meta| meta.len());
                    format!("{name} {size}")
                }
            }
        })
        .collect();
    lines.sort();
    format!("# {}\n{}\n\n", dir.display(), lines.join("\n"))
}
