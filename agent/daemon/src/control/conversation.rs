//! The conversation with one client.

use super::{
    answer::{Response, answer},
    caller::Caller,
    handle::AgentHandle,
    limits::IDLE,
    stream::{CallReader, MessageWriter},
};
use surefoot_api::{
    message,
    method::{StatusReply, Watch},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

/// Answers calls until the client goes, breaks the protocol, is silent for [`IDLE`], or does not
/// listen.
pub(super) async fn converse(
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    caller: Caller,
    agent: AgentHandle,
) {
    let mut calls = CallReader::new(read);
    let mut writer = MessageWriter(write);
    loop {
        let call = match timeout(IDLE, calls.next()).await {
            Ok(Ok(Some(call))) => call,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::debug!(%caller, %error, "a client was hung up on");
                return;
            }
        };
        let oneway = call.oneway;
        let message = match answer(call, &caller, &agent).await {
            Ok(Response::Watch(call)) => return watch(call, calls, writer, agent).await,
            _ if oneway => continue,
            Ok(Response::Reply(message)) => message,
            Err(error) => match message::error(&error) {
                Ok(message) => message,
                Err(_) => return,
            },
        };
        if writer.send(&message).await.is_err() {
            return;
        }
    }
}

/// Sends the status now and on each change, until either side goes.
async fn watch(
    call: Watch,
    mut calls: CallReader<impl AsyncRead + Unpin>,
    mut writer: MessageWriter<impl AsyncWrite + Unpin>,
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
        let status = agent.published.borrow_and_update().status();
        let Ok(message) = message::reply_and_more(&call, &StatusReply { status }) else {
            return;
        };
        if writer.send(&message).await.is_err() {
            return;
        }
    }
}
