//! Metadata, keys, patterns, drafts, and the workflows that put them together.

use crate::halves;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};
use surefoot_trust::{
    Keyring, Limits,
    editor::Draft,
    file_names, fuzz,
    keys::{PrivateKey, PublicKey, Scheme, Signer as _, key_id, public_key},
    metadata::{
        Common, Envelope, Expires, Key, KeyId, MetaFile, Role, RoleKeys, Root, Snapshot, TOP_LEVEL,
        Targets, Timestamp,
    },
    pattern as patterns,
    trusted_set::TrustedSet,
    workflow::{Refreshing, Search, SearchStep},
};

static ANCHOR: &[u8] = include_bytes!("../seeds/metadata/root.json");
static FILES: [&[u8]; 3] = [
    include_bytes!("../seeds/metadata/timestamp.json"),
    include_bytes!("../seeds/metadata/snapshot.json"),
    include_bytes!("../seeds/metadata/targets.json"),
];

fn now() -> jiff::Timestamp {
    "2030-01-02T00:00:00Z".parse().expect("a time")
}

fn anchor() -> TrustedSet {
    static SET: LazyLock<TrustedSet> =
        LazyLock::new(|| TrustedSet::bootstrap(ANCHOR).expect("the seed is good"));
    SET.clone()
}

/// What was read and is written again says the same.
fn round<R: Role + PartialEq + std::fmt::Debug>(envelope: &Envelope) {
    if let Ok(role) = envelope.read::<R>("x") {
        let again = Envelope::wrap(&role).expect("what was read can be written");
        let again: R = again.read("x").expect("what was written can be read");
        assert_eq!(role, again);
    }
}

/// A file of metadata, read as each of the four kinds.
pub fn metadata(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::parse("x", bytes) {
        let message = envelope.message();
        let again = envelope.to_bytes().expect("it can be written");
        let again = Envelope::parse("x", &again).expect("what was written can be read");
        assert_eq!(again.message(), message);
        round::<Root>(&envelope);
        round::<Timestamp>(&envelope);
        round::<Snapshot>(&envelope);
        round::<Targets>(&envelope);
    }
}

/// A repository of which some answers are not honest: nothing of those is believed, and it ends.
/// The first byte says which are; the rest is the answer that is not.
pub fn workflow(bytes: &[u8]) {
    /// As far as honest answers lead: to the root, and past each of the files.
    static HONEST: LazyLock<Vec<Refreshing>> = LazyLock::new(|| {
        let mut client = Refreshing::new(anchor(), now().into(), None, Limits::default());
        let mut on_the_way = vec![client.clone()];
        for answer in [None].into_iter().chain(FILES.map(Some)) {
            client.wanted().expect("more is wanted");
            client.answer(answer).expect("the seeds are good");
            on_the_way.push(client.clone());
        }
        on_the_way
    });
    let Some((&first, answer)) = bytes.split_first() else {
        return;
    };
    let mut client = HONEST[usize::from(first) % 4].clone();
    let mut asked = 0;
    while let Ok(Some(_)) = client.wanted() {
        asked += 1;
        assert!(asked < 300);
        if client.answer(Some(answer)).is_err() {
            break;
        }
    }
    let set = client.into_set();
    assert_eq!(set.root().role.common.version, 1);
    assert!(set.timestamp().is_none_or(|t| t.role.common.version <= 2));
}

/// One key that signs everything that a robot of [`delegations`] and [`roots`] sees.
struct Fleet {
    keys: BTreeMap<KeyId, Key>,
    role: RoleKeys,
    ring: Keyring,
}

static FLEET: LazyLock<Fleet> = LazyLock::new(|| {
    let key = Arc::new(PrivateKey::generate(Scheme::Ed25519).expect("a key"));
    let id = key_id(key.public());
    let mut ring = Keyring::new();
    let keys = [(id.clone(), key.public().clone())].into();
    ring.add(key);
    Fleet {
        keys,
        role: RoleKeys {
            keyids: vec![id],
            threshold: 1,
            extra: Default::default(),
        },
        ring,
    }
});

impl Fleet {
    fn sign(&self, role: &impl Role) -> Vec<u8> {
        let mut envelope = Envelope::wrap(role).expect("it can be written");
        self.ring
            .add_signatures(&mut envelope, &self.keys, &self.role)
            .expect("it can be signed");
        envelope.to_bytes().expect("it can be written")
    }

    fn root(&self) -> Root {
        Root {
            common: common(),
            consistent_snapshot: true,
            keys: self.keys.clone(),
            roles: TOP_LEVEL
                .iter()
                .map(|role| ((*role).to_owned(), self.role.clone()))
                .collect(),
            extra: Default::default(),
        }
    }
}

fn common() -> Common {
    Common {
        spec_version: "1.0.34".into(),
        version: 1,
        expires: Expires("2031-01-01T00:00:00Z".parse().expect("a time")),
    }
}

fn listed() -> MetaFile {
    MetaFile {
        version: 1,
        length: None,
        hashes: None,
        extra: Default::default(),
    }
}

/// Beneath which root everything begins.
static BEGUN: LazyLock<TrustedSet> = LazyLock::new(|| {
    let root = FLEET.sign(&FLEET.root());
    TrustedSet::bootstrap(&root).expect("an anchor")
});

/// And with which timestamp.
static TIMED: LazyLock<TrustedSet> = LazyLock::new(|| {
    let timestamp = Timestamp {
        common: common(),
        meta: [("snapshot.json".to_owned(), listed())].into(),
        extra: Default::default(),
    };
    let mut set = BEGUN.clone();
    set.accept_timestamp(&FLEET.sign(&timestamp), now())
        .expect("a timestamp");
    set
});

/// Lines: a target path, then what the targets role and each role that is asked after it say, signed
/// by the keys that have to. The search ends, asks no more than it may, and finds what somebody
/// listed.
pub fn delegations(bytes: &[u8]) {
    let Some((path, lines)) = halves(bytes) else {
        return;
    };
    let fleet = &*FLEET;
    let mut roles: Vec<Targets> = Vec::new();
    for line in lines.lines().take(16) {
        let read = Envelope::parse("x", line.as_bytes()).and_then(|e| e.read::<Targets>("x"));
        let Ok(mut role) = read else {
            return;
        };
        role.common = common();
        if let Some(delegations) = &mut role.delegations {
            delegations.keys = fleet.keys.clone();
            for delegated in &mut delegations.roles {
                delegated.keys.keyids = fleet.role.keyids.clone();
            }
        }
        roles.push(role);
    }
    let names = roles.iter().filter_map(|role| role.delegations.as_ref());
    let mut meta: BTreeMap<String, MetaFile> = names
        .flat_map(|delegations| &delegations.roles)
        .map(|role| (format!("{}.json", role.name), listed()))
        .collect();
    meta.insert("targets.json".into(), listed());
    let snapshot = Snapshot {
        common: common(),
        meta,
        extra: Default::default(),
    };
    let mut answers = roles.iter();
    let Some(top) = answers.next() else { return };
    let mut set = TIMED.clone();
    let accepted = set
        .accept_snapshot(&fleet.sign(&snapshot), now())
        .and_then(|()| set.accept_targets(&fleet.sign(top), now()));
    if accepted.is_err() {
        return;
    }
    let Ok((mut search, mut step)) = Search::new(&set, path, now(), Limits::default()) else {
        return;
    };
    let mut asked = 0;
    loop {
        match step {
            SearchStep::Want(request) => {
                asked += 1;
                assert!(asked <= Limits::default().delegations);
                assert!(!request.file.contains('/'));
            }
            SearchStep::Found(found) => {
                let somebody = roles.iter().any(|r| r.targets.get(path) == Some(&found));
                assert!(somebody);
                return;
            }
            SearchStep::Nowhere => return,
        }
        let answer = answers.next().map(|role| fleet.sign(role));
        match search.answer(&mut set, answer.as_deref()) {
            Ok(next) => step = next,
            Err(_) => return,
        }
    }
}

/// Lines: new roots, one after the other, with versions that fit and signed by the fleet's key. Only
/// a root that the one before it names the fleet's key for is followed.
pub fn roots(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let fleet = &*FLEET;
    let mut set = BEGUN.clone();
    for line in text.lines().take(8) {
        let read = Envelope::parse("x", line.as_bytes()).and_then(|e| e.read::<Root>("x"));
        let Ok(mut root) = read else {
            return;
        };
        let before = set.root().role.clone();
        root.common.version = before.common.version + 1;
        // The fleet's key speaks where a key is called "fleet".
        if let Some(key) = root.keys.get_mut("fleet") {
            *key = fleet.keys[&fleet.role.keyids[0]].clone();
        }
        let mut envelope = Envelope::wrap(&root).expect("it can be written");
        for (keys, role) in [
            (&before.keys, before.roles.get("root")),
            (&root.keys, root.roles.get("root")),
        ] {
            let Some(role) = role else { return };
            fleet
                .ring
                .add_signatures(&mut envelope, keys, role)
                .expect("it can be signed");
        }
        let bytes = envelope.to_bytes().expect("it can be written");
        if set.accept_root(&bytes).is_err() {
            assert_eq!(set.root().role, before);
            return;
        }
        let role = &before.roles["root"];
        assert!(fleet.ring.count(&before.keys, role) >= role.threshold);
        set.settle();
        let _ = set.check_root(now());
        let stored = TrustedSet::restore(&set.to_stored()).expect("what is trusted can be kept");
        assert_eq!(stored.root().role, set.root().role);
    }
}

/// Keys in metadata, in PEM and encrypted; no signature counts that nobody made.
pub fn keys(bytes: &[u8]) {
    if let Ok(key) = serde_json::from_slice::<Key>(bytes)
        && let Some(key) = PublicKey::of(&key)
    {
        let _ = key.verifies(b"message", bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = PrivateKey::from_pem("x", text);
    // Elsewhere the count of iterations is as high as a mutant says.
    if cfg!(fuzzing) {
        let _ = PrivateKey::from_encrypted_pem("x", text, "passphrase");
    }
    if let Ok(key) = public_key("x", text) {
        let key = PublicKey::of(&key).expect("what was read is ready");
        assert!(!key.verifies(b"message", b"signature"));
    }
}

/// Two lines: a pattern of target paths, and a path.
pub fn pattern(bytes: &[u8]) {
    let Some((pattern, path)) = halves(bytes) else {
        return;
    };
    let matched = patterns::matches(pattern, path);
    if !pattern.contains(['*', '?', '[']) {
        assert_eq!(matched, pattern == path);
    }
    if let Ok(file) = file_names::target(path, Some("00")) {
        assert!(!file.starts_with('/') && !file.split('/').any(|part| part == ".."));
    }
    assert!(!file_names::metadata(path, Some(1)).contains('/'));
}

/// A new root that came from somewhere to be signed.
pub fn draft(bytes: &[u8]) {
    if let Ok(draft) = Draft::parse(bytes) {
        let _ = draft.check();
        for line in draft.describe() {
            assert!(!line.chars().any(char::is_control));
        }
    }
}

/// What lies in a robot's state directory, with a checksum that fits: nothing is trusted that does
/// not descend from the anchor.
pub fn stored(bytes: &[u8]) {
    let set = fuzz::stored(bytes, anchor(), ANCHOR).expect("damage is not an error");
    assert!(set.root().role.common.version >= 1);
}
