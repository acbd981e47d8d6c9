//! Takes clients in, and hangs up on those whose place others need.

use super::{
    caller::Caller,
    client::{Client, Clients},
    conversation::converse,
    handle::AgentHandle,
    limits::PAUSE,
    listen::Listening,
    places::Id,
    users::KnownUsers,
};
use crate::tally::Turned;
use futures_util::{
    future::{AbortHandle, abortable},
    stream::{FuturesUnordered, StreamExt},
};
use std::{collections::HashMap, convert::Infallible, io, path::Path};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep_until},
};

/// Serves clients for as long as it is polled. Dropping it hangs up on all of them.
pub(crate) async fn serve(mut listening: Listening, agent: AgentHandle) -> Infallible {
    let clients = Clients::default();
    let mut users = KnownUsers::of_files(Path::new("/etc"));
    let mut talks = FuturesUnordered::new();
    let mut ways_out: HashMap<Id, AbortHandle> = HashMap::new();
    let mut closed_until = Instant::now();
    loop {
        let open = closed_until <= Instant::now();
        let summary = clients.summary_due();
        tokio::select! {
            next = next(&mut listening), if open => match next {
                Ok((stream, waited)) => {
                    let Some((client, left)) = admit(&stream, &clients, &mut users, &agent) else {
                        continue;
                    };
                    if let Some(left) = left.and_then(|left| ways_out.remove(&left)) {
                        left.abort();
                    }
                    if waited {
                        client.line.has_waited();
                    }
                    let id = client.id();
                    let (read, write) = stream.into_split();
                    let (talk, way_out) = abortable(converse(read, write, client, agent.clone()));
                    ways_out.insert(id, way_out);
                    talks.push(async move {
                        // Whether it was hung up on makes no difference: its place is free.
                        let _ = talk.await;
                        id
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket takes nobody in for a moment");
                    closed_until = Instant::now() + PAUSE;
                }
            },
            () = sleep_until(closed_until), if !open => {}
            () = sleep_until(summary.unwrap_or(closed_until)), if summary.is_some() => clients.sum_up(),
            Some(id) = talks.next() => {
                ways_out.remove(&id);
            }
        }
    }
}

/// The next client, and whether it was there before the agent.
async fn next(listening: &mut Listening) -> io::Result<(UnixStream, bool)> {
    if let Some(stream) = listening.waited.pop_front() {
        stream.set_nonblocking(true)?;
        return Ok((UnixStream::from_std(stream)?, true));
    }
    let (stream, _) = listening.listener.accept().await?;
    Ok((stream, false))
}

/// Takes a client in, if there is a place for it; the one that has to give it up comes along. Nothing is
/// waited for: whoever comes next is not to wait for this one.
fn admit(
    stream: &UnixStream,
    clients: &Clients,
    users: &mut KnownUsers,
    agent: &AgentHandle,
) -> Option<(Client, Option<Id>)> {
    let caller = match Caller::of(stream) {
        Ok(caller) => caller,
        Err(error) => {
            if clients.count(Turned::Away, None) {
                tracing::warn!(%error, "a client without credentials was turned away");
            }
            return None;
        }
    };
    let role = agent.roles.borrow().of(&caller);
    let user = users.of(caller.uid);
    let Ok((client, left)) = clients.enter(caller.clone(), role, user.clone()) else {
        if clients.count(Turned::Away, Some(&user)) {
            tracing::warn!(%caller, "a client was turned away: there is no place");
        }
        return None;
    };
    if left.is_some() && clients.count(Turned::Out, Some(&user)) {
        tracing::info!(%client, "a client took the place of another");
    }
    Some((client, left))
}
