//! A client that is killed, over and over, in the midst of whatever it does.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Repo, START, time};
use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};
use surefoot_trust::{Client, Config, Editor, Keyring};

const DIR: &str = "SUREFOOT_TEST_DIR";

fn client(dir: &Path) -> Client {
    let anchor = std::fs::read(dir.join("repo/metadata/1.root.json")).unwrap();
    let url = format!("file://{}/repo", dir.display());
    Client::new(Config::new(&url, anchor, dir.join("state"))).unwrap()
}

fn now() -> jiff::Timestamp {
    time(START)
}

/// The victim: publishes and refreshes without end, and says after each refresh what it believes.
#[tokio::test]
#[ignore = "started and killed by the test below"]
async fn victim() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    let mut editor =
        Editor::open(&dir.join("repo"), Keyring::load(&dir.join("keys")).unwrap()).unwrap();
    let mut client = client(dir);
    for n in 0u64.. {
        editor.put_target("a", n.to_string()).unwrap();
        editor.publish(now()).unwrap();
        let refresh = client.refresh(now()).await.unwrap();
        println!("\nbelieved {}", refresh.versions.timestamp);
    }
}

#[tokio::test]
async fn killed_anywhere_it_never_goes_back() {
    let repo = Repo::new();
    let dir = tempfile::tempdir().unwrap();
    std::fs::rename(repo.dir.path(), dir.path().join("repo")).unwrap();
    let keys = dir.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    for (n, key) in repo.private.iter().enumerate() {
        std::fs::write(keys.join(format!("{n}.pem")), key.to_pem().unwrap()).unwrap();
    }
    let mut believed = 0;
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "victim", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The kill falls somewhere into the next round of the victim.
        for _ in 0..=round % 4 {
            believed = lines
                .find_map(|l| l.unwrap().strip_prefix("believed ")?.parse().ok())
                .unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut client = client(dir.path());
        assert_eq!(client.damage(), None);
        assert!(client.versions().timestamp >= believed);
        assert!(client.trusted().is_complete());
        let refresh = client.refresh(now()).await.unwrap();
        assert!(refresh.versions.timestamp >= believed);
        client.target("a", 20).await.unwrap();
        believed = refresh.versions.timestamp;
    }
    assert!(believed > 40);
}
