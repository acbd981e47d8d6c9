//! What the robot believes and where that comes from: the anchor, the clock, the repository.

use crate::inputs::Inputs;
use crate::{
    repository,
    robot::{
        clock,
        identity::{self, Identity},
    },
};
use jiff::Timestamp;
use surefoot_api::{
    CheckResult, ClockState, Knowledge, StatusInfo,
    finding::{Finding, Subject},
};

/// Looks at them.
pub(super) fn findings(inputs: &Inputs) -> Vec<Finding> {
    let config = &inputs.config;
    let synced = clock::now().synced;
    let mut findings = vec![match repository::read_anchor(&config.root) {
        Ok(bytes) if !bytes.is_empty() => Finding::ok(
            Subject::Trust,
            "trust anchor",
            format!("{} has {} bytes", config.root.display(), bytes.len()),
        ),
        Ok(_) => Finding::fail(
            Subject::Trust,
            "trust anchor",
            format!("{} is empty", config.root.display()),
            "put the root.json of the fleet's repository there",
        ),
        Err(error) => Finding::fail(
            Subject::Trust,
            "trust anchor",
            format!("{error:#}"),
            "put the root.json of the fleet's repository there",
        ),
    }];
    let status = inputs.status.as_deref();
    let known = status.and_then(|status| status.knowledge.as_ref());
    findings.push(freshness(known, synced.then(Timestamp::now)));
    findings.push(keeper(synced, known));
    findings.extend(status.map(checked));
    findings.push(robot(&identity::of(config)));
    let caches: Vec<&str> = config.fetch.caches.iter().map(AsRef::as_ref).collect();
    findings.push(Finding::ok(
        Subject::Repository,
        "caches",
        if caches.is_empty() {
            "those that the repository names".to_owned()
        } else {
            format!(
                "{}, then those that the repository names",
                caches.join(", ")
            )
        },
    ));
    findings
}

/// Whether what is known of the repository still counts. `now` only where the clock is worth
/// something.
fn freshness(known: Option<&Knowledge>, now: Option<Timestamp>) -> Finding {
    let what = "signed metadata";
    match known {
        None => Finding::warn(
            Subject::Trust,
            what,
            "none was read since the agent started",
            "`surefoot update --wait` asks the repository now",
        ),
        Some(known) if now.is_some_and(|now| now > known.expires) => Finding::fail(
            Subject::Trust,
            what,
            format!("it expired at {}: no update is believed", known.expires),
            "the publisher has to sign it again: surefoot repo refresh",
        ),
        Some(known) => Finding::ok(
            Subject::Trust,
            what,
            format!("it is valid until {}", known.expires),
        ),
    }
}

fn keeper(synced: bool, known: Option<&Knowledge>) -> Finding {
    let what = "clock";
    let advice = "start a time service (timesyncd, chrony), and let it reach its server";
    if known.is_some_and(|known| known.clock == ClockState::Stepped) {
        Finding::warn(
            Subject::Clock,
            what,
            "it reads long before what was signed",
            advice,
        )
    } else if synced {
        Finding::ok(Subject::Clock, what, "something keeps it")
    } else {
        Finding::warn(
            Subject::Clock,
            what,
            "nothing keeps it: expired files may go unnoticed",
            advice,
        )
    }
}

fn checked(status: &StatusInfo) -> Finding {
    let what = format!(
        "channel {} of {} for model {}",
        status.channel, status.repository, status.model
    );
    match &status.last_check {
        None => Finding::warn(
            Subject::Repository,
            what,
            "it was not asked since the agent started",
            "`surefoot update --wait` asks it now",
        ),
        Some(check) if check.result == CheckResult::Failed => Finding::warn(
            Subject::Repository,
            what,
            format!(
                "the last check failed: {}",
                check.error.as_deref().unwrap_or("no reason was given")
            ),
            "it is asked again by itself; look at the way to it",
        ),
        Some(_) => Finding::ok(Subject::Repository, what, "the last check was good"),
    }
}

/// Whether the robot has a place in the row where a release goes out in steps.
fn robot(identity: &Identity) -> Finding {
    let (subject, what) = (Subject::Repository, "robot id");
    match (&identity.id, &identity.hardware) {
        (None, _) => Finding::warn(
            subject,
            what,
            "there is none: where a release goes out in steps this robot is the last one",
            "set `id`, or give the robot an /etc/machine-id",
        ),
        (Some(id), Some(_)) => {
            Finding::ok(subject, what, format!("{id}, and the hardware's number"))
        }
        (Some(id), None) => Finding::ok(
            subject,
            what,
            format!("{id}; the hardware has no number, so the machine id must be its own"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_api::finding::Level;

    #[test]
    fn a_robot_without_an_id_is_warned_of() {
        let mut identity = Identity::default();
        assert_eq!(robot(&identity).level, Level::Warn);
        identity.id = "r1".parse().ok();
        assert_eq!(robot(&identity).level, Level::Ok);
    }

    #[test]
    fn knowledge_is_judged_only_by_a_clock_that_is_kept() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let known = Knowledge {
            signed: None,
            expires: at(1_000),
            clock: ClockState::Trusted.into(),
        };
        assert_eq!(freshness(Some(&known), Some(at(999))).level, Level::Ok);
        assert_eq!(freshness(Some(&known), Some(at(1_001))).level, Level::Fail);
        assert_eq!(freshness(Some(&known), None).level, Level::Ok);
        assert_eq!(freshness(None, None).level, Level::Warn);
        assert_eq!(keeper(true, Some(&known)).level, Level::Ok);
        assert_eq!(keeper(false, None).level, Level::Warn);
    }
}
