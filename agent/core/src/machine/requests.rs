//! What people and programs ask for.

use super::{
    blocking::are,
    decision::Decision,
    effect::Effect,
    event::{Answer, Refusal, Request},
    gates::Said,
};
use crate::{
    RollbackTo, StorePath,
    events::Kind,
    gate::{self, Stage},
    hold::{Expiry, Hold},
    journal::{MAX_HOLDS, MAX_HOLDS_OF_APPS, MAX_HOLDS_OF_ONE},
    machine::state::{Cause, Evidence, Fetching, Generation, Origin, Phase, State, Trial},
    switch::Action,
};
use std::time::Duration;

impl Decision<'_> {
    pub(super) fn on_asked(&mut self, request: Request) -> Answer {
        let asked = request.untold(None);
        let answer = self.answer(request);
        if answer.is_ok()
            && let Some(asked) = asked
        {
            self.was_heard(&asked);
        }
        answer
    }

    fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::Update => self.on_update_request(),
            Request::Rollback {
                to,
                force,
                end_holds,
                why,
                by,
            } => {
                if end_holds {
                    self.end_holds_and_roll_back(to, force, why, by)
                } else {
                    self.on_rollback_request(to, force, why, by)
                }
            }
            Request::Lease {
                name,
                busy,
                why,
                ttl,
                by,
                over,
            } => {
                let said = Said {
                    name,
                    busy,
                    why,
                    by,
                };
                self.on_lease_request(said, ttl, over)
            }
            Request::EndLease { name, by } => self.on_end_lease_request(&name, by),
            Request::Hold {
                length,
                why,
                by,
                counted,
            } => self.on_hold_request(length, why, by, counted),
            Request::Keep { what, undo, by } => self.on_keep_request(&what, undo, by),
            Request::Unblock { what, why, by } => self.on_unblock_request(&what, &why, &by),
            Request::Resume { by } => self.on_resume_request(by.as_deref()),
        }
    }

    fn on_hold_request(
        &mut self,
        length: Option<Duration>,
        why: String,
        by: String,
        counted: Option<String>,
    ) -> Answer {
        self.expire();
        self.has_room_for_hold(&by, counted.as_deref())?;
        let expiry = length.map(|length| Expiry {
            length,
            boot: self.cx.boot.clone(),
            from: self.cx.now,
        });
        self.happened(Kind::Held {
            owner: by.clone(),
            why: why.clone(),
            length,
        });
        let holds = &mut self.journal.holds;
        holds.retain(|hold| hold.owner != by);
        holds.push(Hold {
            owner: by,
            why,
            since: self.cx.wall,
            expiry,
            counted,
        });
        Ok(match length {
            Some(length) => format!("nothing is switched for {} s", length.as_secs()),
            None => "nothing is switched until somebody resumes".to_owned(),
        })
    }

    /// Whether one more hold is remembered: of this owner, who is counted with this user if it is the
    /// robot's own software. What the owner holds already is replaced, and needs no room.
    fn has_room_for_hold(&self, by: &str, counted: Option<&str>) -> Result<(), Refusal> {
        let holds = self.journal.holds.iter();
        let others: Vec<&Hold> = holds.filter(|hold| hold.owner != by).collect();
        let refused = |why: String| Err(Refusal::Refused(why));
        if let Some(counted) = counted {
            let of_apps = others.iter().filter_map(|hold| hold.counted.as_deref());
            if of_apps.clone().filter(|of| *of == counted).count() >= MAX_HOLDS_OF_ONE {
                return refused(format!(
                    "you have {MAX_HOLDS_OF_ONE} holds already, by this name and others; end one of them"
                ));
            }
            if of_apps.count() >= MAX_HOLDS_OF_APPS {
                return refused(format!(
                    "the robot's own software has {MAX_HOLDS_OF_APPS} holds already, and no more are \
                     remembered"
                ));
            }
        }
        if others.len() >= MAX_HOLDS {
            return refused(format!(
                "{MAX_HOLDS} others hold updates already, and no more are remembered"
            ));
        }
        Ok(())
    }

    fn on_resume_request(&mut self, by: Option<&str>) -> Answer {
        self.expire();
        let holds = &mut self.journal.holds;
        let theirs = |hold: &mut Hold| by.is_none_or(|by| by == hold.owner);
        let ended: Vec<Hold> = holds.extract_if(.., theirs).collect();
        let left: Vec<String> = holds.iter().map(|h| h.owner.clone()).collect();
        if ended.is_empty() {
            return Err(Refusal::NothingToDo(if left.is_empty() {
                "there is no hold".to_owned()
            } else {
                format!("you have no hold; {} has", left.join(", "))
            }));
        }
        for hold in ended {
            self.happened(Kind::HoldEnded { owner: hold.owner });
        }
        self.ask_gates_if_free();
        Ok(if left.is_empty() {
            "resumed".to_owned()
        } else {
            format!("your hold is gone; {} still holds", left.join(", "))
        })
    }

    fn on_update_request(&mut self) -> Answer {
        self.expire();
        if let Some(hold) = self.journal.holds.first() {
            return Err(Refusal::Refused(format!(
                "{} holds updates: {}",
                hold.owner, hold.why
            )));
        }
        if let Some(system) = &self.memory.drift {
            return Err(Refusal::Refused(format!(
                "somebody switched by hand to {system}; `surefoot rollback` goes back to the \
                 confirmed system"
            )));
        }
        // A person who knows the robot says go.
        self.journal.lost = None;
        self.memory.traffic.excuse();
        self.journal.disturbances = None;
        self.memory.setbacks = 0;
        // What they said before is not an answer.
        self.memory.closed.clear();
        match &self.journal.state {
            State::Idle => {
                self.memory.retry = None;
                self.poll();
                Ok("looking for an update".to_owned())
            }
            State::Fetching(Fetching { target }) => {
                let target = target.clone();
                if self.memory.retry.take().is_some() {
                    self.effects.push(Effect::AskGates(Stage::Download));
                }
                self.poll();
                Ok(format!("release {} is being fetched", target.release))
            }
            State::Committing(_) if self.commit_waits() => {
                self.retry_commit_for_update();
                Ok("the commit is tried again".to_owned())
            }
            State::Reverting(_) if self.is_stuck() => {
                self.begin_round_as_asked();
                Ok("the way back is tried again".to_owned())
            }
            state => {
                let answer = format!("an update is under way ({})", state.name());
                if state.waits_for().is_some() {
                    self.poll();
                }
                self.ask_gates_if_free();
                Ok(answer)
            }
        }
    }

    /// A rollback for which all holds end: with it, or not at all.
    fn end_holds_and_roll_back(
        &mut self,
        to: Option<RollbackTo>,
        force: bool,
        why: String,
        by: String,
    ) -> Answer {
        self.expire();
        let ended = std::mem::take(&mut self.journal.holds);
        let owners: Vec<&str> = ended.iter().map(|hold| hold.owner.as_str()).collect();
        // It stands in the history: whoever held is to know why that ended.
        let why = if owners.is_empty() {
            why
        } else {
            let owners = owners.join(", ");
            format!("{why}; for that these holds were ended: {owners}")
        };
        let answer = self.on_rollback_request(to, force, why, by);
        if answer.is_err() {
            self.journal.holds = ended;
            return answer;
        }
        for Hold { owner, .. } in ended {
            self.happened(Kind::HoldEnded { owner });
        }
        answer
    }

    fn on_rollback_request(
        &mut self,
        to: Option<RollbackTo>,
        force: bool,
        why: String,
        by: String,
    ) -> Answer {
        match &self.journal.state {
            State::Trial(Trial {
                target: Some(_),
                previous,
                phase,
                late,
                ..
            }) => {
                if to.is_some_and(|to| !self.is_named(&to, previous)) {
                    return Err(Refusal::Refused(format!(
                        "a trial is under way; it can only be ended towards {previous}"
                    )));
                }
                if matches!(phase, Phase::Aiming | Phase::Booting) {
                    return Err(Refusal::Refused(
                        "the robot is rebooting into the trial; try again when it is back"
                            .to_owned(),
                    ));
                }
                let (previous, waits) = (previous.clone(), late.is_some());
                if waits {
                    // The robot works until nobody minds, so it may hold something.
                    self.may_go_back(force, &by)?;
                }
                let answer = format!("going back to {previous}");
                self.revert_trial(Evidence::plain(Cause::Rollback, format!("{by}: {why}")));
                Ok(answer)
            }
            State::Reverting(_) => self.roll_back_from_revert(to.as_ref(), force, (&why, &by)),
            State::Unknown(_) => self.roll_back_from_unknown(to.as_ref(), force, &by),
            State::Committing(_) => self.roll_back_from_commit(to.as_ref(), force, (&why, &by)),
            State::Idle | State::Fetching(_) | State::Ready(_) | State::Trial(_) => {
                self.roll_back(to, force, (why, by), false)
            }
        }
    }

    /// Whether a system is the one that somebody named.
    pub(super) fn is_named(&self, to: &RollbackTo, system: &StorePath) -> bool {
        self.journal.is_named(to, system)
    }

    /// Why there is no way back to what somebody named.
    fn is_not_kept(&self, to: &RollbackTo) -> String {
        let confirmed = self.journal.confirmed.as_ref();
        if confirmed.is_some_and(|now| to.names(&now.system, now.release.as_ref())) {
            return format!("{to} is the confirmed system, and it runs");
        }
        let fallbacks = self.journal.fallbacks.iter();
        let kept: Vec<String> = fallbacks
            .map(|generation| match &generation.release {
                Some(release) => release.to_string(),
                None => generation.system.to_string(),
            })
            .collect();
        let kept = if kept.is_empty() {
            "none is kept".to_owned()
        } else {
            format!("kept are {}", kept.join(", "))
        };
        format!("{to} is not among the systems that this robot has confirmed before: {kept}")
    }

    /// Whether a person may have the robot switched now.
    pub(super) fn may_go_back(&mut self, force: bool, by: &str) -> Result<(), Refusal> {
        self.expire();
        let mut holds = self.journal.holds.iter();
        if let Some(hold) = holds.find(|h| h.owner != by) {
            return Err(Refusal::Refused(format!(
                "{} holds the robot: {}; `surefoot resume` ends the hold, and root's `surefoot rollback \
                 --resume` where no agent answers",
                hold.owner, hold.why
            )));
        }
        let busy = self.busy();
        if !force && !busy.is_empty() {
            return Err(Refusal::Refused(format!(
                "the robot is busy: {}; look whether it may be touched, and if so, `surefoot rollback \
                 --force`",
                gate::summary(&busy)
            )));
        }
        Ok(())
    }

    /// Goes back to a system that was confirmed before; `was_booted`: what runs was, so that only a boot leads
    /// anywhere else.
    pub(super) fn roll_back(
        &mut self,
        to: Option<RollbackTo>,
        force: bool,
        (why, by): (String, String),
        was_booted: bool,
    ) -> Answer {
        self.may_go_back(force, &by)?;
        let journal = &self.journal;
        // Somebody else's switch is left for the confirmed system; a confirmed one for the one
        // before it.
        let drifted = self.memory.drift.is_some();
        let known = journal.confirmed.iter().filter(|_| drifted);
        let mut known = known.chain(&journal.fallbacks);
        let goal = match &to {
            None => known.next(),
            Some(to) => {
                known.find(|generation| to.names(&generation.system, generation.release.as_ref()))
            }
        };
        let Some(goal) = goal.cloned() else {
            return Err(Refusal::NothingToDo(match to {
                Some(to) => self.is_not_kept(&to),
                None => "there is no earlier confirmed system to go back to".to_owned(),
            }));
        };
        let previous = match (&self.memory.drift, &journal.confirmed) {
            (Some(drift), _) => drift.clone(),
            (None, Some(confirmed)) => confirmed.system.clone(),
            (None, None) => goal.system.clone(),
        };
        // A switch would leave the robot with a kernel that is not the system's own.
        let other_kernel = self.cx.by_boot.contains(&goal.system);
        let reboot = other_kernel || was_booted;
        let mut answer = if reboot {
            format!(
                "going back to {}: {}, so the robot reboots{}",
                goal.system,
                if other_kernel {
                    "it has another kernel, initrd or parameters"
                } else {
                    "what runs was booted"
                },
                match journal.holds.first() {
                    Some(hold) => format!(" when the hold of {} ends", hold.owner),
                    None => String::new(),
                }
            )
        } else {
            format!("going back to {}", goal.system)
        };
        let mut blocked = self.block_passed(&goal, &why, &by);
        blocked.extend(self.block_put_aside(&previous, &why, &by));
        if !blocked.is_empty() {
            let blocked = are(&blocked);
            answer = format!("{answer}; {blocked} blocked until `surefoot unblock` or a newer one");
        }
        let goal = Generation {
            since: self.cx.wall,
            ..goal
        };
        let origin = Origin::Rollback { why, by };
        if matches!(self.journal.state, State::Fetching(_) | State::Ready(_)) {
            self.effects.push(Effect::CancelFetch);
        }
        let action = if reboot { Action::Boot } else { Action::Switch };
        self.begin_commit(goal, None, previous, origin, (action, reboot));
        Ok(answer)
    }
}
