//! Lives out of one number each: every promise is kept, whatever befalls the robot.
//!
//! `SUREFOOT_SIM_SEED=N cargo nextest run -p surefoot-sim --test lives` lives that one alone;
//! `surefoot-sim` lives as many as somebody wants.

use surefoot_sim::{properties, run::Run};

/// Robots that live in each test run.
const ROBOTS: u64 = 250;

#[test]
fn every_promise_is_kept_in_every_life() {
    let seeds = match std::env::var("SUREFOOT_SIM_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("SUREFOOT_SIM_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..ROBOTS,
    };
    for seed in seeds {
        let mut run = Run::new(seed);
        if let Err(failure) = run.live() {
            panic!(
                "SUREFOOT_SIM_SEED={seed} breaks {}:\n{}",
                failure.property(),
                failure.what
            );
        }
    }
}

#[test]
fn a_number_gives_the_same_life_again() {
    let log = |seed| {
        let mut run = Run::new(seed);
        let _ = run.live();
        run.robot.log.to_string()
    };
    assert_eq!(log(3), log(3));
    assert_ne!(log(3), log(4));
}

#[test]
fn every_property_has_words() {
    for property in properties::ALL {
        assert!(!property.promise.is_empty(), "{}", property.name);
    }
}
