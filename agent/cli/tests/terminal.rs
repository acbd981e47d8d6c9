//! What a technician sees on a terminal of 80 columns and 24 lines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod agent;

use agent::{Agent, agent, message, status, system};
use nix::pty::{Winsize, openpty};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

/// A program on a terminal of its own.
struct Terminal {
    program: Child,
    keyboard: File,
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
}

/// Longer than any of it takes.
const LONG: Duration = Duration::from_secs(60);

impl Terminal {
    fn run(agent: &Agent, args: &[&str]) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(&size, None).unwrap();
        let end = || File::from(pair.slave.try_clone().unwrap());
        let program = Command::new(env!("CARGO_BIN_EXE_surefoot"))
            .args(args)
            .arg("--socket")
            .arg(&agent.socket)
            .env("TERM", "vt100")
            .env("NO_COLOR", "1")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        drop(pair.slave);
        let keyboard = File::from(pair.master);
        let mut shown = keyboard.try_clone().unwrap();
        let screen = Arc::new((Mutex::new(vt100::Parser::new(24, 80, 0)), Condvar::new()));
        let (seen, mut buffer) = (Arc::clone(&screen), [0; 4096]);
        // Reading fails once the program has ended.
        std::thread::spawn(move || {
            while let Ok(read @ 1..) = shown.read(&mut buffer) {
                seen.0.lock().unwrap().process(&buffer[..read]);
                seen.1.notify_all();
            }
        });
        Self {
            program,
            keyboard,
            screen,
        }
    }

    /// Waits until a text is on the screen, and gives all that is there then.
    fn shows(&self, text: &str) -> String {
        let (screen, changed) = &*self.screen;
        let screen = screen.lock().unwrap();
        let (screen, late) = changed
            .wait_timeout_while(screen, LONG, |screen| {
                !screen.screen().contents().contains(text)
            })
            .unwrap();
        let contents = screen.screen().contents();
        assert!(!late.timed_out(), "{text:?} is not on:\n{contents}");
        contents
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    fn exits(&mut self) -> Option<i32> {
        self.program.wait().unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn listed(release: &str, number: u64, parts: &[&str], rest: Value) -> Value {
    let mut info = system(release);
    let fields = json!({ "generations": [number], "parts": parts, "proven": true, "agent": true });
    for (key, value) in (fields.as_object().unwrap().iter()).chain(rest.as_object().unwrap()) {
        info[key] = value.clone();
    }
    info
}

fn systems() -> Value {
    let before = json!({ "differs": "kernel 6.12.9 → 6.12.4", "reboot": ["another kernel"] });
    json!({ "parameters": { "systems": [
        listed("3", 13, &["running", "confirmed"], json!({})),
        listed("2", 12, &["fallback"], before),
        listed("1", 11, &["fallback"], json!({})),
    ] } })
}

#[test]
fn a_rollback_is_chosen_confirmed_and_followed() {
    let runs = |release: &str, state: &str, doing: &str| {
        let change = json!({ "state": state, "doing": doing, "running": system(release) });
        status(change)
    };
    let before = runs("3", "idle", "nothing to do");
    let mut going = runs("3", "committing", "going back to 2");
    going["parameters"]["status"]["target"] = system("2");
    let agent = agent(vec![
        vec![vec![before.clone()]],
        vec![vec![systems()]],
        vec![
            vec![before],
            vec![message("going back")],
            vec![going, runs("2", "idle", "at rest")],
        ],
    ]);
    let mut terminal = Terminal::run(&agent, &["rollback"]);
    let seen = terminal.shows("Which one? 1 to 2");
    assert!(
        seen.contains("to get there the robot reboots: another kernel"),
        "{seen}"
    );
    terminal.types("1\n");
    terminal.shows("Why?");
    terminal.types("it drops things\n");
    terminal.shows("Go back to release 2, generation 12 now?");
    terminal.types("y\n");
    terminal.shows("release 2 runs");
    assert_eq!(terminal.exits(), Some(0));
    let calls = agent.thread.join().unwrap();
    let asked = &calls[3]["parameters"];
    assert_eq!(asked["to"], system("2")["system"]);
    assert_eq!(asked["why"], "it drops things");
}

#[test]
fn whoever_says_no_has_changed_nothing() {
    let agent = agent(vec![vec![vec![status(json!({}))]], vec![vec![systems()]]]);
    let mut terminal = Terminal::run(&agent, &["rollback", "--to", "2", "--why", "bad grip"]);
    terminal.shows("Go back to release 2, generation 12 now?");
    terminal.types("\n");
    terminal.shows("nothing was changed");
    assert_eq!(terminal.exits(), Some(3));
    assert_eq!(agent.thread.join().unwrap().len(), 2);
}

#[test]
fn a_live_view_follows_the_agent() {
    let fetching = json!({
        "state": "fetching", "doing": "bringing release 3", "target": system("3"),
        "running": system("2"), "confirmed": system("2"),
        "progress": { "paths": 1, "pathsTotal": 4, "bytes": 25, "bytesTotal": 100, "rate": 5 },
    });
    let history = json!({ "parameters": { "entries": [
        { "what": "confirmed", "release": "2", "system": system("2")["system"] }
    ] } });
    // It says something, hangs up, and comes back.
    let agent = agent(vec![vec![vec![status(fetching)]], vec![vec![history]]]);
    let terminal = Terminal::run(&agent, &["watch"]);
    let seen = terminal.shows("does not answer");
    assert!(
        seen.contains("check > [fetch] > wait > trial > commit"),
        "{seen}"
    );
    assert!(
        seen.contains("[##########..............................]"),
        "{seen}"
    );
    assert!(seen.contains("release 2 (confirmed)"), "{seen}");
    assert!(seen.lines().count() <= 24);
}
