//! One client that says anything.

use super::{Asked, Desk, Published, Roles, client::converse, roles::Caller, wire::Wire};
use crate::doctor::Practice;
use serde_json::Value;
use std::{cell::RefCell, sync::Arc};
use surefoot_core::{control::Status, machine::Request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    runtime::{Builder, Runtime},
    sync::{mpsc, watch},
};

/// Nobody's user, in the group of the technicians.
const GROUP: u32 = 4242;

thread_local! {
    static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

/// Says something as a technician, hangs up, and listens to the answers.
pub(crate) fn talk(said: &[u8]) {
    RUNTIME.with_borrow_mut(|runtime| {
        if runtime.is_none() {
            *runtime = Builder::new_current_thread().enable_all().build().ok();
        }
        if let Some(runtime) = runtime {
            runtime.block_on(one(said));
        }
    });
}

async fn one(said: &[u8]) {
    let Ok((ours, mut theirs)) = UnixStream::pair() else {
        return;
    };
    let (asking, mut asked) = mpsc::channel::<Asked>(1);
    let (_published, published) = watch::channel(Published::now(status(), Arc::from([])));
    let (_roles, roles) = watch::channel(Roles::of_groups(GROUP, GROUP));
    let caller = Caller {
        uid: u32::MAX - 1,
        pid: 1,
        groups: vec![GROUP],
    };
    let desk = Desk {
        requests: asking,
        published,
        roles,
        practice: Practice::new(watch::Sender::new(None).subscribe()),
    };
    let agent = async {
        while let Some(Asked { request, reply }) = asked.recv().await {
            if let Request::Rollback { why, .. } | Request::Hold { why, .. } = &request {
                assert!(!why.is_empty() && !why.chars().any(char::is_control));
            }
            let _ = reply.send(Ok("so be it".to_owned()));
        }
    };
    let client = async {
        let _ = theirs.write_all(said).await;
        let _ = theirs.shutdown().await;
        let mut heard = Vec::new();
        let _ = theirs.read_to_end(&mut heard).await;
        heard
    };
    let (heard, (), ()) = tokio::join!(client, converse(Wire(ours), caller, desk), agent);
    for answer in heard.split_inclusive(|byte| *byte == 0) {
        let whole = answer
            .strip_suffix(&[0])
            .and_then(|answer| serde_json::from_slice::<Value>(answer).ok());
        assert!(whole.is_some_and(|answer| answer.is_object()));
    }
}

fn status() -> Status {
    Status {
        version: "0".to_owned(),
        ..Status::default()
    }
}
