//! Repositories that want to cost a robot its time, memory or traffic. Everything here is signed by
//! the right keys: signatures are no defence against this.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Fault, START, Server, time};
use serde_json::{Map, json};
use std::{collections::BTreeMap, sync::Arc};
use surefoot_trust::{
    Client, Config, Keyring,
    keys::{PrivateKey, Scheme, Signer as _, key_id},
    metadata::{
        Common, DelegatedRole, Delegations, Envelope, Expires, MetaFile, Role, RoleKeys, Root,
        Snapshot, TOP_LEVEL, Targets, Timestamp,
    },
};

/// One key that signs everything, and a server.
struct Villain {
    ring: Keyring,
    key: Arc<PrivateKey>,
    speaking: RoleKeys,
    server: Server,
    _dir: tempfile::TempDir,
}

fn common(version: u64) -> Common {
    Common {
        spec_version: "1.0.34".into(),
        version,
        expires: Expires(time("2031-01-01T00:00:00Z")),
    }
}

fn listed() -> MetaFile {
    MetaFile {
        version: 1,
        length: None,
        hashes: None,
        extra: Map::new(),
    }
}

fn targets() -> Targets {
    Targets {
        common: common(1),
        targets: BTreeMap::new(),
        delegations: None,
        extra: Map::new(),
    }
}

impl Villain {
    /// With an empty repository.
    fn new() -> Self {
        let key = Arc::new(PrivateKey::generate(Scheme::Ed25519).unwrap());
        let mut ring = Keyring::new();
        ring.add(Arc::clone(&key) as _);
        let dir = tempfile::tempdir().unwrap();
        let villain = Self {
            ring,
            speaking: RoleKeys {
                keyids: vec![key_id(key.public())],
                threshold: 1,
                extra: Map::new(),
            },
            key,
            server: Server::new(dir.path().into()),
            _dir: dir,
        };
        let timestamp = Timestamp {
            common: common(1),
            meta: [("snapshot.json".to_owned(), listed())].into(),
            extra: Map::new(),
        };
        villain.serve("timestamp.json", &timestamp);
        villain.serve_snapshot(&[]);
        villain.serve("1.targets.json", &targets());
        villain
    }

    fn sign(&self, role: &impl Role) -> Vec<u8> {
        let keys = [(key_id(self.key.public()), self.key.public().clone())].into();
        let mut envelope = Envelope::wrap(role).unwrap();
        self.ring
            .add_signatures(&mut envelope, &keys, &self.speaking)
            .unwrap();
        serde_json::to_vec(&envelope).unwrap()
    }

    fn serve(&self, file: &str, role: &impl Role) {
        let path = format!("/metadata/{file}");
        self.server.fault(&path, Fault::Bytes(self.sign(role)));
    }

    fn serve_snapshot(&self, roles: &[String]) {
        let files = roles.iter().map(String::as_str).chain(["targets"]);
        let snapshot = Snapshot {
            common: common(1),
            meta: files
                .map(|role| (format!("{role}.json"), listed()))
                .collect(),
            extra: Map::new(),
        };
        self.serve("1.snapshot.json", &snapshot);
    }

    fn root(&self, version: u64) -> Root {
        Root {
            common: common(version),
            consistent_snapshot: true,
            keys: [(key_id(self.key.public()), self.key.public().clone())].into(),
            roles: TOP_LEVEL
                .map(|name| (name.to_owned(), self.speaking.clone()))
                .into(),
            extra: Map::new(),
        }
    }

    fn victim(&self, state: &tempfile::TempDir) -> Client {
        let anchor = self.sign(&self.root(1));
        Client::new(Config::new(&self.server.url, anchor, state.path().into())).unwrap()
    }

    fn delegation(&self, name: &str) -> DelegatedRole {
        DelegatedRole {
            name: name.into(),
            keys: self.speaking.clone(),
            terminating: false,
            paths: Some(vec!["*".into()]),
            path_hash_prefixes: None,
        }
    }
}

/// The peak of this process's memory, MiB (proc(5)).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() >> 10
}

#[tokio::test]
async fn roots_without_end_cost_a_few_hundred_requests() {
    let (villain, state) = (Villain::new(), tempfile::tempdir().unwrap());
    for version in 2..400 {
        villain.serve(&format!("{version}.root.json"), &villain.root(version));
    }
    let mut client = villain.victim(&state);
    let refresh = client.refresh(time(START)).await.unwrap();
    assert_eq!(refresh.versions.root, 257);
    assert_eq!(villain.server.requests().len(), 256 + 3);
    assert!(refresh.bytes_received < 1 << 20);
}

#[tokio::test]
async fn thousands_of_delegations_cost_a_few_requests_and_some_memory() {
    let (villain, state) = (Villain::new(), tempfile::tempdir().unwrap());
    let names: Vec<String> = (0..20_000).map(|n| format!("r{n}")).collect();
    let mut top = targets();
    top.delegations = Some(Delegations {
        roles: names.iter().map(|name| villain.delegation(name)).collect(),
        ..Delegations::default()
    });
    let keys = &mut top.delegations.as_mut().unwrap().keys;
    keys.insert(key_id(villain.key.public()), villain.key.public().clone());
    villain.serve("1.targets.json", &top);
    villain.serve_snapshot(&names);
    // Each of them as large as all together may be, or almost.
    let mut heavy = targets();
    heavy
        .extra
        .insert("padding".into(), json!(vec![[0]; 400_000]));
    let heavy = villain.sign(&heavy);
    for name in names.iter().take(100) {
        let path = format!("/metadata/1.{name}.json");
        villain.server.fault(&path, Fault::Bytes(heavy.clone()));
    }
    let before = peak();
    let mut client = villain.victim(&state);
    client.refresh(time(START)).await.unwrap();
    let error = client.target("x", 10).await.unwrap_err().to_string();
    assert!(error.contains("larger than"), "{error}");
    let requests = villain.server.requests();
    assert!(requests.len() < 20, "{requests:?}");
    let grown = peak() - before;
    assert!(grown < 300, "{grown} MiB");
    // What was read is kept, and can be read again.
    drop(client);
    assert_eq!(villain.victim(&state).damage(), None);
}

#[tokio::test]
async fn a_redirect_without_end_is_left_after_a_few_steps() {
    let (villain, state) = (Villain::new(), tempfile::tempdir().unwrap());
    let mut client = villain.victim(&state);
    for file in ["2.root.json", "timestamp.json"] {
        villain
            .server
            .fault(&format!("/metadata/{file}"), Fault::Redirect);
        let error = client.refresh(time(START)).await.unwrap_err().to_string();
        assert!(error.contains("it redirects for ever"), "{error}");
        assert!(villain.server.requests().len() <= 8);
        villain.server.heal();
    }
}

#[tokio::test]
async fn signatures_by_the_thousand_are_not_all_looked_at() {
    let (villain, state) = (Villain::new(), tempfile::tempdir().unwrap());
    let mut file: serde_json::Value = serde_json::from_slice(&villain.sign(&targets())).unwrap();
    let signatures = file["signatures"].as_array_mut().unwrap();
    for n in 0..20_000 {
        signatures.push(json!({ "keyid": format!("{n:064x}"), "sig": "00".repeat(64) }));
    }
    let bytes = serde_json::to_vec(&file).unwrap();
    assert!(bytes.len() < 5_000_000);
    villain
        .server
        .fault("/metadata/1.targets.json", Fault::Bytes(bytes));
    let before = peak();
    villain.victim(&state).refresh(time(START)).await.unwrap();
    let grown = peak() - before;
    assert!(grown < 200, "{grown} MiB");
    // And the same key twice is refused, not counted.
    file["signatures"] = json!([file["signatures"][0], file["signatures"][0]]);
    let bytes = serde_json::to_vec(&file).unwrap();
    villain
        .server
        .fault("/metadata/1.targets.json", Fault::Bytes(bytes));
    let state = tempfile::tempdir().unwrap();
    let error = villain
        .victim(&state)
        .refresh(time(START))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("two signatures name one key"));
}
