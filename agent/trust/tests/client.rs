//! The client against a directory and a web server.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Fault, Repo, START, Server, time};
use std::time::Duration;
use surefoot_trust::{Client, Clock, Config, Error, Now};

fn client(repo: &Repo, url: &str, state: &tempfile::TempDir) -> Client {
    Client::new(Config::new(url, repo.anchor(), state.path().into())).unwrap()
}

#[tokio::test]
async fn from_a_directory_it_brings_what_was_published() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let mut client = client(&repo, &repo.file_url(), &state);
    assert!(matches!(
        client.target("channels/stable.json", 100).await,
        Err(Error::NotRefreshed)
    ));
    let refresh = client.refresh(time(START)).await.unwrap();
    assert!(refresh.changed);
    assert_eq!(refresh.expires, time("2030-01-08T00:00:00Z"));
    assert_eq!(refresh.issued, Some(time(START)));
    assert_eq!(refresh.clock, Clock::Trusted);
    assert_eq!(
        client.target("channels/stable.json", 100).await.unwrap(),
        b"one"
    );
    assert!(matches!(
        client.target("channels/stable.json", 2).await,
        Err(Error::TooLarge { .. })
    ));
    let error = client.target("nope", 2).await.unwrap_err().to_string();
    assert_eq!(error, "the repository offers no target 'nope'");
    assert!(!client.refresh(time(START)).await.unwrap().changed);

    repo.publish("channels/stable.json", b"two", START);
    assert!(client.refresh(time(START)).await.unwrap().changed);
    assert_eq!(
        client.target("channels/stable.json", 100).await.unwrap(),
        b"two"
    );
}

#[tokio::test]
async fn an_idle_poll_is_one_short_answer() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let server = Server::new(repo.dir.path().into());
    let mut one = client(&repo, &server.url, &state);
    one.refresh(time(START)).await.unwrap();
    one.target("channels/stable.json", 100).await.unwrap();
    assert_eq!(
        server.requests().join("\n"),
        format!(
            "404 /metadata/2.root.json\n\
             200 /metadata/timestamp.json\n\
             200 /metadata/2.snapshot.json\n\
             200 /metadata/2.targets.json\n\
             200 /targets/channels/{}.stable.json",
            "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
        )
    );
    let written = std::fs::read(state.path().join("trusted.0")).unwrap();
    let refresh = one.refresh(time(START)).await.unwrap();
    assert_eq!(server.requests(), ["304 /metadata/timestamp.json"]);
    assert_eq!((refresh.changed, refresh.bytes_received), (false, 0));
    // After a restart as well, and the target comes from the cache.
    drop(one);
    let mut two = client(&repo, &server.url, &state);
    two.close();
    assert!(!two.refresh(time(START)).await.unwrap().changed);
    assert_eq!(
        two.target("channels/stable.json", 100).await.unwrap(),
        b"one"
    );
    assert_eq!(server.requests(), ["304 /metadata/timestamp.json"]);
    // Idle polls write nothing.
    assert_eq!(
        std::fs::read(state.path().join("trusted.0")).unwrap(),
        written
    );
    // The second net: now and then the whole workflow runs.
    for _ in 0..30 {
        two.refresh(time(START)).await.unwrap();
    }
    assert!(
        server
            .requests()
            .contains(&"404 /metadata/2.root.json".to_owned())
    );
    // News is found through the same question.
    repo.publish("channels/stable.json", b"two", START);
    assert!(two.refresh(time(START)).await.unwrap().changed);
    assert_eq!(
        server.requests(),
        [
            "200 /metadata/timestamp.json",
            "404 /metadata/2.root.json",
            "200 /metadata/3.snapshot.json",
            "200 /metadata/3.targets.json",
        ]
    );
}

#[tokio::test]
async fn not_modified_does_not_outlive_the_expiry() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let server = Server::new(repo.dir.path().into());
    let mut client = client(&repo, &server.url, &state);
    client.refresh(time(START)).await.unwrap();
    let error = client
        .refresh(time("2030-01-08T00:00:00Z"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(
            "timestamp.json expired at 2030-01-08T00:00:00Z, and it is 2030-01-08T00:00:00Z now"
        ),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_server_does_wrong_is_said_and_nothing_is_lost() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let server = Server::new(repo.dir.path().into());
    let mut client = client(&repo, &server.url, &state);
    client.refresh(time(START)).await.unwrap();
    repo.publish("channels/stable.json", b"two", START);
    for (file, fault, words) in [
        ("timestamp.json", Fault::Status(404), "does not exist"),
        (
            "timestamp.json",
            Fault::Status(500),
            "the server answered 500",
        ),
        (
            "timestamp.json",
            Fault::Page,
            "this is a web page (text/html; charset=utf-8), not the file: a captive portal",
        ),
        (
            "timestamp.json",
            Fault::Gzip,
            "the server sends it compressed (gzip), which nobody asked for",
        ),
        (
            "timestamp.json",
            Fault::Status(403),
            "the server answered 403 Forbidden",
        ),
        ("3.snapshot.json", Fault::Page, "this is a web page"),
        ("timestamp.json", Fault::Endless, "larger than 16384 bytes"),
        ("timestamp.json", Fault::Short, "the exchange failed"),
        ("timestamp.json", Fault::Redirect, "it redirects for ever"),
        (
            "timestamp.json",
            Fault::Bytes(b"[]".to_vec()),
            "timestamp.json cannot be read: invalid",
        ),
        (
            "timestamp.json",
            Fault::Bytes(vec![b'['; 900]),
            "recursion limit",
        ),
        ("2.root.json", Fault::Status(503), "the server answered 503"),
        ("2.root.json", Fault::Endless, "larger than 512000 bytes"),
        (
            "2.root.json",
            Fault::Bytes(repo.anchor()),
            "2.root.json is version 1, but version 2 belongs there: mix-up refused",
        ),
        (
            "3.snapshot.json",
            Fault::Status(404),
            "3.snapshot.json does not exist",
        ),
        ("3.snapshot.json", Fault::Endless, "larger than"),
        (
            "3.snapshot.json",
            Fault::Bytes(vec![b' '; 10]),
            "snapshot.json is not what was signed: 10 bytes instead of",
        ),
        (
            "3.targets.json",
            Fault::Status(404),
            "3.targets.json does not exist",
        ),
        ("3.targets.json", Fault::Short, "the exchange failed"),
    ] {
        server.fault(&format!("/metadata/{file}"), fault.clone());
        let error = client.refresh(time(START)).await.unwrap_err().to_string();
        assert!(error.contains(words), "{file} {fault:?}: {error}");
        server.heal();
    }
    assert!(client.refresh(time(START)).await.is_ok());
    let hash = "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3";
    let path = format!("/targets/channels/{hash}.stable.json");
    for (fault, words) in [
        (
            Fault::Bytes(b"TWO".to_vec()),
            "is not what was signed: its sha256 is",
        ),
        (Fault::Bytes(b"tw".to_vec()), "2 bytes instead of 3"),
        (Fault::Endless, "larger than 3 bytes"),
        (Fault::Status(404), "does not exist"),
    ] {
        server.fault(&path, fault);
        let error = client.target("channels/stable.json", 9).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    server.heal();
    assert_eq!(
        client.target("channels/stable.json", 9).await.unwrap(),
        b"two"
    );
}

/// Web applications have one page for every path, and object stores refuse what is not there: the
/// next root is not there, and that is the end of the chain.
#[tokio::test]
async fn a_page_for_the_next_root_is_no_root() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let server = Server::new(repo.dir.path().into());
    let mut client = client(&repo, &server.url, &state);
    for fault in [Fault::Page, Fault::Gzip, Fault::Status(403)] {
        server.fault("/metadata/2.root.json", fault);
        client.refresh(time(START)).await.unwrap();
        repo.publish("channels/stable.json", b"more", START);
    }
}

#[tokio::test]
async fn a_pause_that_the_server_asks_for_is_told() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let server = Server::new(repo.dir.path().into());
    let mut client = client(&repo, &server.url, &state);
    for file in ["timestamp.json", "2.root.json"] {
        server.fault(&format!("/metadata/{file}"), Fault::Busy(7));
        let error = client.refresh(time(START)).await.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)), "{file}");
        server.heal();
    }
    server.fault("/metadata/timestamp.json", Fault::Status(503));
    let error = client.refresh(time(START)).await.unwrap_err();
    assert_eq!(error.retry_after(), None);
}

#[tokio::test]
async fn nobody_answers() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let mut client = client(&repo, "http://127.0.0.1:1", &state);
    let error = client.refresh(time(START)).await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_replay_is_refused_after_a_restart_too() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let old = std::fs::read(repo.path("metadata/timestamp.json")).unwrap();
    repo.publish("channels/stable.json", b"two", START);
    let url = repo.file_url();
    client(&repo, &url, &state)
        .refresh(time(START))
        .await
        .unwrap();
    std::fs::write(repo.path("metadata/timestamp.json"), old).unwrap();
    let error = client(&repo, &url, &state)
        .refresh(time(START))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "timestamp.json is version 2, but version 3 was already trusted: replay refused"
    );
}

#[tokio::test]
async fn damage_on_disk_is_said_and_healed() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let url = repo.file_url();
    client(&repo, &url, &state)
        .refresh(time(START))
        .await
        .unwrap();
    for slot in ["trusted.0", "trusted.1"] {
        std::fs::write(state.path().join(slot), "rust").unwrap();
    }
    let mut client = client(&repo, &url, &state);
    assert!(client.damage().unwrap().contains("trusted.1"));
    assert!(client.refresh(time(START)).await.unwrap().changed);
    assert!(matches!(
        Client::new(Config::new(&url, repo.anchor(), state.path().into())),
        Err(Error::Locked(_))
    ));
}

#[tokio::test]
async fn a_cached_target_that_was_bent_is_brought_anew() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let mut client = client(&repo, &repo.file_url(), &state);
    client.refresh(time(START)).await.unwrap();
    client.target("channels/stable.json", 9).await.unwrap();
    let mut cached = std::fs::read_dir(state.path().join("targets")).unwrap();
    let cached = cached.next().unwrap().unwrap().path();
    for bent in ["One", "oNe", "onE", "on", "ones", ""] {
        std::fs::write(&cached, bent).unwrap();
        let found = client.target("channels/stable.json", 9).await.unwrap();
        assert_eq!(found, b"one", "{bent}");
        assert_eq!(std::fs::read(&cached).unwrap(), b"one");
    }
}

#[tokio::test]
async fn another_configuration_keeps_what_is_trusted() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let mut client = client(&repo, &repo.file_url(), &state);
    client.refresh(time(START)).await.unwrap();
    // The same repository moves to a server; the state directory stays locked.
    let server = Server::new(repo.dir.path().into());
    let config = |url: &str| Config::new(url, repo.anchor(), state.path().into());
    client.reconfigure(config(&server.url)).unwrap();
    assert_eq!(client.versions().timestamp, 2);
    assert!(!client.refresh(time(START)).await.unwrap().changed);
    assert!(!server.requests().is_empty());
    assert!(matches!(
        Client::new(config(&server.url)),
        Err(Error::Locked(_))
    ));
    // What cannot be is refused, and all goes on as before.
    assert!(client.reconfigure(config("ftp://x")).is_err());
    client.refresh(time(START)).await.unwrap();
    drop(client);
    Client::new(config(&server.url)).unwrap();
}

#[tokio::test]
async fn another_anchor_begins_anew_and_a_wrong_one_is_refused() {
    let (one, two) = (Repo::new(), Repo::new());
    let state = tempfile::tempdir().unwrap();
    one.publish("x", b"x", START);
    client(&one, &one.file_url(), &state)
        .refresh(time(START))
        .await
        .unwrap();
    let mut other = client(&two, &two.file_url(), &state);
    assert_eq!(
        other.refresh(time(START)).await.unwrap().versions.timestamp,
        2
    );
    drop(other);
    let error = client(&one, &two.file_url(), &state)
        .refresh(time(START))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "timestamp.json: 0 of 1 required signatures are valid (threshold not reached)"
    );
    assert!(matches!(
        Client::new(Config::new(
            &one.file_url(),
            b"{}".to_vec(),
            state.path().into()
        )),
        Err(Error::Malformed { .. })
    ));
}

#[tokio::test]
async fn wrong_clocks_do_no_lasting_harm() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let mut client = client(&repo, &repo.file_url(), &state);
    let unsynced = |text: &str| Now {
        reading: time(text),
        synced: false,
    };
    // The first start in 1970 or 2038: the anchor says when it was signed.
    for year in ["1970-01-01T00:00:07Z", "2038-01-19T03:14:08Z"] {
        let refresh = client.refresh(unsynced(year)).await.unwrap();
        assert_eq!((refresh.clock, refresh.now), (Clock::Unsynced, time(START)));
    }
    // A synced clock that is wrong makes everything expire, and when it is right all is well.
    assert!(matches!(
        client.refresh(time("2038-01-19T03:14:08Z")).await,
        Err(Error::Expired { .. })
    ));
    assert!(client.refresh(time("2030-01-02T00:00:00Z")).await.is_ok());
    // Back by a year: what was signed says otherwise.
    let refresh = client.refresh(time("2029-01-02T00:00:00Z")).await.unwrap();
    assert_eq!((refresh.clock, refresh.now), (Clock::Stepped, time(START)));
    // An unsynced clock does not undo what a trusted one has seen.
    drop(client);
    let mut client = self::client(&repo, &repo.file_url(), &state);
    let refresh = client.refresh(unsynced("1970-01-01T00:00:00Z")).await;
    assert_eq!(refresh.unwrap().now, time("2030-01-02T00:00:00Z"));
}
