//! Takes clients in, and counts them.

use super::{
    caller::Caller,
    conversation::converse,
    handle::AgentHandle,
    limits::{MAX_CLIENTS, MAX_CLIENTS_OF_USER, PAUSE},
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::{collections::HashMap, convert::Infallible, future::Future};
use tokio::{
    net::{UnixListener, UnixStream},
    time::{Instant, sleep_until},
};

/// Serves clients for as long as it is polled. Dropping it hangs up on all of them.
pub(crate) async fn serve(listener: UnixListener, agent: AgentHandle) -> Infallible {
    let mut clients = FuturesUnordered::new();
    let mut connections = Connections::default();
    let mut closed_until = Instant::now();
    loop {
        let open = closed_until <= Instant::now();
        tokio::select! {
            accepted = listener.accept(), if open => {
                let admitted = match accepted {
                    Ok((stream, _)) => admit(stream, &mut connections, &agent).await,
                    Err(error) => {
                        tracing::warn!(%error, "the control socket takes nobody in for a moment");
                        closed_until = Instant::now() + PAUSE;
                        None
                    }
                };
                clients.extend(admitted);
            }
            () = sleep_until(closed_until), if !open => {}
            Some(uid) = clients.next() => connections.leave(uid),
        }
    }
}

/// Takes a client in, if there is room. The future ends with the client and gives its user.
async fn admit(
    stream: UnixStream,
    connections: &mut Connections,
    agent: &AgentHandle,
) -> Option<impl Future<Output = u32> + use<>> {
    let caller = match Caller::of(&stream).await {
        Ok(caller) => caller,
        Err(error) => {
            tracing::warn!(%error, "a client without credentials was turned away");
            return None;
        }
    };
    if !connections.enter(caller.uid) {
        tracing::warn!(%caller, "a client was turned away: there are too many");
        return None;
    }
    let uid = caller.uid;
    let (read, write) = stream.into_split();
    let talk = converse(read, write, caller, agent.clone());
    Some(async move {
        talk.await;
        uid
    })
}

/// How many connections each user has.
#[derive(Debug, Default)]
struct Connections(HashMap<u32, usize>);

impl Connections {
    fn enter(&mut self, uid: u32) -> bool {
        let all: usize = self.0.values().sum();
        let own = self.0.entry(uid).or_default();
        let room = uid == 0 || (all < MAX_CLIENTS && *own < MAX_CLIENTS_OF_USER);
        if room {
            *own += 1;
        }
        room
    }

    fn leave(&mut self, uid: u32) {
        if let Some(own) = self.0.get_mut(&uid) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.0.remove(&uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_shut_the_others_out() {
        let mut connections = Connections::default();
        for _ in 0..MAX_CLIENTS_OF_USER {
            assert!(connections.enter(1000));
        }
        assert!(!connections.enter(1000));
        assert!(connections.enter(1001));
        connections.leave(1000);
        assert!(connections.enter(1000));
        for uid in 2000..2100 {
            connections.enter(uid);
        }
        assert!(!connections.enter(3000));
        assert!(connections.enter(0));
    }
}
