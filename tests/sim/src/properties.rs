//! What must hold, each written once, under a name.

use crate::{robot::Robot, units, witness};
use surefoot_core::{
    StorePath,
    foreign::Foreign,
    gate::Stage,
    journal::{Journal, MAX_BLOCKED, MAX_HISTORY, What},
    machine::{
        Context, Decided, Effect, Event, MAX_REBOOTS, Machine, Policy, Request,
        state::{Cause, Committing, Mode, Origin, Phase, Reverting, State, Trial},
    },
    release::Name,
    switch::{Action, Order},
    time::Instant,
};

/// Whether it holds, or what was seen instead.
pub type Verdict = Result<(), String>;

/// Something that must hold.
pub struct Property {
    /// Its name, in failures and in the documentation.
    pub name: &'static str,
    /// What it says.
    pub promise: &'static str,
    check: Check,
}

/// When it is looked at.
enum Check {
    /// At every moment.
    Always(fn(&Robot) -> Verdict),
    /// Before an effect happens.
    Effect(fn(&Robot, &Effect) -> Verdict),
    /// When something was decided and written, before its effects.
    Change(fn(&Robot, &Change<'_>) -> Verdict),
    /// Once the robot was left alone for a while.
    Rest(fn(&Robot) -> Verdict),
    /// Where it happens: see there.
    Elsewhere,
}

/// One step of the machine.
pub(crate) struct Change<'a> {
    /// What happened.
    pub(crate) event: &'a Event,
    /// The journal before.
    pub(crate) before: &'a Journal,
    pub(crate) now: Instant,
    pub(crate) policy: &'a Policy,
    pub(crate) decided: &'a Decided,
    /// What was written, as it is read again; `None` if nothing was, or it cannot be read.
    pub(crate) written: Option<&'a Journal>,
}

impl Change<'_> {
    const fn after(&self) -> &Journal {
        self.decided.machine.journal()
    }
}

/// All properties.
pub const ALL: &[Property] = &[
    Property {
        name: "default-is-confirmed",
        promise: "The boot loader's default is the confirmed system, unless a commit or a way back \
                  is being written, or somebody else wrote it, or the journal has it that this is to \
                  be put right.",
        check: Check::Always(default_is_confirmed),
    },
    Property {
        name: "ways-back-are-kept",
        promise: "The confirmed system, the fallbacks and the system before a trial are rooted, and \
                  no garbage collector takes them.",
        check: Check::Always(ways_back_are_kept),
    },
    Property {
        name: "trial-is-guarded",
        promise: "No system runs on trial without its guard: the dead-man timer, or the boot's \
                  deadline.",
        check: Check::Always(trial_is_guarded),
    },
    Property {
        name: "unproven-is-guarded",
        promise: "While something runs or was booted that has not proven itself, a guard is armed, the robot \
                  is on its way back, or a person chose it.",
        check: Check::Always(unproven_is_guarded),
    },
    Property {
        name: "reboots-are-bounded",
        promise: "A way back that fails reboots the robot a few times, and then stands still.",
        check: Check::Always(reboots_are_bounded),
    },
    Property {
        name: "written-before-done",
        promise: "No effect happens before its state is on the disk.",
        check: Check::Effect(written_before_done),
    },
    Property {
        name: "trial-leaves-the-loader-alone",
        promise: "A live trial only activates, with its guard armed; a trial by booting keeps the \
                  default, and the one-shot is its system.",
        check: Check::Effect(trial_leaves_the_loader_alone),
    },
    Property {
        name: "nothing-against-a-no",
        promise: "Nothing begins, switches or reboots against a hold, a lease that says busy, a \
                  required lease that is silent, or a gate that is closed.",
        check: Check::Effect(nothing_done_against_a_no),
    },
    Property {
        name: "nothing-against-a-no",
        promise: "Nor is it decided.",
        check: Check::Change(nothing_decided_against_a_no),
    },
    Property {
        name: "failed-stays-away",
        promise: "What failed is not fetched or tried again until something about it changes, nor is \
                  what waited when a person went back; unless a person asks.",
        check: Check::Effect(failed_stays_away),
    },
    Property {
        name: "failed-is-remembered",
        promise: "What was reverted is blocked, or suspected until the repository was reached, or \
                  told as interrupted.",
        check: Check::Change(failed_is_remembered),
    },
    Property {
        name: "confirmed-by-health",
        promise: "A system becomes the confirmed one only by a commit, and a commit begins only \
                  after the whole soak in good health and while the Nix daemon answers, or where a person or \
                  the policy goes back to a confirmed one.",
        check: Check::Change(confirmed_by_health),
    },
    Property {
        name: "journal-reads-back",
        promise: "What is decided is on the disk, word for word, and stays small.",
        check: Check::Change(journal_reads_back),
    },
    Property {
        name: "every-request-is-answered",
        promise: "Every request is granted or refused, in words.",
        check: Check::Change(every_request_is_answered),
    },
    Property {
        name: "time-moves-on",
        promise: "A time that has come and gone is not waited for again without anything happening.",
        check: Check::Change(time_moves_on),
    },
    Property {
        name: "switches-to-what-is-there",
        promise: "No switch is ordered to a system that is not in the store.",
        check: Check::Effect(switches_to_what_is_there),
    },
    Property {
        name: "prunes-its-own",
        promise: "Only generations that the agent made leave the profile, and none that is confirmed, a \
                  fallback, on trial, waiting, kept, running, booted, the profile's or the loader's \
                  default; none where the memory was lost.",
        check: Check::Elsewhere,
    },
    Property {
        name: "comes-to-rest",
        promise: "Left alone, the robot comes to rest: no trial, no boot loop goes on for ever.",
        check: Check::Elsewhere,
    },
    Property {
        name: "ends-on-confirmed",
        promise: "Left alone, the confirmed system runs, is the profile's and the default, and \
                  nothing is left of a trial.",
        check: Check::Rest(ends_on_confirmed),
    },
    Property {
        name: "trials-are-bounded",
        promise: "Left alone, a release is tried and the robot rebooted no more often than the \
                  counters allow.",
        check: Check::Rest(trials_are_bounded),
    },
    Property {
        name: "disturbances-are-bounded",
        promise: "Within a day of running the robot is disturbed again no more often than the configuration \
                  allows, whatever systems take turns, unless a person asks.",
        check: Check::Effect(disturbances_are_bounded),
    },
    Property {
        name: "only-its-own-fault-blocks",
        promise: "No release is blocked because the power went, the boot could not be prepared, the \
                  loader lost it, somebody else switched, or the loader could not be written; nor \
                  because the repository was out of reach of every system.",
        check: Check::Change(only_its_own_fault_blocks),
    },
    Property {
        name: "judged-by-what-was-before",
        promise: "No release is blocked for units alone that did no better before its trial; and none is \
                  confirmed on which a unit does worse, be it only after its commit.",
        check: Check::Change(judged_by_what_was_before),
    },
    Property {
        name: "worse-is-said",
        promise: "What a way back left worse than it was is put right by a reboot, or said; the agent \
                  reboots for that once after a way back, when nobody minds.",
        check: Check::Rest(worse_is_said),
    },
    Property {
        name: "rollback-is-done",
        promise: "A rollback that was granted is done, and the history says so.",
        check: Check::Rest(rollback_is_done),
    },
    Property {
        name: "good-release-gets-through",
        promise: "Whatever happened, the next good release is confirmed.",
        check: Check::Elsewhere,
    },
    Property {
        name: "wall-clock-decides-nothing",
        promise: "The same is decided whatever the wall clock shows.",
        check: Check::Elsewhere,
    },
];

impl Robot {
    /// Something that a property promises.
    ///
    /// # Panics
    /// It is not so.
    pub(crate) fn promised(&self, name: &str, so: bool, otherwise: &str) {
        if !so {
            self.broken(name, otherwise);
        }
    }

    /// The same is decided whatever the wall clock shows.
    pub(crate) fn check_wall_clock(&self, machine: &Machine, event: &Event, cx: &Context<'_>) {
        let decide = |wall| {
            let decided = machine.step(event.clone(), &Context { wall, ..*cx });
            let decided = decided.persisted(|_| Ok::<_, ()>(()));
            let decided = decided.expect("nothing is written");
            let due = decided.machine.deadline();
            (decided.effects, decided.answer, due)
        };
        let other = jiff::Timestamp::from_second(4_000_000_000).ok();
        let same = decide(cx.wall) == decide(other.filter(|_| cx.wall != other));
        self.promised(
            "wall-clock-decides-nothing",
            same,
            "another clock, another decision",
        );
    }

    /// A property does not hold: ends the run.
    pub(crate) fn broken(&self, name: &str, why: &str) -> ! {
        panic!("{name}: {why}\n{}", self.log);
    }

    fn demand(&self, check: impl Fn(&Check) -> Option<Verdict>) {
        for property in ALL {
            if let Some(Err(why)) = check(&property.check) {
                self.broken(property.name, &why);
            }
        }
    }

    /// What must hold at every moment.
    pub(crate) fn check(&self) {
        self.demand(|check| match check {
            Check::Always(holds) => Some(holds(self)),
            _ => None,
        });
    }

    pub(crate) fn check_effect(&self, effect: &Effect) {
        self.demand(|check| match check {
            Check::Effect(holds) => Some(holds(self, effect)),
            _ => None,
        });
    }

    pub(crate) fn check_change(&self, change: &Change<'_>) {
        self.demand(|check| match check {
            Check::Change(holds) => Some(holds(self, change)),
            _ => None,
        });
    }

    /// What must hold once it was left alone.
    ///
    /// # Panics
    /// It does not.
    pub fn check_rest(&self) {
        self.demand(|check| match check {
            Check::Rest(holds) => Some(holds(self)),
            _ => None,
        });
    }
}

fn must(so: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if so { Ok(()) } else { Err(otherwise()) }
}

fn default_is_confirmed(robot: &Robot) -> Verdict {
    let Some(confirmed) = &robot.journal.confirmed else {
        return Ok(());
    };
    let default = &robot.default;
    must(robot.store.contains(default), || {
        format!("{default}, which the boot loader would start, is not in the store")
    })?;
    let going = match &robot.journal.state {
        State::Committing(committing) => {
            [&committing.goal.system, &committing.previous].contains(&default)
        }
        State::Reverting(reverting) => {
            [&reverting.failed, &reverting.order.system].contains(&default)
        }
        _ => false,
    };
    let known = robot.journal.left_in_profile.as_ref() == Some(default);
    must(
        *default == confirmed.system || going || known || robot.meddled,
        || {
            format!(
                "the boot loader would start {default} although {} is confirmed",
                confirmed.system
            )
        },
    )
}

fn ways_back_are_kept(robot: &Robot) -> Verdict {
    let journal = &robot.journal;
    let proven = journal.confirmed.iter().chain(&journal.fallbacks);
    let before = match &journal.state {
        State::Trial(Trial { previous, .. }) => Some(previous),
        _ => None,
    };
    for system in proven.map(|generation| &generation.system).chain(before) {
        must(robot.roots.contains(system), || {
            format!("{system} is not rooted")
        })?;
        must(robot.store.contains(system), || {
            format!("{system} is not in the store")
        })?;
    }
    Ok(())
}

fn trial_is_guarded(robot: &Robot) -> Verdict {
    let State::Trial(trial) = &robot.journal.state else {
        return Ok(());
    };
    let runs = robot.current == trial.system && trial.system != trial.previous;
    if trial.target.is_none() || !runs {
        return Ok(());
    }
    match (trial.mode, &trial.phase) {
        (Mode::Live, Phase::Switching { .. } | Phase::Soaking { .. }) => {
            must(robot.dead_man.is_some(), || {
                "it runs without a dead-man timer".into()
            })
        }
        (Mode::Boot, Phase::Booting | Phase::Soaking { .. }) => {
            must(robot.boot_deadline.is_some(), || {
                "it was booted without its deadline".into()
            })
        }
        _ => Ok(()),
    }
}

fn unproven_is_guarded(robot: &Robot) -> Verdict {
    let journal = &robot.journal;
    let goes = match &journal.state {
        State::Reverting(_) | State::Unknown(_) => true,
        State::Committing(committing) => {
            matches!(committing.origin, Origin::Trial | Origin::Rollback { .. })
        }
        _ => false,
    };
    // It has not looked at the robot yet, or what it remembers is not known any more.
    let blind = robot.machine.is_none() || journal.confirmed.is_none() || journal.lost.is_some();
    if robot.is_guarded() || goes || blind {
        return Ok(());
    }
    // What was booted has a proven kernel, if what runs beside it by now would be started with the same.
    let beside = !robot.by_boot().contains(&robot.current);
    for runs in [&robot.booted, &robot.current] {
        let known = robot.witness.confirmed.contains(runs) || robot.by_hand.contains(runs);
        must(known || runs != &robot.current && beside, || {
            format!("{runs} runs unproven and unguarded")
        })?;
    }
    Ok(())
}

fn written_before_done(robot: &Robot, effect: &Effect) -> Verdict {
    let state = &robot.journal.state;
    let so = match effect {
        Effect::Switch(order) => state.order() == Some(order),
        Effect::Fetch(target) => state.target() == Some(target),
        Effect::Inspect(target) => {
            state.waits_for() == Some(Stage::Activate) && state.target() == Some(target)
        }
        Effect::ArmDeadMan { .. } => matches!(
            state,
            State::Trial(Trial {
                phase: Phase::Arming,
                ..
            })
        ),
        Effect::AimBoot { .. } => matches!(
            state,
            State::Trial(Trial {
                phase: Phase::Aiming,
                ..
            })
        ),
        Effect::Reboot(_) => match state {
            State::Trial(trial) => trial.phase == Phase::Booting,
            State::Committing(committing) => committing.reboot,
            State::Reverting(_) => true,
            State::Idle => {
                let aftermath = robot.journal.aftermath.as_ref();
                aftermath.is_some_and(|aftermath| aftermath.rebooted)
            }
            _ => false,
        },
        _ => true,
    };
    must(so, || {
        format!("{effect:?} although the journal says {state:?}")
    })
}

fn trial_leaves_the_loader_alone(robot: &Robot, effect: &Effect) -> Verdict {
    let State::Trial(trial) = &robot.journal.state else {
        return Ok(());
    };
    match effect {
        Effect::Switch(order) if trial.mode == Mode::Live => {
            must(order.action == Action::Test, || {
                format!("a live trial does {}", order.action)
            })?;
            must(robot.dead_man.is_some(), || {
                "it switches without a dead-man timer".into()
            })
        }
        Effect::Switch(order) => must(
            order.action == Action::Stage && order.default.as_ref() == Some(&trial.previous),
            || "a trial by booting changes the default".into(),
        ),
        Effect::AimBoot {
            system, previous, ..
        } => {
            let default = robot.default == *previous || robot.meddled;
            must(default, || "the way back is not the default".into())?;
            must(robot.profile == *system || robot.meddled, || {
                "the trial has no boot entry".into()
            })
        }
        Effect::Reboot(_) => must(robot.one_shot.as_ref() == Some(&trial.system), || {
            "it reboots into nothing".into()
        }),
        _ => Ok(()),
    }
}

/// Nobody holds it; where it matters, nobody is busy.
fn free(robot: &Robot, now: Instant, leases: bool) -> Verdict {
    if let Some(by) = robot.witness.held_by(now, None) {
        return Err(format!("{by} holds it"));
    }
    match robot.witness.busy_by(&robot.policy.leases, now) {
        Some(busy) if leases => Err(busy),
        _ => Ok(()),
    }
}

fn nothing_done_against_a_no(robot: &Robot, effect: &Effect) -> Verdict {
    let open = |stage| {
        must(robot.witness.open(stage), || {
            format!("{effect:?} although the gate of {stage} is not open")
        })
    };
    match effect {
        Effect::Poll => open(Stage::Check),
        Effect::Fetch(_) => open(Stage::Download),
        Effect::Inspect(_) => open(Stage::Activate),
        Effect::ArmDeadMan { .. } => {
            free(robot, robot.now, true)?;
            open(Stage::Activate)
        }
        Effect::AimBoot { .. } => {
            free(robot, robot.now, true)?;
            open(Stage::Reboot)
        }
        Effect::Reboot(_) => {
            must(robot.journal.holds.is_empty(), || {
                "it reboots against a hold".into()
            })?;
            let state = robot.journal.state.name();
            if state == "idle" {
                open(Stage::Reboot)?;
            }
            free(robot, robot.now, matches!(state, "trial" | "idle"))
        }
        _ => Ok(()),
    }
}

fn nothing_decided_against_a_no(robot: &Robot, change: &Change<'_>) -> Verdict {
    let after = change.after();
    if witness::began(change.before, after) {
        free(robot, change.now, true)?;
        must(after.holds.is_empty(), || "it begins against a hold".into())?;
    }
    if let (
        State::Trial(Trial { late: Some(_), .. }),
        State::Reverting(_),
        Event::Gates { stage, .. },
    ) = (&change.before.state, &after.state, change.event)
    {
        free(robot, change.now, true)?;
        must(robot.witness.open(*stage), || {
            "what reaches no repository is left against a gate".into()
        })?;
    }
    let restores = |journal: &Journal| matches!(&journal.state, State::Committing(c) if matches!(c.origin, Origin::Restore { .. }));
    if restores(after) && !restores(change.before) {
        free(robot, change.now, true)?;
    }
    if let (
        Event::Asked(Request::Rollback {
            force,
            end_holds,
            by,
            ..
        }),
        Some(Ok(_)),
        false,
    ) = (
        change.event,
        &change.decided.answer,
        matches!(&change.before.state, State::Trial(trial) if trial.target.is_some()),
    ) {
        if let Some(other) = robot
            .witness
            .held_by(change.now, Some(by))
            .filter(|_| !end_holds)
        {
            return Err(format!("it goes back although {other} holds it"));
        }
        match robot.witness.busy_by(&change.policy.leases, change.now) {
            Some(busy) if !force => return Err(format!("it goes back although {busy}")),
            _ => {}
        }
    }
    Ok(())
}

fn failed_stays_away(robot: &Robot, effect: &Effect) -> Verdict {
    let target = match effect {
        Effect::Fetch(target) | Effect::Inspect(target) => Some(target),
        Effect::ArmDeadMan { .. } | Effect::AimBoot { .. } => robot.journal.state.target(),
        Effect::Switch(_) if robot.journal.state.name() == "trial" => robot.journal.state.target(),
        _ => None,
    };
    let Some(target) = target else {
        return Ok(());
    };
    let brought = (target.release.clone(), target.system.clone());
    must(
        robot.journal.blocked(target).is_none() && !robot.witness.failed.contains(&brought),
        || format!("{effect:?} although release {} failed", target.release),
    )
}

fn failed_is_remembered(_: &Robot, change: &Change<'_>) -> Verdict {
    let (before, after) = (change.before, change.after());
    let asked = matches!(change.event, Event::Asked(Request::Unblock { .. }));
    let gone_to = witness::went_back_to(before, after);
    for blocked in &before.blocked {
        must(
            asked
                || gone_to == Some(&blocked.system)
                || after.blocked.contains(blocked)
                || after.blocked.len() == MAX_BLOCKED
                || after.blocked.iter().any(|b| b.release == blocked.release),
            || format!("release {} is blocked no more", blocked.release),
        )?;
    }
    // Where a trial or a commit of a release ends.
    let left = matches!(
        before.state,
        State::Trial(_) | State::Committing(_) | State::Reverting(_)
    );
    let target = before.state.target();
    let (Some(target), true, State::Idle) = (target, left, &after.state) else {
        return Ok(());
    };
    // What was called back before it was booted did not fail.
    if let State::Reverting(reverting) = &before.state
        && reverting.evidence.cause == Cause::Withdrawn
    {
        let last = after.history.last();
        return must(
            last.is_some_and(|record| record.what == What::Interrupted),
            || format!("that {} was called back is not told", target.release),
        );
    }
    let confirmed = after.confirmed.as_ref();
    let is =
        |release: &Name, system: &StorePath| *release == target.release && *system == target.system;
    must(
        confirmed.is_some_and(|confirmed| confirmed.system == target.system)
            || after.blocked(target).is_some()
            || after.suspect.iter().any(|s| is(&s.release, &s.system))
            || after.history.last().is_some_and(|record| {
                let release = record.release.as_ref();
                record.what == What::Interrupted
                    && release.is_some_and(|release| is(release, &record.system))
            }),
        || format!("the trial of {} leaves no trace", target.release),
    )
}

/// Whether a switch begins to undo what somebody did, or to keep it.
pub(crate) fn puts_back(order: &Order, commit: &Committing) -> bool {
    matches!(commit.origin, Origin::Restore { .. } | Origin::Adopt)
        && order.action == Action::Switch
        && commit.attempts == 1
}

fn disturbances_are_bounded(robot: &Robot, effect: &Effect) -> Verdict {
    let begins = match (effect, robot.state()) {
        // It has begun, and is waited for again.
        (Effect::Switch(order), _) if !robot.is_new(order) => false,
        (Effect::Switch(order), State::Trial(trial)) => {
            trial.mode == Mode::Live && order.action == Action::Test
        }
        (Effect::Reboot(_), State::Trial(trial)) => trial.mode == Mode::Boot,
        (Effect::Switch(order), State::Committing(commit)) => puts_back(order, commit),
        _ => false,
    };
    let known = (robot.state().next()).is_some_and(|by| robot.witness.was_disturbed(by));
    let times = robot.witness.times_again();
    must(
        !(begins && known) || times < robot.policy.disturbances,
        || format!("it is disturbed once more, after {times} times today"),
    )
}

fn only_its_own_fault_blocks(robot: &Robot, change: &Change<'_>) -> Verdict {
    let runs_before = !matches!(change.before.state, State::Trial(_) | State::Committing(_));
    let reached = runs_before && matches!(change.event, Event::Polled(_));
    let counted = change.before.attempts.as_ref().map_or(1, |a| a.count + 1);
    for blocked in &change.after().blocked {
        if change.before.blocked.contains(blocked) {
            continue;
        }
        let evidence = &blocked.evidence;
        must(evidence.is_verdict(), || {
            format!(
                "release {} is blocked: {}",
                blocked.release, evidence.message
            )
        })?;
        must(
            evidence.cause != Cause::InItsOwnWay || robot.lockers.contains(&blocked.system),
            || {
                format!(
                    "release {} is blocked for what is not its own",
                    blocked.release
                )
            },
        )?;
        must(
            !robot.witness.meddled
                || evidence.cause != Cause::Unknown && !evidence.names_another_system(),
            || {
                format!(
                    "release {} is blocked because somebody switched: {}",
                    blocked.release, evidence.message
                )
            },
        )?;
        must(
            !evidence.blames_the_repository() || reached && counted >= change.policy.trial_attempts,
            || format!("release {} is blocked for the network", blocked.release),
        )?;
        let hangs = robot.nix_hangs.contains(&blocked.system);
        must(!evidence.blames_the_nix_daemon() || hangs, || {
            format!(
                "release {} is blocked for the robot's Nix daemon",
                blocked.release
            )
        })?;
        let doubtful = evidence.is_doubtful() || evidence.blames_the_nix_daemon();
        must(!doubtful || counted >= change.policy.trial_attempts, || {
            format!("release {} is blocked by its first doubt", blocked.release)
        })?;
    }
    Ok(())
}

fn judged_by_what_was_before(robot: &Robot, change: &Change<'_>) -> Verdict {
    let (before, after) = (change.before, change.after());
    if let State::Committing(committing) = &before.state
        && committing.origin == Origin::Trial
        && committing.order.action == Action::Switch
        && after.state == State::Idle
        && !robot.witness.meddled
    {
        must(!robot.is_worse_since_its_commit(), || {
            format!(
                "{} is confirmed, and its commit made it worse",
                committing.goal.system
            )
        })?;
    }
    let State::Trial(Trial {
        target: Some(_),
        system,
        previous,
        ..
    }) = &before.state
    else {
        return Ok(());
    };
    if robot.witness.meddled {
        return Ok(());
    }
    let worse = robot.is_worse(system);
    // The system before may be installed again at once, where somebody had installed another one.
    let keeps = matches!(&after.state, State::Committing(it) if it.goal.system == *system);
    must(!worse || !keeps, || {
        format!("{system} is committed, and a unit does worse than on {previous}")
    })?;
    let State::Reverting(Reverting { evidence, .. }) = &after.state else {
        return Ok(());
    };
    let units = evidence.failures.iter();
    let mut units = units.map(|failure| failure.check.to_string());
    let alone = !evidence.failures.is_empty()
        && units.all(|check| check.ends_with(units::JOB) || check.ends_with(units::SERVICE));
    must(worse || !alone, || {
        format!("{system} is left for what was no better on {previous}")
    })
}

fn worse_is_said(robot: &Robot) -> Verdict {
    let said = robot.journal.aftermath.as_ref();
    let said = said.is_some_and(|aftermath| !aftermath.worse.is_empty());
    must(!robot.has_lost_its_service() || said, || {
        "a service does not run that ran before the last trial, and nobody is told".into()
    })
}

fn confirmed_by_health(robot: &Robot, change: &Change<'_>) -> Verdict {
    let (before, after) = (change.before, change.after());
    let system = |journal: &Journal| journal.confirmed.as_ref().map(|g| g.system.clone());
    if system(before) != system(after) {
        let by_commit = match &before.state {
            State::Committing(committing) => {
                Some(&committing.goal.system) == system(after).as_ref()
            }
            _ => before.confirmed.is_none(),
        };
        must(by_commit, || {
            format!("{:?} is confirmed without a commit", system(after))
        })?;
    }
    let State::Committing(committing) = &after.state else {
        return Ok(());
    };
    if matches!(before.state, State::Committing(_)) {
        return Ok(());
    }
    let goal = &committing.goal.system;
    let known = before.confirmed.iter().chain(&before.fallbacks);
    let mut known = known.map(|generation| &generation.system);
    match committing.origin {
        Origin::Trial | Origin::Adopt => {
            let healthy = robot.witness.healthy_for(goal, change.now);
            must(
                healthy.is_some_and(|time| time >= change.policy.soak),
                || format!("{goal} is committed, healthy for {healthy:?}"),
            )?;
            must(robot.current == *goal, || {
                format!("{goal} is committed, and {} runs", robot.current)
            })?;
            must(!robot.nix_hangs.contains(goal), || {
                format!("{goal} is committed, on which nothing more could be imported")
            })
        }
        Origin::Rollback { .. } | Origin::Restore { .. } => {
            must(known.any(|system| system == goal), || {
                format!("{goal}, which was never confirmed, is gone back to")
            })
        }
    }
}

fn journal_reads_back(robot: &Robot, change: &Change<'_>) -> Verdict {
    let after = change.after();
    // What another version wrote there is read anew from where it stands now.
    let known = |journal: &Journal| Journal {
        foreign: Foreign::default(),
        ..journal.clone()
    };
    must(known(&robot.journal) == known(after), || {
        match change.written {
            None => "what was decided was not written".into(),
            Some(_) => "what was written is not what was decided".into(),
        }
    })?;
    must(
        after.history.len() <= MAX_HISTORY && after.blocked.len() <= MAX_BLOCKED,
        || "the journal grows".into(),
    )
}

fn every_request_is_answered(_: &Robot, change: &Change<'_>) -> Verdict {
    let answer = &change.decided.answer;
    match (change.event, answer) {
        (Event::Asked(_), None) => Err("a request was not answered".into()),
        (Event::Asked(_), Some(answer)) => {
            let words = match answer {
                Ok(words) => words.clone(),
                Err(refusal) => refusal.to_string(),
            };
            must(!words.is_empty(), || "an answer without words".into())
        }
        (_, Some(_)) => Err("an answer that nobody asked for".into()),
        (_, None) => Ok(()),
    }
}

fn time_moves_on(_: &Robot, change: &Change<'_>) -> Verdict {
    let deadline = change.decided.machine.deadline();
    must(
        *change.event != Event::Tick
            || !change.decided.effects.is_empty()
            || change.before != change.after()
            || deadline.is_none_or(|at| at > change.now),
        || format!("{:?} spins at {deadline:?}", change.after().state),
    )
}

fn switches_to_what_is_there(robot: &Robot, effect: &Effect) -> Verdict {
    match effect {
        Effect::Switch(order) => must(robot.store.contains(&order.system), || {
            format!("{} is not in the store", order.system)
        }),
        _ => Ok(()),
    }
}

fn reboots_are_bounded(robot: &Robot) -> Verdict {
    match robot.state() {
        State::Reverting(reverting) => must(reverting.reboots <= MAX_REBOOTS, || {
            format!("it rebooted {} times to get back", reverting.reboots)
        }),
        _ => Ok(()),
    }
}

fn ends_on_confirmed(robot: &Robot) -> Verdict {
    let confirmed = robot.confirmed();
    for (what, found) in [
        ("running", &robot.current),
        ("the profile's", &robot.profile),
        ("the loader's default", &robot.default),
    ] {
        must(found == confirmed, || {
            format!("{found} is {what}, and {confirmed} is confirmed")
        })?;
    }
    must(*robot.state() == State::Idle, || {
        format!("it is {}", robot.state().name())
    })?;
    must(robot.one_shot.is_none() && !robot.is_guarded(), || {
        "something is left of a trial".into()
    })
}

fn trials_are_bounded(robot: &Robot) -> Verdict {
    let witness = &robot.witness;
    // Live, then by booting, and again for each doubt; and what is nobody's fault.
    let disturbances = u32::try_from(robot.policy.disturbances).unwrap_or(u32::MAX);
    let most = 2 * robot.policy.trial_attempts + 1 + disturbances;
    for ((release, _), trials) in &witness.trials {
        must(*trials <= most, || {
            format!("{release} was tried {trials} times")
        })?;
    }
    let most = 8 * robot.policy.trial_attempts;
    must(witness.reboots <= most, || {
        format!("the agent rebooted {} times", witness.reboots)
    })
}

fn rollback_is_done(robot: &Robot) -> Verdict {
    for rollback in &robot.witness.rollbacks {
        let done = robot.journal.history.iter().any(|record| {
            // The last for a way back that was under way already.
            let back = [What::RolledBack, What::Reverted, What::Interrupted];
            record.what.known().is_some_and(|what| back.contains(&what))
                && record
                    .why
                    .as_ref()
                    .is_some_and(|why| why.contains(&rollback.why))
        });
        must(done || rollback.excused, || {
            format!("'{}' was granted and not done", rollback.why)
        })?;
    }
    Ok(())
}
