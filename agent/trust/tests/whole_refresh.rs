//! A server whose every file comes just in time: the refresh as a whole ends all the same. Time
//! stands still here but for what the server moves it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Repo, START, time};
use std::{path::PathBuf, sync::mpsc, time::Duration};
use surefoot_trust::{Client, Config};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::{Instant, advance},
};

/// What each file takes: no single one is too slow.
const STEP: Duration = Duration::from_secs(40);
const LIMIT: Duration = Duration::from_secs(600);

/// Keeps the paused clock from running ahead to the next timer while only the network is waited
/// for: tokio does that unless something blocks (`tokio::time::pause`).
struct StoodStill(mpsc::Sender<()>);

impl StoodStill {
    fn new() -> Self {
        let (end, ended) = mpsc::channel();
        tokio::task::spawn_blocking(move || ended.recv());
        Self(end)
    }
}

impl Drop for StoodStill {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Serves a directory, each file after [`STEP`].
async fn slow_server(dir: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = answer(stream, &dir).await;
        }
    });
    url
}

async fn answer(stream: TcpStream, dir: &std::path::Path) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    while stream.read_line(&mut request).await? > 2 {}
    let path = request.split(' ').nth(1).unwrap().trim_start_matches('/');
    let body = std::fs::read(dir.join(path));
    advance(STEP).await;
    let (status, body) = body.map_or((404, Vec::new()), |body| (200, body));
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

#[tokio::test(start_paused = true)]
async fn a_refresh_of_many_slow_files_ends_and_the_next_one_goes_on() {
    let _still = StoodStill::new();
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    for _ in 0..30 {
        let mut editor = repo.editor();
        let mut draft = editor.draft_root(&Default::default(), time(START)).unwrap();
        draft.sign(editor.keys()).unwrap();
        editor.change_root(&draft, time(START)).unwrap();
    }
    let url = slow_server(repo.dir.path().into()).await;
    let mut config = Config::new(&url, repo.anchor(), state.path().into());
    config.http.stall_timeout = STEP * 2;
    let mut client = Client::new(config.clone()).unwrap();
    let mut before = 1;
    loop {
        let begun = Instant::now();
        client.limit(LIMIT);
        let result = client.refresh(time(START)).await;
        client.close();
        // Not longer than the limit and what was on its way.
        assert!(begun.elapsed() <= LIMIT + STEP);
        let root = client.versions().root;
        let Err(error) = result else { break };
        assert!(
            error
                .to_string()
                .contains("all of it took longer than 600 s"),
            "{error}"
        );
        assert!(error.is_transient());
        // What came in time is kept, on the disk too.
        assert!(root >= before + 10, "{before}, then {root}");
        before = root;
        drop(client);
        client = Client::new(config.clone()).unwrap();
        assert_eq!(client.versions().root, root);
    }
    assert_eq!(client.versions().root, 31);
    // Only the limit bounds it.
    let begun = Instant::now();
    let mut patient = Client::new(Config {
        state_dir: state.path().join("patient"),
        ..config
    })
    .unwrap();
    patient.refresh(time(START)).await.unwrap();
    assert!(begun.elapsed() > 30 * STEP);
}
