//! Takes clients in, and counts them.

use super::{
    Desk,
    client::converse,
    wire::{Wire, caller},
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::{collections::HashMap, convert::Infallible, future::Future, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream},
    time::{Instant, sleep_until},
};

/// Clients at the same time; root comes in beyond them.
pub(super) const MAX_CLIENTS: usize = 64;

/// Clients of one user at the same time, root excepted: nobody can shut the others out.
pub(super) const MAX_CLIENTS_OF_USER: usize = 8;

/// How long a client may be silent, or take to say something.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// How long a client may take to hear something.
pub(super) const WRITE: Duration = Duration::from_secs(10);

/// How long the agent may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// How long the user database may take.
pub(super) const LOOKUP: Duration = Duration::from_secs(3);

/// How long nobody is taken in after that failed: for want of file descriptors, say.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves clients for as long as it is polled. Dropping it hangs up on all of them.
pub(crate) async fn serve(listener: UnixListener, desk: Desk) -> Infallible {
    let mut clients = FuturesUnordered::new();
    let mut census = Census::default();
    let mut closed_until = Instant::now();
    loop {
        let open = closed_until <= Instant::now();
        tokio::select! {
            accepted = listener.accept(), if open => {
                let admitted = match accepted {
                    Ok((stream, _)) => admit(stream, &mut census, &desk).await,
                    Err(error) => {
                        tracing::warn!(%error, "the control socket takes nobody in for a moment");
                        closed_until = Instant::now() + PAUSE;
                        None
                    }
                };
                clients.extend(admitted);
            }
            () = sleep_until(closed_until), if !open => {}
            Some(uid) = clients.next() => census.leave(uid),
        }
    }
}

/// Takes a client in, if there is room. The future ends with the client and gives its user.
async fn admit(
    stream: UnixStream,
    census: &mut Census,
    desk: &Desk,
) -> Option<impl Future<Output = u32> + use<>> {
    let caller = match caller(&stream).await {
        Ok(caller) => caller,
        Err(error) => {
            tracing::warn!(%error, "a client without credentials was turned away");
            return None;
        }
    };
    if !census.enter(caller.uid) {
        tracing::warn!(%caller, "a client was turned away: there are too many");
        return None;
    }
    let uid = caller.uid;
    let (read, write) = stream.into_split();
    let talk = converse(Wire(read, write), caller, desk.clone());
    Some(async move {
        talk.await;
        uid
    })
}

/// How many clients each user has.
#[derive(Debug, Default)]
struct Census(HashMap<u32, usize>);

impl Census {
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
        let mut census = Census::default();
        for _ in 0..MAX_CLIENTS_OF_USER {
            assert!(census.enter(1000));
        }
        assert!(!census.enter(1000));
        assert!(census.enter(1001));
        census.leave(1000);
        assert!(census.enter(1000));
        for uid in 2000..2100 {
            census.enter(uid);
        }
        assert!(!census.enter(3000));
        assert!(census.enter(0));
    }
}
