//! Tests of the editor.

use super::*;
use crate::{
    Client, Config, Error, Keyring,
    audit::{Names, audit},
    keys::{PrivateKey, Scheme, Signer as _, sha256_hex},
    metadata::TargetFile,
};
use jiff::{SignedDuration, Timestamp as Time};
use serde_json::Map;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

fn plan(ring: &mut Keyring) -> RepositoryPlan {
    let mut role = |threshold: u64, lifetime| {
        let keys = (0..threshold)
            .map(|_| {
                let key = PrivateKey::generate(Scheme::Ed25519).unwrap();
                let public = key.public().clone();
                ring.add(Arc::new(key));
                public
            })
            .collect();
        RolePlan {
            keys,
            threshold,
            lifetime,
        }
    };
    RepositoryPlan {
        root: role(2, 365 * DAY),
        targets: role(1, 100 * DAY),
        snapshot: role(1, 30 * DAY),
        timestamp: role(1, 7 * DAY),
        names: Default::default(),
    }
}

#[test]
fn a_repository_is_made_changed_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Keyring::new();
    let plan = plan(&mut ring);
    let now = time("2030-01-01T00:00:00Z");
    let mut editor = Editor::init(dir.path(), &plan, ring.clone(), now).unwrap();
    assert!(matches!(
        Editor::open(dir.path(), ring.clone()),
        Err(Error::Locked(_))
    ));
    editor.put_target("channels/stable.json", *b"one").unwrap();
    assert_eq!(
        editor.read_target("channels/stable.json").unwrap().unwrap(),
        b"one"
    );
    let versions = editor.publish(now).unwrap();
    assert_eq!(
        (versions.timestamp, versions.snapshot, versions.targets),
        (2, 2, 2)
    );
    // Nothing changed, nothing written.
    assert_eq!(editor.publish(now).unwrap(), versions);
    drop(editor);
    assert!(matches!(
        Editor::init(dir.path(), &plan, ring.clone(), now),
        Err(Error::Exists(_))
    ));

    let mut editor = Editor::open(dir.path(), ring).unwrap();
    assert_eq!(editor.versions(), versions);
    assert_eq!(
        editor.read_target("channels/stable.json").unwrap().unwrap(),
        b"one"
    );
    assert_eq!(editor.read_target("none").unwrap(), None);
    assert!(editor.put_target("../x", *b"").is_err());
    editor.put_target("b", *b"two").unwrap();
    editor.remove_targets(["channels/stable.json"]);
    assert_eq!(editor.target_names(), ["b"]);
    editor.publish(now).unwrap();
    assert_eq!(editor.target_names(), ["b"]);
}

#[test]
fn refresh_signs_what_is_due_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Keyring::new();
    let plan = plan(&mut ring);
    let mut editor = Editor::init(dir.path(), &plan, ring, time("2030-01-01T00:00:00Z")).unwrap();
    let mut at = |text: &str| {
        let v = editor.refresh(time(text)).unwrap();
        (v.timestamp, v.snapshot, v.targets)
    };
    assert_eq!(at("2030-01-02T00:00:00Z"), (2, 1, 1));
    assert_eq!(at("2030-01-20T00:00:00Z"), (3, 2, 1));
    assert_eq!(at("2030-03-20T00:00:00Z"), (4, 3, 2));
}

#[test]
fn without_its_keys_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Keyring::new();
    let plan = plan(&mut ring);
    let now = time("2030-01-01T00:00:00Z");
    drop(Editor::init(dir.path(), &plan, ring, now).unwrap());
    let mut editor = Editor::open(dir.path(), Keyring::new()).unwrap();
    editor.put_target("a", *b"x").unwrap();
    let error = editor.publish(now).unwrap_err().to_string();
    assert!(
        error.starts_with("0 of the 1 keys that must sign 'targets'"),
        "{error}"
    );
    assert!(!dir.path().join("targets").read_dir().unwrap().any(|_| true));
}

#[test]
fn what_was_bent_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Keyring::new();
    let plan = plan(&mut ring);
    let now = time("2030-01-01T00:00:00Z");
    let mut editor = Editor::init(dir.path(), &plan, ring.clone(), now).unwrap();
    editor.put_target("a", *b"one").unwrap();
    editor.publish(now).unwrap();
    let file = dir
        .path()
        .join("targets")
        .join(format!("{}.a", sha256_hex(b"one")));
    fs::write(file, "two").unwrap();
    assert!(matches!(
        editor.read_target("a"),
        Err(Error::Mismatch { .. })
    ));
    drop(editor);
    let file = dir.path().join("metadata/2.targets.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"length\": 3", "\"length\": 4")).unwrap();
    let error = Editor::open(dir.path(), ring).unwrap_err().to_string();
    assert_eq!(
        error,
        "2.targets.json: 0 of 1 required signatures are valid (threshold not reached)"
    );
}

/// A target below `channels/` is the name of another, or of none.
const NAMES: Names = |name, bytes| {
    let named = std::str::from_utf8(bytes).unwrap_or_default();
    let names = name.starts_with("channels/") && named.starts_with("closures/");
    names.then(|| named.to_owned()).into_iter().collect()
};

const NOW: &str = "2030-01-01T00:00:00Z";

fn new_key() -> Arc<PrivateKey> {
    Arc::new(PrivateKey::generate(Scheme::Ed25519).unwrap())
}

/// All keys of a role are replaced by one new key.
fn replaced(editor: &mut Editor, role: &str) -> RoleChange {
    let key = new_key();
    editor.add_key(key.clone());
    RoleChange {
        add: vec![key.public().clone()],
        remove: editor.root().roles[role].keyids.clone(),
        threshold: Some(1),
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn client(repo: &Path, state: &Path) -> Client {
    let anchor = fs::read(repo.join("metadata/1.root.json")).unwrap();
    let url = format!("file://{}", repo.display());
    Client::new(Config::new(&url, anchor, state.into())).unwrap()
}

#[tokio::test]
async fn keys_change_under_the_eyes_of_robots_and_power_cuts() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    fs::create_dir(&repo).unwrap();
    let mut ring = Keyring::new();
    let plan = plan(&mut ring);
    let mut editor = Editor::init(&repo, &plan, ring, time(NOW)).unwrap();
    editor.put_target("a", *b"one").unwrap();
    editor.publish(time(NOW)).unwrap();
    let seen = dir.path().join("seen");
    client(&repo, &seen).refresh(time(NOW)).await.unwrap();
    let changes = ["root", "targets", "snapshot", "timestamp"]
        .map(|role| (role.to_owned(), replaced(&mut editor, role)))
        .into();
    let mut draft = editor.draft_root(&changes, time(NOW)).unwrap();
    assert!(editor.change_root(&draft, time(NOW)).is_err());
    draft.sign(editor.keys()).unwrap();
    let (_, files) = editor.prepare_root(&draft, time(NOW)).unwrap();
    assert_eq!(files.len(), 4);
    for written in 0..=files.len() {
        let now = dir.path().join(format!("{written}"));
        copy(&repo, &now);
        for (path, bytes) in &files[..written] {
            let path = now.join(path.strip_prefix(&repo).unwrap());
            fs::write(path, bytes).unwrap();
        }
        // A robot that saw the old keys, and a new one, believe it at every moment.
        let state = dir.path().join(format!("{written}-seen"));
        copy(&seen, &state);
        for state in [&state, &dir.path().join(format!("{written}-new"))] {
            let mut client = client(&now, state);
            client.refresh(time(NOW)).await.unwrap();
            assert_eq!(client.target("a", 9).await.unwrap(), b"one");
        }
        // The power went, and the work goes on.
        let mut again = Editor::open(&now, editor.keys().clone()).unwrap();
        again.refresh(time(NOW)).unwrap();
        let anchor = fs::read(now.join("metadata/1.root.json")).unwrap();
        assert!(
            audit(&now, &anchor, time(NOW), NAMES)
                .unwrap()
                .problems
                .is_empty()
        );
    }
    editor.change_root(&draft, time(NOW)).unwrap();
    assert_eq!(editor.versions().root, 2);
    assert!(editor.is_believed_since(1).unwrap());
    let error = editor.change_root(&draft, time(NOW)).unwrap_err();
    assert!(error.to_string().contains("draft it anew"), "{error}");
}

#[test]
fn a_lost_key_is_replaced_and_what_it_left_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Keyring::new();
    let mut plan = plan(&mut ring);
    // The timestamp's key is lost: nobody has it at hand from here on.
    let lost = new_key();
    plan.timestamp.keys = vec![lost.public().clone()];
    let mut all = ring.clone();
    all.add(lost);
    drop(Editor::init(dir.path(), &plan, all, time(NOW)).unwrap());
    let mut editor = Editor::open(dir.path(), ring).unwrap();
    assert!(matches!(
        editor.refresh(time(NOW)),
        Err(Error::MissingKeys { .. })
    ));
    let changes = [("timestamp".to_owned(), replaced(&mut editor, "timestamp"))].into();
    let mut draft = editor.draft_root(&changes, time(NOW)).unwrap();
    draft.sign(editor.keys()).unwrap();
    let (_, files) = editor.prepare_root(&draft, time(NOW)).unwrap();
    // The root goes first here; a power cut right behind it is survived.
    fs::write(&files[0].0, &files[0].1).unwrap();
    let keys = editor.keys().clone();
    drop(editor);
    let mut editor = Editor::open(dir.path(), keys).unwrap();
    editor.refresh(time(NOW)).unwrap();
    // Who knows the first root alone does not believe the new timestamp.
    assert!(!editor.is_believed_since(1).unwrap() && editor.is_believed_since(2).unwrap());
    let anchor = fs::read(dir.path().join("metadata/1.root.json")).unwrap();
    let audit = audit(dir.path(), &anchor, time(NOW), NAMES).unwrap();
    assert_eq!(audit.set.root().role.common.version, 2);
}

#[test]
fn a_draft_travels_and_collects_signatures() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Keyring::new();
    let mut plan = plan(&mut ring);
    let offline = [new_key(), new_key()];
    plan.root.keys = offline.iter().map(|k| k.public().clone()).collect();
    let mut all = ring.clone();
    offline.iter().for_each(|k| all.add(k.clone()));
    drop(Editor::init(dir.path(), &plan, all, time(NOW)).unwrap());
    let mut editor = Editor::open(dir.path(), ring).unwrap();
    let changes = [("targets".to_owned(), replaced(&mut editor, "targets"))].into();
    let mut draft = editor.draft_root(&changes, time(NOW)).unwrap();
    assert_eq!(draft.sign(editor.keys()).unwrap(), 0);
    assert_eq!(draft.describe().len(), 3);
    for (n, key) in offline.iter().enumerate() {
        let error = draft.check().unwrap_err().to_string();
        assert!(error.contains(&format!("{n} of 2 required")), "{error}");
        // To another machine and back.
        draft = Draft::parse(&draft.to_bytes().unwrap()).unwrap();
        let mut ring = Keyring::new();
        ring.add(key.clone());
        assert_eq!(draft.sign(&ring).unwrap(), 1);
        assert_eq!(draft.sign(&ring).unwrap(), 0);
        draft = Draft::parse(&draft.to_bytes().unwrap()).unwrap();
    }
    editor.change_root(&draft, time(NOW)).unwrap();
    // A draft that was bent on the way is worth nothing.
    let bytes = String::from_utf8(draft.to_bytes().unwrap()).unwrap();
    let bent = bytes.replacen("\"threshold\": 2", "\"threshold\": 1", 1);
    assert!(Draft::parse(bent.as_bytes()).unwrap().check().is_err());
    let bent = bytes.replace("\"threshold\": 2", "\"threshold\": 1");
    assert!(matches!(
        Draft::parse(bent.as_bytes()),
        Err(Error::Threshold { .. })
    ));
    assert!(Draft::parse(b"{}").is_err());
}

#[test]
fn thresholds_that_cannot_be_reached_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Keyring::new();
    let plan = plan(&mut ring);
    let editor = Editor::init(dir.path(), &plan, ring, time(NOW)).unwrap();
    let refuse = |role: &str, change: RoleChange| {
        let changes = [(role.to_owned(), change)].into();
        editor
            .draft_root(&changes, time(NOW))
            .unwrap_err()
            .to_string()
    };
    let threshold = |n| RoleChange {
        threshold: Some(n),
        ..RoleChange::default()
    };
    assert_eq!(
        refuse("root", threshold(3)),
        "'root' cannot need 3 signatures: it has 2 keys"
    );
    assert!(refuse("targets", threshold(0)).contains("cannot need 0"));
    assert!(refuse("weather", threshold(1)).contains("knows no role 'weather'"));
    let known = editor.root().roles["targets"].keyids[0].clone();
    let twice = RoleChange {
        add: vec![editor.root().keys[&known].clone()],
        ..RoleChange::default()
    };
    assert!(refuse("targets", twice).contains("a key twice"));
    let unknown = RoleChange {
        remove: vec!["x".into()],
        ..RoleChange::default()
    };
    assert!(refuse("targets", unknown).contains("has no key x"));
}

/// A channel in a team's hands.
fn team(editor: &mut Editor, name: &str, paths: &[&str]) -> Delegation {
    let key = new_key();
    editor.add_key(key.clone());
    Delegation {
        name: name.to_owned(),
        role: RolePlan {
            keys: vec![key.public().clone()],
            threshold: 1,
            lifetime: 90 * DAY,
        },
        paths: paths.iter().map(|p| (*p).to_owned()).collect(),
    }
}

#[tokio::test]
async fn a_delegated_channel_is_believed_from_the_teams_keys_alone() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    fs::create_dir(&repo).unwrap();
    let mut ring = Keyring::new();
    let plan = plan(&mut ring);
    let mut editor = Editor::init(&repo, &plan, ring.clone(), time(NOW)).unwrap();
    editor.put_target("channels/nightly.json", *b"old").unwrap();
    editor
        .put_target("channels/stable.json", *b"stable")
        .unwrap();
    editor.publish(time(NOW)).unwrap();
    let night = team(
        &mut editor,
        "night",
        &["channels/nightly.json", "closures/*"],
    );
    editor.delegate(&night, time(NOW)).unwrap();
    let mut robot = client(&repo, &dir.path().join("state"));
    // What was there has moved over, and is signed by the team now.
    robot.refresh(time(NOW)).await.unwrap();
    assert_eq!(
        robot.target("channels/nightly.json", 9).await.unwrap(),
        b"old"
    );
    assert!(
        editor.now.targets["targets"]
            .targets
            .keys()
            .eq(["channels/stable.json"])
    );
    editor.put_target("channels/nightly.json", *b"new").unwrap();
    let index = format!("closures/{}.json.zst", sha256_hex(b"index"));
    editor.put_target(&index, *b"index").unwrap();
    let versions = editor.publish(time(NOW)).unwrap();
    assert_eq!((versions.targets, versions.delegated["night"]), (3, 2));
    robot.refresh(time(NOW)).await.unwrap();
    assert_eq!(
        robot.target("channels/nightly.json", 9).await.unwrap(),
        b"new"
    );
    assert_eq!(robot.target(&index, 9).await.unwrap(), b"index");
    assert_eq!(
        robot.target("channels/stable.json", 9).await.unwrap(),
        b"stable"
    );
    assert_eq!(
        editor
            .read_target("channels/nightly.json")
            .unwrap()
            .unwrap(),
        b"new"
    );
    assert_eq!(editor.roles().len(), 5);

    // Without the team's key nobody publishes there, the fleet's own key included.
    drop(editor);
    let mut fleet = Editor::open(&repo, ring).unwrap();
    fleet.put_target("channels/nightly.json", *b"evil").unwrap();
    let error = fleet.publish(time(NOW)).unwrap_err().to_string();
    assert!(
        error.starts_with("0 of the 1 keys that must sign 'night'"),
        "{error}"
    );
    fleet.staged.clear();
    // But what is named by its digest may be listed by whoever is there.
    let other = format!("closures/{}", sha256_hex(b"other"));
    fleet.put_target(&other, *b"other").unwrap();
    fleet.put_target("channels/stable.json", *b"newer").unwrap();
    assert_eq!(fleet.publish(time(NOW)).unwrap().targets, 4);

    // Another team cannot take the channel, nor list it where nobody asks, nor put something else
    // in the place of its releases.
    let other = team(&mut fleet, "other", &["channels/n*.json"]);
    let error = fleet.delegate(&other, time(NOW)).unwrap_err().to_string();
    assert!(error.contains("already in the hands of 'night'"), "{error}");
    let other = team(&mut fleet, "other", &["channels/weekly.json", "closures/*"]);
    fleet.delegate(&other, time(NOW)).unwrap();
    let mut next = fleet.now.clone();
    let evil = TargetFile {
        length: 3,
        hashes: [("sha256".to_owned(), sha256_hex(b"bad"))].into(),
        extra: Map::new(),
    };
    let theirs = next.targets.get_mut("other").unwrap();
    theirs
        .targets
        .insert("channels/nightly.json".into(), evil.clone());
    let swapped = format!("closures/{}.json.zst", sha256_hex(b"not yet there"));
    theirs.targets.insert(swapped.clone(), evil);
    let file = format!("targets/closures/{}.{}", sha256_hex(b"bad"), &swapped[9..]);
    fs::write(repo.join(file), "bad").unwrap();
    let files = fleet
        .sign(&mut next, &["other".to_owned()].into(), time(NOW))
        .unwrap();
    fleet.commit(next, &files).unwrap();
    robot.refresh(time(NOW)).await.unwrap();
    assert_eq!(
        robot.target("channels/nightly.json", 9).await.unwrap(),
        b"new"
    );

    let error = robot.target(&swapped, 9).await.unwrap_err().to_string();
    assert!(error.contains("not what its name says"), "{error}");

    // Taken back, it is nobody's.
    fleet.revoke("night", |_| false, time(NOW)).unwrap();
    assert!(fleet.revoke("night", |_| false, time(NOW)).is_err());
    robot.refresh(time(NOW)).await.unwrap();
    assert!(matches!(
        robot.target("channels/nightly.json", 9).await,
        Err(Error::NoSuchTarget { .. })
    ));
    // And given to others it counts on, so that no robot sees it go back.
    let mut again = team(&mut fleet, "night", &["channels/nightly.json"]);
    again.role.threshold = 1;
    fleet.delegate(&again, time(NOW)).unwrap();
    assert_eq!(fleet.versions().delegated["night"], 3);
    robot.refresh(time(NOW)).await.unwrap();
}

/// A target that is named by its digest.
fn closure(content: &str) -> String {
    format!("closures/{}.json.zst", sha256_hex(content.as_bytes()))
}

/// Stages a channel that names a closure, with the closure.
fn stage(editor: &mut Editor, channel: &str, content: &str) {
    editor.put_target(&closure(content), content).unwrap();
    let channel = format!("channels/{channel}.json");
    editor.put_target(&channel, closure(content)).unwrap();
}

#[tokio::test]
async fn what_a_channel_names_stays_offered_whatever_becomes_of_another_channels_team() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    fs::create_dir(&repo).unwrap();
    let mut ring = Keyring::new();
    let plan = plan(&mut ring);
    let mut editor = Editor::init(&repo, &plan, ring.clone(), time(NOW)).unwrap();
    let anchor = fs::read(repo.join("metadata/1.root.json")).unwrap();
    let problems = || audit(&repo, &anchor, time(NOW), NAMES).unwrap().problems;
    stage(&mut editor, "stable", "before");
    stage(&mut editor, "night", "night");
    editor.publish(time(NOW)).unwrap();
    let paths = ["channels/night.json", "closures/*"];
    let night = team(&mut editor, "team", &paths);
    editor.delegate(&night, time(NOW)).unwrap();
    // The team's keys are at hand, and yet it lists nothing of the other channel.
    let of = |editor: &Editor, role: &str| -> Vec<String> {
        let targets = &editor.now.targets[role].targets;
        targets.keys().cloned().collect()
    };
    assert_eq!(of(&editor, "team"), ["channels/night.json"]);
    stage(&mut editor, "stable", "after");
    editor.publish(time(NOW)).unwrap();
    assert_eq!(of(&editor, "team"), ["channels/night.json"]);
    assert!(of(&editor, "targets").contains(&closure("after")));
    stage(&mut editor, "night", "theirs");
    editor.publish(time(NOW)).unwrap();
    assert!(of(&editor, "team").contains(&closure("theirs")));
    assert!(!of(&editor, "targets").contains(&closure("theirs")));
    assert_eq!(problems().len(), 0);
    // Another channel names what the team has listed, and says so, or it is noticed.
    let stable = "channels/stable.json";
    editor.put_target(stable, closure("theirs")).unwrap();
    editor.publish(time(NOW)).unwrap();
    let all = editor.now.clone();
    editor.revoke("team", |_| false, time(NOW)).unwrap();
    let found = problems();
    assert_eq!(found.len(), 1);
    assert!(
        found[0].to_string().contains(&closure("theirs")),
        "{found:?}"
    );
    // Its file is there yet, and is listed again.
    assert!(editor.keep_listed(&closure("theirs"), stable).unwrap());
    assert!(!editor.keep_listed(&closure("never"), stable).unwrap());
    editor.publish(time(NOW)).unwrap();
    assert_eq!(problems().len(), 0);
    // The same with what is named said at once: nothing else of the team's stays.
    let mut next = all;
    next.snapshot = editor.now.snapshot.clone();
    next.timestamp = editor.now.timestamp.clone();
    let top = next.targets.get_mut("targets").unwrap();
    top.common.version = editor.now.targets["targets"].common.version;
    let due = ["targets".to_owned(), "team".to_owned()].into();
    let files = editor.sign(&mut next, &due, time(NOW)).unwrap();
    editor.commit(next, &files).unwrap();
    assert!(!of(&editor, "targets").contains(&closure("theirs")));
    let keep = |name: &str| name == closure("theirs") || name.starts_with("channels/");
    editor.revoke("team", keep, time(NOW)).unwrap();
    assert!(of(&editor, "targets").contains(&closure("theirs")));
    assert!(!of(&editor, "targets").contains(&"channels/night.json".to_owned()));
    assert_eq!(problems().len(), 0);
    let mut robot = client(&repo, &dir.path().join("state"));
    robot.refresh(time(NOW)).await.unwrap();
    assert_eq!(
        robot.target(&closure("theirs"), 9).await.unwrap(),
        b"theirs"
    );
}

#[test]
fn a_team_that_is_elsewhere_drafts_its_channel_with_what_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Keyring::new();
    let plan = plan(&mut ring);
    let mut editor = Editor::init(dir.path(), &plan, ring.clone(), time(NOW)).unwrap();
    let paths = ["channels/night.json", "closures/*"];
    let night = team(&mut editor, "team", &paths);
    editor.delegate(&night, time(NOW)).unwrap();
    let theirs = editor.keys().clone();
    drop(editor);
    // Here are the fleet's keys, and not the team's.
    let mut editor = Editor::open(dir.path(), ring).unwrap();
    let nothing = editor.draft_targets(time(NOW)).unwrap_err().to_string();
    assert!(nothing.contains("nothing changes"), "{nothing}");
    stage(&mut editor, "night", "first");
    let mut draft = editor.draft_targets(time(NOW)).unwrap();
    let in_force = editor.in_force("team").unwrap();
    assert_eq!(draft.sign(&theirs, &in_force).unwrap(), 1);
    editor.staged.clear();
    editor.finish_targets(&draft, time(NOW)).unwrap();
    assert!(
        editor.now.targets["team"]
            .targets
            .contains_key(&closure("first"))
    );
    stage(&mut editor, "night", "second");
    stage(&mut editor, "stable", "third");
    let error = editor.draft_targets(time(NOW)).unwrap_err().to_string();
    assert!(error.contains("signed by targets and team"), "{error}");
}

#[test]
fn delegations_that_make_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Keyring::new();
    let plan = plan(&mut ring);
    let mut editor = Editor::init(dir.path(), &plan, ring, time(NOW)).unwrap();
    for (name, paths, words) in [
        ("root", vec!["a"], "not a name for a delegated role"),
        ("../x", vec!["a"], "not a name for a delegated role"),
        ("", vec!["a"], "not a name for a delegated role"),
        ("x", vec![], "trusted with nothing"),
    ] {
        let delegation = team(&mut editor, name, &paths);
        let error = editor.delegate(&delegation, time(NOW)).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let mut delegation = team(&mut editor, "x", &["a"]);
    delegation.role.threshold = 2;
    assert!(editor.delegate(&delegation, time(NOW)).is_err());
    assert!(!dir.path().join("metadata/1.x.json").exists());
}

/// The files of a repository, relative to it.
fn files_of(dir: &Path) -> BTreeSet<String> {
    fn walk(dir: &Path, top: &Path, into: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, top, into);
            } else {
                let path = path.strip_prefix(top).unwrap();
                into.insert(path.to_str().unwrap().to_owned());
            }
        }
    }
    let mut files = BTreeSet::new();
    walk(dir, dir, &mut files);
    files
}

#[tokio::test]
async fn pruning_leaves_what_any_robot_needs_however_far_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring = Keyring::new();
    let plan = plan(&mut ring);
    let day = |n: i64| time("2030-01-01T00:00:00Z") + SignedDuration::from_hours(24 * n);
    let mut editor = Editor::init(dir.path(), &plan, ring, day(0)).unwrap();
    let anchor = fs::read(dir.path().join("metadata/1.root.json")).unwrap();
    let robot = |state: &Path| {
        let url = format!("file://{}", dir.path().display());
        Client::new(Config::new(&url, anchor.clone(), state.to_owned())).unwrap()
    };
    // One robot has seen the first release, one is new, and one is in the midst of the last change.
    let states = [(); 3].map(|()| tempfile::tempdir().unwrap());
    editor.put_target("channels/stable.json", *b"0").unwrap();
    editor.put_target("old", *b"only at first").unwrap();
    editor.publish(day(0)).unwrap();
    robot(states[0].path()).refresh(day(0)).await.unwrap();
    for n in 1..=9 {
        if n == 5 {
            let mut draft = editor.draft_root(&BTreeMap::new(), day(n)).unwrap();
            draft.sign(editor.keys()).unwrap();
            editor.change_root(&draft, day(n)).unwrap();
        }
        let release = n.to_string();
        editor.put_target("channels/stable.json", release).unwrap();
        editor.remove_targets(["old"]);
        editor.publish(day(n)).unwrap();
        if n == 8 {
            robot(states[2].path()).refresh(day(n)).await.unwrap();
        }
    }
    fs::write(dir.path().join("targets/README"), "ours").unwrap();

    let before = files_of(dir.path());
    let keep = 3 * DAY;
    let planned = editor.prune(keep, day(10), true).unwrap();
    assert_eq!(files_of(dir.path()), before, "a dry run");
    assert_eq!(editor.prune(keep, day(10), false).unwrap(), planned);
    let after = files_of(dir.path());
    let gone: BTreeSet<String> = before.difference(&after).cloned().collect();
    let said = planned
        .files
        .iter()
        .map(|file| file.to_str().unwrap().to_owned());
    assert_eq!(gone, said.collect());
    // In force is what was signed on day 9; what was replaced on days 9 and 8 may be in use.
    let left = |suffix: &str| after.iter().filter(|file| file.ends_with(suffix)).count();
    assert_eq!(
        (
            left(".root.json"),
            left(".snapshot.json"),
            left(".targets.json")
        ),
        (2, 3, 3)
    );
    assert_eq!((left(".stable.json"), left(".old")), (3, 0));
    assert!(after.contains("targets/README") && after.contains("metadata/timestamp.json"));
    assert!(planned.bytes > 0);
    assert_eq!(
        editor.prune(keep, day(10), false).unwrap(),
        Pruned::default()
    );

    let found = audit(dir.path(), &anchor, day(10), NAMES).unwrap();
    assert!(found.problems.is_empty());
    for state in &states {
        let mut robot = robot(state.path());
        robot.refresh(day(10)).await.unwrap();
        let manifest = robot.target("channels/stable.json", 9).await.unwrap();
        assert_eq!(manifest, b"9");
    }
}
