//! Both ways against python-tuf, the reference implementation: it reads what we publish, we read
//! what it publishes.
//!
//! Needs an interpreter with `tests/requirements.txt` installed, in `SUREFOOT_PYTHON` or
//! `target/venv/bin/python`; without one these tests say so and pass.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Repo, Server};
use jiff::Timestamp;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};
use surefoot_trust::{
    Client, Config, Editor, Keyring,
    editor::{DAY, Delegation, RepositoryPlan, RoleChange, RolePlan},
    keys::{PrivateKey, Scheme, Signer as _},
};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a script; `None` without an interpreter.
fn python(script: &str, args: &[&str]) -> Option<(bool, String)> {
    let python = std::env::var_os("SUREFOOT_PYTHON")
        .map_or_else(|| top().join("target/venv/bin/python"), PathBuf::from);
    if !python.exists() {
        eprintln!(
            "SKIPPED: no {}; make it with `python3 -m venv target/venv && target/venv/bin/pip install -r tests/requirements.txt`",
            python.display()
        );
        return None;
    }
    let output = Command::new(python)
        .arg(top().join("tests/interop").join(script))
        .args(args)
        .output()
        .unwrap();
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Some((
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
    ))
}

/// Lets python-tuf read a repository; its answer.
fn read(url: &str, anchor: &Path, state: &Path, targets: &[&str]) -> Option<Value> {
    let (anchor, state) = (anchor.to_str().unwrap(), state.to_str().unwrap());
    let args = [&[url, anchor, state], targets].concat();
    let (_, out) = python("read.py", &args)?;
    Some(serde_json::from_str(&out).unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn it_reads_what_we_publish() {
    for scheme in [Scheme::Ed25519, Scheme::EcdsaP256, Scheme::RsaPss] {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Keyring::new();
        // RSA keys take long to make: one pair of keys for all roles.
        let keys: Vec<_> = (0..2)
            .map(|_| {
                let key = PrivateKey::generate(scheme).unwrap();
                let public = key.public().clone();
                ring.add(Arc::new(key));
                public
            })
            .collect();
        let role = |lifetime| RolePlan {
            keys: keys.clone(),
            threshold: 2,
            lifetime,
        };
        let plan = RepositoryPlan {
            root: role(365 * DAY),
            targets: role(100 * DAY),
            snapshot: role(30 * DAY),
            timestamp: role(7 * DAY),
            names: Default::default(),
        };
        let repo = dir.path().join("repo");
        std::fs::create_dir(&repo).unwrap();
        let now = Timestamp::now();
        let mut editor = Editor::init(&repo, &plan, ring, now).unwrap();
        editor.put_target("channels/stable.json", *b"one").unwrap();
        editor.put_target("a b/100%.json", *b"blank").unwrap();
        editor.publish(now).unwrap();
        let server = Server::new(repo.clone());
        let anchor = repo.join("metadata/1.root.json");
        let state = dir.path().join("state");
        let names = ["channels/stable.json"];
        let Some(answer) = read(&server.url, &anchor, &state, &names) else {
            return;
        };
        assert_eq!(answer["versions"]["targets"], 2, "{answer}");
        assert_eq!(answer["targets"]["channels/stable.json"], hex(b"one"));
        editor.put_target("channels/stable.json", *b"two").unwrap();
        editor.publish(now).unwrap();
        editor.refresh(now).unwrap();
        let answer = read(&server.url, &anchor, &state, &names).unwrap();
        assert_eq!(answer["versions"]["timestamp"], 4, "{answer}");
        assert_eq!(answer["targets"]["channels/stable.json"], hex(b"two"));

        // The channel goes into other hands, and all keys of the root are replaced.
        let delegation = Delegation {
            name: "team".into(),
            role: role(90 * DAY),
            paths: vec!["channels/stable.json".into()],
        };
        editor.delegate(&delegation, now).unwrap();
        let root = &editor.root().roles["root"];
        let key = Arc::new(PrivateKey::generate(Scheme::EcdsaP256).unwrap());
        let change = RoleChange {
            add: vec![key.public().clone()],
            remove: root.keyids.clone(),
            threshold: Some(1),
        };
        editor.add_key(key);
        let changes = [("root".to_owned(), change)].into();
        let mut draft = editor.draft_root(&changes, now).unwrap();
        draft.sign(editor.keys()).unwrap();
        editor.change_root(&draft, now).unwrap();
        editor
            .put_target("channels/stable.json", *b"three")
            .unwrap();
        editor.publish(now).unwrap();
        let answer = read(&server.url, &anchor, &state, &names).unwrap();
        assert_eq!(answer["versions"]["root"], 2, "{answer}");
        assert_eq!(answer["targets"]["channels/stable.json"], hex(b"three"));
    }
}

#[test]
fn it_refuses_with_us_what_is_replayed() {
    let repo = Repo::new();
    let now = Timestamp::now().to_string();
    let stamp = repo.path("metadata/timestamp.json");
    repo.publish("x", b"x", &now);
    let old = std::fs::read(&stamp).unwrap();
    repo.publish("x", b"y", &now);
    let server = Server::new(repo.dir.path().into());
    let state = tempfile::tempdir().unwrap();
    let anchor = repo.path("metadata/1.root.json");
    let Some(answer) = read(&server.url, &anchor, state.path(), &["x"]) else {
        return;
    };
    assert_eq!(answer["targets"]["x"], hex(b"y"), "{answer}");
    std::fs::write(stamp, old).unwrap();
    let answer = read(&server.url, &anchor, state.path(), &["x"]).unwrap();
    assert_eq!(answer["error"], "BadVersionNumberError", "{answer}");
}

/// Reads each step of a repository that python-tuf made, with one client after the other.
async fn follow(scenario: &str, steps: &[&[(&str, &[u8])]]) {
    let dir = tempfile::tempdir().unwrap();
    let Some((ok, _)) = python("write.py", &[dir.path().to_str().unwrap(), scenario]) else {
        return;
    };
    assert!(ok);
    let anchor = std::fs::read(dir.path().join("anchor.json")).unwrap();
    for http in [false, true] {
        let state = tempfile::tempdir().unwrap();
        for (n, targets) in steps.iter().enumerate() {
            let repo = dir.path().join((n + 1).to_string());
            let server = Server::new(repo.clone());
            let url = if http {
                server.url.clone()
            } else {
                format!("file://{}", repo.display())
            };
            let config = Config::new(&url, anchor.clone(), state.path().into());
            let mut client = Client::new(config).unwrap();
            let refresh = client.refresh(Timestamp::now()).await.unwrap();
            assert!(refresh.changed);
            for (name, content) in *targets {
                assert_eq!(client.target(name, 100).await.unwrap(), *content, "{name}");
            }
            let audit =
                surefoot_trust::audit::audit(&repo, &anchor, Timestamp::now(), |_, _| Vec::new())
                    .unwrap();
            assert!(audit.problems.is_empty(), "{:?}", audit.problems);
        }
    }
}

#[tokio::test]
async fn we_read_every_kind_of_key() {
    let name = "channels/stable.json";
    follow("keys", &[&[(name, b"one")], &[(name, b"two")]]).await;
}

#[tokio::test]
async fn we_follow_rotated_keys() {
    let step: &[(&str, &[u8])] = &[("a", b"one")];
    follow("rotation", &[step, step, step]).await;
    // Two roots behind.
    follow("rotation", &[&[]]).await;
}

#[tokio::test]
async fn we_follow_delegations() {
    follow(
        "delegated",
        &[&[
            ("channels/team-a.json", b"by the team"),
            ("hashed/x", b"by hash"),
            ("deep/1", b"from the deep"),
        ]],
    )
    .await;
}

#[tokio::test]
async fn we_read_unusual_target_paths() {
    let names = [
        "with blank",
        "100%25/x",
        "b\u{e4}r/k\u{f6}nig.json",
        "a+b=c&d?e#f",
        "~tilde",
    ];
    let targets: Vec<(&str, &[u8])> = names.iter().map(|n| (*n, n.as_bytes())).collect();
    follow("names", &[&targets]).await;
}
