//! The agent that stands still: what it remembers cannot be read or written, or belongs to a newer
//! agent; or its configuration cannot be used.
//!
//! It answers, and says why it does nothing. It asks no repository, begins nothing, goes on with nothing
//! and takes no guard back: a dead-man timer or the deadline of a boot that is armed leads back without
//! it. It starts anew as soon as its memory and its configuration can be used.
//!
//! The one thing that it does is a rollback that a person asks for. It is decided as from rest, after a
//! look at the robot. Where its memory cannot be used nobody can tell what else is under way, and the
//! rollback is not remembered: to the next agent that can read and write, somebody has switched by hand.

use crate::control::{Asked, RequestError};
use std::borrow::Cow;
use surefoot_core::{
    journal::Journal,
    machine::{DriftPolicy, Policy, Refusal, Request, state::State},
    resolver::{SwitchUnit, World},
    time::Instant,
};

/// That the agent stands still.
#[derive(Debug)]
pub(crate) struct Still {
    why: String,
    because: Because,
    /// What the journal says is under way: tells which unit to look for.
    state: State,
    /// A rollback that waits for a look at the robot.
    waits: Option<Asked>,
    /// Those who want to say "busy", while it is looked whether a guard is armed. That look leads to nothing
    /// else.
    wants_busy: Vec<Asked>,
    /// A switch that is under way runs, of whomever.
    switching: bool,
    /// A rollback is being carried out.
    at_work: bool,
}

/// What cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Because {
    /// What it remembers.
    Memory,
    /// The configuration; its memory is good.
    Configuration,
}

impl Still {
    /// Why, and what the journal says is under way.
    pub(crate) const fn new(because: Because, why: String, state: State) -> Self {
        Self {
            because,
            why,
            state,
            waits: None,
            wants_busy: Vec::new(),
            switching: false,
            at_work: false,
        }
    }

    /// Why nothing is decided.
    pub(crate) fn why(&self) -> &str {
        &self.why
    }

    /// It cannot be used for another reason now.
    pub(crate) fn explain(&mut self, why: String) {
        self.why = why;
    }

    /// What cannot be used.
    pub(crate) const fn because(&self) -> Because {
        self.because
    }

    /// Whether what is done now is written: a rollback, where the memory is good.
    pub(crate) fn remembers(&self) -> bool {
        self.at_work && self.because == Because::Configuration
    }

    /// What the journal says is under way.
    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    /// Whether a rollback is being carried out.
    pub(crate) const fn at_work(&self) -> bool {
        self.at_work
    }

    /// Whether nobody waits for anything. A look that fails answers nobody, so whoever has given up counts no
    /// more.
    pub(crate) fn is_idle(&self) -> bool {
        let waits = |asked: &Asked| !asked.reply.is_closed();
        !self.at_work && !self.waits.as_ref().is_some_and(waits)
    }

    /// Keeps a rollback until the robot was looked at. Only the last one waits: whoever asked before is
    /// told so.
    pub(crate) fn wait(&mut self, asked: Asked) {
        if let Some(before) = self.waits.replace(asked) {
            let why = "nothing was done: another rollback was asked for in its place".to_owned();
            // They may have left by now.
            let _ = before.reply.send(Err(RequestError::Failed(why)));
        }
    }

    /// Keeps somebody who wants to say "busy" until it is known whether a guard is armed; whether it is to be
    /// looked now.
    pub(crate) fn wait_for_guards(&mut self, asked: Asked) -> bool {
        self.wants_busy.retain(|asked| !asked.reply.is_closed());
        self.wants_busy.push(asked);
        self.wants_busy.len() == 1
    }

    /// It was looked whether a guard is armed: who waited for that, and why they are told no, if they are.
    /// Whoever takes something into the hand now could not be saved from a guard that nobody here takes back.
    pub(crate) fn guards(&mut self, armed: anyhow::Result<bool>) -> (Vec<Asked>, Option<Refusal>) {
        let why = match armed {
            Ok(false) => None,
            Ok(true) => Some(format!(
                "a guard is armed that switches or reboots the robot by itself, and {}: it must stay free \
                 until then",
                self.why
            )),
            Err(error) => Some(format!(
                "the robot does not let itself be looked at: {error:#}"
            )),
        };
        (
            std::mem::take(&mut self.wants_busy),
            why.map(Refusal::Refused),
        )
    }

    /// What a look at the robot found, as far as it may lead to anything; and who waited for it.
    pub(crate) fn looked(&mut self, world: World) -> (World, Option<Asked>) {
        self.switching = world.switch == SwitchUnit::Running;
        let world = World {
            switch: SwitchUnit::Gone,
            leftovers: false,
            ..world
        };
        (world, self.waits.take())
    }

    /// Lets a request pass, or says why not. A rollback that passes is at work.
    ///
    /// # Errors
    /// In words for whoever asked.
    pub(crate) fn let_pass(&mut self, request: &Request) -> Result<(), String> {
        let why = &self.why;
        match request {
            Request::Rollback { .. } if self.switching && !self.at_work => Err(format!(
                "a switch is under way, and {why}; try again when it has ended"
            )),
            Request::Rollback { .. } => {
                self.at_work = true;
                Ok(())
            }
            // What the robot's software says counts for a rollback too, and lies elsewhere. A hold that
            // is ended is one again after a restart.
            Request::Lease { .. } | Request::EndLease { .. } | Request::Resume { .. } => Ok(()),
            Request::Update
            | Request::Hold { .. }
            | Request::Keep { .. }
            | Request::Unblock { .. } => {
                Err(format!("nothing was done and nothing will be: {why}"))
            }
        }
    }

    /// What is to be written where this is decided: what was under way stays written until a rollback has
    /// taken its place.
    pub(crate) fn written<'a>(&self, journal: &'a Journal) -> Cow<'a, Journal> {
        if journal.state != State::Idle || self.state == State::Idle {
            return Cow::Borrowed(journal);
        }
        Cow::Owned(Journal {
            state: self.state.clone(),
            ..journal.clone()
        })
    }

    /// Comes to rest again where nothing is under way any more. A rollback that is under way, and written, has
    /// taken the place of what was.
    pub(crate) fn rest(&mut self, state: &State) {
        if *state != State::Idle && self.remembers() {
            self.state = State::Idle;
        }
        self.at_work &= *state != State::Idle;
    }
}

/// A journal to decide by from rest. Its units have numbers that none had before in this boot: systemd
/// remembers those that ended.
pub(crate) fn at_rest(journal: Journal, now: Instant) -> Journal {
    Journal {
        state: State::Idle,
        units: journal.units.max(now.0),
        ..journal
    }
}

/// What the configuration says, as far as it may lead to anything.
pub(crate) fn policy(policy: &Policy) -> Policy {
    Policy {
        drift: DriftPolicy::Report,
        ..policy.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollback() -> Request {
        Request::Rollback {
            to: None,
            force: false,
            end_holds: false,
            why: "x".into(),
            by: "root".into(),
        }
    }

    fn world(switch: SwitchUnit) -> World {
        World {
            boot: surefoot_core::time::BootId("1".into()),
            booted: None,
            current: None,
            profile: None,
            default: None,
            silent: false,
            dead_man: true,
            switch,
            leftovers: true,
            variant: false,
            locked: false,
            trace: surefoot_core::resolver::Trace::default(),
        }
    }

    #[test]
    fn only_a_rollback_is_begun_and_none_beside_another_switch() {
        let rollback = rollback();
        let hold = Request::Hold {
            length: None,
            why: "x".into(),
            by: "ada".into(),
            counted: None,
        };
        let mut still = Still::new(Because::Memory, "the disk is read-only".into(), State::Idle);
        for request in [Request::Update, hold] {
            let why = still.let_pass(&request).unwrap_err();
            assert!(why.contains("the disk is read-only"), "{why}");
        }
        still.let_pass(&Request::Resume { by: None }).unwrap();
        assert!(!still.at_work());
        let (seen, _) = still.looked(world(SwitchUnit::Running));
        assert!(!seen.leftovers && seen.dead_man);
        still.let_pass(&rollback).unwrap_err();
        still.looked(world(SwitchUnit::Gone));
        still.let_pass(&rollback).unwrap();
        assert!(still.at_work() && !still.remembers());
        assert!(!still.is_idle());
        still.rest(&State::Idle);
        assert!(!still.at_work() && still.is_idle());
    }

    #[test]
    fn a_rollback_is_remembered_where_only_the_configuration_is_wrong() {
        let why = "config.toml: it is not UTF-8".to_owned();
        let mut still = Still::new(Because::Configuration, why, State::Idle);
        // What the journal says is under way stays written until somebody asks for a rollback.
        assert!(!still.remembers());
        still.let_pass(&rollback()).unwrap();
        assert!(still.remembers());
        still.rest(&State::Idle);
        assert!(!still.remembers());
    }

    #[test]
    fn what_was_under_way_stays_written_until_a_rollback_has_taken_its_place() {
        let trial = State::Unknown(serde_json::Map::new().into());
        let under_way = Journal {
            state: trial.clone(),
            units: 7,
            ..Journal::default()
        };
        let why = "config.toml: it is not UTF-8".to_owned();
        let mut still = Still::new(Because::Configuration, why, trial.clone());
        let rested = at_rest(under_way.clone(), Instant(3));
        assert_eq!(*still.written(&rested), under_way);
        still.let_pass(&rollback()).unwrap();
        // It was refused, or its caller could not be told.
        still.rest(&State::Idle);
        assert_eq!(*still.written(&rested), under_way);
        still.let_pass(&rollback()).unwrap();
        still.rest(&trial);
        still.rest(&State::Idle);
        assert_eq!(*still.written(&rested), rested);
    }

    #[test]
    fn nobody_gets_busy_who_could_be_hit_by_a_guard() {
        let mut still = Still::new(Because::Memory, "the disk is read-only".into(), State::Idle);
        assert_eq!(still.guards(Ok(false)).1, None);
        let armed = still.guards(Ok(true)).1.unwrap().to_string();
        assert!(armed.contains("the disk is read-only"), "{armed}");
        // That nobody can tell is no "no".
        still
            .guards(Err(anyhow::anyhow!("systemd does not answer")))
            .1
            .unwrap();
    }

    #[test]
    fn a_journal_at_rest_keeps_what_was_proven_and_uses_no_unit_again() {
        let journal = Journal {
            units: 7,
            lost: None,
            ..Journal::default()
        };
        assert_eq!(at_rest(journal.clone(), Instant(3)).units, 7);
        assert_eq!(at_rest(journal, Instant(900)).units, 900);
    }
}
