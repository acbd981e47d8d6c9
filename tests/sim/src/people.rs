//! People and the robot's own software: what they ask for.

use crate::{release, robot::Robot};
use std::time::Duration;
use surefoot_core::{
    RollbackTo, StorePath,
    lease::{Ender, Holder, Owner},
    machine::{Answer, Event, Request},
};

/// The user of the robot's software.
pub const ROS: u32 = 400;

impl Robot {
    /// Somebody asks for something. The agent has to run.
    ///
    /// # Panics
    /// The agent does not run, or gives no answer.
    pub fn ask(&mut self, request: Request) -> Answer {
        self.try_ask(request).expect("the agent answers")
    }

    /// Somebody asks for something; no answer if the agent does not run, or dies over it.
    pub fn try_ask(&mut self, request: Request) -> Option<Answer> {
        self.feed(Event::Asked(request));
        self.answers.pop()
    }

    /// A release comes out, and somebody asks for it; then the robot is left alone.
    pub fn update_to(&mut self, c: char) {
        self.published = Some(release(c));
        let _ = self.ask(Request::Update);
        self.settle();
    }

    /// The robot's software says whether it is busy.
    ///
    /// # Errors
    /// The agent's refusal.
    pub fn lease(&mut self, busy: bool, seconds: u64) -> Answer {
        self.ask(lease(busy, seconds))
    }
}

/// The arm says for a while whether it is busy.
#[must_use]
pub fn lease(busy: bool, seconds: u64) -> Request {
    said(busy, Some(Duration::from_secs(seconds)), Holder(0))
}

/// The arm says it for as long as this connection lasts.
#[must_use]
pub fn held(busy: bool, over: Holder) -> Request {
    said(busy, None, over)
}

fn said(busy: bool, ttl: Option<Duration>, over: Holder) -> Request {
    Request::Lease {
        name: "gripper".parse().expect("a name"),
        busy,
        why: busy.then(|| "carries glass".into()),
        ttl,
        by: Owner {
            uid: ROS,
            name: "ros".into(),
            counted: format!("uid {ROS}"),
        },
        over,
    }
}

/// The arm says nothing more, or a technician ends what it says.
#[must_use]
pub fn end_lease(by: Ender) -> Request {
    Request::EndLease {
        name: "gripper".parse().expect("a name"),
        by,
    }
}

/// A person wants to keep a system, or no longer.
#[must_use]
pub fn keep(system: StorePath, undo: bool) -> Request {
    Request::Keep {
        what: RollbackTo::System(system),
        undo,
        by: "ada".into(),
    }
}

/// A person wants a blocked release tried again.
#[must_use]
pub fn unblock(system: StorePath) -> Request {
    Request::Unblock {
        what: RollbackTo::System(system),
        why: "the gripper was loose".into(),
        by: "ada".into(),
    }
}

/// A person wants to go back.
#[must_use]
pub fn rollback(to: Option<StorePath>, force: bool, why: &str) -> Request {
    Request::Rollback {
        to: to.map(RollbackTo::System),
        force,
        end_holds: false,
        why: why.into(),
        by: "ada".into(),
    }
}

/// Somebody holds the robot.
#[must_use]
pub fn hold(by: &str, seconds: Option<u64>) -> Request {
    Request::Hold {
        length: seconds.map(Duration::from_secs),
        why: "loading".into(),
        by: by.into(),
        counted: None,
    }
}
