//! The attacks of the specification, §1.5.2, one by one, on the workflow without any I/O.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{START, time};
use jiff::Timestamp as Time;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};
use surefoot_trust::{
    Error, Keyring, Limits,
    keys::{PrivateKey, Scheme, Signer as _, key_id},
    metadata::{
        Common, Envelope, Expires, MetaFile, Role, RoleKeys, Root, Snapshot, TOP_LEVEL, Targets,
        Timestamp,
    },
    trusted_set::TrustedSet,
    workflow::Refreshing,
};

/// Who holds which keys.
#[derive(Debug, Clone)]
struct Keys(BTreeMap<&'static str, Vec<Arc<PrivateKey>>>);

impl Keys {
    fn new(count: usize) -> Self {
        Self(TOP_LEVEL.map(|role| (role, keys(count))).into())
    }

    fn ring(&self, roles: &[&str]) -> Keyring {
        let mut ring = Keyring::new();
        for key in roles.iter().flat_map(|role| &self.0[*role]) {
            ring.add(Arc::clone(key) as _);
        }
        ring
    }
}

fn keys(count: usize) -> Vec<Arc<PrivateKey>> {
    (0..count)
        .map(|_| Arc::new(PrivateKey::generate(Scheme::Ed25519).unwrap()))
        .collect()
}

/// A repository whose signers do whatever the test wants.
#[derive(Debug, Clone)]
struct Forge {
    keys: Keys,
    threshold: u64,
    /// Also sign new roots: those that are replaced.
    old: Vec<Arc<PrivateKey>>,
    versions: BTreeMap<&'static str, u64>,
    expires: BTreeMap<&'static str, Time>,
    meta: BTreeMap<String, MetaFile>,
    files: BTreeMap<String, Vec<u8>>,
}

fn common(version: u64, expires: Time) -> Common {
    Common {
        spec_version: "1.0.34".into(),
        version,
        expires: Expires(expires),
    }
}

fn listed(version: u64) -> MetaFile {
    MetaFile {
        version,
        length: None,
        hashes: None,
        extra: Map::new(),
    }
}

impl Forge {
    fn new(count: usize) -> Self {
        let mut forge = Self {
            keys: Keys::new(count),
            threshold: count as u64,
            old: vec![],
            versions: TOP_LEVEL.map(|role| (role, 1)).into(),
            expires: TOP_LEVEL
                .map(|role| (role, time("2030-02-01T00:00:00Z")))
                .into(),
            meta: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        forge.publish(&["root", "targets", "snapshot", "timestamp"]);
        forge
    }

    fn root(&self) -> Root {
        let all = self.keys.0.values().flatten();
        Root {
            common: common(self.versions["root"], self.expires["root"]),
            consistent_snapshot: true,
            keys: all
                .map(|key| (key_id(key.public()), key.public().clone()))
                .collect(),
            roles: self
                .keys
                .0
                .iter()
                .map(|(role, keys)| {
                    let keys = RoleKeys {
                        keyids: keys.iter().map(|key| key_id(key.public())).collect(),
                        threshold: self.threshold,
                        extra: Map::new(),
                    };
                    ((*role).to_owned(), keys)
                })
                .collect(),
            extra: Map::new(),
        }
    }

    /// Signs with whatever keys of the role there are, enough or not.
    fn sign<R: Role>(&self, name: &str, role: &R) -> Vec<u8> {
        let root = self.root();
        let mut envelope = Envelope::wrap(role).unwrap();
        let mut ring = self.keys.ring(&[name]);
        let mut keys = root.keys.clone();
        let mut speaking = root.roles[name].clone();
        if name == "root" {
            for key in &self.old {
                ring.add(Arc::clone(key) as _);
                keys.insert(key_id(key.public()), key.public().clone());
                speaking.keyids.push(key_id(key.public()));
            }
        }
        ring.add_signatures(&mut envelope, &keys, &speaking)
            .unwrap();
        envelope.to_bytes().unwrap()
    }

    fn publish(&mut self, roles: &[&str]) {
        for role in roles {
            let version = self.versions[role];
            let common = common(version, self.expires[role]);
            let extra = Map::new;
            let (name, bytes) = match *role {
                "root" => (
                    format!("{version}.root.json"),
                    self.sign("root", &self.root()),
                ),
                "targets" => {
                    let targets = Targets {
                        common,
                        targets: BTreeMap::new(),
                        delegations: None,
                        extra: extra(),
                    };
                    self.meta.insert("targets.json".into(), listed(version));
                    (format!("{version}.targets.json"), self.sign(role, &targets))
                }
                "snapshot" => {
                    let snapshot = Snapshot {
                        common,
                        meta: self.meta.clone(),
                        extra: extra(),
                    };
                    (
                        format!("{version}.snapshot.json"),
                        self.sign(role, &snapshot),
                    )
                }
                _ => {
                    let snapshot = listed(self.versions["snapshot"]);
                    let timestamp = Timestamp {
                        common,
                        meta: [("snapshot.json".to_owned(), snapshot)].into(),
                        extra: extra(),
                    };
                    ("timestamp.json".into(), self.sign(role, &timestamp))
                }
            };
            self.files.insert(name, bytes);
        }
    }

    /// The next version of some roles.
    fn bump(&mut self, roles: &[&'static str]) {
        for role in roles {
            *self.versions.get_mut(role).unwrap() += 1;
        }
        self.publish(roles);
    }

    fn anchor(&self) -> TrustedSet {
        TrustedSet::bootstrap(&self.files["1.root.json"]).unwrap()
    }

    /// Runs a client on it. What it believes afterwards, and how it ended.
    fn refresh_at(&self, set: &TrustedSet, now: &str) -> (TrustedSet, Result<(), Error>) {
        let now = time(now).into();
        let mut client = Refreshing::new(set.clone(), now, None, Limits::default());
        let mut run = || {
            while let Some(request) = client.wanted()? {
                let bytes = self.files.get(&request.file).map(Vec::as_slice);
                assert!(bytes.is_none_or(|b| b.len() as u64 <= request.limit));
                client.answer(bytes)?;
            }
            Ok(())
        };
        let result = run();
        (client.into_set(), result)
    }

    fn believed(&self, set: &TrustedSet) -> TrustedSet {
        let (set, result) = self.refresh_at(set, START);
        result.unwrap();
        set
    }

    fn refused(&self, set: &TrustedSet) -> (TrustedSet, String) {
        let (set, result) = self.refresh_at(set, START);
        (set, result.unwrap_err().to_string())
    }
}

fn versions(set: &TrustedSet) -> (u64, u64, u64, u64) {
    (
        set.root().role.common.version,
        set.timestamp().map_or(0, |r| r.role.common.version),
        set.snapshot().map_or(0, |r| r.role.common.version),
        set.targets().map_or(0, |r| r.role.common.version),
    )
}

const ONLINE: [&str; 3] = ["targets", "snapshot", "timestamp"];

#[test]
fn rollback_of_each_role_is_refused() {
    let mut forge = Forge::new(1);
    forge.bump(&ONLINE);
    let set = forge.believed(&forge.anchor());
    assert_eq!(versions(&set), (1, 2, 2, 2));

    let mut older = forge.clone();
    older.versions.insert("timestamp", 1);
    older.publish(&["timestamp"]);
    assert_eq!(
        older.refused(&set).1,
        "timestamp.json is version 1, but version 2 was already trusted: replay refused"
    );

    let mut older = forge.clone();
    older.versions.insert("snapshot", 1);
    older.bump(&["timestamp"]);
    let (after, error) = older.refused(&set);
    assert!(
        error.starts_with("the snapshot in timestamp.json is version 1"),
        "{error}"
    );
    assert_eq!(versions(&after), (1, 2, 2, 2));

    let mut older = forge.clone();
    older.versions.insert("targets", 1);
    older.publish(&["targets"]);
    older.bump(&["snapshot", "timestamp"]);
    let (after, error) = older.refused(&set);
    assert!(
        error.starts_with("targets.json in snapshot.json is version 1"),
        "{error}"
    );
    assert_eq!(versions(&after), (1, 3, 2, 2));

    let mut without = forge.clone();
    without.meta.insert("team.json".into(), listed(1));
    without.bump(&["snapshot", "timestamp"]);
    let set = without.believed(&set);
    without.meta.remove("team.json");
    without.bump(&["snapshot", "timestamp"]);
    let error = without.refused(&set).1;
    assert!(
        error.contains("does not list team.json any more"),
        "{error}"
    );
}

#[test]
fn a_freeze_ends_with_the_expiry_of_each_role() {
    for (role, believed) in [
        ("root", (1, 0, 0, 0)),
        ("timestamp", (1, 0, 0, 0)),
        ("snapshot", (1, 1, 0, 0)),
        ("targets", (1, 1, 1, 0)),
    ] {
        let mut forge = Forge::new(1);
        forge.expires.insert(role, time("2030-01-10T00:00:00Z"));
        forge.publish(&["root", "targets", "snapshot", "timestamp"]);
        let set = forge.believed(&forge.anchor());
        for start in [&set, &forge.anchor()] {
            let (after, result) = forge.refresh_at(start, "2030-01-10T00:00:00Z");
            let error = result.unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{role}.json expired at 2030-01-10T00:00:00Z")),
                "{error}"
            );
            if versions(start).1 == 0 {
                assert_eq!(versions(&after), believed);
            }
        }
        // A second before, all is well.
        forge.refresh_at(&set, "2030-01-09T23:59:59Z").1.unwrap();
        // And once it is signed again.
        forge.expires.insert(role, time("2030-03-01T00:00:00Z"));
        forge.bump(&["root", "targets", "snapshot", "timestamp"]);
        forge.refresh_at(&set, "2030-01-10T00:00:00Z").1.unwrap();
    }
}

#[test]
fn files_of_different_times_do_not_mix() {
    let mut forge = Forge::new(1);
    forge.bump(&ONLINE);
    for (old, new, error) in [
        (
            "1.snapshot.json",
            "2.snapshot.json",
            "snapshot.json is version 1, but version 2 belongs",
        ),
        (
            "1.targets.json",
            "2.targets.json",
            "targets.json is version 1, but version 2 belongs",
        ),
        (
            "2.targets.json",
            "2.snapshot.json",
            "its _type is 'targets' where 'snapshot' belongs",
        ),
        (
            "1.snapshot.json",
            "timestamp.json",
            "its _type is 'snapshot' where 'timestamp' belongs",
        ),
        (
            "timestamp.json",
            "2.root.json",
            "its _type is 'timestamp' where 'root' belongs",
        ),
    ] {
        let mut mixed = forge.clone();
        mixed.files.insert(new.into(), forge.files[old].clone());
        let found = mixed.refused(&mixed.anchor()).1;
        assert!(found.contains(error), "{found}");
    }
}

#[test]
fn hashes_and_lengths_bind_what_they_name() {
    let mut forge = Forge::new(1);
    forge.bump(&["targets"]);
    let mut file = listed(2);
    file.hashes = Some([("sha256".to_owned(), "00".repeat(32))].into());
    forge.meta.insert("targets.json".into(), file.clone());
    forge.bump(&["snapshot", "timestamp"]);
    let error = forge.refused(&forge.anchor()).1;
    assert!(
        error.starts_with("targets.json is not what was signed: its sha256 is"),
        "{error}"
    );
    file.hashes = Some([("md5".to_owned(), "00".repeat(16))].into());
    forge.meta.insert("targets.json".into(), file.clone());
    forge.publish(&["snapshot"]);
    let error = forge.refused(&forge.anchor()).1;
    assert!(
        error.contains("none of its digests (md5) is of a kind known here"),
        "{error}"
    );
    file.hashes = None;
    file.length = Some(7);
    forge.meta.insert("targets.json".into(), file);
    forge.publish(&["snapshot"]);
    let set = forge.anchor();
    let mut client = Refreshing::new(set, time(START).into(), None, Limits::default());
    let mut last = None;
    while let Some(request) = client.wanted().unwrap() {
        last = Some(request.clone());
        if request.file == "2.targets.json" {
            break;
        }
        client
            .answer(forge.files.get(&request.file).map(Vec::as_slice))
            .unwrap();
    }
    // Not a byte more than was signed is even asked for.
    assert_eq!(last.unwrap().limit, 7);
}

#[test]
fn a_threshold_counts_distinct_keys_of_the_role() {
    let mut forge = Forge::new(2);
    forge.bump(&ONLINE);
    let good = forge.files["2.targets.json"].clone();
    let tamper = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut forge = forge.clone();
        let mut file: Value = serde_json::from_slice(&good).unwrap();
        change(file["signatures"].as_array_mut().unwrap());
        forge
            .files
            .insert("2.targets.json".into(), serde_json::to_vec(&file).unwrap());
        forge
            .refresh_at(&forge.anchor(), START)
            .1
            .map_err(|e| e.to_string())
    };
    let one = "targets.json: 1 of 2 required signatures are valid (threshold not reached)";
    assert_eq!(tamper(&|_| ()), Ok(()));
    assert_eq!(tamper(&|s| s.truncate(1)), Err(one.into()));
    // A copy of a signature under the other key's name.
    assert_eq!(
        tamper(&|s| s[1]["sig"] = s[0]["sig"].clone()),
        Err(one.into())
    );
    assert_eq!(tamper(&|s| s[1]["sig"] = "".into()), Err(one.into()));
    assert_eq!(tamper(&|s| s[1]["sig"] = "zz".into()), Err(one.into()));
    assert_eq!(
        tamper(&|s| s[1]["keyid"] = "unknown".into()),
        Err(one.into())
    );
    let twice = tamper(&|s| s[1] = s[0].clone()).unwrap_err();
    assert!(twice.contains("two signatures name one key"), "{twice}");
    // Signatures that nobody asked for do no harm.
    assert_eq!(
        tamper(&|s| s.push(json!({"keyid": "x", "sig": "00"}))),
        Ok(())
    );
    // The keys of another role do not speak for this one.
    let mut stolen = forge.clone();
    let thief = stolen.keys.0["timestamp"].clone();
    stolen.keys.0.insert("targets", thief);
    stolen.publish(&["targets"]);
    let error = stolen.refused(&forge.anchor()).1;
    assert!(error.starts_with("targets.json: 0 of 2"), "{error}");
}

#[test]
fn one_key_under_two_names_counts_once() {
    let forge = Forge::new(1);
    let [key] = forge.keys.0["timestamp"].as_slice() else {
        unreachable!()
    };
    // A root that asks for two timestamp signatures, by one key under two names.
    let mut root = forge.root();
    root.common.version = 2;
    root.keys.insert("alias".into(), key.public().clone());
    let speaking = root.roles.get_mut("timestamp").unwrap();
    speaking.keyids.push("alias".into());
    speaking.threshold = 2;
    let mut forged = forge.clone();
    forged
        .files
        .insert("2.root.json".into(), forge.sign("root", &root));
    let mut file: Value = serde_json::from_slice(&forge.files["timestamp.json"]).unwrap();
    let mut copy = file["signatures"][0].clone();
    copy["keyid"] = "alias".into();
    file["signatures"].as_array_mut().unwrap().push(copy);
    forged
        .files
        .insert("timestamp.json".into(), serde_json::to_vec(&file).unwrap());
    assert_eq!(
        forged.refused(&forge.anchor()).1,
        "timestamp.json: 1 of 2 required signatures are valid (threshold not reached)"
    );
}

/// The next root, with new root keys.
fn rotate(forge: &mut Forge, count: usize) {
    forge.old = forge.keys.0["root"].clone();
    forge.keys.0.insert("root", keys(count));
    forge.bump(&["root"]);
}

#[test]
fn a_robot_five_roots_behind_catches_up() {
    let mut forge = Forge::new(2);
    let set = forge.believed(&forge.anchor());
    for _ in 0..5 {
        rotate(&mut forge, 2);
    }
    // The threshold may change on the way, and a lost key be replaced.
    forge.threshold = 1;
    rotate(&mut forge, 3);
    forge.bump(&ONLINE);
    assert_eq!(versions(&forge.believed(&set)), (7, 2, 2, 2));
    assert_eq!(versions(&forge.believed(&forge.anchor())), (7, 2, 2, 2));
    // One root of the chain is missing: the robot stays on the one before it.
    forge.files.remove("4.root.json");
    assert_eq!(versions(&forge.believed(&set)), (3, 2, 2, 2));
}

#[test]
fn a_new_root_needs_the_old_quorum_and_the_new_one() {
    let forge = Forge::new(2);
    let set = forge.believed(&forge.anchor());
    let mut without_old = forge.clone();
    without_old.keys.0.insert("root", keys(2));
    without_old.bump(&["root"]);
    assert_eq!(
        without_old.refused(&set).1,
        "2.root.json: 0 of 2 required signatures are valid (threshold not reached), asking the keys of root 1"
    );
    let mut without_new = forge.clone();
    rotate(&mut without_new, 2);
    let mut file: Value = serde_json::from_slice(&without_new.files["2.root.json"]).unwrap();
    file["signatures"].as_array_mut().unwrap().remove(0);
    without_new
        .files
        .insert("2.root.json".into(), serde_json::to_vec(&file).unwrap());
    assert_eq!(
        without_new.refused(&set).1,
        "2.root.json: 1 of 2 required signatures are valid (threshold not reached), asking its own keys"
    );
}

#[test]
fn far_too_high_versions_go_with_the_keys_that_signed_them() {
    let mut forge = Forge::new(1);
    forge.versions.insert("timestamp", u64::MAX);
    forge.publish(&["timestamp"]);
    let set = forge.believed(&forge.anchor());
    assert_eq!(set.timestamp().unwrap().role.common.version, u64::MAX);
    // The timestamp's key is replaced, and counting begins again.
    forge.keys.0.insert("timestamp", keys(1));
    forge.versions.insert("timestamp", 1);
    forge.publish(&["timestamp"]);
    forge.bump(&["root"]);
    assert_eq!(versions(&forge.believed(&set)), (2, 1, 1, 1));
}

#[test]
fn an_endless_chain_of_roots_ends_for_today() {
    let mut forge = Forge::new(1);
    for _ in 0..300 {
        forge.bump(&["root"]);
    }
    let set = forge.believed(&forge.anchor());
    assert_eq!(set.root().role.common.version, 257);
    // Tomorrow it goes on.
    assert_eq!(forge.believed(&set).root().role.common.version, 301);
}

#[test]
fn half_of_a_change_is_remembered() {
    let mut forge = Forge::new(1);
    let set = forge.believed(&forge.anchor());
    forge.bump(&ONLINE);
    forge.files.remove("2.targets.json");
    let (after, error) = forge.refused(&set);
    assert_eq!(
        error,
        "2.targets.json does not exist; is the address right, and was the repository copied whole?"
    );
    assert_eq!(versions(&after), (1, 2, 2, 1));
    assert!(!after.is_complete());
    forge.publish(&["targets"]);
    assert!(forge.believed(&after).is_complete());
}

static FILES: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| {
    let forge = Forge::new(2);
    forge
        .files
        .iter()
        .map(|(name, bytes)| (name.clone(), serde_json::from_slice(bytes).unwrap()))
        .collect()
});

/// Replaces the n-th value of a tree, counted in depth.
fn replace(tree: &mut Value, n: &mut usize, with: &Value) -> bool {
    if *n == 0 {
        *tree = with.clone();
        return true;
    }
    *n -= 1;
    match tree {
        Value::Array(items) => items.iter_mut().any(|item| replace(item, n, with)),
        Value::Object(map) => map.values_mut().any(|item| replace(item, n, with)),
        _ => false,
    }
}

/// Feeds bytes as every kind of file.
fn feed(bytes: &[u8]) {
    let forge = Forge::new(1);
    let mut set = forge.believed(&forge.anchor());
    assert!(TrustedSet::bootstrap(bytes).is_err() || bytes.len() > 100);
    assert!(set.accept_root(bytes).is_err());
    assert!(set.accept_timestamp(bytes, time(START)).is_err());
    assert!(set.accept_snapshot(bytes, time(START)).is_err());
    assert!(set.accept_targets(bytes, time(START)).is_err());
    assert_eq!(versions(&set), (1, 1, 1, 1));
}

#[test]
fn truncated_metadata_is_refused_at_every_byte() {
    let forge = Forge::new(1);
    for (name, bytes) in &forge.files {
        // Without the last line break it is still whole.
        for end in 0..bytes.len() - 2 {
            let error = Envelope::parse(name, &bytes[..end])
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(&format!("{name} cannot be read")));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_are_believed(bytes: Vec<u8>) {
        feed(&bytes);
    }

    #[test]
    fn wrongly_typed_metadata_is_refused(
        file in 0usize..4,
        at in 0usize..80,
        with in prop_oneof![
            Just(json!(null)), Just(json!(true)), Just(json!(0)), Just(json!(-1)),
            Just(json!(u64::MAX)), Just(json!("")), Just(json!("x")), Just(json!([])),
            Just(json!({})), Just(json!([[[]]])), Just(json!({"": {"": ""}})),
        ],
    ) {
        let (_, mut value) = FILES[file].clone();
        let mut n = at;
        replace(&mut value, &mut n, &with);
        feed(&serde_json::to_vec(&value).unwrap());
    }
}
