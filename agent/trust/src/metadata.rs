//! The four kinds of metadata, as the TUF specification 1.0.x, section 4, writes them.
//!
//! Fields that are not known here are kept, so that what is read and written again still says the
//! same.

use crate::{Error, canonical_json};
use jiff::Timestamp as Time;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The version of the specification that is written here; any `1.x` is read.
pub const SPEC_VERSION: &str = "1.0.34";

/// Our own field in what [`crate::Editor`] signs: when it was signed. A lower bound for "now".
pub const ISSUED: &str = "x-surefoot-issued";

/// Our own field in what [`crate::Editor`] signs: how long it is valid when it is signed again, in
/// seconds.
pub const LIFETIME: &str = "x-surefoot-lifetime-seconds";

/// The field of the root that names keys for people: who holds which. Nothing is decided by it.
pub const KEY_NAMES: &str = "x-surefoot-key-names";

/// Names of keys have at most so many characters.
pub const MAX_KEY_NAME: usize = 100;

/// Names a key, as the metadata does. It is not computed from the key again: repositories in the
/// field have names that do not match, and nothing depends on it.
pub type KeyId = String;

/// Fields that are not known here.
pub type Extra = Map<String, Value>;

/// When metadata expires: read as RFC 3339, written in whole seconds of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expires(pub Time);

impl Serialize for Expires {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&whole_seconds(self.0))
    }
}

impl<'de> Deserialize<'de> for Expires {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| {
            let text: String = text.chars().take(60).collect();
            serde::de::Error::custom(format!("'{text}' is not a time like 2030-01-31T12:00:00Z"))
        })
    }
}

/// Cuts off what is below a second: python-tuf reads nothing finer.
#[must_use]
pub fn whole_seconds(time: Time) -> Time {
    Time::from_second(time.as_second()).unwrap_or(time)
}

/// A file of metadata: what is said, and who signed it (§4.2).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Envelope {
    /// The signatures; each key at most once.
    pub signatures: Vec<Signature>,
    /// What is signed, in full.
    pub signed: Value,
}

/// One signature over the canonical form of what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The key that made it.
    pub keyid: KeyId,
    /// Hexadecimal. May be anything: a signature that is wrong does not count, no more.
    pub sig: String,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Envelope {
    /// Reads a file of metadata; `file` names it in errors. Nothing is verified.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Wire {
            signatures: Vec<Signature>,
            signed: Value,
        }
        let value = canonical_json::parse(bytes).map_err(|e| Error::malformed(file, e))?;
        let wire = Wire::deserialize(value).map_err(|e| Error::malformed(file, e))?;
        let mut seen = BTreeSet::new();
        for signature in &wire.signatures {
            if !seen.insert(&signature.keyid) {
                return Err(Error::malformed(file, "two signatures name one key"));
            }
        }
        Ok(Self {
            signatures: wire.signatures,
            signed: wire.signed,
        })
    }

    /// The bytes that the signatures cover.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        canonical_json::canonical(&self.signed)
    }

    /// Reads what is signed as one kind of metadata.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is of another kind or breaks a rule of the format.
    pub fn read<R: Role>(&self, file: &str) -> Result<R, Error> {
        let kind = self.signed.get("_type").and_then(Value::as_str);
        if kind != Some(R::TYPE) {
            return Err(Error::malformed(
                file,
                format!(
                    "its _type is '{}' where '{}' belongs",
                    kind.unwrap_or_default().escape_debug(),
                    R::TYPE
                ),
            ));
        }
        let role = R::deserialize(&self.signed).map_err(|e| Error::malformed(file, e))?;
        let common = role.common();
        if common.spec_version.split('.').next() != Some("1") {
            return Err(Error::malformed(
                file,
                format!(
                    "it follows version '{}' of the TUF specification, this program knows 1.x; update Surefoot first",
                    common.spec_version.escape_debug()
                ),
            ));
        }
        if common.version == 0 {
            return Err(Error::malformed(file, "versions count from 1, not from 0"));
        }
        role.check().map_err(|why| Error::malformed(file, why))?;
        Ok(role)
    }

    /// Wraps metadata for signing; no signatures yet.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it cannot be written, which no metadata that was read here does.
    pub fn wrap<R: Role>(role: &R) -> Result<Self, Error> {
        let mut signed = serde_json::to_value(role).map_err(|e| Error::malformed(R::TYPE, e))?;
        if let Value::Object(map) = &mut signed {
            map.insert("_type".into(), R::TYPE.into());
        }
        Ok(Self {
            signatures: Vec::new(),
            signed,
        })
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Error::Malformed`], which does not happen to what was read or wrapped here.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes =
            serde_json::to_vec_pretty(self).map_err(|e| Error::malformed("metadata", e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// What all kinds of metadata share (§4.3 and following).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Common {
    /// The specification it follows.
    pub spec_version: String,
    /// Counts from 1; never goes down.
    pub version: u64,
    /// From then on it is not believed any more.
    pub expires: Expires,
}

/// A kind of metadata.
pub trait Role: Serialize + DeserializeOwned {
    /// Its `_type`.
    const TYPE: &'static str;

    /// The fields that all kinds share.
    fn common(&self) -> &Common;

    /// The same, to change it.
    fn common_mut(&mut self) -> (&mut Common, &mut Extra);

    /// Fields that are not known here.
    fn extra(&self) -> &Extra;

    /// Rules beyond the shape.
    ///
    /// # Errors
    /// The rule that is broken, for people.
    fn check(&self) -> Result<(), String>;

    /// When it was signed, if the signer said so ([`ISSUED`]).
    fn issued(&self) -> Option<Time> {
        self.extra().get(ISSUED)?.as_str()?.parse().ok()
    }
}

macro_rules! role {
    ($name:ident, $kind:literal) => {
        impl Role for $name {
            const TYPE: &'static str = $kind;

            fn common(&self) -> &Common {
                &self.common
            }

            fn common_mut(&mut self) -> (&mut Common, &mut Extra) {
                (&mut self.common, &mut self.extra)
            }

            fn extra(&self) -> &Extra {
                &self.extra
            }

            fn check(&self) -> Result<(), String> {
                self.rules()
            }
        }
    };
}

role!(Root, "root");
role!(Timestamp, "timestamp");
role!(Snapshot, "snapshot");
role!(Targets, "targets");

/// A public key (§4.2). Kinds of keys that are not known here are kept and never count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `ed25519`, `ecdsa`, `rsa`, or another.
    pub keytype: String,
    /// How it signs: `ed25519`, `ecdsa-sha2-nistp256`, `rsassa-pss-sha256`, or another.
    pub scheme: String,
    /// The key; `public` in it for the kinds known here.
    pub keyval: Extra,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which keys speak for a role, and how many of them must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// The keys; each once.
    pub keyids: Vec<KeyId>,
    /// At least 1.
    pub threshold: u64,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl RoleKeys {
    fn rules(&self, role: &str) -> Result<(), String> {
        if self.threshold == 0 {
            return Err(format!("the threshold of '{role}' is 0"));
        }
        let distinct: BTreeSet<&KeyId> = self.keyids.iter().collect();
        if distinct.len() != self.keyids.len() {
            return Err(format!("'{role}' lists a key twice"));
        }
        Ok(())
    }
}

/// Who may sign what (§4.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Specification, version, expiry.
    #[serde(flatten)]
    pub common: Common,
    /// Whether file names carry versions and hashes.
    #[serde(default)]
    pub consistent_snapshot: bool,
    /// All keys, by name.
    pub keys: BTreeMap<KeyId, Key>,
    /// The keys of `root`, `timestamp`, `snapshot` and `targets`.
    pub roles: BTreeMap<String, RoleKeys>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The names of the four roles that every repository has.
pub const TOP_LEVEL: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

impl Root {
    fn rules(&self) -> Result<(), String> {
        for role in TOP_LEVEL {
            self.roles
                .get(role)
                .ok_or_else(|| format!("it names no keys for '{role}'"))?
                .rules(role)?;
        }
        Ok(())
    }
}

/// What is said about another file of metadata (§4.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    /// Its version, at least 1.
    pub version: u64,
    /// Its size, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Its digests by algorithm, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<BTreeMap<String, String>>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl MetaFile {
    fn rules(&self, name: &str) -> Result<(), String> {
        if self.version == 0 {
            return Err(format!("the version of '{name}' is 0"));
        }
        Ok(())
    }
}

/// Which snapshot is the newest (§4.6). Short-lived: it shows that nobody holds news back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// Specification, version, expiry.
    #[serde(flatten)]
    pub common: Common,
    /// `snapshot.json`, and nothing else that matters.
    pub meta: BTreeMap<String, MetaFile>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Timestamp {
    fn rules(&self) -> Result<(), String> {
        self.meta
            .get("snapshot.json")
            .ok_or("it does not name snapshot.json")?
            .rules("snapshot.json")
    }

    /// What it says about the snapshot.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it says nothing, which [`Envelope::read`] has excluded.
    pub fn snapshot(&self) -> Result<&MetaFile, Error> {
        self.meta
            .get("snapshot.json")
            .ok_or_else(|| Error::malformed("timestamp.json", "it does not name snapshot.json"))
    }
}

/// Which versions of targets metadata belong together (§4.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Specification, version, expiry.
    #[serde(flatten)]
    pub common: Common,
    /// By file name: `targets.json` and every delegated role.
    pub meta: BTreeMap<String, MetaFile>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Snapshot {
    fn rules(&self) -> Result<(), String> {
        for (name, file) in &self.meta {
            file.rules(name)?;
        }
        Ok(())
    }
}

/// Which files there are, and whom else to ask (§4.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// Specification, version, expiry.
    #[serde(flatten)]
    pub common: Common,
    /// The files, by target path.
    pub targets: BTreeMap<String, TargetFile>,
    /// Roles that others sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Targets {
    fn rules(&self) -> Result<(), String> {
        for (name, file) in &self.targets {
            if file.hashes.is_empty() {
                return Err(format!("the target '{name}' has no hashes"));
            }
        }
        let mut seen = BTreeSet::new();
        for role in self.delegations.iter().flat_map(|d| &d.roles) {
            role.keys.rules(&role.name)?;
            if role.name.is_empty() || TOP_LEVEL.contains(&role.name.as_str()) {
                return Err(format!("a delegated role cannot be named '{}'", role.name));
            }
            if !seen.insert(&role.name) {
                return Err(format!("it delegates to '{}' twice", role.name));
            }
            if role.paths.is_some() == role.path_hash_prefixes.is_some() {
                return Err(format!(
                    "the delegation to '{}' needs either paths or path_hash_prefixes",
                    role.name
                ));
            }
        }
        Ok(())
    }
}

/// A file that is offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFile {
    /// Its size, bytes.
    pub length: u64,
    /// Its digests by algorithm, hexadecimal; at least one.
    pub hashes: BTreeMap<String, String>,
    /// Fields that are not known here, `custom` among them.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Whom to ask for other targets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Delegations {
    /// All keys of the delegated roles, by name.
    pub keys: BTreeMap<KeyId, Key>,
    /// The roles, in order of preference.
    #[serde(default)]
    pub roles: Vec<DelegatedRole>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A role that others sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegatedRole {
    /// Its name: that of its file.
    pub name: String,
    /// Its keys.
    #[serde(flatten)]
    pub keys: RoleKeys,
    /// Whether the search ends here for paths that it is trusted with.
    #[serde(default)]
    pub terminating: bool,
    /// The target paths that it is trusted with, as patterns (see [`crate::pattern`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Or the first hexadecimal digits of the SHA-256 of those paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hash_prefixes: Option<Vec<String>>,
}
