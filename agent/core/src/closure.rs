//! The closure index: every store path of one system, with all that is needed to fetch it.
//!
//! It is the TUF target [`index_target`](crate::release::index_target). Because its hash is signed, it
//! pins the NAR hash of every path: a cache can refuse to serve, but it cannot change a byte.

use crate::{
    Sha256, StorePath,
    spec::{self, Unreadable},
    word::Word,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use surefoot_base::{relative, text::shown};

/// The version of the index's format that is written and read here.
pub const SPEC: u32 = 1;

/// Indexes above this size, unpacked, are refused before they are parsed, in bytes.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;

/// Compressed indexes above this size are refused before they are unpacked, in bytes.
pub const MAX_COMPRESSED_INDEX_BYTES: u64 = 16 << 20;

/// All paths of a system's closure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosureIndex {
    /// Version of the format, [`SPEC`].
    pub spec: u32,
    /// The path whose closure this is; one of [`Self::paths`].
    pub toplevel: StorePath,
    /// Base URLs of binary caches that hold the NARs, in order of preference. A robot's own
    /// configuration goes before them.
    #[serde(default)]
    pub caches: Vec<String>,
    /// Every path of the closure, references before referrers.
    pub paths: Vec<PathInfo>,
}

/// Whose word makes a store path good, when it enters the store. The bytes are pinned by the signed
/// index whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignaturePolicy {
    /// The Nix daemon checks Nix' own signatures besides, against its `trusted-public-keys`.
    #[default]
    Nix,
    /// The signed index alone. The daemon allows it to trusted users only, and checks what others
    /// add silently.
    Manifest,
}

impl SignaturePolicy {
    /// The words for it, in configuration and on command lines.
    pub const NAMES: [&str; 2] = ["nix", "manifest"];

    /// What a word stands for.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "nix" => Some(Self::Nix),
            "manifest" => Some(Self::Manifest),
            _ => None,
        }
    }
}

/// One store path: what Nix records of it, and where its NAR lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathInfo {
    /// The store path.
    pub path: StorePath,
    /// Digest of its NAR, uncompressed: what is verified before the path enters the store.
    pub nar_hash: Sha256,
    /// Size of its NAR, uncompressed, bytes.
    pub nar_size: u64,
    /// Store paths it refers to; may include itself. Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<StorePath>,
    /// The derivation it was built by, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deriver: Option<StorePath>,
    /// Nix signatures, `KEY-NAME:BASE64`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<String>,
    /// Content address, if it has one (`fixed:…`, `text:…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Where its NAR lies.
    pub download: Download,
    /// What makes the NAR out of another path's, for robots that have that one. Agents that know no
    /// deltas pass over this, and take the NAR.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<Delta>,
}

/// A file that makes the NAR of a path out of what lies in the store already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delta {
    /// The store path that it is applied to.
    pub base: StorePath,
    /// The digest of the NAR of [`Self::base`].
    pub base_nar_hash: Sha256,
    /// How it is coded. What only another version knows is left alone.
    pub codec: String,
    /// Memory that applying it takes, bytes.
    pub memory: u64,
    /// Where it lies, relative to a cache's base URL.
    pub url: String,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size, bytes.
    pub size: u64,
}

/// A NAR as it lies in a binary cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Download {
    /// Relative to a cache's base URL, as in the narinfo: `nar/….nar.xz`.
    pub url: String,
    /// How it is compressed there. What only another version knows cannot be unpacked here.
    pub compression: Word<Compression>,
    /// Digest of the compressed file, if the cache says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_hash: Option<Sha256>,
    /// Size of the compressed file, bytes, if the cache says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
}

impl Download {
    /// Bytes to move: the file's size, or the NAR's where the cache does not say.
    #[must_use]
    pub fn size(&self, nar_size: u64) -> u64 {
        self.file_size.unwrap_or(nar_size)
    }
}

/// Compressions of NARs that can be read (Nix `src/libstore/nar-info.cc`, field `Compression`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    None,
    /// `.nar.xz`, the default of `nix copy` and cache.nixos.org.
    Xz,
    /// `.nar.zst`.
    Zstd,
    /// It is not a NAR but the delta that stands alone in [`PathInfo::deltas`]: the choice of a fetch.
    /// No index can say it.
    #[serde(skip)]
    Delta,
}

impl ClosureIndex {
    /// Reads an index whose bytes are already trusted and unpacked, and checks that it is whole.
    ///
    /// # Errors
    /// [`IndexError`]; see [`Self::check`].
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        let index: Self = spec::read(bytes, MAX_INDEX_BYTES, SPEC)?;
        index.check()?;
        Ok(index)
    }

    /// Checks the promises of the format: the toplevel is there, no path stands twice, every
    /// reference is in the index and stands before its referrer, every URL is relative and stays
    /// below the cache.
    ///
    /// # Errors
    /// [`IndexError`] names the path that breaks a promise.
    pub fn check(&self) -> Result<(), IndexError> {
        let mut seen: HashMap<&StorePath, ()> = HashMap::with_capacity(self.paths.len());
        for info in &self.paths {
            if seen.contains_key(&info.path) {
                return Err(IndexError::Duplicate(info.path.clone()));
            }
            for reference in &info.references {
                if *reference != info.path && !seen.contains_key(reference) {
                    return Err(IndexError::Reference {
                        path: info.path.clone(),
                        reference: reference.clone(),
                    });
                }
            }
            let deltas = info.deltas.iter().map(|delta| &delta.url);
            let mut urls = deltas.chain([&info.download.url]);
            if let Some(url) = urls.find(|url| relative::check(url).is_err()) {
                return Err(IndexError::Url {
                    path: info.path.clone(),
                    url: url.chars().take(200).collect(),
                });
            }
            seen.insert(&info.path, ());
        }
        if !seen.contains_key(&self.toplevel) {
            return Err(IndexError::Toplevel(self.toplevel.clone()));
        }
        Ok(())
    }

    /// Sorts [`Self::paths`] so that references stand before referrers, by name where the order is
    /// free: the same closure always gives the same bytes.
    ///
    /// # Errors
    /// [`IndexError::Reference`] if a reference is missing, or if paths refer to each other in a
    /// circle, which Nix forbids.
    pub fn sort(&mut self) -> Result<(), IndexError> {
        self.paths.sort_by(|a, b| a.path.cmp(&b.path));
        let position: HashMap<StorePath, usize> = self
            .paths
            .iter()
            .enumerate()
            .map(|(at, info)| (info.path.clone(), at))
            .collect();
        // Kahn's algorithm, smallest name first.
        let mut waiting: Vec<usize> = vec![0; self.paths.len()];
        let mut referrers: Vec<Vec<usize>> = vec![Vec::new(); self.paths.len()];
        for (at, info) in self.paths.iter().enumerate() {
            for reference in info.references.iter().filter(|r| **r != info.path) {
                let Some(&target) = position.get(reference) else {
                    return Err(IndexError::Reference {
                        path: info.path.clone(),
                        reference: reference.clone(),
                    });
                };
                waiting[at] += 1;
                referrers[target].push(at);
            }
        }
        let mut free: std::collections::BTreeSet<usize> = waiting
            .iter()
            .enumerate()
            .filter_map(|(at, n)| (*n == 0).then_some(at))
            .collect();
        let mut order = Vec::with_capacity(self.paths.len());
        while let Some(at) = free.pop_first() {
            order.push(at);
            for &referrer in &referrers[at] {
                waiting[referrer] -= 1;
                if waiting[referrer] == 0 {
                    free.insert(referrer);
                }
            }
        }
        if let Some(at) = waiting.iter().position(|n| *n > 0) {
            return Err(IndexError::Circle(self.paths[at].path.clone()));
        }
        let mut paths: Vec<Option<PathInfo>> = self.paths.drain(..).map(Some).collect();
        self.paths = order
            .into_iter()
            .filter_map(|at| paths[at].take())
            .collect();
        Ok(())
    }

    /// Size of the whole closure in the store, bytes.
    #[must_use]
    pub fn nar_size(&self) -> u64 {
        self.paths
            .iter()
            .map(|info| info.nar_size)
            .fold(0, u64::saturating_add)
    }
}

/// Why a closure index was refused.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Larger than [`MAX_INDEX_BYTES`].
    #[error("the closure index has {0} bytes; at most {MAX_INDEX_BYTES} are read")]
    TooLarge(usize),
    /// Not JSON, or of another shape.
    #[error("the closure index cannot be read: {}; publish the release again", shown(.0))]
    Json(serde_json::Error),
    /// A format of the future.
    #[error(
        "the closure index has format {0}, this program reads format {SPEC}; update Surefoot first"
    )]
    Spec(u32),
    /// The toplevel is not in its own closure.
    #[error("the closure index does not list its own toplevel {0}")]
    Toplevel(StorePath),
    /// A path stands twice.
    #[error("the closure index lists {0} twice")]
    Duplicate(StorePath),
    /// The closure is not closed, or not in order.
    #[error("{path} refers to {reference}, which does not stand before it in the closure index")]
    Reference {
        /// The referrer.
        path: StorePath,
        /// What it refers to.
        reference: StorePath,
    },
    /// Paths that refer to each other.
    #[error("{0} refers to itself through other paths, which Nix forbids")]
    Circle(StorePath),
    /// A URL that leads out of the cache.
    #[error("the NAR or a delta of {path} lies at '{}', which is not a relative path below the cache", shown(.url))]
    Url {
        /// The store path.
        path: StorePath,
        /// Its URL.
        url: String,
    },
}

impl From<Unreadable> for IndexError {
    fn from(why: Unreadable) -> Self {
        match why {
            Unreadable::TooLarge(bytes) => Self::TooLarge(bytes),
            Unreadable::Json(error) => Self::Json(error),
            Unreadable::Spec(spec) => Self::Spec(spec),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(n: usize) -> StorePath {
        StorePath::from_base_name(&format!("{n:032}-p{n}")).unwrap()
    }

    fn index(edges: &[(usize, usize)], count: usize) -> ClosureIndex {
        ClosureIndex {
            spec: SPEC,
            toplevel: path(count - 1),
            caches: vec!["https://cache.example".into()],
            paths: (0..count)
                .map(|n| PathInfo {
                    path: path(n),
                    nar_hash: Sha256([n as u8; 32]),
                    nar_size: n as u64,
                    references: edges
                        .iter()
                        .filter(|e| e.0 == n)
                        .map(|e| path(e.1))
                        .collect(),
                    deriver: None,
                    signatures: vec![],
                    ca: None,
                    download: Download {
                        url: format!("nar/{n}.nar.xz"),
                        compression: Compression::Xz.into(),
                        file_hash: None,
                        file_size: Some(n as u64),
                    },
                    deltas: vec![],
                })
                .collect(),
        }
    }

    #[test]
    fn references_come_first() {
        let mut index = index(&[(0, 2), (2, 1), (1, 1), (3, 0)], 4);
        assert!(matches!(index.check(), Err(IndexError::Reference { .. })));
        index.sort().unwrap();
        index.check().unwrap();
        let order: Vec<_> = index.paths.iter().map(|p| p.path.clone()).collect();
        assert_eq!(order, [path(1), path(2), path(0), path(3)]);
        let bytes = serde_json::to_vec(&index).unwrap();
        assert_eq!(ClosureIndex::parse(&bytes).unwrap(), index);
    }

    #[test]
    fn broken_closures_are_refused() {
        assert!(matches!(
            index(&[(0, 1), (1, 0)], 2).sort(),
            Err(IndexError::Circle(_))
        ));
        assert!(matches!(
            index(&[(0, 7)], 2).sort(),
            Err(IndexError::Reference { .. })
        ));
        let mut twice = index(&[], 2);
        twice.paths[0] = twice.paths[1].clone();
        assert!(matches!(twice.check(), Err(IndexError::Duplicate(_))));
        let mut headless = index(&[], 2);
        headless.toplevel = path(9);
        assert!(matches!(headless.check(), Err(IndexError::Toplevel(_))));
        for url in [
            "",
            "/etc/passwd",
            "../x",
            "nar/../../x",
            "http://evil/x",
            "//evil/x",
            "%2e%2e/x",
            "nar%2f..%2fx",
            "nar\\..\\x",
            "x#y",
            "a b",
            "a\nb",
        ] {
            let mut outside = index(&[], 2);
            outside.paths[0].download.url = url.into();
            assert!(
                matches!(outside.check(), Err(IndexError::Url { .. })),
                "{url}"
            );
        }
        let mut future = serde_json::to_value(index(&[], 1)).unwrap();
        future["spec"] = 9.into();
        assert!(matches!(
            ClosureIndex::parse(future.to_string().as_bytes()),
            Err(IndexError::Spec(9))
        ));
    }

    #[test]
    fn what_is_not_known_of_a_delta_is_passed_over() {
        let mut with = index(&[], 1);
        with.paths[0].deltas = vec![Delta {
            base: path(7),
            base_nar_hash: Sha256([7; 32]),
            codec: "of-the-future-3".into(),
            memory: 1,
            url: "deltas/x".into(),
            sha256: Sha256([8; 32]),
            size: 9,
        }];
        let text = serde_json::to_value(&with).unwrap();
        let parse = |value: &serde_json::Value| ClosureIndex::parse(value.to_string().as_bytes());
        assert_eq!(parse(&text).unwrap(), with);
        let mut more = text.clone();
        more["paths"][0]["deltas"][0]["steps"] = 2.into();
        assert_eq!(parse(&more).unwrap(), with);
        let mut old = text.clone();
        old["paths"][0].as_object_mut().unwrap().remove("deltas");
        assert_eq!(parse(&old).unwrap(), index(&[], 1));
        let mut outside = text;
        outside["paths"][0]["deltas"][0]["url"] = "../x".into();
        assert!(matches!(parse(&outside), Err(IndexError::Url { .. })));
        // No index can say that its NAR is a delta.
        let mut sly = serde_json::to_value(&with).unwrap();
        sly["paths"][0]["download"]["compression"] = "delta".into();
        let sly = parse(&sly).unwrap();
        assert_eq!(sly.paths[0].download.compression.known(), None);
    }

    proptest! {
        #[test]
        fn sorting_any_graph_gives_a_good_index_or_an_error(
            edges in proptest::collection::vec((0usize..12, 0usize..12), 0..30)
        ) {
            let mut index = index(&edges, 12);
            if index.sort().is_ok() {
                prop_assert!(index.check().is_ok());
                prop_assert_eq!(index.paths.len(), 12);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ClosureIndex::parse(&bytes);
        }
    }
}
