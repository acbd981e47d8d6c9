//! A whole repository of arbitrary answers: nothing is believed, and it ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use surefoot_trust::{Limits, trusted_set::TrustedSet, workflow::Refreshing};

static ANCHOR: &[u8] = include_bytes!("../seeds/metadata/root.json");
static FILES: [&[u8]; 3] = [
    include_bytes!("../seeds/metadata/timestamp.json"),
    include_bytes!("../seeds/metadata/snapshot.json"),
    include_bytes!("../seeds/metadata/targets.json"),
];

fn anchor() -> TrustedSet {
    static SET: OnceLock<TrustedSet> = OnceLock::new();
    SET.get_or_init(|| TrustedSet::bootstrap(ANCHOR).expect("the seed is good"))
        .clone()
}

// The first byte says which answers are honest; the rest is the answer that is not.
fuzz_target!(|bytes: &[u8]| {
    let Some((&first, answer)) = bytes.split_first() else {
        return;
    };
    let now: jiff::Timestamp = "2030-01-02T00:00:00Z".parse().expect("a time");
    let mut client = Refreshing::new(anchor(), now.into(), None, Limits::default());
    let honest = usize::from(first % 4);
    let mut asked = 0;
    while let Ok(Some(request)) = client.wanted() {
        asked += 1;
        assert!(asked < 300);
        let answer = match (request.file.ends_with("root.json"), asked) {
            (true, 1) if first >= 128 => Some(answer),
            (true, _) => None,
            (false, n) => match FILES.get(n - 2) {
                Some(file) if n - 2 < honest => Some(*file),
                _ => Some(answer),
            },
        };
        if client.answer(answer).is_err() {
            break;
        }
    }
    let set = client.into_set();
    assert_eq!(set.root().role.common.version, 1);
    assert!(set.timestamp().is_none_or(|t| t.role.common.version <= 2));
});
