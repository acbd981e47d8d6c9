//! Carrying out switches, each in a transient unit of its own, and the dead-man timer.
//!
//! A transient unit survives the agent, is left alone by the switch that runs in it, and can be
//! found again by its name.

use crate::{boot, observe, systemd};
use anyhow::Context as _;
use std::{fs, path::PathBuf, time::Duration};
use surefoot_core::{
    StorePath,
    resolver::SwitchUnit,
    switch::{Action, Kind, Order, Outcome},
};

/// The dead-man timer's unit, without its ending.
pub(crate) const DEAD_MAN: &str = "surefoot-dead-man";

/// How often a running switch is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a firing dead-man timer is waited for.
const FIRING: Duration = Duration::from_secs(60);

/// The unit that `nixos-rebuild` runs the switcher in (nixpkgs `nixos-rebuild-ng`): it outlives
/// the program that waits for it, so it has to be ended by name.
const NIXOS_REBUILD_UNIT: &str = "nixos-rebuild-switch-to-configuration.service";

/// How long a switch that is told to stop may take to do so.
const STOP_TIMEOUT: &str = "--property=TimeoutStopSec=20s";

/// Makes `$1` the profile's system, as the newest of its generations or a new one, takes those of
/// `$4`, if any, out of it, and hands over to the switcher of `$2`, to do `$3`. That installs the
/// boot loader, one entry for each generation, with `$2` as the default: the order of `nixos-rebuild
/// switch`, and the switcher's own exit code.
const SET_AND_SWITCH: &str = r#"
profile=/nix/var/nix/profiles/system number=0 surplus=
for link in $profile-*-link; do
  n=${link#"$profile"-} n=${n%-link}
  case $(readlink -f "$link") in
    "$1") if [ "$n" -gt "$number" ]; then number=$n; fi ;;
    "${4:-none}") surplus="$surplus $n" ;;
  esac
done
if [ "$number" -gt 0 ]; then
  nix-env -p $profile --switch-generation "$number" || exit 1
else
  nix-env -p $profile --set "$1" || exit 1
fi
if [ -n "$surplus" ]; then
  nix-env -p $profile --delete-generations $surplus || echo "generations$surplus stay in the profile"
fi
exec "$2/bin/switch-to-configuration" "$3"
"#;

/// Ends whatever trial runs, goes back, and reboots if that fails. `$1` is the system to go back to.
const DEAD_MAN_SCRIPT: &str = r#"
echo "surefoot: the agent did not answer in time; going back to $1"
systemctl stop 'surefoot-trial-*.service' nixos-rebuild-switch-to-configuration.service 2>/dev/null
for delay in 2 5 10; do
  "$1/bin/switch-to-configuration" test
  case $? in 0|4) exit 0 ;; esac
  sleep $delay
done
echo "surefoot: going back failed; rebooting"
systemctl reboot
"#;

/// Starts the switch of an order, or finds the one that was started before, and waits for its end.
///
/// Never fails: what goes wrong is an [`Outcome`].
pub(crate) async fn switch(order: &Order, place: &boot::Settings) -> (Outcome, Vec<String>) {
    match look(order).await {
        Ok(SwitchUnit::Gone) => {
            if let Err(error) = begin(order, place).await {
                return (Outcome::NotStarted, vec![format!("{error:#}")]);
            }
        }
        Ok(SwitchUnit::Running | SwitchUnit::Ended { .. }) => {
            tracing::info!(unit = order.unit, "found the switch again");
        }
        Err(error) => return (Outcome::NotStarted, vec![format!("{error:#}")]),
    }
    loop {
        match look(order).await {
            Ok(SwitchUnit::Ended { outcome, log }) => {
                let (outcome, log) = read_back(order, outcome, log, place);
                if outcome.activated() && order.action != Action::Test {
                    boot::try_secure(place, true).await;
                }
                return (outcome, log);
            }
            Ok(SwitchUnit::Gone) => return (Outcome::Lost, Vec::new()),
            Ok(SwitchUnit::Running) => {}
            // systemd restarts itself in the middle of some switches.
            Err(error) => tracing::warn!(unit = order.unit, "{error:#}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Starts the switch of an order on a robot whose boot loader is ready for it.
async fn begin(order: &Order, place: &boot::Settings) -> anyhow::Result<()> {
    if order.action == Action::Stage {
        boot::secure(place, false).await?;
    } else {
        // A way back is taken in any case.
        boot::try_secure(place, false).await;
    }
    start(order).await
}

async fn start(order: &Order) -> anyhow::Result<()> {
    forget().await?;
    let system = order.system.to_string();
    let (unit, timeout, path) = (
        format!("--unit={}", order.unit),
        format!("--property=RuntimeMaxSec={}ms", order.timeout.as_millis()),
        format!("--setenv=PATH={system}/sw/bin:{}", systemd::PATH),
    );
    let mut options = vec![
        unit.as_str(),
        "--service-type=exec",
        "--property=RemainAfterExit=yes",
        STOP_TIMEOUT,
        timeout.as_str(),
        path.as_str(),
    ];
    if order.no_check {
        options.push("--setenv=NIXOS_NO_CHECK=1");
    }
    let description = format!("--description=Surefoot: {} {system}", order.action);
    options.push(&description);
    // The way back takes the shortest way: no program of the system that is being left.
    let rebuild = if order.no_check {
        None
    } else {
        nixos_rebuild().map(|path| path.to_string_lossy().into_owned())
    };
    let action = order.action.to_string();
    let switcher = format!("{system}/bin/switch-to-configuration");
    let default = order.default.as_ref().unwrap_or(&order.system).to_string();
    let remove = order.remove.as_ref().map(ToString::to_string);
    let set_and = |verb| {
        let remove = remove.as_deref().unwrap_or_default();
        let script = ["/bin/sh", "-c", SET_AND_SWITCH, "sh"];
        [&script[..], &[&system, &default, verb, remove]].concat()
    };
    let command = match (&rebuild, order.action) {
        (_, Action::Boot | Action::Stage) => set_and("boot"),
        (Some(rebuild), _) => vec![rebuild.as_str(), &action, "--store-path", &system],
        (None, Action::Test) => vec![switcher.as_str(), &action],
        (None, Action::Switch) => set_and("switch"),
    };
    tracing::info!(unit = order.unit, system, action, "{}", command.join(" "));
    systemd::run(&options, &command).await
}

/// Looks at the unit of an order; what it said comes with how it ended.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn look(order: &Order) -> anyhow::Result<SwitchUnit> {
    let state = systemd::state(&order.unit).await?;
    let SwitchUnit::Ended { outcome, .. } = state else {
        return Ok(state);
    };
    let log = systemd::journal(&order.unit).await;
    // `nixos-rebuild` answers 1 to everything.
    let outcome = match outcome {
        Outcome::Refused => match Outcome::of_nixos_rebuild(1, &log) {
            Outcome::Failed(_) => Outcome::Refused,
            found => found,
        },
        other => other,
    };
    Ok(SwitchUnit::Ended { outcome, log })
}

/// Reads back what a switch says it did.
fn read_back(
    order: &Order,
    outcome: Outcome,
    mut log: Vec<String>,
    place: &boot::Settings,
) -> (Outcome, Vec<String>) {
    let mut outcome = outcome;
    if outcome.activated() {
        let links: &[&str] = match order.action {
            Action::Test => &[observe::CURRENT],
            Action::Switch => &[observe::CURRENT, observe::PROFILE],
            Action::Boot | Action::Stage => &[observe::PROFILE],
        };
        for link in links {
            let found = observe::system(link);
            if found.as_ref() != Some(&order.system) {
                let there = found.map_or_else(|| "nothing".to_owned(), |path| path.to_string());
                log.push(format!("{link} leads to {there}, not to {}", order.system));
                outcome = Outcome::Refused;
            }
        }
        // `boot` of a system that is not the profile's says that it is done and does nothing.
        if order.action != Action::Test
            && let Some(found) = boot::default(place)
        {
            let wanted = order.default.as_ref().unwrap_or(&order.system);
            if found != *wanted {
                log.push(format!("the boot loader starts {found}, not {wanted}"));
                outcome = Outcome::Refused;
            }
        }
    }
    (outcome, log)
}

/// Lets systemd forget every switch that ended, now that the journal knows how: a failed unit would
/// make the next switch say that a unit failed.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn forget() -> anyhow::Result<()> {
    let units = Kind::ALL.map(|kind| format!("{}*.service", kind.prefix()));
    systemd::clear(&units.each_ref().map(String::as_str)).await
}

/// Ends a switch that still runs, wherever it runs.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn stop(unit: &str) -> anyhow::Result<()> {
    systemd::clear(&[unit, NIXOS_REBUILD_UNIT]).await
}

/// Finds a `nixos-rebuild` that knows `--store-path` (26.05 and newer), by reading it: asking an
/// older one could make it build something.
fn nixos_rebuild() -> Option<PathBuf> {
    let program = fs::canonicalize("/run/current-system/sw/bin/nixos-rebuild").ok()?;
    let package = program.parent()?.parent()?;
    let mut files = vec![program.clone()];
    for python in fs::read_dir(package.join("lib")).into_iter().flatten() {
        let module = python.ok()?.path().join("site-packages/nixos_rebuild");
        let sources = fs::read_dir(module).into_iter().flatten().flatten();
        files.extend(sources.map(|file| file.path()));
    }
    files
        .iter()
        .filter_map(|file| observe::read(file))
        .any(|text| text.contains("--store-path"))
        .then_some(program)
}

/// Arms the dead-man timer anew: after this time systemd goes back to `system`, and reboots if that
/// fails, whatever has become of the agent.
///
/// # Errors
/// systemd refuses.
pub(crate) async fn arm_dead_man(system: &StorePath, after: Duration) -> anyhow::Result<()> {
    disarm_dead_man().await?;
    let system = system.to_string();
    let (unit, delay, path) = (
        format!("--unit={DEAD_MAN}"),
        format!("--on-active={}ms", after.as_millis()),
        format!("--setenv=PATH={system}/sw/bin:{}", systemd::PATH),
    );
    let options = [
        &unit,
        &delay,
        &path,
        "--timer-property=AccuracySec=100ms",
        "--setenv=NIXOS_NO_CHECK=1",
        "--description=Surefoot: goes back if the agent does not answer",
    ];
    systemd::run(&options, &["/bin/sh", "-c", DEAD_MAN_SCRIPT, "sh", &system]).await?;
    anyhow::ensure!(dead_man_armed().await?, "systemd did not arm the timer");
    tracing::info!(system, "dead-man timer armed: {} s", after.as_secs());
    Ok(())
}

/// Disarms the dead-man timer, and ends it if it is just firing. What is disarmed is decided: the
/// switches behind it are forgotten too.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn disarm_dead_man() -> anyhow::Result<()> {
    let (timer, service) = (format!("{DEAD_MAN}.timer"), format!("{DEAD_MAN}.service"));
    systemd::clear(&[&timer, &service])
        .await
        .context("cannot disarm the dead-man timer")?;
    forget().await
}

/// Whether the dead-man timer runs, or is just firing.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn dead_man_armed() -> anyhow::Result<bool> {
    let (timer, service) = (format!("{DEAD_MAN}.timer"), format!("{DEAD_MAN}.service"));
    if systemd::is_active(&timer).await? {
        return Ok(true);
    }
    let service = systemd::unit(&service).await?;
    Ok(matches!(service.active.as_str(), "active" | "activating"))
}

/// Waits for a dead-man timer that is just firing, a minute at most: which system runs is only known
/// when it is done.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn let_dead_man_finish() -> anyhow::Result<()> {
    let service = format!("{DEAD_MAN}.service");
    let end = tokio::time::Instant::now() + FIRING;
    while tokio::time::Instant::now() < end {
        let state = systemd::unit(&service).await?.active;
        if matches!(state.as_str(), "inactive" | "failed") {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
