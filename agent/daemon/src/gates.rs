//! Asking the gates outside: time windows, the battery, commands, and the robot itself.

use crate::{
    boot,
    config::{Battery, Config, GateCommand, Gates, Stage as Setting},
    robot::{
        self, clock,
        process::{self, Failed},
        systemd,
        transient::How,
    },
    switch,
};
use jiff::{Zoned, civil::DateTime};
use std::path::Path;
use surefoot_core::{
    gate::{self, Closed, Stage, in_window},
    startup,
};

/// Where the kernel shows batteries and chargers (Documentation/ABI/testing/sysfs-class-power).
const SUPPLIES: &str = "/sys/class/power_supply";

/// The gates of a stage that say no.
pub(crate) async fn closed(config: &Config, stage: Stage) -> Vec<Closed> {
    let mut closed = configured(&config.gates, stage).await;
    // It is asked last of all: it costs most, and changes least.
    if closed.is_empty() && matches!(stage, Stage::Activate | Stage::Reboot) {
        closed = obstacles(config, stage).await;
    }
    closed
}

/// What of the robot itself is in the way. What cannot be looked at is.
async fn obstacles(config: &Config, stage: Stage) -> Vec<Closed> {
    let settings = boot::Settings::new(config);
    let obstacles = boot::obstacles(settings, stage == Stage::Reboot).await;
    let found = async {
        let just_started = has_just_started(config).await?;
        anyhow::Ok((switch::in_the_way().await?, obstacles?, just_started))
    };
    match found.await {
        Ok((_, _, true)) => vec![Closed {
            gate: gate::ROBOT.to_owned(),
            why: "it has just started, so nobody knows yet what runs on it".to_owned(),
        }],
        Ok((Some(why), ..)) => vec![Closed {
            gate: gate::SWITCHER.to_owned(),
            why,
        }],
        Ok((None, obstacles, _)) => obstacles,
        Err(error) if error.is::<boot::Silent>() => vec![Closed {
            gate: gate::LOADER.to_owned(),
            why: error.to_string(),
        }],
        Err(error) => vec![Closed {
            gate: gate::ROBOT.to_owned(),
            why: format!("nobody can tell whether a system can be installed now: {error:#}"),
        }],
    }
}

/// Whether what runs on the robot is not to be compared with anything yet, since it has just started.
///
/// # Errors
/// systemd does not answer.
async fn has_just_started(config: &Config) -> anyhow::Result<bool> {
    let up = systemd::up().await?;
    if up >= startup::STARTED_AT_LAST {
        return Ok(false);
    }
    let start = systemd::start().await?;
    Ok(startup::has_just_started(up, start, config.health.soak))
}

/// The gates of the configuration that say no.
async fn configured(config: &Gates, stage: Stage) -> Vec<Closed> {
    let commands = config
        .command
        .iter()
        .filter(|gate| has(&gate.stages, stage));
    let commands = futures_util::future::join_all(commands.map(command)).await;
    // Asked last, since commands may have taken long.
    let now = clock::now().synced.then(|| Zoned::now().datetime());
    let battery = battery(&config.battery, stage, Path::new(SUPPLIES));
    (window(config, stage, now).into_iter())
        .chain(battery)
        .chain(commands.into_iter().flatten())
        .collect()
}

/// Waits until a gate of a stage closes.
pub(crate) async fn close(config: &Config, stage: Stage) -> Vec<Closed> {
    loop {
        tokio::time::sleep(config.gates.interval).await;
        let closed = closed(config, stage).await;
        if !closed.is_empty() {
            return closed;
        }
    }
}

fn has(stages: &[Setting], stage: Stage) -> bool {
    stages.iter().any(|known| Stage::from(*known) == stage)
}

/// Whether none of the stage's windows is open now; `None`: nobody knows the time.
fn window(config: &Gates, stage: Stage, now: Option<DateTime>) -> Option<Closed> {
    let mut windows = (config.window.iter())
        .filter(|window| has(&window.stages, stage))
        .peekable();
    windows.peek()?;
    let why = match now {
        None => "nothing keeps the robot's clock, so nobody knows whether it is time".to_owned(),
        Some(now) => {
            let mut closed = Vec::new();
            for window in windows {
                let days: Vec<_> = window.days.iter().map(|day| (*day).into()).collect();
                if in_window(&days, window.from.0, window.to.0, now) {
                    return None;
                }
                closed.push(window.name.to_string());
            }
            format!(
                "it is {} and not within {}",
                now.strftime("%a %H:%M"),
                closed.join(" or ")
            )
        }
    };
    Some(Closed {
        gate: "window".to_owned(),
        why,
    })
}

/// Whether a battery is too low. One that cannot be read is.
fn battery(config: &Battery, stage: Stage, supplies: &Path) -> Option<Closed> {
    if config.percent == 0 || !has(&config.stages, stage) {
        return None;
    }
    let (mut lowest, mut mains) = (None, false);
    for supply in std::fs::read_dir(supplies).into_iter().flatten().flatten() {
        let read = |name: &str| {
            let text = robot::read(&supply.path().join(name))?;
            Some(text.trim().to_owned())
        };
        match read("type").as_deref() {
            // That of a mouse or a remote control drives nobody.
            Some("Battery") if read("scope").as_deref() != Some("Device") => {
                let charge = read("capacity").and_then(|text| text.parse::<u32>().ok());
                let charge = charge.unwrap_or(0);
                lowest = Some(lowest.map_or(charge, |lowest: u32| lowest.min(charge)));
            }
            Some("Mains" | "USB") => mains |= read("online").as_deref() == Some("1"),
            _ => {}
        }
    }
    let why = match lowest {
        _ if config.mains && mains => return None,
        Some(charge) if charge >= config.percent => return None,
        Some(charge) => format!("{charge} %, below {} %", config.percent),
        None => "the kernel knows of none; take a command gate instead".to_owned(),
    };
    Some(Closed {
        gate: "battery".to_owned(),
        why,
    })
}

async fn command(gate: &GateCommand) -> Option<Closed> {
    let ended = process::run(gate.name.as_str(), &gate.exec.0, gate.timeout).await;
    ended.err().map(|failed| Closed {
        gate: format!("command {}", gate.name),
        why: reason(failed),
    })
}

/// Why a command says no: in its own words, if it said so itself.
fn reason(Failed { how, mut lines }: Failed) -> String {
    match how {
        How::Exit(_) => lines.pop().unwrap_or_else(|| how.to_string()),
        how => how.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{MINIMAL, good};
    use jiff::civil::date;
    use std::fs;

    #[test]
    fn a_stage_with_windows_waits_for_one_of_them() {
        let config = good(&[
            MINIMAL,
            "[[gates.window]]\nname = 'night'\nfrom = '22:00'\nto = '05:00'\n\
             [[gates.window]]\nname = 'noon'\nstages = ['reboot']\ndays = ['mon']\n\
             from = '12:00'\nto = '13:00'\n",
        ]);
        // A Monday.
        let at = |hour| Some(date(2026, 11, 23).at(hour, 30, 0, 0));
        let why = |stage, now| window(&config.gates, stage, now).map(|closed| closed.why);
        assert_eq!(why(Stage::Check, at(12)), None);
        assert_eq!(why(Stage::Activate, at(23)), None);
        assert_eq!(why(Stage::Reboot, at(12)), None);
        assert_eq!(
            why(Stage::Activate, at(12)).unwrap(),
            "it is Mon 12:30 and not within night"
        );
        assert_eq!(
            why(Stage::Reboot, at(13)).unwrap(),
            "it is Mon 13:30 and not within night or noon"
        );
        assert!(why(Stage::Activate, None).unwrap().contains("clock"));
        assert_eq!(why(Stage::Download, None), None);
    }

    #[test]
    fn a_battery_that_is_low_or_silent_says_no() {
        let root = tempfile::tempdir().unwrap();
        let supply = |name: &str, files: &[(&str, &str)]| {
            fs::create_dir_all(root.path().join(name)).unwrap();
            for (file, text) in files {
                fs::write(root.path().join(name).join(file), format!("{text}\n")).unwrap();
            }
        };
        let config = good(&[MINIMAL, "[gates.battery]\npercent = 40\nmains = true\n"]);
        let config = config.gates.battery;
        let why = |stage| battery(&config, stage, root.path()).map(|closed| closed.why);
        assert!(why(Stage::Reboot).unwrap().contains("knows of none"));
        assert_eq!(why(Stage::Download), None);
        supply(
            "mouse",
            &[("type", "Battery"), ("scope", "Device"), ("capacity", "3")],
        );
        supply("BAT0", &[("type", "Battery"), ("capacity", "40")]);
        supply("AC", &[("type", "Mains"), ("online", "0")]);
        assert_eq!(why(Stage::Reboot), None);
        supply("BAT1", &[("type", "Battery"), ("capacity", "39")]);
        assert_eq!(why(Stage::Activate).unwrap(), "39 %, below 40 %");
        supply("AC", &[("online", "1")]);
        assert_eq!(why(Stage::Activate), None);
        supply("AC", &[("online", "0")]);
        supply("BAT1", &[("capacity", "unknown")]);
        assert_eq!(why(Stage::Activate).unwrap(), "0 %, below 40 %");
    }

    #[test]
    fn commands_say_no_in_their_own_words() {
        let why = |how, lines: &[&str]| {
            let lines = lines.iter().map(ToString::to_string).collect();
            reason(Failed { how, lines })
        };
        let lines = ["looking", "it is not in its dock"];
        assert_eq!(why(How::Exit(1), &lines), "it is not in its dock");
        assert_eq!(why(How::Exit(3), &[]), "exit status: 3");
        let late = How::TooLate(std::time::Duration::from_millis(100));
        assert_eq!(why(late, &lines), "no answer within 100 ms");
    }
}
