//! The agent itself: whether it runs, and whether it would come back.

use crate::robot::{self, systemd};
use std::{collections::BTreeMap, path::Path, time::Duration};
use surefoot_api::{
    LeaseInfo, Stall, StatusInfo,
    finding::{Finding, Subject},
};
use surefoot_base::units::short_duration;
use surefoot_core::release::Name;

const UNIT: &str = "surefootd.service";
const AGENT: Subject = Subject::Agent;

/// Looks at its unit.
pub(super) async fn findings(runs: bool) -> Vec<Finding> {
    let names = "LoadState,Restart,StartLimitIntervalUSec,WatchdogUSec,ProtectSystem,\
                 NoNewPrivileges,FragmentPath";
    let mut findings = vec![if runs {
        let version = env!("CARGO_PKG_VERSION");
        Finding::ok(AGENT, "agent", format!("surefootd {version} runs"))
    } else {
        Finding::fail(
            AGENT,
            "agent",
            "it does not run: this robot is not updated, and what only it knows is missing here",
            "systemctl start surefootd",
        )
    }];
    match systemd::properties(Some(UNIT), names).await {
        Ok(said) => {
            let fragment = said.get("FragmentPath").map(Path::new);
            let file = fragment.and_then(robot::read).unwrap_or_default();
            findings.extend(judge(&said, &file));
        }
        Err(error) => findings.push(Finding::warn(
            AGENT,
            UNIT,
            format!("{error:#}"),
            "systemd does not answer: look at it first",
        )),
    }
    findings
}

/// Whether anything keeps the robot from being switched while it is at work, or nothing has to.
pub(super) fn gates(know_of_work: bool, none: bool) -> Finding {
    let found = match (know_of_work, none) {
        (true, _) => "something is asked before the robot is switched",
        (false, true) => "nothing has to be asked before the robot is switched (gates.none)",
        (false, false) => {
            return Finding::warn(
                AGENT,
                "gates",
                "nothing keeps the robot from being switched or rebooted while it works",
                "name in gates.leases what has to say that the robot is free, or say that it may be switched \
                 at any moment: gates.none = true",
            );
        }
    };
    Finding::ok(AGENT, "gates", found)
}

/// How often the robot was disturbed within a day by what had to be begun again.
pub(super) fn disturbances(today: usize, most: usize) -> Finding {
    let found = format!(
        "{today} within a day by what was begun again, and {most} are allowed (trial.disturbances)"
    );
    if today < most {
        Finding::ok(AGENT, "disturbances", found)
    } else {
        Finding::warn(
            AGENT,
            "disturbances",
            format!("{found}: the robot stands still"),
            "look in `surefoot history` what interrupted it; `surefoot update` begins again at once",
        )
    }
}

/// Something that the agent waits for and nothing comes of.
pub(super) fn stall(stall: &Stall) -> Finding {
    let remedy = match &stall.why {
        Some(_) => "see what that process is about, and end it if it hangs",
        None => {
            "journalctl -u surefootd says what it is at; it is given up after a limit of its own"
        }
    };
    Finding::fail(AGENT, "progress", stall.to_string(), remedy)
}

/// Leases: one that has to say that the robot is free and that nobody ever takes keeps it from every
/// update, and so does one whose holder has died.
pub(super) fn leases(required: &[&Name], status: &StatusInfo) -> Vec<Finding> {
    let lost = |lease: &LeaseInfo| {
        let why = lease.lost.as_ref()?;
        let since = lease.lost_seconds.map(Duration::from_secs);
        let since = since.map(|since| format!(", for {} now", short_duration(since)));
        Some(Finding::warn(
            AGENT,
            format!("lease {}", lease.name),
            format!(
                "{} said that the robot is busy, and {why}{}",
                lease.owner,
                since.unwrap_or_default()
            ),
            format!(
                "look whether the robot is free, and then: surefoot lease {} --end",
                lease.name
            ),
        ))
    };
    let judge = |name: &&Name| {
        let what = format!("lease {name}");
        match status.leases.iter().find(|lease| lease.name == **name) {
            Some(lease) => {
                let word = if lease.busy { "busy" } else { "free" };
                Finding::ok(
                    AGENT,
                    what,
                    format!("{} says that the robot is {word}", lease.owner),
                )
            }
            None => Finding::warn(
                AGENT,
                what,
                "silent, which means busy: nothing is switched",
                format!(
                    "have the robot's software say again and again: surefoot lease {name} --free"
                ),
            ),
        }
    };
    let is_lost = |name: &&Name| {
        let mut leases = status.leases.iter();
        leases.any(|lease| lease.name == **name && lease.lost.is_some())
    };
    let said = required.iter().filter(|name| !is_lost(name));
    let said = said.map(judge);
    status.leases.iter().filter_map(lost).chain(said).collect()
}

/// What a way back left worse than it was.
pub(super) fn worse(status: &StatusInfo) -> Option<Finding> {
    Some(Finding::fail(
        AGENT,
        "way back",
        status.worse.as_ref()?,
        "look at these units on the robot; a reboot may help, and so may a newer release",
    ))
}

/// What somebody else has the robot start at its next boot.
pub(super) fn changed(status: &StatusInfo) -> Option<Finding> {
    Some(Finding::warn(
        Subject::Loader,
        "next boot",
        status.changed.as_ref()?,
        "if that is not meant: surefoot rollback --to GENERATION, or switch the confirmed system by hand",
    ))
}

/// Judges its unit by what systemd says and by the unit's file.
fn judge(said: &BTreeMap<String, String>, file: &str) -> Vec<Finding> {
    let get = |key: &str| said.get(key).map(String::as_str).unwrap_or_default();
    if get("LoadState") != "loaded" {
        return vec![Finding::warn(
            AGENT,
            UNIT,
            "there is no such unit: nothing starts the agent again",
            "install the unit of the package",
        )];
    }
    let advice = "use the unit of the package as it is";
    [
        (
            "started again",
            get("Restart") == "always" && matches!(get("StartLimitIntervalUSec"), "0"),
            "always, however often it fails",
            "not always (Restart=always, StartLimitIntervalSec=0): a robot without its agent is lost",
        ),
        (
            "watched by systemd",
            !matches!(get("WatchdogUSec"), "" | "0" | "infinity"),
            "an agent that hangs is ended and started again",
            "no (WatchdogSec=): an agent that hangs stays so",
        ),
        (
            "left alone by switches",
            ["X-RestartIfChanged=false", "X-StopOnRemoval=false"]
                .iter()
                .all(|line| file.lines().any(|there| there.trim() == *line)),
            "the switch that it drives does not restart it",
            "no (X-RestartIfChanged=false, X-StopOnRemoval=false): the switch that it drives may end it",
        ),
        (
            "confined",
            get("ProtectSystem") == "strict" && get("NoNewPrivileges") == "yes",
            "it writes its own files only",
            "no (ProtectSystem=strict, NoNewPrivileges=yes): a fault in it may reach further",
        ),
    ]
    .into_iter()
    .map(|(what, good, yes, no)| {
        if good {
            Finding::ok(AGENT, what, yes)
        } else {
            Finding::warn(AGENT, what, no, advice)
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_api::finding::{Level, worst};

    #[test]
    fn a_lease_that_nobody_takes_is_warned_of() {
        let lease = LeaseInfo {
            name: "arm".parse().unwrap(),
            owner: "ros".into(),
            busy: false,
            why: None,
            seconds_left: Some(9),
            lost: None,
            lost_seconds: None,
        };
        let dead = LeaseInfo {
            name: "leg".parse().unwrap(),
            busy: true,
            seconds_left: None,
            lost: Some("its holder died".into()),
            lost_seconds: Some(7),
            ..lease.clone()
        };
        let status = StatusInfo {
            leases: vec![lease, dead],
            ..StatusInfo::default()
        };
        let [arm, gripper, leg]: [Name; 3] =
            ["arm", "gripper", "leg"].map(|name| name.parse().unwrap());
        let found = leases(&[&arm, &gripper, &leg], &status);
        assert_eq!(found.len(), 3);
        assert_eq!(
            found[0].found,
            "ros said that the robot is busy, and its holder died, for 7s now"
        );
        assert_eq!(found[1].found, "ros says that the robot is free");
        assert!(found[0].level == Level::Warn && found[2].level == Level::Warn);
        assert_eq!(leases(&[], &status).len(), 1);
    }

    #[test]
    fn a_robot_that_was_disturbed_too_often_is_warned_of() {
        assert_eq!(disturbances(2, 3).level, Level::Ok);
        let found = disturbances(3, 3);
        assert_eq!(found.level, Level::Warn);
        assert!(found.found.starts_with("3 within a day"), "{}", found.found);
    }

    #[test]
    fn a_robot_without_any_gate_is_asked_whether_that_is_meant() {
        assert_eq!(gates(false, false).level, Level::Warn);
        assert_eq!(gates(false, true).level, Level::Ok);
        assert_eq!(gates(true, false).level, Level::Ok);
    }

    #[test]
    fn the_unit_of_the_package_is_found_well_and_a_weaker_one_is_not() {
        let file = include_str!("../../../../packaging/systemd/surefootd.service");
        let said: BTreeMap<String, String> = [
            ("LoadState", "loaded"),
            ("Restart", "always"),
            ("StartLimitIntervalUSec", "0"),
            ("WatchdogUSec", "1min"),
            ("ProtectSystem", "strict"),
            ("NoNewPrivileges", "yes"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        assert_eq!(worst(&judge(&said, file)), Level::Ok);
        for key in said.keys() {
            let mut weaker = said.clone();
            weaker.insert(key.clone(), "infinity".to_owned());
            assert_eq!(worst(&judge(&weaker, file)), Level::Warn, "{key}");
        }
        assert_eq!(worst(&judge(&said, "")), Level::Warn);
    }
}
