//! The agent itself: whether it runs, and whether it would come back.

use crate::robot::{self, systemd};
use std::{collections::BTreeMap, path::Path};
use surefoot_api::{
    StatusInfo,
    finding::{Finding, Subject},
};
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

/// What keeps the agent from deciding anything.
pub(super) fn fault(status: &StatusInfo) -> Option<Finding> {
    let why = status.fault.as_ref()?;
    Some(Finding::fail(
        AGENT,
        "journal",
        why,
        "make room on the disk of the state directory, or make it writable; the agent then goes on by \
         itself",
    ))
}

/// Leases that have to say that the robot is free: one that nobody ever takes keeps it from every update.
pub(super) fn leases(required: &[Name], status: &StatusInfo) -> Vec<Finding> {
    let judge = |name: &Name| {
        let what = format!("lease {name}");
        match status.leases.iter().find(|lease| lease.name == *name) {
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
    required.iter().map(judge).collect()
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
        let lease = surefoot_api::LeaseInfo {
            name: "arm".parse().unwrap(),
            owner: "ros".into(),
            busy: false,
            why: None,
            seconds_left: 9,
        };
        let status = StatusInfo {
            leases: vec![lease],
            ..StatusInfo::default()
        };
        let required = ["arm", "gripper"].map(|name| name.parse().unwrap());
        let found = leases(&required, &status);
        assert_eq!(found[0].found, "ros says that the robot is free");
        assert_eq!(found[1].level, surefoot_api::finding::Level::Warn);
        assert!(leases(&[], &status).is_empty());
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
