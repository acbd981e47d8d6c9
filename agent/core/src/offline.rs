//! What fails for want of the network, and says nothing of a system by itself.
//!
//! Whether a system reaches the network is asked of the repository, and judged by what the system before
//! reaches. Where that is not reached, other checks that need the network fail as well, and say no more.

use crate::{
    baseline::{Activity, Look, Unit},
    health::{Check, Failure},
};
use std::collections::BTreeSet;

/// What the units are called that wait for the network at a start, and fail where it does not come.
const WAITS: &str = "-wait-online.service";

/// Takes out of a look what says nothing beside the repository, which then speaks for it: while that is not
/// reached, the checks of which `needs` says that they need the network, and failed units of which it says
/// so. With a unit goes what cannot run without it. Units that were taken out before (`aside`) stay so for as
/// long as they do not run: nothing starts them again when the network is back. Gives what was taken out.
///
/// A unit that waits for the network counts never. What it waits for is asked of the repository, and of
/// several ports one may be unplugged.
pub fn set_aside(
    look: &mut Look,
    needs: impl Fn(&Check) -> bool,
    aside: &BTreeSet<Check>,
) -> BTreeSet<Check> {
    look.units
        .retain(|unit| !(unit.is_failed() && unit.name.ends_with(WAITS)));
    let is_server = |failure: &Failure| failure.check == Check::ManifestServer;
    let unreached = look.failures.iter().any(is_server);

    let (mut said, mut taken) = (Vec::new(), BTreeSet::new());
    if unreached {
        let others = look
            .failures
            .extract_if(.., |it| !is_server(it) && needs(&it.check));
        for it in others {
            said.push(format!("{}: {}", it.check, it.message));
            taken.insert(it.check);
        }
    }
    let units = units_aside(look, |check| unreached && needs(check), aside);
    said.extend(units.iter().map(ToString::to_string));
    taken.extend(units);
    if said.is_empty() {
        return taken;
    }
    let said = format!("without it these fail as well: {}", said.join(", "));
    if let Some(server) = look.failures.iter_mut().find(|it| is_server(it)) {
        server.message = format!("{}; {said}", server.message);
    } else {
        look.failures.push(Failure {
            check: Check::ManifestServer,
            message: format!("reached now, and was not reached before; {said}"),
            journal: Vec::new(),
        });
    }
    taken
}

/// Takes out failed units that need the network, those that were taken out before, and what cannot run without
/// one of them.
fn units_aside(
    look: &mut Look,
    needs: impl Fn(&Check) -> bool,
    aside: &BTreeSet<Check>,
) -> BTreeSet<Check> {
    let check = |unit: &Unit| Check::Unit(unit.name.clone());
    // What is started on demand, has done its work or was never due is inactive as it should be.
    let done = |unit: &Unit| unit.ends && unit.began && unit.result == "success";
    let stopped = |unit: &Unit| {
        unit.activity == Activity::Inactive && !unit.on_demand && !done(unit) && !unit.skipped
    };
    let ended = |unit: &Unit| unit.is_failed() || stopped(unit);
    let mut found = BTreeSet::new();
    let first = |unit: &Unit| {
        unit.is_failed() && needs(&check(unit)) || ended(unit) && aside.contains(&check(unit))
    };
    let mut more: Vec<Unit> = look.units.extract_if(.., |unit| first(unit)).collect();
    while !more.is_empty() {
        found.extend(more.iter().map(check));
        let hangs = |unit: &Unit| {
            let mut requires = unit.requires.iter();
            ended(unit) && requires.any(|name| more.iter().any(|other| other.name == *name))
        };
        more = look.units.extract_if(.., |unit| hangs(unit)).collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str) -> Unit {
        Unit {
            name: name.to_owned(),
            activity: Activity::Failed,
            ..Unit::default()
        }
    }

    fn failure(check: Check) -> Failure {
        Failure {
            check,
            message: "no route".into(),
            journal: Vec::new(),
        }
    }

    fn found(look: &Look) -> Vec<String> {
        let units = look.units.iter().map(|unit| unit.name.clone());
        let failures = look.failures.iter().map(|it| it.check.to_string());
        units.chain(failures).collect()
    }

    #[test]
    fn what_needs_the_network_is_judged_with_the_repository_and_nothing_else_is() {
        let needs = |check: &Check| {
            [
                Check::Http("fleet".into()),
                Check::Unit("vpn.service".into()),
            ]
            .contains(check)
        };
        let look = |server: bool| Look {
            units: vec![
                unit("vpn.service"),
                unit("arm.service"),
                unit("NetworkManager-wait-online.service"),
            ],
            failures: [Check::Http("fleet".into()), Check::Tcp("lidar".into())]
                .into_iter()
                .chain(server.then_some(Check::ManifestServer))
                .map(failure)
                .collect(),
            pending: Vec::new(),
        };
        let none = BTreeSet::new();
        let mut offline = look(true);
        let aside = set_aside(&mut offline, needs, &none);
        assert_eq!(
            found(&offline),
            ["arm.service", "tcp lidar", "manifest server"]
        );
        let said = &offline.failures[1].message;
        assert!(
            said.contains("http fleet: no route, unit vpn.service"),
            "{said}"
        );
        let taken = [
            Check::Http("fleet".into()),
            Check::Unit("vpn.service".into()),
        ];
        assert_eq!(aside, BTreeSet::from(taken.clone()));

        // Where the repository is reached all of it counts, but for what only waits.
        let mut online = look(false);
        assert_eq!(set_aside(&mut online, needs, &none), none);
        assert_eq!(
            found(&online),
            ["vpn.service", "arm.service", "http fleet", "tcp lidar"]
        );

        // What failed without the network is failed still once it is back.
        let mut back = look(false);
        let vpn = BTreeSet::from([taken[1].clone()]);
        assert_eq!(set_aside(&mut back, needs, &aside), vpn);
        assert_eq!(
            found(&back),
            ["arm.service", "http fleet", "tcp lidar", "manifest server"]
        );
        let mut well = look(false);
        well.units.remove(0);
        assert_eq!(set_aside(&mut well, needs, &aside), none);
    }

    #[test]
    fn what_cannot_run_without_what_was_set_aside_is_set_aside_with_it() {
        let ends = |name: &str, requires: &str, activity| Unit {
            activity,
            requires: vec![requires.to_owned()],
            ..unit(name)
        };
        let look = |server: bool, vpn: Activity| Look {
            units: vec![
                Unit {
                    activity: vpn,
                    ..unit("data.mount")
                },
                ends("recorder.service", "data.mount", Activity::Inactive),
                ends("upload.service", "recorder.service", Activity::Failed),
                ends("viewer.service", "data.mount", Activity::Active),
                ends("arm.service", "bus.service", Activity::Inactive),
                // Between two runs of its timer.
                Unit {
                    on_demand: true,
                    ..ends("backup.service", "data.mount", Activity::Inactive)
                },
            ],
            failures: server
                .then(|| failure(Check::ManifestServer))
                .into_iter()
                .collect(),
            pending: Vec::new(),
        };
        let needs = |check: &Check| *check == Check::Unit("data.mount".into());
        let mut offline = look(true, Activity::Failed);
        let aside = set_aside(&mut offline, needs, &BTreeSet::new());
        let rest = [
            "viewer.service",
            "arm.service",
            "backup.service",
            "manifest server",
        ];
        assert_eq!(found(&offline), rest);
        // The mount was made once the network was back, and nothing started the others again.
        let mut back = look(false, Activity::Active);
        set_aside(&mut back, needs, &aside);
        assert_eq!(
            found(&back),
            [
                "data.mount",
                "viewer.service",
                "arm.service",
                "backup.service",
                "manifest server"
            ]
        );
    }
}
