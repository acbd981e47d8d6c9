//! One client that says anything.

use super::{
    caller::Caller,
    client::Clients,
    conversation::converse,
    handle::{AgentHandle, Asked, Published},
    line::Line,
    roles::Roles,
    users::User,
};
use crate::{doctor::Doctor, systems::Systems};
use serde_json::Value;
use std::{cell::RefCell, sync::Arc};
use surefoot_api::StatusInfo;
use surefoot_base::text::is_hidden;
use surefoot_core::machine::Request;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, watch},
};

/// Nobody's user, in the group of the technicians.
const GROUP: u32 = 4242;

/// What is the same for each client.
struct Agent {
    runtime: Runtime,
    handle: AgentHandle,
    asked: mpsc::Receiver<Asked>,
    _speaks: (watch::Sender<Published>, watch::Sender<Roles>),
}

thread_local! {
    static AGENT: RefCell<Option<Agent>> = const { RefCell::new(None) };
}

/// Says something as a technician, hangs up, and listens to the answers.
pub(crate) fn talk(said: &[u8]) {
    AGENT.with_borrow_mut(|agent| agent.get_or_insert_with(Agent::new).hears(said));
}

impl Agent {
    #[allow(clippy::expect_used, reason = "without a runtime nothing is fuzzed")]
    fn new() -> Self {
        let status = StatusInfo {
            version: "0".to_owned(),
            ..StatusInfo::default()
        };
        let runtime = Builder::new_current_thread().enable_time().build();
        let (requests, asked) = mpsc::channel(1);
        let (publish, published) = watch::channel(Published::now(status, Arc::from([])));
        let (decide, roles) = watch::channel(Roles::of_groups(GROUP, GROUP));
        Self {
            runtime: runtime.expect("a runtime"),
            handle: AgentHandle {
                requests,
                lost: mpsc::unbounded_channel().0,
                published,
                roles,
                doctor: Doctor::new(watch::Sender::new(None).subscribe()),
                systems: Systems::new(watch::Sender::new(None).subscribe()),
            },
            asked,
            _speaks: (publish, decide),
        }
    }

    fn hears(&mut self, said: &[u8]) {
        let caller = Caller {
            line: Line::default(),
            uid: u32::MAX - 1,
            pid: 1,
            groups: vec![GROUP],
        };
        let mut heard = Vec::new();
        let role = self.handle.roles.borrow().of(&caller);
        let entered = Clients::default().enter(caller, role, User::Unlisted);
        let Ok((client, _)) = entered else { return };
        let talk = converse(said, &mut heard, client, self.handle.clone());
        let asked = &mut self.asked;
        let answers = async {
            while let Some(Asked { request, reply, .. }) = asked.recv().await {
                if let Request::Rollback { why, .. } | Request::Hold { why, .. } = &request {
                    assert!(!why.is_empty() && !why.chars().any(is_hidden));
                }
                let _ = reply.send(Ok("so be it".to_owned()));
            }
        };
        self.runtime.block_on(async {
            tokio::select! { () = talk => {}, () = answers => {} }
        });
        for answer in heard.split_inclusive(|byte| *byte == 0) {
            let whole = answer
                .strip_suffix(&[0])
                .and_then(|answer| serde_json::from_slice::<Value>(answer).ok());
            assert!(whole.is_some_and(|answer| answer.is_object()));
        }
    }
}
