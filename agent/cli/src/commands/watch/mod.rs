//! `surefoot watch`: every change, as a live view on a terminal.

mod canvas;
mod view;

use crate::{
    agent::{
        follow::{Screen, reconnect},
        socket::SocketArgs,
    },
    output::{Output, print},
};
use canvas::Canvas;
use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};
use surefoot_api::{CallError, Client, HistoryEntry, StatusInfo, method};
use view::{Seen, Size};

/// Follow what the agent does, live, until interrupted.
///
/// On a terminal that is a live view: the steps of an update with the present one marked, how far it is,
/// what is waited for and who can end that, the health, and what happened last. Elsewhere it is a line for
/// each change.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  Look on, until Ctrl-C:
      surefoot watch
  One object for each change, for a program:
      surefoot watch --json")]
pub(crate) struct WatchArgs {
    /// Print the view once, and end.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Between two drawings, at least: more often nobody reads, and a serial console is slow.
const PAUSE: Duration = Duration::from_millis(250);

/// After this time what counts down is drawn anew, although nothing has changed.
const TICK: Duration = Duration::from_secs(5);

/// Events that are asked for.
const EVENTS: u64 = 8;

/// Prints every change until interrupted.
pub(super) fn run(args: &WatchArgs, output: Output) -> anyhow::Result<()> {
    if args.once {
        let status = args.socket.call(&method::Status {})?.status;
        let events = events(&args.socket).unwrap_or_default();
        return output.result(&status.clone(), |style| {
            let seen = Seen {
                status,
                events,
                silent: None,
            };
            let size = Size {
                lines: usize::MAX,
                ..size()
            };
            let mut lines = view::draw(&seen, size, style);
            // Nothing is left to be ended.
            lines.pop();
            lines.join("\n")
        });
    }
    if output.is_json() || !console::Term::stdout().features().is_attended() || is_dumb() {
        return line_by_line(args, output);
    }
    let agent = args.socket.connect()?;
    let (sender, news) = channel();
    let socket = args.socket.clone();
    std::thread::spawn(move || listen(agent, &socket, &sender));
    live(&news, output)
}

/// Whether the terminal does as it is told.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

fn line_by_line(args: &WatchArgs, output: Output) -> anyhow::Result<()> {
    let mut agent = args.socket.connect()?.watch()?;
    let mut screen = Screen::new(output);
    loop {
        match agent.next_status() {
            Ok(status) => {
                output.object(&status)?;
                screen.show(&status)?;
            }
            Err(CallError::Gone { .. }) => {
                screen.say(
                    "the agent hung up: it restarts, or others need the connection; connecting again",
                );
                agent = reconnect(&args.socket, None)?.watch()?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is heard of the agent.
enum News {
    /// Its status, and the latest events where they were asked for.
    Status(Box<StatusInfo>, Option<Vec<HistoryEntry>>),
    /// It has hung up.
    Silent,
    /// It does not come back, or does not understand.
    Lost(CallError),
}

/// Tells what is heard of the agent, and at last why nothing is heard any more.
fn listen(agent: Client, socket: &SocketArgs, news: &Sender<News>) {
    if let Err(error) = hear(agent, socket, news) {
        let _ = news.send(News::Lost(error));
    }
}

/// Hears what the agent says, over its restarts, until nobody listens any more.
fn hear(agent: Client, socket: &SocketArgs, news: &Sender<News>) -> Result<(), CallError> {
    let mut doing = None;
    let mut watching = agent.watch();
    loop {
        let heard = watching.and_then(|mut agent| Ok((agent.next_status()?, agent)));
        let told = match heard {
            Ok((status, agent)) => {
                watching = Ok(agent);
                // Events come with changes of what the agent does.
                let now = Some((status.state.to_string(), status.doing.clone()));
                let changed = std::mem::replace(&mut doing, now.clone()) != now;
                let events = changed.then(|| events(socket).ok()).flatten();
                news.send(News::Status(Box::new(status), events))
            }
            Err(CallError::Gone { .. }) => {
                let sent = news.send(News::Silent);
                watching = reconnect(socket, None).and_then(Client::watch);
                sent
            }
            Err(error) => return Err(error),
        };
        if told.is_err() {
            return Ok(());
        }
    }
}

fn events(socket: &SocketArgs) -> Result<Vec<HistoryEntry>, CallError> {
    let history = method::History {
        limit: Some(EVENTS),
    };
    Ok(socket.call(&history)?.entries)
}

/// Draws what is heard until nothing can come any more.
fn live(news: &Receiver<News>, output: Output) -> anyhow::Result<()> {
    let mut canvas = Canvas::default();
    let mut seen = Seen::default();
    let mut heard = Instant::now();
    loop {
        match news.recv_timeout(TICK) {
            Ok(first) => {
                for one in std::iter::once(first).chain(news.try_iter()) {
                    match one {
                        News::Status(status, events) => {
                            seen.status = *status;
                            seen.silent = None;
                            heard = Instant::now();
                            if let Some(events) = events {
                                seen.events = events;
                            }
                        }
                        News::Silent => {
                            seen.silent = Some("it restarts, or hung up; asking again".into());
                        }
                        News::Lost(error) => return Err(error.into()),
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        let now = Seen {
            status: seen.status.aged(heard.elapsed()),
            ..seen.clone()
        };
        let size = size();
        let lines = view::draw(&now, size, output.style());
        print(&canvas.show(lines, size))?;
        std::thread::sleep(PAUSE);
    }
}

/// The size of the terminal; where nobody says it, that of an old one.
fn size() -> Size {
    let (lines, columns) = console::Term::stdout().size_checked().unwrap_or((24, 80));
    Size {
        columns: columns.into(),
        lines: lines.into(),
    }
}
