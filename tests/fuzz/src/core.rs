//! Manifests, indexes, the journal, and the small texts that they are made of.

use jiff::Timestamp;
use std::path::Path;
use surefoot_api::{RollbackTo, Why, hold_time};
use surefoot_base::{
    relative,
    text::{is_hidden, shown_within},
    units::{parse_bytes, parse_duration},
};
use surefoot_core::{
    Sha256, StorePath,
    closure::ClosureIndex,
    hash::{nix32_decode, nix32_encode},
    identity::Identity,
    journal::Journal,
    offers::Robot,
    release::{Listed, Manifest, Name},
    rollout::{Share, Waves},
};
use surefoot_http::{Url, below};

/// The manifest of a channel: what was read is written and read again as the same.
pub fn manifest(bytes: &[u8]) {
    let name: Name = "stable".parse().expect("a name");
    if let Ok(manifest) = Manifest::parse_to_edit(bytes, &name) {
        let again = manifest.to_bytes().expect("it can be written");
        let again = Manifest::parse_to_edit(&again, &name).expect("it can be read");
        assert_eq!(again, manifest);
        let labels = ["site=lab".parse().expect("a label")];
        let identity = Identity {
            id: Some(name.clone()),
            hardware: None,
        };
        let robot = Robot {
            identity: Some(&identity),
            moment: Some(Timestamp::UNIX_EPOCH),
            ..Robot::by_hand(&name, &labels)
        };
        let _ = manifest.offers(&robot).choose(None);
        for release in manifest.releases {
            if let Listed::Known(release) = release
                && let Some(mut rollout) = release.rollout
            {
                let _ = (rollout.to_string(), rollout.pause(Timestamp::UNIX_EPOCH));
                let _ = rollout.resume(Timestamp::MAX);
            }
        }
    }
}

/// The closure index, packed and unpacked.
pub fn index(bytes: &[u8]) {
    let _ = surefoot_store::index::unpack(bytes);
    if let Ok(mut index) = ClosureIndex::parse(bytes) {
        index.check().expect("what was read is whole");
        index.sort().expect("what is whole can be sorted");
        index.check().expect("what was sorted is whole");
    }
}

/// The agent's journal.
pub fn journal(bytes: &[u8]) {
    if let Ok(journal) = Journal::parse(bytes) {
        let _ = journal.roots();
        let again = journal.to_bytes().expect("it can be written");
        let again = Journal::parse(&again).expect("it can be read");
        assert_eq!(again, journal);
    }
}

/// Store paths, digests, names, durations, sizes, files of a cache, and what people say to the agent.
pub fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(path) = text.parse::<StorePath>() {
        assert_eq!(path.to_string(), text);
        assert!(!path.base_name().contains('/') && path.hash_part().len() == 32);
        let inside = format!("{path}/bin/sh");
        assert_eq!(StorePath::containing(Path::new(&inside)), Ok(path));
    }
    let _ = StorePath::from_base_name(text);
    let _ = StorePath::containing(Path::new(text));
    if let Some(decoded) = nix32_decode(text) {
        assert_eq!(nix32_encode(&decoded), text);
    }
    if let Ok(digest) = text.parse::<Sha256>() {
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(Sha256::from_hex(&digest.hex()), Ok(digest));
    }
    if let Ok(name) = text.parse::<Name>() {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(share) = text.parse::<Share>() {
        assert_eq!(share.to_string().parse(), Ok(share));
    }
    if let Ok(waves) = text.parse::<Waves>() {
        assert_eq!(waves.to_string().parse(), Ok(waves));
    }
    if let Ok(why) = text.parse::<Why>() {
        assert!(!why.as_str().chars().any(is_hidden));
    }
    let said = shown_within(text, 20).to_string();
    assert!(said.chars().count() <= 21 && !said.chars().any(is_hidden));
    let cache = Url::parse("https://cache.example/a/").expect("a URL");
    if let Some(url) = below(&cache, text) {
        assert!(url.as_str().starts_with(cache.as_str()) && url.fragment().is_none());
        if relative::check(text).is_ok() {
            // However often somebody decodes it on the way.
            let path = url.path().to_ascii_lowercase();
            assert!(
                !["%2e", "%2f", "%5c", "%25", "/../", "//"]
                    .iter()
                    .any(|bad| path.contains(bad))
            );
        }
    }
    let _ = text.parse::<RollbackTo>();
    let _ = text.parse().map(hold_time);
    let _ = parse_duration(text);
    let _ = parse_bytes(text);
}
