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
    message,
    method::{StatusReply, Watch},
};
use surefoot_core::lease::Holder;
use tokio::{
    io::{AsyncRead, AsyncWrite},
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
                client.told();
                continue;
            }
            Ok(Response::Reply(message)) => message,
            Err(error) => match message::error(&error) {
                Ok(message) => message,
                Err(_) => return,
            },
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
        client.told();
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
