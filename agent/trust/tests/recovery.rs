//! After a theft: what the thief could do, and how the fleet gets its robots back.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Repo, START, time};
use serde_json::{Value, json};
use std::{fs, path::Path};
use surefoot_trust::{
    Client, Config, Editor, Error, Keyring,
    editor::RoleChange,
    keys::{PrivateKey, Scheme, Signer as _, key_id},
    metadata::Envelope,
};

fn client(repo: &Repo, state: &Path) -> Client {
    Client::new(Config::new(
        &repo.file_url(),
        repo.anchor(),
        state.to_owned(),
    ))
    .unwrap()
}

fn read(repo: &Repo, file: &str) -> Envelope {
    let bytes = fs::read(repo.path(&format!("metadata/{file}"))).unwrap();
    Envelope::parse(file, &bytes).unwrap()
}

/// Signs a file as somebody who has the online keys, and puts it into the repository.
fn forge(repo: &Repo, file: &str, role: &str, signed: Value) {
    let editor = repo.editor();
    let root = editor.root();
    let mut envelope = Envelope {
        signatures: Vec::new(),
        signed,
    };
    repo.ring
        .add_signatures(&mut envelope, &root.keys, &root.roles[role])
        .unwrap();
    let path = repo.path(&format!("metadata/{file}"));
    fs::write(path, envelope.to_bytes().unwrap()).unwrap();
}

/// What somebody does with stolen online keys who wants to be in the way for long: a timestamp and
/// a snapshot of this version, which offers targets of this version, which nobody has signed.
fn block(repo: &Repo, version: u64) {
    let mut snapshot = read(repo, "2.snapshot.json").signed;
    snapshot["version"] = version.into();
    snapshot["meta"]["targets.json"] = json!({ "version": version });
    forge(
        repo,
        &format!("{version}.snapshot.json"),
        "snapshot",
        snapshot,
    );
    let mut timestamp = read(repo, "timestamp.json").signed;
    timestamp["version"] = version.into();
    timestamp["meta"]["snapshot.json"] = json!({ "version": version });
    forge(repo, "timestamp.json", "timestamp", timestamp);
}

#[tokio::test]
async fn stolen_online_keys_are_replaced_and_what_they_signed_goes_with_them() {
    let (mut repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let own = fs::read(repo.path("metadata/timestamp.json")).unwrap();
    let mut robot = client(&repo, state.path());
    robot.refresh(time(START)).await.unwrap();
    block(&repo, u64::MAX);
    let error = robot.refresh(time(START)).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert_eq!(robot.versions().snapshot, u64::MAX);
    // As bad as it gets: nothing that the fleet signs with these keys will ever be newer.
    fs::write(repo.path("metadata/timestamp.json"), own).unwrap();
    assert!(matches!(
        robot.refresh(time(START)).await,
        Err(Error::Rollback { .. })
    ));

    // New online keys, and the next release.
    let changes = ["timestamp", "snapshot"].map(|role| {
        let key = PrivateKey::generate(Scheme::Ed25519).unwrap();
        let old = repo.editor().root().roles[role].keyids.clone();
        let change = RoleChange {
            add: vec![key.public().clone()],
            remove: old,
            threshold: None,
        };
        assert_ne!(change.remove, [key_id(key.public())]);
        repo.ring.add(std::sync::Arc::new(key));
        (role.to_owned(), change)
    });
    let mut editor = repo.editor();
    let mut draft = editor.draft_root(&changes.into(), time(START)).unwrap();
    draft.sign(editor.keys()).unwrap();
    editor.change_root(&draft, time(START)).unwrap();
    drop(editor);
    repo.publish("channels/stable.json", b"two", START);
    robot.refresh(time(START)).await.unwrap();
    let manifest = robot.target("channels/stable.json", 9).await.unwrap();
    assert_eq!(manifest, b"two");
    assert!(robot.versions().snapshot < 10);
}

#[tokio::test]
async fn forged_versions_that_are_not_far_ahead_are_published_past() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let own = fs::read(repo.path("metadata/timestamp.json")).unwrap();
    let mut robot = client(&repo, state.path());
    robot.refresh(time(START)).await.unwrap();
    block(&repo, 5);
    robot.refresh(time(START)).await.unwrap_err();
    fs::write(repo.path("metadata/timestamp.json"), own).unwrap();
    let mut releases = 0;
    while releases == 0 || robot.refresh(time(START)).await.is_err() {
        releases += 1;
        repo.publish("channels/stable.json", &[releases], START);
    }
    // From version 2 to version 5 of each.
    assert_eq!(releases, 3);
    let manifest = robot.target("channels/stable.json", 9).await.unwrap();
    assert_eq!(manifest, [releases]);
}

#[tokio::test]
async fn a_stolen_or_cloned_robot_has_nothing_to_sign_with() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let mut robot = client(&repo, state.path());
    robot.refresh(time(START)).await.unwrap();
    robot.target("channels/stable.json", 9).await.unwrap();
    drop(robot);
    // Everything that it has from the fleet, and a copy of the repository.
    let thief = tempfile::tempdir().unwrap();
    fs::write(thief.path().join("root.json"), repo.anchor()).unwrap();
    let copy = thief.path().join("state");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(state.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let keys = Keyring::load(thief.path()).unwrap();
    assert!(keys.is_empty());
    let mut editor = Editor::open(repo.dir.path(), keys).unwrap();
    editor.put_target("channels/stable.json", *b"mine").unwrap();
    assert!(matches!(
        editor.publish(time(START)),
        Err(Error::MissingKeys { .. })
    ));
    drop(editor);
    // Neither is in the way of the other.
    repo.publish("channels/stable.json", b"two", START);
    for state in [state.path(), &copy] {
        let mut robot = client(&repo, state);
        assert!(robot.refresh(time(START)).await.unwrap().changed);
    }
}

#[tokio::test]
async fn a_stick_with_pipes_and_devices_for_files_is_not_waited_for() {
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let mut robot = client(&repo, state.path());
    for file in ["metadata/2.root.json", "metadata/timestamp.json"] {
        let path = repo.path(file);
        let aside = repo.path("aside");
        let was_there = fs::rename(&path, &aside).is_ok();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let found = robot.refresh(time(START)).await;
        // There is no such root, which is well; there must be a timestamp.
        assert_eq!(found.is_err(), was_there, "{found:?}");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let found = robot.refresh(time(START)).await;
        assert_eq!(found.is_err(), was_there, "{found:?}");
        fs::remove_file(&path).unwrap();
        if was_there {
            fs::rename(&aside, &path).unwrap();
        }
    }
    robot.refresh(time(START)).await.unwrap();
}
