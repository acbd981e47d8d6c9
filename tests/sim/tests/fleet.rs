//! A rollout over a fleet of 100 000 robots, by the code that decides on the robot: polls with jitter,
//! robots that are offline or restarted, one machine id for all, mirrors that stand still. No robot has a
//! wall clock here, for none takes part.
//!
//! The curve is drawn into `docs/src/rollout.svg`; `SUREFOOT_BLESS=1 cargo test` draws it anew.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers, for a picture and for shares"
)]

use jiff::Timestamp;
use std::{collections::BTreeMap, fmt::Write as _, sync::OnceLock, time::Duration};
use surefoot_core::{
    Foreign, Sha256, StorePath,
    gate::Stage,
    identity::Identity,
    machine::{
        Request,
        state::{Generation, Phase, State},
    },
    offers,
    release::{
        Listed, Manifest, Name, ROLLOUTS, RebootPolicy, Recall, Release, SPEC, System, Target,
    },
    retry,
    rollout::{Closed, Moment, Rollout},
    time::Instant,
};

/// Robots of the fleet by which the curve is judged, and of those by which the rest is.
const ROBOTS: usize = 100_000;
const FEWER: usize = 20_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const FRESH: Duration = Duration::from_secs(900);
/// Between two polls of a robot.
const POLL: Duration = Duration::from_secs(1800);
const JITTER: f64 = 0.2;
const WAVES: &str = "1% now, 100% after 1d";
/// What is kept of a run: the share every so often.
const SAMPLE: u64 = 15 * MINUTE;

/// Numbers by chance, the same each time (`SplitMix64`).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// The publisher's time, so long after the rollout began.
fn at(ms: u64) -> Timestamp {
    Timestamp::from_millisecond(1_795_000_000_000 + ms.cast_signed()).unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn system(c: char) -> StorePath {
    StorePath::from_base_name(&format!("{}-nixos-system", c.to_string().repeat(32))).unwrap()
}

fn release(id: &str, c: char) -> Release {
    let picker = System {
        toplevel: system(c),
        index: format!("closures/{c}.json.zst"),
        paths: 1,
        nar_size: 1,
    };
    Release {
        id: name(id),
        created: at(0),
        notes: String::new(),
        reboot: RebootPolicy::Auto,
        only: Vec::new(),
        again: false,
        moves: false,
        needs: Vec::new(),
        systems: BTreeMap::from([(name("picker"), picker)]),
        rollout: None,
        from: None,
        step_back: false,
        recalled: None,
    }
}

/// Release 1 for all, and release 2 by this plan.
fn manifest(rollout: &Rollout, recalled: Option<Recall>) -> Manifest {
    let mut two = release("2", 'b');
    two.needs = vec![name(ROLLOUTS)];
    two.rollout = Some(rollout.clone());
    two.recalled = recalled;
    Manifest {
        spec: SPEC,
        channel: name("stable"),
        releases: [release("1", 'a'), two]
            .map(|release| Listed::Known(Box::new(release)))
            .into(),
        gone: Vec::new(),
        foreign: Foreign::default(),
    }
}

fn plan() -> Rollout {
    Rollout::by_waves(&WAVES.parse().unwrap(), Vec::new(), at(0)).unwrap()
}

/// What the admin does, and when: the manifest from then on.
type Deeds = Vec<(u64, Manifest)>;

/// What keeps a robot from the repository as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// It is offline until then.
    Offline(u64),
    /// Its mirror stands still from then on.
    Frozen(u64),
    /// Its agent restarts at every poll.
    Restarts,
}

struct Robot {
    identity: Identity,
    trouble: Trouble,
    booted: u64,
    moment: Moment,
    version: u64,
    has: Generation,
    /// When it took release 2.
    took: Option<u64>,
    /// What it was told its turn is, by which manifest.
    turn: Option<(usize, Timestamp)>,
    /// It asks again at each poll, although its turn cannot have come.
    asks: bool,
}

/// A fleet and what became of it.
struct Run {
    robots: Vec<Robot>,
    /// The share that has release 2, every [`SAMPLE`].
    curve: Vec<f64>,
}

fn fleet(size: usize, chance: &mut Chance, trouble: impl Fn(u64) -> Trouble) -> Vec<Robot> {
    (0..size as u64)
        .map(|n| Robot {
            // One image, one machine id: the hardware tells them apart.
            identity: Identity {
                id: Some(name("0123456789abcdef0123456789abcdef")),
                hardware: Some(Sha256(std::array::from_fn(|at| {
                    if at < 8 { n.to_be_bytes()[at] } else { 7 }
                }))),
            },
            trouble: trouble(n),
            booted: chance.below(1000 * HOUR),
            moment: Moment::default(),
            version: 0,
            has: Generation {
                system: system('a'),
                release: Some(name("1")),
                since: None,
            },
            took: None,
            turn: None,
            asks: n % 64 == 0,
        })
        .collect()
}

/// Plays a rollout: the repository is signed every `refresh`, and at each deed.
fn play(
    size: usize,
    deeds: &Deeds,
    refresh: u64,
    end: u64,
    trouble: impl Fn(u64) -> Trouble,
) -> Run {
    let mut chance = Chance(28);
    let mut robots = fleet(size, &mut chance, trouble);
    let mut signed: Vec<u64> = (0..=end / refresh).map(|n| n * refresh).collect();
    signed.extend(deeds.iter().map(|(at, _)| *at));
    signed.sort_unstable();
    signed.dedup();
    let (model, minutes) = (name("picker"), (end / MINUTE) as usize);
    let mut due: Vec<Vec<(u64, usize)>> = vec![Vec::new(); minutes + 1];
    let poll = POLL.as_millis() as u64;
    for n in 0..robots.len() {
        let first = chance.below(poll);
        due[(first / MINUTE) as usize].push((first, n));
    }
    let mut curve = Vec::new();
    let mut have = 0;
    for minute in 0..=minutes {
        if (minute as u64 * MINUTE).is_multiple_of(SAMPLE) {
            curve.push(f64::from(have) / size as f64);
        }
        for (time, n) in std::mem::take(&mut due[minute]) {
            let robot = &mut robots[n];
            let had = robot.took.is_some();
            robot.polls(time, &signed, deeds, &model);
            have += i32::from(robot.took.is_some()) - i32::from(had);
            let next = time + retry::interval(POLL, JITTER, chance.next()).as_millis() as u64;
            if let Some(due) = due.get_mut((next / MINUTE) as usize) {
                due.push((next, n));
            }
        }
    }
    Run { robots, curve }
}

impl Robot {
    fn polls(&mut self, time: u64, signed: &[u64], deeds: &Deeds, model: &Name) {
        let sees = match self.trouble {
            Trouble::Offline(until) if time < until => return,
            Trouble::Frozen(since) => time.min(since),
            _ => time,
        };
        // Of the files that are there, counted from 1, and the manifest that they name.
        let version = signed.partition_point(|at| *at <= sees);
        let written = signed[version - 1];
        let deed = deeds.partition_point(|(at, _)| *at <= written) - 1;
        let manifest = &deeds[deed].1;
        if self.trouble == Trouble::Restarts {
            self.moment = Moment::default();
        }
        let now = Instant(self.booted + time);
        let news = version as u64 != self.version;
        self.version = version as u64;
        self.moment = (self.moment).after(version as u64, Some(at(written)), news, now);
        // The turn that is said is kept (a property of the plan), so most need not ask again before: that
        // is what makes this quick.
        let told = (self.turn).is_some_and(|(by, turn)| by == deed && at(time) < turn);
        if told && !self.asks {
            return;
        }
        let moment = self.moment.at(now, FRESH);
        // Whatever it is told, it is never later for the robot than it is.
        assert!(moment.unwrap() <= at(time));
        let robot = offers::Robot {
            identity: Some(&self.identity),
            moment,
            ..offers::Robot::by_hand(model, &[])
        };
        let choice = manifest.offers(&robot).choose(Some(&self.has));
        self.turn = match choice.waits {
            Some(offers::Waits::Turn(_, Closed::Until(turn))) => Some((deed, turn)),
            _ => None,
        };
        assert!(
            !told || self.turn.is_some(),
            "a turn came before it was said to"
        );
        let Some(target) = choice
            .target
            .filter(|target| target.system != self.has.system)
        else {
            return;
        };
        if target.release == name("2") {
            self.took = Some(time);
        } else {
            assert!(target.back.is_some(), "nobody goes back but by a recall");
            self.took = None;
        }
        self.has = Generation {
            system: target.system,
            release: Some(target.release),
            since: None,
        };
    }
}

fn straight() -> &'static [Run; 2] {
    static RUNS: OnceLock<[Run; 2]> = OnceLock::new();
    RUNS.get_or_init(|| {
        let deeds = vec![(0, manifest(&plan(), None))];
        [(ROBOTS, 15 * MINUTE), (FEWER, HOUR)]
            .map(|(size, refresh)| play(size, &deeds, refresh, 26 * HOUR, |_| Trouble::None))
    })
}

/// The open share, from 0 to 1.
fn open(plan: &Rollout, ms: u64) -> f64 {
    f64::from(plan.open_at(at(ms)).millionths()) / 1e6
}

#[test]
fn the_share_follows_the_plan_within_two_percent_and_never_runs_ahead() {
    let plan = plan();
    for (n, have) in straight()[0].curve.iter().enumerate() {
        let time = n as u64 * SAMPLE;
        let open = open(&plan, time);
        // What chance alone makes of 100 000 places is less than half a percent.
        assert!(*have <= open + 0.005, "{have} of {open} at {time}");
        // The first polls take an interval.
        if time >= HOUR {
            assert!(*have >= open - 0.02, "{have} of {open} at {time}");
        }
    }
    assert!(
        straight()[0]
            .robots
            .iter()
            .all(|robot| robot.took.is_some())
    );
    // No robot was let in before its turn.
    for robot in straight().iter().flat_map(|run| &run.robots) {
        let place = robot.identity.place(&name("2")).unwrap().millionths();
        assert!(plan.open_at(at(robot.took.unwrap())).millionths() > place);
    }
}

#[test]
fn what_keeps_robots_from_the_repository_opens_nothing() {
    let plan = plan();
    let frozen = 6 * HOUR;
    let deeds = vec![(0, manifest(&plan, None))];
    let run = play(FEWER, &deeds, 15 * MINUTE, 12 * HOUR, |n| match n % 4 {
        0 => Trouble::Offline(n % 12 * HOUR),
        1 => Trouble::Frozen(frozen),
        2 => Trouble::Restarts,
        _ => Trouble::None,
    });
    let mut took = [0; 4];
    for (n, robot) in run.robots.iter().enumerate() {
        let Some(time) = robot.took else { continue };
        took[n % 4] += 1;
        let place = robot.identity.place(&name("2")).unwrap().millionths();
        assert!(plan.open_at(at(time)).millionths() > place);
        if let Trouble::Frozen(since) = robot.trouble {
            // A mirror that stands still lets time go on for a quarter of an hour.
            let last = plan.open_at(at(since + 15 * MINUTE)).millionths();
            assert!(last > place);
        }
    }
    assert!(took.iter().all(|took| *took > 1_000), "{took:?}");
}

#[test]
fn after_a_pause_nobody_begins_and_afterwards_it_goes_on_where_it_was() {
    let (stop, go) = (6 * HOUR, 9 * HOUR);
    let mut paused = plan();
    paused.pause(at(stop)).unwrap();
    let mut resumed = paused.clone();
    resumed.resume(at(go)).unwrap();
    let deeds = vec![
        (0, manifest(&plan(), None)),
        (stop, manifest(&paused, None)),
        (go, manifest(&resumed, None)),
    ];
    let run = play(FEWER, &deeds, 15 * MINUTE, 30 * HOUR, |_| Trouble::None);
    let during = |time: &u64| (stop..go).contains(time);
    let took = || run.robots.iter().filter_map(|robot| robot.took);
    assert_eq!(took().filter(during).count(), 0);
    assert_eq!(took().count(), FEWER);
    for (n, have) in run.curve.iter().enumerate() {
        let time = n as u64 * SAMPLE;
        let plan = if time < go { &paused } else { &resumed };
        let open = open(plan, time);
        assert!(*have <= open + 0.01, "{have} of {open} at {time}");
        if time >= HOUR {
            assert!(*have >= open - 0.03, "{have} of {open} at {time}");
        }
    }
}

#[test]
fn after_a_recall_all_end_where_the_admin_said() {
    let (call, end) = (6 * HOUR, 9 * HOUR);
    for to in [None, Some(name("1"))] {
        let recall = Recall {
            why: "drops things".into(),
            at: at(call),
            to: to.clone(),
        };
        let deeds = vec![
            (0, manifest(&plan(), None)),
            (call, manifest(&plan(), Some(recall))),
        ];
        let run = play(FEWER, &deeds, 15 * MINUTE, end, |_| Trouble::None);
        let have = || run.robots.iter().filter_map(|robot| robot.took);
        assert!(have().all(|time| time < call), "nobody begins any more");
        let before = run.curve[(call / SAMPLE) as usize];
        assert!(before > 0.2, "{before}");
        let after = have().count() as f64 / FEWER as f64;
        match to {
            // Who has it stays.
            None => assert!((after - before).abs() < 0.001, "{after} of {before}"),
            Some(_) => assert!(have().next().is_none()),
        }
    }
}

#[test]
fn the_curve_is_drawn() {
    surefoot_sim::page::hold("rollout.svg", &draw(), "fleet");
}

/// Where the picture begins, and its width and height.
const FRAME: [f64; 4] = [60.0, 20.0, 660.0, 300.0];

/// Where a moment and a share lie in the picture, which shows 26 hours.
fn spot(ms: u64, share: f64) -> (f64, f64) {
    let [left, top, width, height] = FRAME;
    (
        left + width * (ms as f64 / HOUR as f64) / 26.0,
        top + height * (1.0 - share),
    )
}

fn line(points: &[(u64, f64)]) -> String {
    let mut text = String::new();
    for (ms, share) in points {
        let (x, y) = spot(*ms, *share);
        let _ = write!(text, "{x:.1},{y:.1} ");
    }
    text.trim_end().to_owned()
}

/// What robots have, as a line.
fn taken(run: &Run) -> String {
    let curve = run.curve.iter().enumerate();
    let points: Vec<(u64, f64)> = curve
        .map(|(n, share)| (n as u64 * SAMPLE, *share))
        .collect();
    line(&points)
}

/// The share over the hours: what is open, and what robots have with a refresh every 15 minutes and
/// every hour. Greys and colours that can be read on white and on black.
fn draw() -> String {
    let [left, _, width, _] = FRAME;
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 740 380\" role=\"img\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#808080\">\n<title>The share of 100000 \
         robots that has the release, over 26 hours</title>\n",
    );
    for percent in [0, 25, 50, 75, 100] {
        let (_, at) = spot(0, f64::from(percent) / 100.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{left} {at:.1}h{width}\" stroke=\"#808080\" stroke-opacity=\"0.35\"/>\
             <text x=\"52\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>",
            at + 4.5
        );
    }
    for hour in (0..=24).step_by(4) {
        let (at, _) = spot(hour * HOUR, 0.0);
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"340\" text-anchor=\"middle\">{hour} h</text>"
        );
    }
    let plan = plan();
    let open = [0, 24 * HOUR, 26 * HOUR].map(|ms| (ms, open(&plan, ms)));
    let [often, seldom] = straight();
    let lines = [
        ("#808080", "5 4", "open, by the plan", line(&open)),
        ("#2f8fd0", "none", "signed every 15 minutes", taken(often)),
        ("#d9782d", "none", "signed every hour", taken(seldom)),
    ];
    for (n, (colour, dash, label, points)) in lines.iter().enumerate() {
        let at = 90.0 + 210.0 * n as f64;
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dash}\"/>\n<path d=\"M{at} 366h28\" stroke=\"{colour}\" \
             stroke-width=\"3\" stroke-dasharray=\"{dash}\"/><text x=\"{}\" y=\"370\">{label}</text>",
            at + 36.0
        );
    }
    svg + "</svg>\n"
}

/// One whole robot that runs `a`, confirmed.
fn one() -> surefoot_sim::Robot {
    surefoot_sim::Robot::settled()
}

#[test]
fn a_release_in_steps_is_tried_only_right_after_the_repository_has_answered() {
    let fresh = Duration::from_secs(900);
    for by_boot in [false, true] {
        let mut robot = one();
        let target = Target {
            in_steps: true,
            ..surefoot_sim::release('b')
        };
        if by_boot {
            robot.needs_reboot.insert(surefoot_sim::system('b'));
        }
        robot.published = Some(target.clone());
        robot.closed.insert(if by_boot {
            Stage::Reboot
        } else {
            Stage::Activate
        });
        let _ = robot.ask(Request::Update);
        let waits = |robot: &surefoot_sim::Robot| match robot.state() {
            State::Ready(_) => !by_boot,
            State::Trial(trial) => trial.phase == Phase::Staged,
            _ => false,
        };
        robot.settle_until(waits);
        // Nobody answers for a while; then the gates open.
        robot.outage = true;
        let later = robot.now + 2 * fresh;
        robot.settle_until(|robot| robot.now > later);
        robot.closed.clear();
        let end = robot.now + 4 * fresh;
        robot.settle_until(|robot| robot.now > end);
        assert!(waits(&robot), "{:?}", robot.state());
        let problem = robot.machine.as_ref().unwrap().problem().unwrap();
        assert!(problem.contains("given out in steps"), "{problem}");
        robot.outage = false;
        robot.settle();
        assert_eq!(*robot.confirmed(), surefoot_sim::system('b'));
    }
}

#[test]
fn a_pause_ends_what_waits_for_its_trial_and_takes_nothing_from_who_has_it() {
    let mut robot = one();
    robot.published = Some(surefoot_sim::release('b'));
    robot.closed.insert(Stage::Activate);
    let _ = robot.ask(Request::Update);
    robot.settle_until(|robot| matches!(robot.state(), State::Ready(_)));
    let later = robot.now + Duration::from_secs(300);
    robot.settle_until(|robot| robot.now > later);
    robot.published = None;
    robot.closed.clear();
    robot.settle();
    assert_eq!(*robot.confirmed(), surefoot_sim::system('a'));
    assert!(robot.journal.blocked.is_empty());
}
