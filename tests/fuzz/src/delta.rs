//! Deltas: what a server may offer as one, and what comes of one that was made.

use std::sync::LazyLock;
use surefoot_delta::{Codec, Delta, Error, Header, Limits, digest, make};

/// What comes out is at most this, bytes: more only takes longer.
const RESULT: u64 = 1 << 20;

/// What deltas are applied to: some text, and some noise.
static BASE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let noise = (0..2000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8);
    b"a base that repeats itself; "
        .repeat(70)
        .into_iter()
        .chain(noise)
        .collect()
});

/// A delta that anybody may have made: as it is, and with a header before it that fits the base. The
/// first byte then says which codec, the second how much comes out, as a power of two.
pub fn delta(bytes: &[u8]) {
    let _ = apply(bytes);
    let [codec, size, body @ ..] = bytes else {
        return;
    };
    let header = Header {
        codec: Codec::ALL[usize::from(*codec) % Codec::ALL.len()],
        base_size: BASE.len() as u64,
        base_digest: digest(&*BASE).expect("bytes can be read"),
        result_size: 1 << (size % 20),
        result_digest: [0; 32],
        memory: Limits::default().memory,
    };
    let result = apply(&[&header.to_bytes(), body].concat());
    assert!(result.is_err(), "nothing has a digest of zeros");
}

fn apply(file: &[u8]) -> Result<(), Error> {
    let limits = Limits {
        result: RESULT,
        ..Limits::default()
    };
    let delta = Delta::open(file, &limits)?;
    let mut out = Vec::new();
    let result = delta.apply(&*BASE, &mut out);
    assert!(out.len() as u64 <= delta.header().result_size);
    if result.is_ok() {
        let found = digest(&out).expect("bytes can be read");
        assert_eq!(found, delta.header().result_digest);
    }
    result
}

/// Two files, the first two bytes saying how long the first is: each codec brings the second back.
pub fn delta_pair(bytes: &[u8]) {
    let Some((length, bytes)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let at = usize::from(u16::from_le_bytes(*length)).min(bytes.len());
    let (base, new) = bytes.split_at(at);
    for codec in Codec::ALL {
        let (mut file, mut out) = (Vec::new(), Vec::new());
        make(&base, &new, codec, &mut file).expect("any pair has a delta");
        let delta = Delta::open(&file, &Limits::default()).expect("what was made is a delta");
        delta
            .apply(&base, &mut out)
            .expect("what was made can be applied");
        assert_eq!(out, new);
    }
}
