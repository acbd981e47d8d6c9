//! A lease that a program holds by its connection.

use crate::{
    client::{ANSWER, CallError, Client},
    method::{Done, EndLease, Lease},
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// How long the first try waits to take a lease again, after its connection was lost.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// How long the tries after that wait at most.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A lease that lasts until its program ends it: it needs no renewal.
///
/// The agent learns from the connection that the program lives. Where the connection is lost because
/// the agent restarts, a thread of its own takes the lease again. If the program dies, or drops this
/// without [`HeldLease::end`], the robot stays busy until the lease is taken again or ended: whoever died
/// may have left a load in the gripper.
#[derive(Debug)]
pub struct HeldLease {
    shared: Arc<Shared>,
    ended: mpsc::Receiver<Result<Done, CallError>>,
    name: crate::Name,
    socket: PathBuf,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    wish: Wish,
    /// The connection, while it stands.
    client: Option<Client>,
}

/// What is to become of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Hold,
    End,
    Leave,
}

impl HeldLease {
    /// Takes a lease, and holds it from then on. A time that it was given is left out.
    ///
    /// `tell` hears from another thread when the connection is lost or the lease cannot be taken again
    /// (an error), and when it is held again. Nothing has to be done then: it is tried for as long as this
    /// lives.
    ///
    /// # Errors
    /// [`CallError`]: then the robot must not be made busy.
    pub fn take(
        socket: impl AsRef<Path>,
        lease: Lease,
        tell: impl FnMut(Result<(), CallError>) + Send + 'static,
    ) -> Result<Self, CallError> {
        let socket = socket.as_ref().to_owned();
        let lease = Lease { ttl: None, ..lease };
        let (client, twin) = said(&socket, &lease)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                wish: Wish::Hold,
                client: Some(twin),
            }),
            changed: Condvar::new(),
        });
        let (tell_end, ended) = mpsc::channel();
        let name = lease.name.clone();
        let keeper = Keeper {
            socket: socket.clone(),
            lease,
            shared: Arc::clone(&shared),
            tell,
        };
        let failed = |error: std::io::Error| CallError::Failed(error.to_string());
        thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || {
                if let Some(answer) = keeper.keep(client) {
                    // Whoever waited may have gone.
                    let _ = tell_end.send(answer);
                }
            })
            .map_err(failed)?;
        Ok(Self {
            shared,
            ended,
            name,
            socket,
        })
    }

    /// Ends the lease: the robot is free, as far as this program knows. An agent that is just restarting
    /// is waited for.
    ///
    /// # Errors
    /// [`CallError`]: the robot may stay busy; end the lease with [`EndLease`].
    pub fn end(self) -> Result<Done, CallError> {
        {
            let mut state = self.shared.lock();
            state.wish = Wish::End;
            if let Some(client) = &mut state.client {
                let name = self.name.clone();
                // What cannot be sent is said by the thread, which connects anew.
                let _ = client.ask(&EndLease { name });
            }
            self.shared.changed.notify_all();
        }
        self.ended.recv_timeout(ANSWER).unwrap_or_else(|_| {
            Err(CallError::Gone {
                socket: self.socket.clone(),
                why: "it is silent".to_owned(),
            })
        })
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.wish = Wish::Leave;
        if let Some(client) = &state.client {
            // Its end is what the thread waits for.
            client.hang_up();
        }
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, unless something else is wished for than to hold it.
    fn pause(&self, time: Duration) -> Wish {
        let state = self.lock();
        let waited = (self.changed).wait_timeout_while(state, time, |s| s.wish == Wish::Hold);
        waited.unwrap_or_else(PoisonError::into_inner).0.wish
    }
}

/// Connects and says it.
fn said(socket: &Path, lease: &Lease) -> Result<(Client, Client), CallError> {
    let mut client = Client::connect(socket)?;
    client.call(lease)?;
    client.wait_at_most(None)?;
    let twin = client.twin()?;
    Ok((client, twin))
}

/// The thread that takes the lease again.
struct Keeper<F> {
    socket: PathBuf,
    lease: Lease,
    shared: Arc<Shared>,
    tell: F,
}

impl<F: FnMut(Result<(), CallError>)> Keeper<F> {
    /// Holds the lease until it is wished to end or to be left. The answer of its end.
    fn keep(mut self, mut client: Client) -> Option<Result<Done, CallError>> {
        let mut ends = false;
        loop {
            let answer = if ends {
                let name = self.lease.name.clone();
                client.call(&EndLease { name })
            } else {
                // The agent says nothing by itself: this is the answer to an end, or the connection's.
                client.next()
            };
            let wish = {
                let mut state = self.shared.lock();
                if matches!(
                    answer,
                    Err(CallError::Gone { .. } | CallError::Garbage { .. })
                ) {
                    state.client = None;
                }
                state.wish
            };
            let lost = match (answer, wish) {
                (_, Wish::Leave) => return None,
                (Err(lost @ (CallError::Gone { .. } | CallError::Garbage { .. })), _) => lost,
                (answer, Wish::End) => return Some(answer),
                (_, Wish::Hold) => continue,
            };
            if wish == Wish::Hold {
                (self.tell)(Err(lost));
            }
            (client, ends) = match self.take_again() {
                Ok(again) => again?,
                Err(error) => return Some(Err(error)),
            };
        }
    }

    /// Takes the lease again, however long that takes, and says whether it is to be ended by this thread;
    /// `None` if it is to be left.
    fn take_again(&mut self) -> Result<Option<(Client, bool)>, CallError> {
        let mut wait = FIRST_WAIT;
        let mut told = String::new();
        loop {
            let wish = self.shared.pause(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
            if wish == Wish::Leave {
                return Ok(None);
            }
            match said(&self.socket, &self.lease) {
                Ok((client, twin)) => {
                    let mut state = self.shared.lock();
                    match state.wish {
                        Wish::Leave => return Ok(None),
                        Wish::End => return Ok(Some((client, true))),
                        Wish::Hold => state.client = Some(twin),
                    }
                    drop(state);
                    (self.tell)(Ok(()));
                    return Ok(Some((client, false)));
                }
                // Somebody else ended it, and an update began: there is nothing to end.
                Err(error @ CallError::Refused(_)) if wish == Wish::End => return Err(error),
                Err(_) if wish == Wish::End => thread::sleep(FIRST_WAIT),
                Err(error) => {
                    let why = error.to_string();
                    if why != told {
                        told = why;
                        (self.tell)(Err(error));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        os::unix::net::{UnixListener, UnixStream},
    };

    /// An agent that a test plays.
    struct Agent {
        socket: PathBuf,
        listener: UnixListener,
        _dir: tempfile::TempDir,
    }

    struct Talk(BufReader<UnixStream>);

    impl Agent {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("socket");
            Self {
                listener: UnixListener::bind(&socket).unwrap(),
                socket,
                _dir: dir,
            }
        }

        fn accept(&self) -> Talk {
            Talk(BufReader::new(self.listener.accept().unwrap().0))
        }
    }

    impl Talk {
        /// The next method that is called; `None` once the holder has hung up.
        fn hears(&mut self) -> Option<String> {
            let mut bytes = Vec::new();
            self.0.read_until(0, &mut bytes).unwrap();
            bytes.pop()?;
            let call: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(call["parameters"]["name"], "gripper");
            assert_eq!(call["parameters"]["seconds"], Value::Null);
            let method = call["method"].as_str().unwrap();
            method.rsplit('.').next().map(str::to_owned)
        }

        fn says(&mut self, answer: &str) {
            let answer = format!("{answer}\0");
            self.0.get_mut().write_all(answer.as_bytes()).unwrap();
        }

        fn grants(&mut self, method: &str) {
            assert_eq!(self.hears().as_deref(), Some(method));
            self.says(r#"{"parameters":{"message":"so be it"}}"#);
        }
    }

    type News = mpsc::Receiver<Result<(), CallError>>;

    fn take(socket: PathBuf) -> thread::JoinHandle<Result<(HeldLease, News), CallError>> {
        thread::spawn(move || {
            let lease = Lease {
                name: "gripper".parse().unwrap(),
                busy: true,
                ttl: Some(Duration::from_secs(3)),
                why: None,
            };
            let (say, news) = mpsc::channel();
            let tell = move |news| drop(say.send(news));
            HeldLease::take(socket, lease, tell).map(|held| (held, news))
        })
    }

    #[test]
    fn it_is_held_until_it_is_ended() {
        let agent = Agent::new();
        let held = take(agent.socket.clone());
        let mut talk = agent.accept();
        talk.grants("Lease");
        let (held, _news) = held.join().unwrap().unwrap();
        let ended = thread::spawn(move || held.end());
        talk.grants("EndLease");
        assert_eq!(ended.join().unwrap().unwrap().message, "so be it");
        assert_eq!(talk.hears(), None);
    }

    #[test]
    fn whoever_leaves_it_says_nothing() {
        let agent = Agent::new();
        let held = take(agent.socket.clone());
        let mut talk = agent.accept();
        talk.grants("Lease");
        drop(held.join().unwrap().unwrap());
        assert_eq!(talk.hears(), None);
    }

    #[test]
    fn what_is_refused_is_not_held() {
        let agent = Agent::new();
        let held = take(agent.socket.clone());
        let mut talk = agent.accept();
        talk.hears();
        talk.says(r#"{"error":"io.surefoot.Agent.Refused","parameters":{"why":"a trial"}}"#);
        assert!(matches!(held.join().unwrap(), Err(CallError::Refused(_))));
        assert_eq!(talk.hears(), None);
    }

    #[test]
    fn it_is_taken_again_where_the_agent_restarts() {
        let agent = Agent::new();
        let held = take(agent.socket.clone());
        let mut talk = agent.accept();
        talk.grants("Lease");
        let (held, news) = held.join().unwrap().unwrap();
        drop(talk);
        assert!(news.recv().unwrap().is_err());
        agent.accept().grants("Lease");
        assert!(news.recv().unwrap().is_ok());
        // That one was lost at once, too.
        assert!(news.recv().unwrap().is_err());
        let mut talk = agent.accept();
        talk.grants("Lease");
        assert!(news.recv().unwrap().is_ok());
        // An end that the agent does not hear any more is said to the next one.
        let ended = thread::spawn(move || held.end());
        assert_eq!(talk.hears().as_deref(), Some("EndLease"));
        drop(talk);
        let mut talk = agent.accept();
        talk.grants("Lease");
        talk.grants("EndLease");
        assert!(ended.join().unwrap().is_ok());
    }
}
