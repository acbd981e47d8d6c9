//! Carrying out switches, each in a transient unit of its own.
//!
//! A transient unit survives the agent, is left alone by the switch that runs in it, and can be
//! found again by its name.

pub(crate) mod dead_man;
mod user_parts;

use crate::{
    boot,
    robot::{
        nixos,
        said::{self, NIXOS_REBUILD_UNIT, NIXOS_REBUILD_UNITS},
        systemd::{self, ServiceRun},
    },
    state::logs,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use surefoot_base::environment;
use surefoot_core::{
    resolver::SwitchUnit,
    switch::{Action, Order, Outcome, Purpose},
};
use user_parts::UserParts;

/// How often a running switch is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often systemd is asked before it is taken not to answer, and how long after the last time.
const ASKED: u32 = 10;
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// How long a switch that is told to stop may take to do so.
const STOP_TIMEOUT: &str = "--property=TimeoutStopSec=20s";

/// `nixos-rebuild` is to do what it is told, and nothing of its own before that. Without the first it builds
/// itself anew from the robot's configuration and goes on as what comes of it, or gives up where that fails
/// (nixpkgs `nixos-rebuild-ng`, `services.reexec`; every version knows the variable). With the second it
/// finds no `<nixpkgs>`, into which it would write a `.version-suffix`.
const AS_IT_IS: [&str; 2] = ["--setenv=_NIXOS_REBUILD_REEXEC=1", "--setenv=NIX_PATH="];

/// Makes a system the profile's, then has a switcher install the boot loader: see there.
const SET_AND_SWITCH: &str = include_str!("set-and-switch.sh");

/// Looks at the unit of an order. What it said comes with how it ended, and is kept in the state
/// directory as a file of its own.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn look(order: &Order, state_dir: &Path) -> anyhow::Result<SwitchUnit> {
    let state = systemd::state(&order.unit).await?;
    let SwitchUnit::Ended { outcome, .. } = state else {
        return Ok(state);
    };
    let said = said::by_switch(&order.unit).await;
    let outcome = match outcome {
        // `nixos-rebuild` answers 1 to everything.
        Outcome::Refused => said.refused(rebuild_for(order).is_some()),
        other => other,
    };
    let outcome = said.unhidden(outcome);
    let Order { action, system, .. } = order;
    let text = format!("{action} {system}: {outcome}\n{}", said.text);
    let (order, state_dir) = (order.clone(), state_dir.to_owned());
    // Nobody waits for a slow disk.
    tokio::task::spawn_blocking(move || {
        if let Err(error) = logs::keep(&state_dir, &order, &text) {
            tracing::warn!("{error:#}");
        }
    });
    Ok(SwitchUnit::Ended {
        outcome,
        log: said.last,
    })
}

/// Starts the switch of an order, or finds the one that was started before, and waits for its end.
///
/// Never fails: what goes wrong is an [`Outcome`]. `before` is done where it was not started before.
pub(crate) async fn switch(
    order: &Order,
    settings: &boot::Settings,
    state_dir: &Path,
    before: impl AsyncFnOnce(),
) -> (Outcome, Vec<String>) {
    let mut ran = None;
    match known(&order.unit).await {
        Ok(SwitchUnit::Gone) => {
            before().await;
            ran = nixos::system(nixos::CURRENT);
            if let Err(error) = begin(order, settings).await {
                return (give_up(order).await, vec![format!("{error:#}")]);
            }
        }
        Ok(SwitchUnit::Running | SwitchUnit::Ended { .. }) => {
            tracing::info!(unit = order.unit, "found the switch again");
        }
        // It may run.
        Err(error) => return (Outcome::Lost, vec![format!("{error:#}")]),
    }
    let mut silent = None;
    let mut user_parts = UserParts::new(order);
    loop {
        let found = look(order, state_dir).await;
        let said = found.as_ref().err().map(|error| format!("{error:#}"));
        if said != silent {
            // systemd restarts itself in the middle of some switches, and this is asked four times a second.
            match &said {
                Some(error) => tracing::warn!(unit = order.unit, "{error}"),
                None => tracing::info!(unit = order.unit, "systemd answers again"),
            }
            silent = said;
        }
        match found {
            Ok(SwitchUnit::Ended { outcome, log }) => {
                let runs = nixos::system(nixos::CURRENT);
                let outcome = outcome.as_seen(&order.system, ran.as_ref(), runs.as_ref());
                let (outcome, log) = read_back(order, outcome, log, settings).await;
                if outcome.activated() && order.action != Action::Test {
                    boot::try_secure(settings, true).await;
                }
                return (outcome, log);
            }
            Ok(SwitchUnit::Gone) => return (Outcome::Lost, Vec::new()),
            Ok(SwitchUnit::Running) | Err(_) => user_parts.end_late_ones(order).await,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What systemd knows of a unit. It is asked a few times: it restarts itself in the middle of some switches.
async fn known(unit: &str) -> anyhow::Result<SwitchUnit> {
    let mut asked = 1;
    loop {
        match systemd::state(unit).await {
            Err(error) if asked < ASKED => tracing::warn!(unit, "{error:#}"),
            said => return said,
        }
        asked += 1;
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// The switch of an order was not started, as far as its caller knows. systemd may have heard of it all the
/// same, and must not begin it later. Where that is not certain, nobody knows what became of it.
async fn give_up(order: &Order) -> Outcome {
    let given_up = async {
        stop(order).await?;
        // Nor is there any other one of the agent.
        forget().await?;
        anyhow::Ok(known(&order.unit).await? == SwitchUnit::Gone)
    };
    match given_up.await {
        Ok(true) => return Outcome::NotStarted,
        Ok(false) => tracing::error!(unit = order.unit, "systemd knows it all the same"),
        Err(error) => tracing::error!(unit = order.unit, "{error:#}"),
    }
    Outcome::Lost
}

/// Starts the switch of an order on a robot whose boot loader is ready for it.
async fn begin(order: &Order, settings: &boot::Settings) -> anyhow::Result<()> {
    if order.action == Action::Stage {
        boot::secure(settings, false).await?;
    } else {
        // A way back is taken in any case.
        boot::try_secure(settings, false).await;
    }
    start(order).await
}

/// The `nixos-rebuild` that carries an order out, if one does. The way back takes the shortest way: no program
/// of the system that is being left.
fn rebuild_for(order: &Order) -> Option<PathBuf> {
    let uses = !order.no_check && matches!(order.action, Action::Test | Action::Switch);
    uses.then(nixos::rebuild).flatten()
}

async fn start(order: &Order) -> anyhow::Result<()> {
    forget().await?;
    let system = order.system.to_string();
    let (unit, timeout, path) = (
        format!("--unit={}", order.unit),
        format!("--property=RuntimeMaxSec={}ms", order.timeout.as_millis()),
        format!("--setenv=PATH={system}/sw/bin:{}", environment::PATH),
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
    let rebuild = rebuild_for(order).map(|path| path.to_string_lossy().into_owned());
    if rebuild.is_some() {
        options.extend(AS_IT_IS);
    }
    let action = order.action.to_string();
    let switcher = format!("{system}/bin/switch-to-configuration");
    let default = order.default.as_ref().unwrap_or(&order.system).to_string();
    let remove = order.remove.as_ref().map(ToString::to_string);
    let set_and = |verb| {
        let remove = remove.as_deref().unwrap_or_default();
        let script = ["/bin/sh", "-c", SET_AND_SWITCH, "sh"];
        let back = if order.no_check { "back" } else { "" };
        [&script[..], &[&system, &default, verb, remove, back]].concat()
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

/// Reads back what a switch says it did.
async fn read_back(
    order: &Order,
    outcome: Outcome,
    mut log: Vec<String>,
    settings: &boot::Settings,
) -> (Outcome, Vec<String>) {
    let mut outcome = outcome;
    if outcome.activated() {
        let links: &[&str] = match order.action {
            Action::Test => &[nixos::CURRENT],
            Action::Switch => &[nixos::CURRENT, nixos::PROFILE],
            Action::Boot | Action::Stage => &[nixos::PROFILE],
        };
        for link in links {
            let found = nixos::system(link);
            if found.as_ref() != Some(&order.system) {
                let there = found.map_or_else(|| "nothing".to_owned(), |path| path.to_string());
                log.push(format!("{link} leads to {there}, not to {}", order.system));
                outcome = Outcome::Refused;
            }
        }
    }
    if order.action != Action::Test && (outcome.activated() || outcome == Outcome::TimedOut) {
        let wanted = order.default.as_ref().unwrap_or(&order.system);
        match boot::default(settings).await {
            // `boot` of a system that is not the profile's says that it is done and does nothing.
            Ok(Some(found)) if outcome.activated() && found != *wanted => {
                log.push(format!("the boot loader starts {found}, not {wanted}"));
                outcome = Outcome::Refused;
            }
            Ok(_) => {}
            // A way back does not wait for that, or it would end in a reboot. What comes of it is seen by a
            // look at the robot, once the loader answers.
            Err(_) if order.no_check => {}
            Err(error) => {
                log.push(format!(
                    "it cannot be told whether the boot loader starts {wanted}: {error:#}"
                ));
                // That is no fault of the release: it is tried again.
                outcome = match order.action {
                    Action::Stage => Outcome::NotStarted,
                    _ => Outcome::Refused,
                };
            }
        }
    }
    (outcome, log)
}

/// Whose switch would turn away the next one, if there is such: `nixos-rebuild` begins none as long as
/// systemd knows a unit of another one.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn in_the_way() -> anyhow::Result<Option<String>> {
    let unit = NIXOS_REBUILD_UNIT;
    let mut said = systemd::properties(Some(unit), "LoadState,ActiveState,SubState").await?;
    let mut get = |key: &str| said.remove(key).unwrap_or_default();
    if get("LoadState") == "not-found" {
        return Ok(None);
    }
    let (active, sub) = (get("ActiveState"), get("SubState"));
    let is_over = matches!(active.as_str(), "inactive" | "failed") || sub == "exited";
    if is_over && nixos::rebuild().is_none() {
        return Ok(None);
    }
    let end = if active == "failed" {
        "reset-failed"
    } else {
        "stop"
    };
    Ok(Some(if is_over {
        format!(
            "the unit of somebody's nixos-rebuild is still there ({unit}, {active}); once nobody needs it: \
             systemctl {end} {unit}"
        )
    } else {
        format!("somebody's nixos-rebuild runs ({unit})")
    }))
}

/// Lets systemd forget every switch that ended, now that the journal knows how: a failed unit would
/// make the next switch say that a unit failed. One that runs goes on: a way back may begin while the
/// repository is about to be asked.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn forget() -> anyhow::Result<()> {
    let units = Purpose::ALL.map(|purpose| format!("{}*.service", purpose.prefix()));
    let ended = systemd::ended(&units.each_ref().map(String::as_str)).await?;
    let ended: Vec<&str> = ended.iter().map(String::as_str).collect();
    if ended.is_empty() {
        return Ok(());
    }
    systemd::clear(&ended).await
}

/// Ends a switch that still runs, wherever it runs: the switcher outlives a `nixos-rebuild` that
/// waits for it. It is known by the system that it switches to, and ended as the run that it is:
/// somebody else's switch goes on, be it in a unit of the same name.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn stop(order: &Order) -> anyhow::Result<()> {
    let since = systemd::started(&order.unit).await?;
    systemd::clear(&[&order.unit]).await?;
    for run in switchers_of(order, since).await? {
        systemd::end_run(&run).await?;
    }
    Ok(())
}

/// The switchers that the `nixos-rebuild` of an order has had systemd start, `since` when.
async fn switchers_of(order: &Order, since: u64) -> anyhow::Result<Vec<ServiceRun>> {
    let switcher = format!("{}/bin/switch-to-configuration", order.system);
    let mut runs = systemd::runs(NIXOS_REBUILD_UNITS).await?;
    runs.retain(|run| run.command.contains(&switcher) && run.started >= since);
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
        path::PathBuf,
        process::Command,
    };

    fn program(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A profile in a directory of its own, and Nix programs that do not work.
    struct Lost(tempfile::TempDir);

    impl Lost {
        fn new(generations: &[(u32, &str)]) -> Self {
            let lost = Self(tempfile::tempdir().unwrap());
            program(&lost.at("bin/nix-env"), "exit 1");
            for c in ["a", "b", "c"] {
                let switcher = lost.at(&format!("{c}/bin/switch-to-configuration"));
                program(&switcher, &format!("echo {c} $1"));
            }
            for (number, system) in generations {
                symlink(lost.at(system), lost.at(&format!("system-{number}-link"))).unwrap();
            }
            symlink("system-2-link", lost.at("system")).unwrap();
            lost
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// What the switcher said, if it came to that, and what the profile leads to.
        fn set(&self, system: &str, back: &str) -> (Option<String>, String) {
            self.set_with(system, system, back)
        }

        /// The same, with what becomes or stays the loader's default.
        fn set_with(&self, system: &str, default: &str, back: &str) -> (Option<String>, String) {
            let profile = self.at("system").display().to_string();
            let script = SET_AND_SWITCH.replace("/nix/var/nix/profiles/system", &profile);
            let (system, default) = (self.at(system), self.at(default));
            let path = format!("{}:{}", self.at("bin").display(), environment::PATH);
            let path = format!("{path}:/usr/bin:/bin");
            let said = Command::new("/bin/sh")
                .env("PATH", path)
                .args(["-c", &script, "sh"])
                .args([&system, &default])
                .args(["boot", "", back])
                .output()
                .unwrap();
            let text = String::from_utf8(said.stdout).unwrap();
            let last = text.lines().last().map(str::to_owned);
            let link = fs::read_link(self.at("system")).unwrap();
            let switched = last.filter(|_| said.status.success());
            (switched, link.display().to_string())
        }
    }

    #[test]
    fn a_way_back_sets_the_profile_where_nix_does_not_answer() {
        let lost = Lost::new(&[(2, "b"), (1, "a")]);
        let to_a = (Some("a boot".to_owned()), "system-1-link".to_owned());
        assert_eq!(lost.set("a", "back"), to_a);
        // One that has no generation gets the next number.
        let to_c = (Some("c boot".to_owned()), "system-3-link".to_owned());
        assert_eq!(lost.set("c", "back"), to_c);
        assert_eq!(
            fs::read_link(lost.at("system-3-link")).unwrap(),
            lost.at("c")
        );
        assert!(!lost.at("system.surefoot").exists());
        // Another program may take the lock after it.
        assert_eq!(lost.set("a", "back"), to_a);
    }

    #[test]
    fn nothing_else_goes_past_nix() {
        let lost = Lost::new(&[(2, "b"), (1, "a")]);
        assert_eq!(lost.set("a", ""), (None, "system-2-link".to_owned()));
    }

    #[test]
    fn a_default_without_a_generation_gets_one_before_an_installer_runs() {
        // A collector took what runs; and it did not.
        for (generations, set) in [([(2, "b"), (3, "c")], "a\n"), ([(2, "b"), (3, "a")], "")] {
            let lost = Lost::new(&generations);
            let log = lost.at("log");
            fs::write(&log, "").unwrap();
            let words = r#"[ "$3" != --set ] || basename "$4" >>"#;
            program(
                &lost.at("bin/nix-env"),
                &format!("{words}{}", log.display()),
            );
            let (switched, _) = lost.set_with("b", "a", "");
            assert_eq!(switched.as_deref(), Some("a boot"));
            assert_eq!(fs::read_to_string(&log).unwrap(), set);
        }
    }

    #[test]
    fn a_profile_that_somebody_changes_is_left_alone() {
        let lost = Lost::new(&[(2, "b"), (1, "a")]);
        let lock = fs::File::create(lost.at("system.lock")).unwrap();
        lock.lock().unwrap();
        program(
            &lost.at("bin/flock"),
            "exec /usr/bin/env -i /usr/bin/flock -n 9",
        );
        assert_eq!(lost.set("a", "back"), (None, "system-2-link".to_owned()));
    }
}
