//! The formats of what is published: what an earlier version wrote is read, and what a later one adds is
//! kept, and never taken for something that it is not.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../../tests/recorded/next.rs"]
mod next;

use serde_json::Value;
use surefoot_core::{
    closure::ClosureIndex,
    offers::Robot,
    release::{Listed, Manifest, Name},
};

const MANIFEST: &str = include_str!("../../../tests/recorded/0.2/manifest.json");
const INDEX: &str = include_str!("../../../tests/recorded/0.2/index.json");

fn channel() -> Name {
    "stable".parse().unwrap()
}

/// A manifest, and what is written of it again.
fn manifest(text: &str) -> (Manifest, String) {
    let manifest = Manifest::parse_to_edit(text.as_bytes(), &channel()).unwrap();
    let again = String::from_utf8(manifest.to_bytes().unwrap()).unwrap();
    (manifest, again)
}

#[test]
fn a_recorded_manifest_is_written_again_byte_for_byte() {
    let (manifest, again) = manifest(MANIFEST);
    assert_eq!(again, MANIFEST);
    let known = |listed: &Listed| matches!(listed, Listed::Known(_));
    assert!(manifest.releases.iter().all(known));
}

#[test]
fn what_a_later_version_publishes_is_kept_and_an_unknown_word_is_never_acted_on() {
    let text: Value = serde_json::from_str(MANIFEST).unwrap();
    let (before, _) = manifest(MANIFEST);
    for (at, next) in next::versions(&text, &["reboot"]) {
        let (after, again) = manifest(&next.to_string());
        assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), next, "{at}");
        // A release that is only partly understood is left alone, with words, and no other is.
        let strange = at.ends_with("/reboot") || at.ends_with("/systems");
        for (n, (before, after)) in before.releases.iter().zip(&after.releases).enumerate() {
            if strange && at.starts_with(&format!("/releases/{n}/")) {
                assert!(matches!(after, Listed::Other(_)), "{at}");
                assert_eq!(after.id(), before.id());
            } else {
                assert_eq!(after, before, "{at}");
            }
        }
        if at == "/releases/0/reboot" {
            let model = "picker".parse().unwrap();
            let choice = after.offers(&Robot::by_hand(&model, &[])).choose(None);
            assert_eq!(choice.target, None);
            assert!(choice.left.is_some());
        }
    }
}

#[test]
fn a_recorded_index_is_written_again_and_what_a_later_version_adds_passes() {
    let read = |text: &str| ClosureIndex::parse(text.as_bytes());
    let again = |index: &ClosureIndex| serde_json::to_value(index).unwrap();
    let (before, text) = (read(INDEX).unwrap(), serde_json::from_str(INDEX).unwrap());
    assert_eq!(again(&before), text);
    for (at, next) in next::versions(&text, &["compression"]) {
        let after = read(&next.to_string()).unwrap();
        if at.ends_with("/compression") {
            // What cannot be unpacked here is asked for elsewhere, and never taken for something else.
            assert_eq!(again(&after), next, "{at}");
            let unknown = |path: &&surefoot_core::closure::PathInfo| {
                path.download.compression.known().is_none()
            };
            assert_eq!(after.paths.iter().filter(unknown).count(), 1);
        } else {
            assert_eq!(after, before, "{at}");
        }
    }
}

#[test]
fn a_format_of_another_number_is_refused_with_advice() {
    let newer = |text: &str| text.replacen("\"spec\": 1", "\"spec\": 2", 1);
    let manifest = Manifest::parse(newer(MANIFEST).as_bytes(), &channel());
    let index = ClosureIndex::parse(newer(INDEX).as_bytes());
    for why in [
        manifest.unwrap_err().to_string(),
        index.unwrap_err().to_string(),
    ] {
        assert!(why.contains("update Surefoot first"), "{why}");
    }
}
