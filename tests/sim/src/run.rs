//! A robot's life out of one number: what befalls it, and when.

use crate::{
    chance::Chance,
    people::{ROS, end_lease, held, hold, keep, lease, rollback, unblock},
    power::{Blow, Fate},
    robot::{Robot, release, system},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};
use surefoot_core::{
    StorePath,
    gate::Stage,
    lease::{Ender, Holder, Required},
    machine::{
        DriftPolicy, Event, Request,
        state::{Cause, State},
    },
    release::Target,
    switch::{Action, Outcome},
};

/// The systems of releases: `a` is what the robot was installed with.
const RELEASED: [char; 6] = ['a', 'b', 'c', 'd', 'f', 'g'];

/// The systems that somebody switches to by hand.
const BY_HAND: [char; 2] = ['x', 'y'];

/// The good release at the end.
const LAST: char = 'z';

/// Things that happen before the robot is left alone, at most.
const TROUBLED: u64 = 400;

/// Things that may happen until it has come to rest.
const PATIENCE: u64 = 4_000;

/// The life of one robot.
#[derive(Debug)]
pub struct Run {
    /// The number that it comes from.
    pub seed: u64,
    /// The robot.
    pub robot: Robot,
    /// Things that have happened.
    pub steps: u64,
    chance: Chance,
    /// Things that will happen before it is left alone.
    troubles: u64,
    asked: u64,
}

/// A run that broke a property.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The number that it comes from.
    pub seed: u64,
    /// Which property, and why; then the robot's log.
    pub what: String,
}

impl Failure {
    /// The broken property's name; `panic` if something else broke.
    #[must_use]
    pub fn property(&self) -> &str {
        let name = self.what.split(':').next().unwrap_or_default();
        let mut all = crate::properties::ALL.iter();
        all.find(|property| property.name == name)
            .map_or("panic", |property| property.name)
    }

    /// In one line.
    #[must_use]
    pub fn summary(&self) -> &str {
        self.what.lines().next().unwrap_or_default()
    }
}

impl Run {
    /// The run of this number: the same on every machine.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut robot = Robot::new();
        robot.chance = Chance::new(chance.next());
        robot.renews = true;
        // Lives are short.
        robot.policy.disturbances = 1;
        robot.policy.drift = chance.pick(&[
            DriftPolicy::Report,
            DriftPolicy::Report,
            DriftPolicy::Adopt,
            DriftPolicy::Restore,
        ]);
        if chance.happens(1, 4) {
            robot.policy.leases = vec![Required {
                name: "gripper".parse().expect("a name"),
                user: None,
            }];
        }
        robot.policy.keep = usize::try_from(chance.below(3)).unwrap_or(0);
        robot.policy.prune = chance.happens(7, 8);
        robot.policy.generations = 1 + usize::try_from(chance.below(3)).unwrap_or(0);
        if chance.happens(1, 2) {
            robot.boot_room = 2 + usize::try_from(chance.below(4)).unwrap_or(0);
        }
        let mut run = Self {
            seed,
            troubles: 20 + chance.below(TROUBLED - 20),
            robot,
            steps: 0,
            chance,
            asked: 0,
        };
        for c in RELEASED {
            run.make_up(c);
        }
        run
    }

    /// Lives it to its end. What has to hold is checked at every step.
    ///
    /// # Errors
    /// What did not hold.
    pub fn live(&mut self) -> Result<(), Failure> {
        catch_unwind(AssertUnwindSafe(|| self.live_or_panic())).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Failure {
                seed: self.seed,
                what: text.unwrap_or_default(),
            }
        })
    }

    fn live_or_panic(&mut self) {
        self.robot.start();
        for _ in 0..self.troubles {
            self.steps += 1;
            if self.chance.happens(3, 10) {
                self.befall();
            } else if self.robot.machine.is_none() && self.chance.happens(1, 2) {
                self.robot.start();
            } else {
                self.robot.advance();
            }
            self.robot.check();
        }
        self.calm();
        self.rest();
        self.robot.check_rest();
        // And the next good release still gets through.
        self.robot.log.note("the next good release");
        self.robot.published = Some(release(LAST));
        self.robot.renews = false;
        let _ = self.robot.try_ask(Request::Update);
        self.rest();
        let confirmed = self.robot.confirmed();
        let so = *confirmed == system(LAST);
        self.robot.promised(
            "good-release-gets-through",
            so,
            &format!("{confirmed} is confirmed"),
        );
        self.robot.check_rest();
    }

    /// What a release's system is like.
    fn make_up(&mut self, c: char) {
        let (chance, robot, made) = (&mut self.chance, &mut self.robot, system(c));
        let first = c == RELEASED[0];
        if !first && chance.happens(2, 5) {
            robot.needs_reboot.insert(made.clone());
        }
        if !first && chance.happens(1, 4) {
            let fates = [Fate::Panics, Fate::Freezes, Fate::Vanishes, Fate::Agentless];
            robot.fates.insert(made.clone(), chance.pick(&fates));
        }
        if chance.happens(1, 5) {
            robot.outcomes.insert(made.clone(), outcome(chance));
        }
        if !first && chance.happens(1, 6) {
            robot.sick.insert(made.clone());
        }
        if !first && chance.happens(1, 12) {
            robot.lockers.insert(made.clone());
        }
        if chance.happens(1, 5) {
            robot.broken.insert(made.clone());
        }
        if chance.happens(1, 8) {
            robot.idle.insert(made.clone());
        }
        if chance.happens(1, 8) {
            robot.hurts.insert(made.clone());
        }
        if chance.happens(1, 8) {
            robot.fails_again.insert(made.clone());
        }
        if !first && chance.happens(1, 12) {
            robot.slow.insert(made.clone());
        }
        if !first && chance.happens(1, 12) {
            robot.offline.insert(made.clone());
        }
        if !first && chance.happens(1, 12) {
            robot.nix_hangs.insert(made.clone());
        }
        if !first && chance.happens(1, 16) {
            robot.unfit.insert(made);
        }
    }

    /// Something befalls the robot.
    fn befall(&mut self) {
        match self.chance.below(100) {
            0..16 => self.publish(),
            16..32 => self.strike(),
            32..54 => self.people(),
            54..60 => {
                let stage = self.chance.pick(&Stage::ALL);
                if !self.robot.closed.remove(&stage) {
                    self.robot.closed.insert(stage);
                }
            }
            60..68 => self.time(),
            68..76 => self.health(),
            76..82 => {
                let old = self.chance.happens(1, 2);
                self.robot.collect_garbage(old);
            }
            82..86 => self.meddle(),
            86..87 => self.robot.refused_saves = 1 + self.few(20),
            87..88 => self.robot.refuses_what_was_told = true,
            88..89 => {
                self.robot.witness.excuses();
                self.robot.locked ^= true;
            }
            89..90 => {
                self.robot.witness.excuses();
                self.robot.read_only ^= true;
                // Then nobody may be able to tell what it starts, either.
                self.robot.unreadable = self.robot.read_only && self.steps.is_multiple_of(2);
            }
            90..92 => self.robot.lost_one_shots = self.few(3),
            92..93 => self.robot.lost_reboots = self.few(5),
            93..94 => {
                self.robot.witness.excuses();
                self.robot.silent ^= true;
            }
            94..96 => self.robot.collected = true,
            96..97 => self.robot.leftovers = true,
            97..98 => {
                let no = "the boot partition is full".to_owned();
                let no = self.robot.no_boot.is_none().then_some(no);
                self.robot.no_room.clone_from(&no);
                self.robot.no_boot = no;
            }
            _ => {
                let c = self.chance.pick(&RELEASED);
                let outcome = outcome(&mut self.chance);
                self.robot.witness.excuses();
                match self.steps % 8 {
                    0 | 4 if !self.robot.drops.remove(&system(c)) => {
                        self.robot.drops.insert(system(c));
                    }
                    2 => self.robot.installer_drops ^= true,
                    _ => {}
                }
                if self.robot.outcomes.remove(&system(c)).is_none() {
                    self.robot.outcomes.insert(system(c), outcome);
                }
            }
        }
    }

    /// A number below `n`.
    fn few(&mut self, n: u64) -> u32 {
        u32::try_from(self.chance.below(n)).unwrap_or(0)
    }

    /// A release, a second one while one is under way, one with another system under the same name, a
    /// recall.
    fn publish(&mut self) {
        let (name, brings) = (self.chance.pick(&RELEASED), self.chance.pick(&RELEASED));
        let brings = if self.chance.happens(1, 8) {
            brings
        } else {
            name
        };
        self.robot
            .log
            .note(format!("published: {name} with {brings}"));
        self.robot.published = (!self.chance.happens(1, 6)).then(|| Target {
            release: release(name).release,
            ..release(brings)
        });
    }

    /// At once, or after some of the points between two things.
    fn strike(&mut self) {
        let blow = self.chance.pick(&[
            Blow::Kill,
            Blow::Kill,
            Blow::PowerCut,
            Blow::PowerCut,
            Blow::Reset(Cause::Watchdog),
            Blow::Reset(Cause::Panic),
        ]);
        if self.chance.happens(1, 4) {
            self.robot.strike(blow);
        } else {
            let points = self.few(25);
            self.robot.light_fuse(points, blow);
        }
    }

    fn people(&mut self) {
        let by = self.chance.pick(&["ada", "bob"]);
        let seconds = 1 + self.chance.below(2_000);
        self.asked += 1;
        let over = Holder(1 + self.chance.below(3));
        let request = match self.chance.below(27) {
            0..5 => Request::Update,
            5..9 => {
                let to = self.chance.pick(&RELEASED);
                let to = self.chance.happens(1, 3).then(|| system(to));
                let force = self.chance.happens(1, 2);
                rollback(to, force, &format!("reason {}.", self.asked))
            }
            9..11 => hold(by, self.chance.happens(2, 3).then_some(seconds)),
            11..14 => Request::Resume {
                by: self.chance.happens(2, 3).then(|| by.to_owned()),
            },
            14..16 => lease(self.chance.happens(1, 2), seconds),
            16..18 => held(self.chance.happens(1, 2), over),
            18..20 => end_lease(if self.chance.happens(1, 2) {
                Ender::Owner(ROS, over)
            } else {
                Ender::Anyone
            }),
            20..23 => keep(
                system(self.chance.pick(&RELEASED)),
                self.chance.happens(1, 3),
            ),
            23..25 => unblock(system(self.chance.pick(&RELEASED))),
            _ => {
                self.robot.log.note("a program dies");
                self.robot.feed(Event::HolderLost(over));
                return;
            }
        };
        let to_failing = match &request {
            Request::Rollback { .. } => !self.robot.outcomes.is_empty(),
            _ => false,
        };
        let _ = self.robot.try_ask(request);
        if to_failing {
            self.robot.witness.excuses();
        }
    }

    fn time(&mut self) {
        let seconds = self.chance.pick(&[1, 10, 60, 600, 3_600, 86_400]);
        let time = Duration::from_secs(1 + self.chance.below(seconds));
        match self.chance.below(4) {
            0 => self.robot.sleep(time),
            1 => self.robot.pass(time),
            _ => {
                // It is wrong, steps to and fro, or is known to be wrong.
                let second = i64::try_from(self.chance.below(4_000_000_000)).unwrap_or(0);
                let wall = jiff::Timestamp::from_second(second).ok();
                self.robot.wall = wall.filter(|_| self.chance.happens(3, 4));
            }
        }
    }

    fn health(&mut self) {
        let c = system(self.chance.pick(&RELEASED));
        let robot = &mut self.robot;
        let set = match self.chance.below(4) {
            0 => {
                robot.outage = !robot.outage;
                return;
            }
            1 => &mut robot.slow,
            2 => &mut robot.offline,
            _ => &mut robot.sick,
        };
        if !set.remove(&c) {
            set.insert(c);
        }
    }

    /// Whether the answer of a look at a system on trial is on its way.
    fn is_looked_at(&self) -> bool {
        matches!(self.robot.state(), State::Trial(_)) && self.robot.is_awaited()
    }

    fn meddle(&mut self) {
        // Between a look at the health and its answer the agent would commit what somebody left. Were
        // the answer to say which system ran, this could happen as well.
        if self.is_looked_at() {
            return;
        }
        let system = self.by_hand();
        let action = self
            .chance
            .pick(&[Action::Test, Action::Boot, Action::Switch]);
        self.robot.meddle(action, system);
    }

    fn by_hand(&mut self) -> StorePath {
        system(self.chance.pick(&BY_HAND))
    }

    /// Nothing befalls the robot any more, and what was in its way is gone. What is wrong with the
    /// releases stays.
    fn calm(&mut self) {
        let robot = &mut self.robot;
        robot.log.note("it is left alone");
        robot.put_out_fuse();
        robot.refused_saves = 0;
        robot.refuses_what_was_told = false;
        robot.lost_one_shots = 0;
        robot.lost_reboots = 0;
        robot.collected = false;
        robot.no_boot = None;
        robot.no_room = None;
        robot.locked = false;
        robot.read_only = false;
        robot.silent = false;
        robot.unreadable = false;
        robot.drops.clear();
        robot.installer_drops = false;
        robot.outage = false;
        robot.closed.clear();
        robot.outcomes.clear();
        // What a robot falls back to works.
        let kept = robot.journal.confirmed.iter();
        let kept = kept.chain(&robot.journal.fallbacks);
        let mut works: Vec<StorePath> = kept.map(|kept| kept.system.clone()).collect();
        works.push(system(RELEASED[0]));
        for system in works {
            robot.sick.remove(&system);
            robot.slow.remove(&system);
            robot.offline.remove(&system);
        }
        robot.witness.leaves_alone();
        robot.start();
        let _ = robot.try_ask(Request::Resume { by: None });
    }

    /// Until the robot has come to rest and polled some times since. Its software says that it is
    /// free; a person settles what somebody switched by hand.
    fn rest(&mut self) {
        let (mut polls, mut steps) = (0, 0);
        while polls < 4 {
            self.steps += 1;
            steps += 1;
            if steps > PATIENCE {
                let due = self
                    .robot
                    .machine
                    .as_ref()
                    .map(surefoot_core::machine::Machine::deadline);
                let state = format!(
                    "after {steps} steps it is {:?}, pending {:?}, due {due:?}",
                    self.robot.state(),
                    self.robot.pending
                );
                self.robot.broken("comes-to-rest", &state);
            }
            let robot = &mut self.robot;
            robot.start();
            let busy = robot.leases.iter().next().is_none_or(|lease| lease.busy);
            if busy {
                let _ = robot.try_ask(end_lease(Ender::Anyone));
                let _ = robot.try_ask(lease(false, 1_000_000));
            }
            // A person asks once the agent has looked at the robot again.
            let drift = robot
                .machine
                .as_ref()
                .is_some_and(|machine| machine.drift().is_some());
            if drift && robot.pending.is_empty() {
                let _ = robot.try_ask(rollback(None, true, "settles what somebody switched"));
            }
            // A way back that does not get on is tried again later, or by a person who comes.
            let machine = robot.machine.as_ref();
            let stuck = robot.pending.is_empty()
                && machine.is_some_and(|machine| machine.stuck().is_some());
            if stuck {
                let _ = robot.try_ask(rollback(None, true, "it does not get on"));
            }
            // What somebody made the next boot's system is only noticed once it runs.
            if robot.meddled && robot.default != robot.current && robot.is_quiet() {
                robot.power_cut();
            }
            let idle = *robot.state() == State::Idle && robot.pending.is_empty();
            robot.advance();
            polls += u64::from(idle && robot.is_polling());
        }
    }
}

/// How a switch ends that does not go well.
fn outcome(chance: &mut Chance) -> Outcome {
    chance.pick(&[
        Outcome::UnitsFailed,
        Outcome::ActivationFailed,
        Outcome::Refused,
        Outcome::Locked,
        Outcome::NeedsReboot,
        Outcome::TimedOut,
        Outcome::Failed(7),
    ])
}
