//! Looking at the robot's health.

use crate::{
    config::{self, CommandCheck, HttpCheck, TcpCheck},
    robot::{nixos, process, systemd, units},
};
use std::time::Duration;
use surefoot_core::{
    StorePath,
    baseline::{self, Against, Baseline, Look, Unit, judge},
    health::{Check, Failure, Report},
    offline::set_aside,
};
use surefoot_http::{Http, Options, header::HeaderMap, is_this_machine};

/// One round of all checks, side by side: what runs, units, commands, ports, pages, the repository;
/// judged by what was before. Each check has its own time limit, so that a round always ends.
pub(crate) async fn probe(
    config: &config::Health,
    web: &Options,
    expected: &StorePath,
    against: &Against,
    reachable: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> Report {
    let mut look = look(config, web, Some(against), reachable).await;
    let before = against.baseline.as_ref();
    let excused = |name: &str| before.is_some_and(|before| before.excuses(name));
    let networked = systemd::networked(&look.units, excused).await;
    let alone = |check: &Check| before.is_some_and(|before| before.alone.contains(check));
    let needs =
        |check: &Check| leads_away(config, check) && !alone(check) || networked.contains(check);
    // Also those of what is set aside: none of their restarts counts later.
    let all_runs = baseline::runs(&look.units);
    let aside = set_aside(&mut look, needs, &against.aside);
    if !is_starting(config, against, &look.pending) {
        look.failures.extend(runs(expected));
        look.failures.extend(required(config).await);
    }
    let mut report = judge(look, against, |name| is_required(config, name));
    report.aside = aside;
    report.runs = all_runs;
    for found in report.failures.iter_mut().chain(&mut report.excused) {
        if let Check::Unit(name) = &found.check
            && found.journal.is_empty()
        {
            found.journal = systemd::journal(name).await;
        }
    }
    report
}

/// The robot as it is before a trial.
pub(crate) async fn baseline(
    config: &config::Health,
    web: &Options,
    reachable: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> Baseline {
    let mut look = look(config, web, None, reachable).await;
    look.failures.extend(required(config).await);
    let mut baseline = Baseline::of(&look, config.soak);
    baseline.unasked = is_starting(config, &against_itself(&look, config), &look.pending);
    if !baseline.unasked && baseline.failed.contains(&Check::ManifestServer) {
        let ports = config.tcp.iter().map(|it| Check::Tcp(it.name.to_string()));
        let pages = config
            .http
            .iter()
            .map(|it| Check::Http(it.name.to_string()));
        let alone = ports
            .chain(pages)
            .filter(|check| leads_away(config, check) && !baseline.failed.contains(check));
        baseline.alone = alone.take(baseline::MAX_NAMES).collect();
    }
    baseline
}

/// What a look before a trial is compared with: what has been starting for too long by now.
fn against_itself(look: &Look, config: &config::Health) -> Against {
    Against {
        baseline: Some(Baseline::of(look, config.soak)),
        ..Against::default()
    }
}

/// Everything that is looked at, as it is.
async fn look(
    config: &config::Health,
    web: &Options,
    against: Option<&Against>,
    reachable: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> Look {
    // After a boot on trial much is still on its way, and nothing is judged yet but what failed.
    let pending = pending(config).await;
    let found = async {
        let mut units = all(config).await?;
        units.extend(others(&pending, &units).await?);
        anyhow::Ok(units)
    };
    let (units, failures) = match found.await {
        Ok(units) => (units, Vec::new()),
        Err(error) => (
            Vec::new(),
            vec![failure(Check::Units, format!("{error:#}"))],
        ),
    };
    let mut look = Look {
        units,
        failures,
        pending,
    };
    let server = async {
        if !config.manifest_server {
            return None;
        }
        reachable()
            .await
            .err()
            .map(|error| failure(Check::ManifestServer, format!("not reached: {error:#}")))
    };
    let itself = against.is_none().then(|| against_itself(&look, config));
    let against = against.or(itself.as_ref());
    if against.is_none_or(|against| !is_starting(config, against, &look.pending)) {
        let commands = futures_util::future::join_all(config.command.iter().map(command));
        let ports = futures_util::future::join_all(config.tcp.iter().map(tcp));
        let pages =
            futures_util::future::join_all(config.http.iter().map(|check| http(check, web)));
        let (commands, ports, pages, server) = tokio::join!(commands, ports, pages, server);
        let found = commands.into_iter().chain(ports).chain(pages).flatten();
        look.failures.extend(found.chain(server));
    } else if look.units.iter().any(Unit::is_failed) {
        // Some fail at a start for want of the network.
        look.failures.extend(server.await);
    }
    look
}

/// What a boot waits for and is not among these units: devices.
///
/// # Errors
/// systemd does not answer.
async fn others(pending: &[Failure], units: &[Unit]) -> anyhow::Result<Vec<Unit>> {
    let name = |starting: &'_ Failure| match &starting.check {
        Check::Unit(name) if units.iter().all(|unit| unit.name != *name) => Some(name.clone()),
        _ => None,
    };
    let names: Vec<String> = pending.iter().filter_map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match &names[..names.len().min(systemd::MAX_SHOWN)] {
        [] => Ok(Vec::new()),
        names => systemd::show(names).await,
    }
}

/// Whether a start is still waited for: what never ended before the trial keeps nothing from being judged.
fn is_starting(config: &config::Health, against: &Against, pending: &[Failure]) -> bool {
    let mut pending = pending.iter();
    pending.any(|starting| against.awaits(starting, |unit| is_required(config, unit)))
}

/// All units but those that nobody minds, and those that any user can make fail.
async fn all(config: &config::Health) -> anyhow::Result<Vec<Unit>> {
    let mut units = systemd::units().await?;
    units.retain(|unit| {
        minded(config, &unit.name) && (!unit.is_of_users() || is_required(config, &unit.name))
    });
    Ok(units)
}

fn is_required(config: &config::Health, unit: &str) -> bool {
    config
        .required_units
        .iter()
        .any(|required| required.0 == unit)
}

fn minded(config: &config::Health, unit: &str) -> bool {
    !units::is_own(unit) && !config.ignore_units.iter().any(|glob| glob.matches(unit))
}

/// Whether a check of the configuration leads to another machine.
fn leads_away(config: &config::Health, check: &Check) -> bool {
    match check {
        Check::Tcp(name) => {
            let mut ports = config.tcp.iter();
            ports.any(|it| it.name.as_str() == name && !is_this_machine(&it.address.host))
        }
        Check::Http(name) => {
            let mut pages = config.http.iter();
            let host = |check: &HttpCheck| check.url.0.host_str().unwrap_or_default().to_owned();
            pages.any(|it| it.name.as_str() == name && !is_this_machine(&host(it)))
        }
        _ => false,
    }
}

/// What the boot still waits for.
async fn pending(config: &config::Health) -> Vec<Failure> {
    let late = |unit| (unit, "still starting".to_owned());
    match systemd::still_starting().await {
        Ok(units) => {
            let minded = units.into_iter().filter(|unit| minded(config, unit));
            of_units(minded.map(late)).await
        }
        Err(error) => vec![failure(Check::Units, format!("{error:#}"))],
    }
}

fn failure(check: Check, message: impl Into<String>) -> Failure {
    Failure {
        check,
        message: message.into(),
        journal: Vec::new(),
    }
}

/// Whether the system under trial still is what runs.
pub(crate) fn runs(expected: &StorePath) -> Option<Failure> {
    let current = nixos::system(nixos::CURRENT);
    (current.as_ref() != Some(expected)).then(|| {
        // A variant of the system on trial may be its own doing, so it is not taken for somebody else's.
        let own = (current.as_ref()).is_some_and(|current| nixos::is_variant(current, expected));
        let check = match &current {
            Some(_) if own => Check::Other("specialisation".to_owned()),
            Some(_) => Check::RunningSystem,
            // Nobody switches to that.
            None => Check::Other("link to the running system".to_owned()),
        };
        let there = current.map_or_else(|| "nothing".to_owned(), |path| path.to_string());
        failure(check, format!("{there} runs instead of {expected}"))
    })
}

/// Failed units, and required ones that are not active.
pub(crate) async fn units(config: &config::Health) -> Vec<Failure> {
    [failing(config).await, required(config).await].concat()
}

/// Required units that are not active.
async fn required(config: &config::Health) -> Vec<Failure> {
    let mut failures = Vec::new();
    for required in &config.required_units {
        let name = required.0.clone();
        match systemd::activity(&name).await {
            Ok(active) if active == "active" => {}
            Ok(other) => {
                failures.push(unit_failure(&name, format!("must be active, but is {other}")).await);
            }
            Err(error) => failures.push(failure(Check::Unit(name), format!("{error:#}"))),
        }
    }
    failures
}

/// Failed units.
async fn failing(config: &config::Health) -> Vec<Failure> {
    let failing = |unit: Unit| {
        let why = unit.failing()?;
        Some((unit.name, why))
    };
    match all(config).await {
        Ok(units) => of_units(units.into_iter().filter_map(failing)).await,
        Err(error) => vec![failure(Check::Units, format!("{error:#}"))],
    }
}

/// What is wrong with these units.
async fn of_units(found: impl Iterator<Item = (String, String)>) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (unit, message) in found {
        failures.push(unit_failure(&unit, message).await);
    }
    failures
}

async fn unit_failure(unit: &str, message: String) -> Failure {
    Failure {
        check: Check::Unit(unit.to_owned()),
        message,
        journal: systemd::journal(unit).await,
    }
}

async fn command(check: &CommandCheck) -> Option<Failure> {
    let ended = process::run(check.name.as_str(), &check.exec.0, check.timeout).await;
    ended.err().map(|failed| Failure {
        check: Check::Command(check.name.to_string()),
        message: failed.how.to_string(),
        journal: failed.lines,
    })
}

async fn tcp(check: &TcpCheck) -> Option<Failure> {
    let address = (check.address.host.as_str(), check.address.port);
    within(check.timeout, tokio::net::TcpStream::connect(address))
        .await
        .err()
        .map(|why| failure(Check::Tcp(check.name.to_string()), why))
}

/// The answer of a page. Nothing is kept for the next look: certificates may be renewed meanwhile.
async fn http(check: &HttpCheck, web: &Options) -> Option<Failure> {
    let http = Http::new(Options {
        connect_timeout: check.timeout,
        stall_timeout: check.timeout,
        ..web.clone()
    });
    let url = &check.url.0;
    let (shown, none) = (url.to_string(), HeaderMap::new());
    let why = match within(check.timeout, http.ask(url.clone(), &shown, &none)).await {
        Ok(answer) if u32::from(answer.status().as_u16()) == check.status => return None,
        Ok(answer) => format!(
            "answered {}, not {}",
            answer.status().as_u16(),
            check.status
        ),
        Err(why) => why,
    };
    Some(failure(Check::Http(check.name.to_string()), why))
}

/// The result within a time limit, with errors in words.
async fn within<T, E: std::fmt::Display>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} ms", limit.as_millis())),
    }
}
