//! The search for a target through delegations, §5.6.7: order, limits, and hostile trees.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{START, time};
use proptest::prelude::*;
use serde_json::Map;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};
use surefoot_trust::{
    Error, Keyring, Limits, file_names,
    keys::{PrivateKey, Scheme, Signer as _, key_id},
    metadata::{
        Common, DelegatedRole, Delegations, Envelope, Expires, Key, KeyId, MetaFile, Role,
        RoleKeys, Root, Snapshot, TOP_LEVEL, TargetFile, Targets, Timestamp,
    },
    trusted_set::TrustedSet,
    workflow::{Refreshing, Search, SearchStep},
};

/// One key signs everything here, another is the thief's.
static KEY: LazyLock<Arc<PrivateKey>> =
    LazyLock::new(|| Arc::new(PrivateKey::generate(Scheme::Ed25519).unwrap()));
static THIEF: LazyLock<Arc<PrivateKey>> =
    LazyLock::new(|| Arc::new(PrivateKey::generate(Scheme::Ed25519).unwrap()));

fn speaking(key: &PrivateKey) -> (BTreeMap<KeyId, Key>, RoleKeys) {
    let id = key_id(key.public());
    let role = RoleKeys {
        keyids: vec![id.clone()],
        threshold: 1,
        extra: Map::new(),
    };
    ([(id, key.public().clone())].into(), role)
}

fn sign<R: Role>(role: &R, key: &Arc<PrivateKey>) -> Vec<u8> {
    let mut ring = Keyring::new();
    ring.add(Arc::clone(key) as _);
    let (keys, role_keys) = speaking(key);
    let mut envelope = Envelope::wrap(role).unwrap();
    ring.add_signatures(&mut envelope, &keys, &role_keys)
        .unwrap();
    envelope.to_bytes().unwrap()
}

fn common_at(expires: &str) -> Common {
    Common {
        spec_version: "1.0.34".into(),
        version: 1,
        expires: Expires(time(expires)),
    }
}

fn common() -> Common {
    common_at("2030-02-01T00:00:00Z")
}

fn listed() -> MetaFile {
    MetaFile {
        version: 1,
        length: None,
        hashes: None,
        extra: Map::new(),
    }
}

fn no_targets() -> Targets {
    Targets {
        common: common(),
        targets: BTreeMap::new(),
        delegations: None,
        extra: Map::new(),
    }
}

/// A tree of roles.
#[derive(Debug, Default)]
struct Tree {
    roles: BTreeMap<String, Targets>,
    /// Signed by the thief instead.
    stolen: Vec<String>,
    /// Not listed in the snapshot.
    hidden: Vec<String>,
}

impl Tree {
    fn new() -> Self {
        Self {
            roles: [("targets".to_owned(), no_targets())].into(),
            ..Self::default()
        }
    }

    fn role(&mut self, name: &str) -> &mut Targets {
        self.roles.entry(name.into()).or_insert_with(no_targets)
    }

    fn entry(name: &str, terminating: bool) -> DelegatedRole {
        DelegatedRole {
            name: name.into(),
            keys: speaking(&KEY).1,
            terminating,
            paths: Some(vec!["*".into()]),
            path_hash_prefixes: None,
        }
    }

    fn delegate(&mut self, from: &str, entry: DelegatedRole) {
        self.role(&entry.name);
        let delegations = &mut self.role(from).delegations;
        let delegations = delegations.get_or_insert_with(Delegations::default);
        delegations.keys = speaking(&KEY).0;
        delegations.roles.push(entry);
    }

    fn target(&mut self, role: &str, name: &str) {
        let file = TargetFile {
            length: role.len() as u64,
            hashes: [("sha256".into(), "00".repeat(32))].into(),
            extra: Map::new(),
        };
        self.role(role).targets.insert(name.into(), file);
    }

    /// A client that is up to date, and the files it may ask for.
    fn serve(&self) -> (TrustedSet, BTreeMap<String, Vec<u8>>) {
        let mut files = BTreeMap::new();
        for (name, role) in &self.roles {
            let key = if self.stolen.contains(name) {
                &THIEF
            } else {
                &KEY
            };
            files.insert(file_names::metadata(name, Some(1)), sign(role, key));
        }
        let shown = self.roles.keys().filter(|name| !self.hidden.contains(name));
        let snapshot = Snapshot {
            common: common(),
            meta: shown
                .map(|name| (format!("{name}.json"), listed()))
                .collect(),
            extra: Map::new(),
        };
        files.insert("1.snapshot.json".into(), sign(&snapshot, &KEY));
        let timestamp = Timestamp {
            common: common(),
            meta: [("snapshot.json".to_owned(), listed())].into(),
            extra: Map::new(),
        };
        files.insert("timestamp.json".into(), sign(&timestamp, &KEY));
        let (keys, role) = speaking(&KEY);
        let root = Root {
            common: common(),
            consistent_snapshot: true,
            keys,
            roles: TOP_LEVEL.map(|name| (name.to_owned(), role.clone())).into(),
            extra: Map::new(),
        };
        let set = TrustedSet::bootstrap(&sign(&root, &KEY)).unwrap();
        let mut client = Refreshing::new(set, time(START).into(), None, Limits::default());
        while let Some(request) = client.wanted().unwrap() {
            client
                .answer(files.get(&request.file).map(Vec::as_slice))
                .unwrap();
        }
        (client.into_set(), files)
    }

    /// Searches; which role offers the target, and which files were asked for.
    fn search(&self, target: &str) -> (Result<Option<String>, Error>, Vec<String>) {
        let (mut set, files) = self.serve();
        search(&mut set, &files, target)
    }
}

fn search(
    set: &mut TrustedSet,
    files: &BTreeMap<String, Vec<u8>>,
    target: &str,
) -> (Result<Option<String>, Error>, Vec<String>) {
    let mut asked = Vec::new();
    let mut run = || {
        let now = time(START);
        let (mut search, mut step) = Search::new(set, target, now, Limits::default())?;
        loop {
            match step {
                SearchStep::Found(file) => return Ok(Some(file)),
                SearchStep::Nowhere => return Ok(None),
                SearchStep::Want(request) => {
                    asked.push(request.file.clone());
                    let bytes = files.get(&request.file).map(Vec::as_slice);
                    step = search.answer(set, bytes)?;
                }
            }
        }
    };
    let result = run().map(|found| found.map(|file| format!("{} bytes", file.length)));
    (result, asked)
}

/// `"targets>A targets>B A>C!"`: who delegates to whom; `!` ends the search.
fn tree(text: &str) -> Tree {
    let mut tree = Tree::new();
    for edge in text.split_whitespace() {
        let (from, to) = edge.split_once('>').unwrap();
        let entry = Tree::entry(to.trim_end_matches('!'), to.ends_with('!'));
        tree.delegate(from, entry);
    }
    tree
}

#[test]
fn roles_are_asked_in_depth_first_and_in_order() {
    for (edges, order) in [
        ("targets>A", "A"),
        ("targets>A targets>B", "A B"),
        ("targets>A targets>B B>C", "A B C"),
        ("targets>A targets>B A>C A>D", "A C D B"),
        ("targets>A targets>B A>C C>D", "A C D B"),
        // Nobody is asked after a role that ends the search, but its own delegations are.
        ("targets>A targets>B A>C! A>D", "A C"),
        ("targets>A targets>B A>C! C>D", "A C D"),
        ("targets>A! targets>B A>C A>D", "A C D"),
        // Circles end, and nobody is asked twice.
        ("targets>A targets>B B>C C>D D>B", "A B C D"),
        ("targets>A A>A", "A"),
        ("targets>A targets>B A>C B>C", "A C B"),
    ] {
        let (found, asked) = tree(edges).search("missing");
        assert_eq!(found.unwrap(), None, "{edges}");
        let order: Vec<_> = order.split(' ').map(|n| format!("1.{n}.json")).collect();
        assert_eq!(asked, order, "{edges}");
    }
}

#[test]
fn the_first_that_offers_it_counts() {
    let mut tree = tree("targets>A targets>BB A>CCC");
    tree.target("BB", "x");
    tree.target("CCC", "x");
    tree.target("A", "y");
    let (found, asked) = tree.search("x");
    assert_eq!(found.unwrap().unwrap(), "3 bytes");
    assert_eq!(asked, ["1.A.json", "1.CCC.json"]);
    tree.target("targets", "x");
    let (found, asked) = tree.search("x");
    assert_eq!(found.unwrap().unwrap(), "7 bytes");
    assert!(asked.is_empty());
}

#[test]
fn only_roles_that_are_trusted_with_the_path_are_asked() {
    let mut tree = Tree::new();
    let mut entry = Tree::entry("A", false);
    entry.paths = Some(vec!["*.md".into(), "foo-?.tgz".into()]);
    tree.delegate("targets", entry);
    let mut entry = Tree::entry("B", false);
    entry.paths = None;
    entry.path_hash_prefixes = Some(vec!["a5".into()]);
    tree.delegate("targets", entry);
    for (path, asked) in [
        ("README.md", vec!["1.A.json"]),
        ("README.MD", vec![]),
        ("docs/README.md", vec![]),
        ("foo-1.tgz", vec!["1.A.json"]),
        ("foo-12.tgz", vec![]),
    ] {
        assert_eq!(tree.search(path).1, asked, "{path}");
    }
    let digest = |text: &str| {
        use sha2::Digest as _;
        format!("{:02x}", sha2::Sha256::digest(text)[0])
    };
    let hashed = (0..)
        .map(|n| format!("h{n}"))
        .find(|t| digest(t) == "a5")
        .unwrap();
    assert_eq!(tree.search(&hashed).1, ["1.B.json"]);
}

#[test]
fn a_role_is_verified_against_whoever_asks_it() {
    // A trusts C with the right key, B with another.
    let mut tree = Tree::new();
    for (name, path) in [("A", "a/*"), ("B", "b/*")] {
        let mut entry = Tree::entry(name, false);
        entry.paths = Some(vec![path.into()]);
        tree.delegate("targets", entry.clone());
        entry.name = "C".into();
        tree.delegate(name, entry);
    }
    let delegations = tree.role("B").delegations.as_mut().unwrap();
    let (keys, speaking) = speaking(&THIEF);
    delegations.keys = keys;
    delegations.roles[0].keys = speaking;
    tree.target("C", "a/x");
    tree.target("C", "b/x");
    let (mut set, files) = tree.serve();
    assert_eq!(
        search(&mut set, &files, "a/x").0.unwrap().unwrap(),
        "1 bytes"
    );
    // It is at hand now, but what A believes is nothing to B.
    let error = search(&mut set, &files, "b/x").0.unwrap_err().to_string();
    assert_eq!(
        error,
        "C.json: 0 of 1 required signatures are valid (threshold not reached)"
    );
}

#[test]
fn what_cannot_be_believed_ends_the_search() {
    let mut stolen = tree("targets>A targets>B");
    stolen.stolen.push("A".into());
    stolen.target("B", "x");
    let error = stolen.search("x").0.unwrap_err().to_string();
    assert!(error.starts_with("A.json: 0 of 1"), "{error}");
    let mut hidden = tree("targets>A");
    hidden.hidden.push("A".into());
    let (found, asked) = hidden.search("x");
    let error = found.unwrap_err().to_string();
    assert!(
        error.contains("snapshot.json cannot be read: it does not list A.json"),
        "{error}"
    );
    assert!(asked.is_empty());
    let mut old = tree("targets>A");
    old.role("A").common = common_at("2029-12-31T00:00:00Z");
    let error = old.search("x").0.unwrap_err().to_string();
    assert!(error.starts_with("A.json expired at 2029-12-31"), "{error}");
}

/// What is named by its content is the same whoever lists it: only the role that has expired is out of force.
#[test]
fn an_expired_role_does_not_hide_the_indexes_of_others() {
    let index = "closures/00.json.zst";
    let expired = |edges: &str| {
        let mut old = tree(edges);
        let delegations = old.role("targets").delegations.as_mut().unwrap();
        for role in &mut delegations.roles {
            role.paths = Some(vec!["*/*".into()]);
        }
        old.role("A").common = common_at("2029-12-31T00:00:00Z");
        old.target("A", "closures/11.json.zst");
        old.target("B", index);
        old.target("B", "channels/stable.json");
        old
    };
    let old = expired("targets>A targets>B");
    let (mut set, files) = old.serve();
    for _ in 0..2 {
        let (found, asked) = search(&mut set, &files, index);
        assert_eq!(found.unwrap().unwrap(), "1 bytes");
        assert_eq!(asked[0], "1.A.json");
    }
    // Its own are out of force, which whoever asks for them is told.
    let error = old.search("closures/11.json.zst").0.unwrap_err();
    assert!(matches!(error, Error::Expired { .. }), "{error}");
    // What A would say of a channel is not for B to say, nor of anything that A ends the search for.
    for (old, name) in [
        (old, "channels/stable.json"),
        (expired("targets>A! targets>B"), index),
    ] {
        let error = old.search(name).0.unwrap_err();
        assert!(matches!(error, Error::Expired { .. }), "{name}: {error}");
    }
}

#[test]
fn unusual_names_are_encoded() {
    for (name, file) in [
        ("?", "1.%3F.json"),
        ("#", "1.%23.json"),
        ("/role", "1.%2Frole.json"),
        ("../role", "1...%2Frole.json"),
        ("r\u{f6}le\u{202e}", "1.r%C3%B6le%E2%80%AE.json"),
        ("a\0b", "1.a%00b.json"),
    ] {
        let mut tree = Tree::new();
        tree.delegate("targets", Tree::entry(name, false));
        let (found, asked) = tree.search("x");
        assert_eq!(found.unwrap(), None);
        assert_eq!(asked, [file]);
    }
}

#[test]
fn a_hostile_tree_is_not_followed_far() {
    let limit = Limits::default().delegations as usize;
    // As deep as it gets.
    let mut deep = Tree::new();
    deep.delegate("targets", Tree::entry("r0", false));
    for n in 0..limit * 2 {
        deep.delegate(&format!("r{n}"), Tree::entry(&format!("r{}", n + 1), false));
    }
    let (found, asked) = deep.search("x");
    let error = found.unwrap_err().to_string();
    assert!(
        error.contains("more than 32 roles would have to be asked"),
        "{error}"
    );
    assert_eq!(asked.len(), limit);
    // As wide as can be.
    let mut wide = Tree::new();
    wide.delegate("targets", Tree::entry("r", false));
    let top = wide.role("targets").delegations.as_mut().unwrap();
    for n in 0..2_000 {
        top.roles.push(Tree::entry(&format!("w{n}"), false));
    }
    for n in 0..limit * 2 {
        wide.role(&format!("w{n}"));
    }
    let (found, asked) = wide.search("x");
    assert!(found.is_err());
    assert_eq!(asked.len(), limit);
}

#[test]
fn delegated_roles_have_a_size_together() {
    let mut tree = Tree::new();
    for n in 0..8 {
        tree.delegate("targets", Tree::entry(&format!("r{n}"), false));
        let padding = "x".repeat(10_000);
        tree.role(&format!("r{n}")).extra = [("padding".to_owned(), padding.into())]
            .into_iter()
            .collect();
    }
    let (mut set, files) = tree.serve();
    let limits = Limits {
        all_delegated: 35_000,
        ..Limits::default()
    };
    let (mut search, mut step) = Search::new(&set, "x", time(START), limits).unwrap();
    let mut room = Vec::new();
    while let SearchStep::Want(request) = step {
        room.push(request.limit);
        let bytes = &files[&request.file];
        if bytes.len() as u64 > request.limit {
            break;
        }
        step = search.answer(&mut set, Some(bytes)).unwrap();
    }
    // The fourth would be too much: not a byte more than is left is read of it.
    assert_eq!(room.len(), 4);
    assert!(room.is_sorted_by(|a, b| a > b) && room[3] < 5_000);
}

#[test]
fn delegations_that_break_the_rules_are_refused() {
    let refuse = |change: &dyn Fn(&mut Delegations)| {
        let mut tree = tree("targets>A targets>B");
        change(tree.role("targets").delegations.as_mut().unwrap());
        let bytes = sign(&tree.roles["targets"], &KEY);
        let envelope = Envelope::parse("targets.json", &bytes).unwrap();
        let error = envelope.read::<Targets>("targets.json").unwrap_err();
        error.to_string()
    };
    for (words, error) in [
        (
            "threshold of 'A' is 0",
            refuse(&|d| d.roles[0].keys.threshold = 0),
        ),
        (
            "delegates to 'A' twice",
            refuse(&|d| d.roles[1].name = "A".into()),
        ),
        (
            "cannot be named 'root'",
            refuse(&|d| d.roles[0].name = "root".into()),
        ),
        (
            "cannot be named ''",
            refuse(&|d| d.roles[0].name = String::new()),
        ),
        ("either paths or", refuse(&|d| d.roles[0].paths = None)),
        (
            "either paths or",
            refuse(&|d| d.roles[0].path_hash_prefixes = Some(vec![])),
        ),
        (
            "lists a key twice",
            refuse(&|d| {
                let id = d.roles[0].keys.keyids[0].clone();
                d.roles[0].keys.keyids.push(id);
            }),
        ),
    ] {
        assert!(error.contains(words), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the graph: the search ends, asks nobody twice, and asks only who can be reached.
    #[test]
    fn every_search_ends(edges in proptest::collection::vec((0u8..8, 0u8..8, any::<bool>()), 0..24)) {
        let mut tree = Tree::new();
        tree.delegate("targets", Tree::entry("r0", false));
        for (from, to, terminating) in edges {
            let (from, to) = (format!("r{from}"), format!("r{to}"));
            let known = tree.role(&from).delegations.iter().flat_map(|d| &d.roles);
            if known.clone().any(|role| role.name == to) {
                continue;
            }
            tree.delegate(&from, Tree::entry(&to, terminating));
        }
        let (found, asked) = tree.search("missing");
        prop_assert_eq!(found.unwrap(), None);
        let mut distinct = asked.clone();
        distinct.sort();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), asked.len());
        prop_assert_eq!(&asked[0], "1.r0.json");
    }
}
