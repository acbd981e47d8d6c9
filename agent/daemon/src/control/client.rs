//! The talk with one client.

use super::{
    Desk,
    call::{self, Answer, Method, Reply},
    roles::Caller,
    server::IDLE,
    wire::{Half, Reader, Wire, Writer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use zlink::connection::ReadConnection;

/// Answers calls until the client goes, breaks the protocol, is silent for [`IDLE`], or does not
/// listen.
pub(super) async fn converse(
    wire: Wire<impl AsyncRead + Half, impl AsyncWrite + Half>,
    caller: Caller,
    desk: Desk,
) {
    let (mut read, mut write) = wire.open();
    loop {
        let call = match timeout(IDLE, read.receive_call::<Method>()).await {
            Ok(Ok((call, _))) => call,
            Ok(Err(zlink::Error::UnexpectedEof)) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::debug!(%caller, %error, "a client was hung up on");
                return;
            }
        };
        let answer = call::answer(call.method(), call.more(), &caller, &desk).await;
        let sent = match answer {
            Ok(Answer::Watch) => return watch(read, write, desk).await,
            _ if call.oneway() => Ok(()),
            Ok(Answer::Reply(reply)) => write.send(&zlink::Reply::new(Some(reply))).await,
            Err(error) => write.send(&error).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Sends the status now and on each change, until either side goes.
async fn watch(
    mut read: ReadConnection<Reader<impl AsyncRead + Half>>,
    mut write: Writer<impl AsyncWrite + Unpin>,
    mut desk: Desk,
) {
    desk.published.mark_changed();
    loop {
        tokio::select! {
            changed = desk.published.changed() => if changed.is_err() {
                return;
            },
            // Nothing may be said after `Watch`: what comes is the end, or out of turn.
            _ = read.receive_call::<Method>() => return,
        }
        let status = Box::new(desk.published.borrow_and_update().status());
        let reply = zlink::Reply::new(Some(Reply::Status { status })).set_continues(Some(true));
        if write.send(&reply).await.is_err() {
            return;
        }
    }
}
