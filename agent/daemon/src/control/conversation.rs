//! The conversation with one client.

use super::{
    answer::{Response, answer},
    client::Client,
    handle::AgentHandle,
    holding::Holding,
    limits::IDLE,
    places::Doing,
    stream::{CallReader, MessageWriter},
};
use futures_util::poll;
use std::{pin::pin, task::Poll, time::Duration};
use surefoot_api::{
    ErrorReply, message,
    method::{StatusReply, Watch},
};
use surefoot_core::lease::Holder;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
    time::timeout,
};

/// Answers calls until the client goes, breaks the protocol, is silent for [`IDLE`], or does not
/// listen.
pub(super) async fn converse(
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    client: Client,
    agent: AgentHandle,
) {
    let mut calls = CallReader::new(read);
    let mut writer = MessageWriter(write);
    let mut holding = Holding::new(Holder(client.id()), agent.lost.clone());
    loop {
        let (doing, idle) = between_calls(&holding);
        client.does(doing);
        let call = match timeout(idle, calls.next()).await {
            Ok(Ok(Some(call))) => call,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::debug!(%client, %error, "a client was hung up on");
                return;
            }
        };
        client.does(doing.max(Doing::Busy));
        client.turn().await;
        let oneway = call.oneway;
        let answered = answer(call, &client, &mut holding, &agent).await;
        // Before the caller hears it: what follows upon an answer did not wait.
        if !calls.has_more() {
            client.line.was_answered();
        }
        let message = match answered {
            Ok(Response::Watch(call)) => {
                client.does(between_calls(&holding).0);
                return watch(call, calls, writer, client, agent).await;
            }
            _ if oneway => {
                // Whoever wants no answer needs none.
                if let Some(receipt) = client.receipt() {
                    let _ = receipt.send(());
                }
                continue;
            }
            Ok(Response::Reply(message)) => match client.receipt() {
                None => Ok(message),
                Some(receipt) => match tell(&client, receipt, &message) {
                    Told::Yes => continue,
                    Told::Not(error) => Err(error),
                    Told::Half => return,
                },
            },
            Err(error) => Err(error),
        };
        let message = match message.or_else(|error| message::error(&error)) {
            Ok(message) => message,
            Err(_) => return,
        };
        let mut sending = pin!(writer.send(&message));
        let sent = match poll!(sending.as_mut()) {
            Poll::Ready(sent) => sent,
            Poll::Pending => {
                if !holding.any() {
                    client.does_not_listen();
                }
                sending.await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Whether a caller was told something before it happens.
enum Told {
    Yes,
    /// Not a byte of it, and nothing comes of what they asked for: that is to be said instead.
    Not(ErrorReply),
    /// The beginning: nothing more can be said.
    Half,
}

/// Hands the caller an answer that the agent waits for. It is tried once: nothing that the agent does waits
/// for a caller that does not read. Nothing else runs between the look whether the agent still waits and the
/// answer.
fn tell(client: &Client, receipt: oneshot::Sender<()>, message: &[u8]) -> Told {
    let failed = |why: &str| {
        Told::Not(ErrorReply::Failed {
            why: format!("nothing was done: {why}"),
        })
    };
    if receipt.is_closed() {
        return failed("the agent could not wait until you were told");
    }
    match client.line.hand_over(message) {
        Ok(sent) if sent == message.len() => {
            let _ = receipt.send(());
            Told::Yes
        }
        Ok(0) => failed("you did not read what was said before"),
        Ok(_) | Err(_) => Told::Half,
    }
}

/// What a connection does while nothing is answered on it, and how long it may be silent: one that holds
/// a lease keeps its place, also while it watches.
fn between_calls(holding: &Holding) -> (Doing, Duration) {
    if holding.any() {
        (Doing::Kept, Duration::MAX)
    } else {
        (Doing::Idle, IDLE)
    }
}

/// Sends the status now and on each change, until either side goes.
async fn watch(
    call: Watch,
    mut calls: CallReader<impl AsyncRead + Unpin>,
    mut writer: MessageWriter<impl AsyncWrite + Unpin>,
    client: Client,
    mut agent: AgentHandle,
) {
    agent.published.mark_changed();
    loop {
        tokio::select! {
            changed = agent.published.changed() => if changed.is_err() {
                return;
            },
            // Nothing may be said after `Watch`: what comes is the end, or out of turn.
            _ = calls.next() => return,
        }
        client.turn().await;
        agent.published.mark_unchanged();
        let status = agent.status_for(&client);
        let Ok(message) = message::reply_and_more(&call, &StatusReply { status }) else {
            return;
        };
        if writer.send(&message).await.is_err() {
            return;
        }
    }
}
