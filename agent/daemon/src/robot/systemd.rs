//! systemd, through its own programs: transient units, unit states, the journal.
//!
//! `systemd-run(1)`, `systemctl(1)` and `journalctl(1)` are on every NixOS, keep their command
//! lines stable, and cost the idle agent nothing.

use super::clock;
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Duration,
};
use surefoot_base::{
    environment,
    program::{self, Ended, Limits, Printed, ProgramError},
};
use surefoot_core::{
    baseline::{self, Activity, Load},
    health::{Check, JOURNAL_LINES},
    resolver::SwitchUnit,
    startup::Start,
    switch::Outcome,
    time::BootId,
};

/// No call to systemd takes longer than this, unless systemd itself hangs.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(60),
    output: 1 << 20,
};

/// Lines of the journal are cut after this many characters.
pub(super) const MAX_LINE: usize = 500;

/// What the kernel ends a process with for want of memory (signal(7)).
const SIGKILL: i32 = 9;

/// systemd would replace `${…}` in a command line by itself: scripts have their own.
const AS_IT_IS: &str = "--expand-environment=no";

struct Answer {
    code: Option<i32>,
    stdout: Printed,
    /// Its last words.
    stderr: String,
}

/// A program of systemd, with words that do not depend on where it runs.
fn ready(name: &str, args: &[&str]) -> Command {
    let mut command = environment::command(name);
    command
        .args(args)
        .env("SYSTEMD_COLORS", "0")
        .env("LC_ALL", "C");
    command
}

async fn call(name: &str, args: &[&str]) -> anyhow::Result<Answer> {
    let command = ready(name, args);
    let ended = match program::run(command, LIMITS).await {
        Ok(ended) => ended,
        Err(ProgramError::TooLate(limit)) => {
            bail!("{name} did not answer within {} s", limit.as_secs())
        }
        Err(error) => return Err(error).with_context(|| format!("cannot run {name}")),
    };
    Ok(Answer {
        code: ended.status.code(),
        stdout: ended.stdout,
        stderr: ended.stderr.last_words(),
    })
}

async fn systemctl(args: &[&str]) -> anyhow::Result<String> {
    let answer = call("systemctl", args).await?;
    if answer.code != Some(0) {
        bail!("systemctl {}: {}", args.join(" "), answer.stderr);
    }
    (answer.stdout.whole()).with_context(|| format!("systemctl {}", args.join(" ")))
}

/// `systemd-run` with these options, to its end.
///
/// # Errors
/// It did not come to an end.
pub(super) async fn systemd_run(
    options: &[&str],
    command: &[&str],
    limits: Limits,
) -> Result<Ended, ProgramError> {
    let mut args = vec!["--quiet", "--no-ask-password", AS_IT_IS];
    args.extend(options);
    args.push("--");
    args.extend(command);
    program::run(ready("systemd-run", &args), limits).await
}

/// Starts a transient unit and waits until its program runs, not until it ends.
///
/// # Errors
/// systemd's own words: a unit of that name exists, or the program cannot be executed.
pub(crate) async fn run(options: &[&str], command: &[&str]) -> anyhow::Result<()> {
    let ended = systemd_run(options, command, LIMITS)
        .await
        .context("systemd-run")?;
    if !ended.status.success() {
        bail!("systemd-run: {}", ended.stderr.last_words());
    }
    Ok(())
}

/// A unit's file and drop-ins as they are now, one after the other.
///
/// # Errors
/// There is no such unit, or systemd does not answer.
pub(crate) async fn files_of(unit: &str) -> anyhow::Result<String> {
    systemctl(&["cat", "--", unit]).await
}

/// What systemd remembers of a unit that failed.
#[derive(Debug)]
pub(super) struct UnitResult {
    /// Whether it knows the unit.
    pub(super) loaded: bool,
    /// `exit-code`, `timeout`, … (systemd.exec(5), `$SERVICE_RESULT`).
    pub(super) result: String,
    /// The exit status, or the signal.
    pub(super) status: i32,
}

/// What systemd remembers of a unit that failed.
///
/// # Errors
/// systemd does not answer.
pub(super) async fn result(unit: &str) -> anyhow::Result<UnitResult> {
    let mut said = properties(Some(unit), "LoadState,Result,ExecMainStatus").await?;
    let mut get = |key: &str| said.remove(key).unwrap_or_default();
    Ok(UnitResult {
        loaded: get("LoadState") != "not-found",
        result: get("Result"),
        status: get("ExecMainStatus").parse().unwrap_or(0),
    })
}

/// Looks at a transient unit that was started with `RemainAfterExit=yes`, so that systemd still
/// knows how it ended.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn state(unit: &str) -> anyhow::Result<SwitchUnit> {
    let properties = "LoadState,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus";
    let text = systemctl(&["show", "--property", properties, "--", unit]).await?;
    Ok(read_state(&text))
}

fn read_state(text: &str) -> SwitchUnit {
    let said = read_properties(text);
    let get = |key: &str| said.get(key).map_or("", String::as_str);
    if get("LoadState") == "not-found" {
        return SwitchUnit::Gone;
    }
    let ended = |outcome| SwitchUnit::Ended {
        outcome,
        log: Vec::new(),
    };
    let status = get("ExecMainStatus").parse().unwrap_or(0);
    match (get("ActiveState"), get("SubState")) {
        // SIGTERM and a few others count as a good end of a service (systemd.service(5),
        // `SuccessExitStatus=`), and not as that of a switch.
        ("active", "exited") if get("ExecMainCode") != "1" => ended(Outcome::Killed(status)),
        ("active", "exited") => ended(Outcome::Done),
        ("failed", _) => ended(match get("Result") {
            "timeout" => Outcome::TimedOut,
            "signal" | "core-dump" => Outcome::Killed(status),
            // What was killed may be a process that the switcher waited for: its own code says nothing.
            "oom-kill" => Outcome::Killed(SIGKILL),
            "exit-code" if get("ExecMainCode") == "1" => Outcome::of_switcher(status),
            _ => Outcome::NotStarted,
        }),
        ("inactive", _) => SwitchUnit::Gone,
        _ => SwitchUnit::Running,
    }
}

/// Stops units and lets systemd forget how they ended. Patterns are allowed; no such unit is fine.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn clear(units: &[&str]) -> anyhow::Result<()> {
    for verb in ["stop", "reset-failed"] {
        let mut args = vec![verb, "--"];
        args.extend(units);
        // A unit that is not loaded makes it fail: that is what was wanted.
        call("systemctl", &args).await?;
    }
    Ok(())
}

/// A run of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceRun {
    /// The service.
    pub(crate) unit: String,
    /// What no other run has, be it of a unit with the same name: systemd's name for it, 32 hexadecimal
    /// digits.
    invocation: String,
    /// What it runs, as systemd shows it.
    pub(crate) command: String,
    /// When its program was started: microseconds since the kernel was.
    pub(crate) started: u64,
}

/// The services that match a pattern and run.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn runs(pattern: &str) -> anyhow::Result<Vec<ServiceRun>> {
    const OF_RUNS: &str = "Id,InvocationID,ExecStart,ExecMainStartTimestampMonotonic";
    let property = format!("--property={OF_RUNS}");
    Ok(read_runs(
        &systemctl(&["show", &property, "--", pattern]).await?,
    ))
}

/// The services that match one of these patterns and whose programs have ended.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn ended(patterns: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut args = vec!["show", "--property=Id,SubState", "--"];
    args.extend(patterns);
    Ok(read_ended(&systemctl(&args).await?))
}

fn read_ended(text: &str) -> Vec<String> {
    let ended = |mut said: BTreeMap<String, String>| {
        let state = said.remove("SubState")?;
        let ended = ["dead", "exited", "failed"].contains(&state.as_str());
        said.remove("Id").filter(|_| ended)
    };
    let blocks = text.split("\n\n").map(read_properties);
    blocks.filter_map(ended).collect()
}

fn read_runs(text: &str) -> Vec<ServiceRun> {
    let blocks = text.split("\n\n").map(read_properties);
    let run = |mut said: BTreeMap<String, String>| {
        let mut get = |key: &str| said.remove(key).unwrap_or_default();
        let invocation = get("InvocationID");
        (!invocation.is_empty()).then(|| ServiceRun {
            unit: get("Id"),
            invocation,
            command: get("ExecStart"),
            started: get("ExecMainStartTimestampMonotonic").parse().unwrap_or(0),
        })
    };
    blocks.filter_map(run).collect()
}

impl ServiceRun {
    /// Where systemd has this run, and no other one, on D-Bus (systemd `manager_load_unit_from_dbus_path`).
    fn object(&self) -> String {
        let id = &self.invocation;
        // A label of a path begins with no digit (sd-bus `bus_label_escape`).
        let escape = if id.starts_with(|c: char| c.is_ascii_digit()) {
            "_3"
        } else {
            ""
        };
        format!("/org/freedesktop/systemd1/unit/{escape}{id}")
    }
}

/// Ends a run of a service, and waits until it has ended. One that has ended already is fine.
///
/// # Errors
/// systemd does not answer, or does not end it.
pub(crate) async fn end_run(run: &ServiceRun) -> anyhow::Result<()> {
    const MANAGER: &str = "org.freedesktop.systemd1";
    const UNIT: &str = "org.freedesktop.systemd1.Unit";
    let object = run.object();
    let stop = [
        "--quiet", "call", MANAGER, &object, UNIT, "Stop", "s", "replace",
    ];
    let answer = call("busctl", &stop).await?;
    let end = tokio::time::Instant::now() + LIMITS.time;
    loop {
        let said = properties(Some(&run.unit), "InvocationID,ActiveState").await?;
        let of = |key: &str| said.get(key).map_or("", String::as_str);
        let over = matches!(of("ActiveState"), "inactive" | "failed");
        if of("InvocationID") != run.invocation || over {
            return Ok(());
        }
        if answer.code != Some(0) {
            bail!("systemd does not end {}: {}", run.unit, answer.stderr);
        }
        if tokio::time::Instant::now() >= end {
            bail!("{} does not end", run.unit);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether a unit is active.
///
/// # Errors
/// systemd does not answer: that is no "no".
pub(crate) async fn is_active(unit: &str) -> anyhow::Result<bool> {
    let said = call("systemctl", &["is-active", "--quiet", "--", unit]).await?;
    says_active(said.code).with_context(|| {
        let why = said.stderr.trim();
        format!("systemd does not say whether {unit} is active: {why}")
    })
}

/// What the exit code of `systemctl is-active` says (systemctl(1), "Exit status").
fn says_active(code: Option<i32>) -> Option<bool> {
    match code {
        Some(0) => Some(true),
        // It is not, or there is no such unit.
        Some(3 | 4) => Some(false),
        _ => None,
    }
}

/// What is read of every unit, in systemd's names.
const OF_UNITS: &str = "Id,Names,Slice,LoadState,ActiveState,SubState,Result,Job,\
    StateChangeTimestampMonotonic,ConditionResult,ConditionTimestampMonotonic,Type,RemainAfterExit,\
    BusName,TriggeredBy,NRestarts,InvocationID,Wants,Requires,BindsTo,Upholds,Conflicts,ConflictedBy";

/// Targets, and what is expected to be there for them.
const KINDS: [&str; 8] = [
    "*.target",
    "*.service",
    "*.mount",
    "*.automount",
    "*.swap",
    "*.socket",
    "*.path",
    "*.timer",
];

/// Every unit of these [`KINDS`] that systemd has in memory.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn units() -> anyhow::Result<Vec<baseline::Unit>> {
    show(&KINDS).await
}

/// Units by their names or patterns.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn show(names: &[&str]) -> anyhow::Result<Vec<baseline::Unit>> {
    let property = format!("--property={OF_UNITS}");
    // Without `--all` a pattern finds no unit that is inactive (systemd `systemctl-list-units.c`).
    let mut args = vec!["show", "--all", &property, "--"];
    args.extend(names);
    let limits = Limits {
        output: 8 << 20,
        ..LIMITS
    };
    let ended = program::run(ready("systemctl", &args), limits)
        .await
        .context("systemctl show")?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(ended.stderr.end());
        bail!("systemctl show: {}", said.trim());
    }
    let text = ended.stdout.whole().context("systemctl show")?;
    Ok(read_units(&text, clock::monotonic()))
}

/// The blocks that `systemctl show` prints of units, at this time since the boot.
fn read_units(text: &str, now: Duration) -> Vec<baseline::Unit> {
    let blocks = text.split("\n\n").map(read_properties);
    blocks.filter_map(|said| read_unit(&said, now)).collect()
}

fn read_unit(said: &BTreeMap<String, String>, now: Duration) -> Option<baseline::Unit> {
    let get = |key: &str| said.get(key).map_or("", String::as_str);
    let time = |key: &str| {
        get(key)
            .parse()
            .map_or(Duration::ZERO, Duration::from_micros)
    };
    let words = |keys: &[&str]| {
        let words = keys.iter().flat_map(|key| get(key).split_whitespace());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let changed = time("StateChangeTimestampMonotonic");
    let oneshot = get("Type") == "oneshot" && get("RemainAfterExit") != "yes";
    Some(baseline::Unit {
        name: said.get("Id").filter(|id| !id.is_empty())?.clone(),
        aliases: words(&["Names"]),
        slice: get("Slice").to_owned(),
        load: match get("LoadState") {
            "loaded" => Load::Loaded,
            "error" | "bad-setting" => Load::Broken,
            _ => Load::Missing,
        },
        activity: match (get("ActiveState"), get("SubState")) {
            ("active" | "reloading" | "refreshing", _) => Activity::Active,
            ("activating", sub) if sub.starts_with("auto-restart") => Activity::Restarting,
            ("activating", _) => Activity::Starting,
            ("deactivating", _) => Activity::Stopping,
            ("failed", _) => Activity::Failed,
            _ => Activity::Inactive,
        },
        result: get("Result").to_owned(),
        since: now.saturating_sub(changed),
        job: !matches!(get("Job"), "" | "0"),
        began: !changed.is_zero(),
        skipped: !time("ConditionTimestampMonotonic").is_zero() && get("ConditionResult") == "no",
        ends: oneshot,
        on_demand: !get("TriggeredBy").is_empty() || !get("BusName").is_empty(),
        restarts: get("NRestarts").parse().unwrap_or(0),
        invocation: get("InvocationID").to_owned(),
        needs: words(&["Wants", "Upholds"]),
        requires: words(&["Requires", "BindsTo"]),
        conflicts: words(&["Conflicts", "ConflictedBy"]),
    })
}

/// What a unit does: `active`, `failed`, `activating`, …
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn activity(unit: &str) -> anyhow::Result<String> {
    let mut said = properties(Some(unit), "ActiveState").await?;
    Ok(said.remove("ActiveState").unwrap_or_default())
}

/// Properties of a unit, or of systemd itself, by their names: `systemctl show`.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn properties(
    unit: Option<&str>,
    names: &str,
) -> anyhow::Result<BTreeMap<String, String>> {
    let property = format!("--property={names}");
    let mut args = vec!["show", &property];
    if let Some(unit) = unit {
        args.extend(["--", unit]);
    }
    Ok(read_properties(&systemctl(&args).await?))
}

/// Those of the failed units that systemd starts once the network is up, by their own word. Not asked are
/// those that `excused` says it of: they do not count.
pub(crate) async fn networked(
    units: &[baseline::Unit],
    excused: impl Fn(&str) -> bool,
) -> BTreeSet<Check> {
    const ONLINE: &str = "network-online.target";
    // Where more fail it is not the network.
    const MAX_ASKED: usize = 16;
    let mut found = BTreeSet::new();
    let counts = |unit: &&baseline::Unit| unit.is_failed() && !excused(&unit.name);
    for unit in units.iter().filter(counts).take(MAX_ASKED) {
        match properties(Some(&unit.name), "After").await {
            Ok(said)
                if said
                    .values()
                    .any(|after| after.split(' ').any(|it| it == ONLINE)) =>
            {
                found.insert(Check::Unit(unit.name.clone()));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("{error:#}"),
        }
    }
    found
}

/// The lines `NAME=VALUE` that `systemctl show` prints.
fn read_properties(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// When systemd, of this system or of its initrd, said this in this boot: microseconds since the
/// kernel started. `None` if the journal cannot tell.
pub(crate) async fn said_by_init(words: &str) -> Option<Vec<u64>> {
    let grep = format!("--grep={words}");
    let args = [
        "--boot",
        "--no-pager",
        "--output=json",
        "--output-fields=MESSAGE",
        &grep,
        "_PID=1",
    ];
    let answer = call("journalctl", &args).await.ok()?;
    // No such line makes it fail, too, but without a word.
    if answer.code != Some(0) && !answer.stderr.is_empty() {
        return None;
    }
    Some(read_times(&answer.stdout.whole().ok()?))
}

/// When the lines that `journalctl --output=json` prints were said, microseconds.
fn read_times(text: &str) -> Vec<u64> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "__MONOTONIC_TIMESTAMP")]
        at: String,
    }
    let lines = text.lines();
    let lines = lines.filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.filter_map(|line| line.at.parse().ok()).collect()
}

/// The last lines that a unit wrote in this boot. Never fails: evidence is not worth a fault.
pub(crate) async fn journal(unit: &str) -> Vec<String> {
    // What was written just now may still be on its way.
    let _ = call("journalctl", &["--sync"]).await;
    let lines = JOURNAL_LINES.to_string();
    let args = [
        "--boot",
        "--no-pager",
        "--output=cat",
        "--lines",
        &lines,
        "--unit",
        unit,
    ];
    let unread = |error| vec![format!("(its journal cannot be read: {error:#})")];
    journal_lines(&args).await.unwrap_or_else(unread)
}

/// When the program of a unit was started: microseconds since the kernel was; 0 if systemd does not
/// know.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn started(unit: &str) -> anyhow::Result<u64> {
    const AT: &str = "ExecMainStartTimestampMonotonic";
    let said = properties(Some(unit), AT).await?;
    Ok(said.get(AT).and_then(|at| at.parse().ok()).unwrap_or(0))
}

/// What was said in these units and about them in this boot, as JSON, a line each, with these fields:
/// the last `limit` bytes, of which the first line may be cut.
///
/// # Errors
/// The journal cannot be read.
pub(super) async fn journal_json(
    units: &[&str],
    fields: &str,
    limit: usize,
) -> anyhow::Result<String> {
    // What was written just now may still be on its way.
    let _ = call("journalctl", &["--sync"]).await;
    let fields = format!("--output-fields={fields}");
    let mut args = vec!["--boot", "--no-pager", "--output=json", &fields];
    for unit in units {
        args.extend(["--unit", unit]);
    }
    let limits = Limits {
        output: limit,
        ..LIMITS
    };
    let ended = program::run(ready("journalctl", &args), limits).await?;
    if !ended.status.success() {
        bail!("journalctl: {}", ended.stderr.last_words());
    }
    Ok(String::from_utf8_lossy(ended.stdout.end()).into_owned())
}

/// What `journalctl` prints, in lines of a bearable length.
async fn journal_lines(args: &[&str]) -> anyhow::Result<Vec<String>> {
    let answer = call("journalctl", args).await?;
    let short = |line: &str| line.chars().take(MAX_LINE).collect();
    let text = String::from_utf8_lossy(answer.stdout.end());
    Ok(text.lines().map(short).collect())
}

/// The last lines of the boot between two others, if its journal was kept. Never fails.
pub(crate) async fn last_words(before: &BootId, now: &BootId) -> Vec<String> {
    let Ok(list) = call("journalctl", &["--list-boots", "--output=json"]).await else {
        return Vec::new();
    };
    let Some(last) = list
        .stdout
        .whole()
        .ok()
        .and_then(|list| boot_between(&list, before, now))
    else {
        return Vec::new();
    };
    let boot = format!("--boot={last}");
    let lines = format!("--lines={JOURNAL_LINES}");
    let args = [
        &boot,
        "--no-pager",
        "--no-hostname",
        "--output=short-monotonic",
        &lines,
    ];
    journal_lines(&args).await.unwrap_or_default()
}

/// The boot that `journalctl --list-boots` has between two others; `None` if it wrote nothing.
fn boot_between(list: &str, before: &BootId, now: &BootId) -> Option<String> {
    #[derive(Deserialize)]
    struct Boot {
        boot_id: String,
    }
    let boots: Vec<Boot> = serde_json::from_str(list).ok()?;
    // The journal has the ids without dashes; the last boot but this one is the one meant.
    let plain = |id: &BootId| id.0.replace('-', "");
    let (before, now) = (plain(before), plain(now));
    let last = boots.into_iter().rev().find(|boot| boot.boot_id != now)?;
    (last.boot_id != before).then_some(last.boot_id)
}

/// Reads a text as everything that systemd's programs may print.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(text: &str) {
    let _ = read_state(text);
    let _ = running_jobs(text);
    let _ = read_units(text, Duration::MAX);
    assert!(read_times(text).len() <= text.lines().count());
    let [before, now] = ["0", "1"].map(|id| BootId(id.to_owned()));
    if let Some(boot) = boot_between(text, &before, &now) {
        assert!(boot != before.0 && boot != now.0);
    }
}

/// Waits until systemd has started what belongs to this boot, but not for ever: gives the units
/// that it is still busy with then.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn still_starting() -> anyhow::Result<Vec<String>> {
    // It answers once no job is left, and with a failure if something else is wrong.
    if call("systemctl", &["is-system-running", "--wait"])
        .await
        .is_ok()
    {
        return Ok(Vec::new());
    }
    // Work that a timer began keeps it from answering, too, and is not part of the start.
    if is_active(GOAL).await? {
        return Ok(Vec::new());
    }
    let jobs = systemctl(&["list-jobs", "--no-legend", "--no-pager"]).await?;
    let mut units = running_jobs(&jobs);
    if units.is_empty() {
        units.push(GOAL.to_owned());
    }
    Ok(units)
}

/// What a boot starts.
const GOAL: &str = "default.target";

/// How long the system has been up: since systemd began, which a boot does, and a soft reboot as well
/// (`systemd-soft-reboot.service(8)`).
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn up() -> anyhow::Result<Duration> {
    let name = "UserspaceTimestampMonotonic";
    let said = properties(None, name).await?;
    Ok(since(&said, name).unwrap_or_else(clock::monotonic))
}

/// How far the start of the system is.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn start() -> anyhow::Result<Start> {
    let (active, entered) = ("ActiveState", "ActiveEnterTimestampMonotonic");
    let said = properties(Some(GOAL), &format!("{active},{entered}")).await?;
    if said.get(active).is_some_and(|state| state == "active") {
        return Ok(Start::Reached(
            since(&said, entered).unwrap_or_else(clock::monotonic),
        ));
    }
    Ok(Start::Waits)
}

/// How long ago a moment of systemd's was; `None` if it has not come.
fn since(said: &BTreeMap<String, String>, name: &str) -> Option<Duration> {
    let at = said.get(name)?.parse().ok().filter(|at| *at > 0)?;
    Some(clock::monotonic().saturating_sub(Duration::from_micros(at)))
}

/// Units by name that are asked for at once, at most.
pub(crate) const MAX_SHOWN: usize = 64;

/// The units of the jobs that run, not of those that wait for them: `JOB UNIT TYPE STATE`.
fn running_jobs(text: &str) -> Vec<String> {
    let columns = text.lines().map(|line| line.split_whitespace().collect());
    columns
        .filter_map(|columns: Vec<&str>| match columns[..] {
            [_, unit, _, "running"] => Some(unit.to_owned()),
            _ => None,
        })
        .collect()
}

/// Starts a unit that exists, and waits until it is up.
///
/// # Errors
/// It cannot be, or not in time.
pub(crate) async fn start_unit(unit: &str) -> anyhow::Result<()> {
    systemctl(&["start", "--", unit]).await.map(drop)
}

/// Reboots the robot.
///
/// # Errors
/// systemd refuses.
pub(crate) async fn reboot() -> anyhow::Result<()> {
    let Err(error) = systemctl(&["reboot"]).await else {
        return Ok(());
    };
    // From 257 on logind lets whoever holds a lock against shutdowns keep root from one too, and any user who sits
    // at the robot may take such a lock. What keeps a robot from a reboot is a gate. But root's own locks say that
    // firmware is being written, say; and another shutdown or a suspend may have begun.
    if let Some(why) = keeps_from_reboots().await {
        bail!("{error:#}: {why}");
    }
    tracing::warn!("{error:#}; it is rebooted all the same");
    let job = "--job-mode=replace-irreversibly";
    systemctl(&["start", "--no-block", job, "reboot.target"]).await?;
    Ok(())
}

/// What keeps root from a reboot by right, if logind says so.
async fn keeps_from_reboots() -> Option<String> {
    const LOGIND: [&str; 2] = ["org.freedesktop.login1", "/org/freedesktop/login1"];
    const MANAGER: &str = "org.freedesktop.login1.Manager";
    let [name, path] = LOGIND;
    for under_way in ["PreparingForShutdown", "PreparingForSleep"] {
        let said = busctl(&["get-property", name, path, MANAGER, under_way]).await;
        if said.is_some_and(|said| said.trim() == "b true") {
            return Some(format!("{under_way} is true, says logind"));
        }
    }
    let list = ["call", name, path, MANAGER, "ListInhibitors"];
    read_inhibitors(&busctl(&[&["--json=short"][..], &list].concat()).await?)
}

async fn busctl(args: &[&str]) -> Option<String> {
    call("busctl", args).await.ok()?.stdout.whole().ok()
}

/// Root's lock against shutdowns, of an answer to `ListInhibitors` (org.freedesktop.login1(5)).
fn read_inhibitors(json: &str) -> Option<String> {
    /// What, who, why, how, and the user and process that hold it.
    type Lock = (String, String, String, String, u32, u32);
    #[derive(serde::Deserialize)]
    struct Answer {
        data: (Vec<Lock>,),
    }
    let Answer { data: (locks,) } = serde_json::from_str(json).ok()?;
    let mut locks = locks.into_iter();
    let (_, who, why, ..) = locks.find(|(what, _, _, mode, uid, _)| {
        *uid == 0 && mode.starts_with("block") && what.split(':').any(|it| it == "shutdown")
    })?;
    Some(format!("{who} of root keeps the robot from it: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roots_locks_keep_a_robot_from_its_reboot() {
        let list = |uid: u32, mode: &str, what: &str| {
            let lock = serde_json::json!([what, "fwupd", "writes firmware", mode, uid, 7]);
            let answer = serde_json::json!({ "type": "a(ssssuu)", "data": [[lock]] });
            read_inhibitors(&answer.to_string())
        };
        let said = list(0, "block", "shutdown:sleep").unwrap();
        assert!(
            said.contains("fwupd") && said.contains("writes firmware"),
            "{said}"
        );
        assert_eq!(list(1000, "block", "shutdown"), None);
        assert_eq!(list(0, "delay", "shutdown"), None);
        assert_eq!(list(0, "block", "sleep"), None);
        assert_eq!(read_inhibitors("Call failed: Access denied"), None);
    }

    fn text(active: &str, sub: &str, result: &str, code: i32, status: i32) -> String {
        format!(
            "LoadState=loaded\nActiveState={active}\nSubState={sub}\nResult={result}\nExecMainCode={code}\nExecMainStatus={status}\n"
        )
    }

    #[test]
    fn a_switch_that_runs_has_not_ended() {
        let said = "Id=surefoot-commit-3.service\nSubState=exited\n\nId=surefoot-commit-4.service\n\
                    SubState=running\n\nId=surefoot-revert-5.service\nSubState=start\n\n\
                    Id=surefoot-trial-2.service\nSubState=failed\n";
        let ended = ["surefoot-commit-3.service", "surefoot-trial-2.service"];
        assert_eq!(read_ended(said), ended);
        assert!(read_ended("").is_empty());
    }

    #[test]
    fn no_answer_is_not_taken_for_a_no() {
        for (code, said) in [
            (Some(0), Some(true)),
            (Some(3), Some(false)),
            (Some(4), Some(false)),
            (Some(1), None),
            (None, None),
        ] {
            assert_eq!(says_active(code), said, "{code:?}");
        }
    }

    #[test]
    fn a_boot_waits_for_the_jobs_that_run() {
        let text = " 121 multi-user.target start waiting\n 140 robot.service start running\n\n";
        assert_eq!(running_jobs(text), ["robot.service"]);
        assert!(running_jobs("No jobs running.\n").is_empty());
    }

    #[test]
    fn a_device_that_never_came_has_been_starting_since_the_boot() {
        let text = "Id=dev-disk-by\\x2dlabel-data.device\nLoadState=loaded\nActiveState=inactive\n\
            SubState=dead\nJob=77\nStateChangeTimestampMonotonic=0\n";
        let up = Duration::from_secs(900);
        let device = read_units(text, up).pop().unwrap();
        assert!(device.since == up && device.job && !device.began);
        let look = baseline::Look {
            pending: vec![surefoot_core::health::Failure {
                check: Check::Unit(device.name.clone()),
                message: "still starting".into(),
                journal: Vec::new(),
            }],
            units: vec![device],
            ..baseline::Look::default()
        };
        let before = baseline::Baseline::of(&look, Duration::from_secs(60));
        assert_eq!(before.starting, ["dev-disk-by\\x2dlabel-data.device"]);
    }

    #[test]
    fn units_are_understood() {
        let text = "Id=multi-user.target\nNames=multi-user.target default.target\nLoadState=loaded\n\
            ActiveState=active\nSubState=active\nWants=arm.service\n\nId=arm.service\nSlice=system.slice\nLoadState=loaded\n\
            ActiveState=activating\nSubState=auto-restart\nType=simple\nNRestarts=4\n\
            StateChangeTimestampMonotonic=7000000\nTriggeredBy=\nResult=exit-code\n\nnothing\n";
        let units = read_units(text, Duration::from_secs(10));
        assert_eq!(units.len(), 2);
        assert_eq!(units[0].aliases, ["multi-user.target", "default.target"]);
        assert_eq!(units[0].needs, ["arm.service"]);
        let arm = &units[1];
        assert_eq!(arm.activity, Activity::Restarting);
        assert_eq!((arm.restarts, arm.since), (4, Duration::from_secs(3)));
        assert_eq!(arm.slice, "system.slice");
        assert!(arm.began && !arm.on_demand && !arm.job && !arm.ends);
    }

    #[test]
    fn unit_states_are_understood() {
        let ended = |text: &str| match read_state(text) {
            SwitchUnit::Ended { outcome, .. } => Some(outcome),
            _ => None,
        };
        assert_eq!(
            read_state("LoadState=not-found\nActiveState=inactive\n"),
            SwitchUnit::Gone
        );
        assert_eq!(
            read_state(&text("active", "running", "success", 0, 0)),
            SwitchUnit::Running
        );
        assert_eq!(
            ended(&text("active", "exited", "success", 1, 0)),
            Some(Outcome::Done)
        );
        assert_eq!(
            ended(&text("failed", "failed", "exit-code", 1, 4)),
            Some(Outcome::UnitsFailed)
        );
        assert_eq!(
            ended(&text("failed", "failed", "signal", 2, 9)),
            Some(Outcome::Killed(9))
        );
        assert_eq!(
            ended(&text("active", "exited", "success", 2, 15)),
            Some(Outcome::Killed(15))
        );
        assert_eq!(
            ended(&text("failed", "failed", "oom-kill", 1, 1)),
            Some(Outcome::Killed(9))
        );
        assert_eq!(
            ended(&text("failed", "failed", "timeout", 2, 15)),
            Some(Outcome::TimedOut)
        );
    }
}
