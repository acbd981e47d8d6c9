//! Which robot this is, for what is decided by chance but must come out the same each time.

use crate::{Sha256, name::Name};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256 as Hasher};

/// What the ids that are derived from machine ids are for (`sd-id128(3)`): another program derives
/// others, and none of them leads back to the machine id.
pub const APP_ID: [u8; 16] = [
    0x5b, 0x3e, 0x0c, 0x3f, 0x9d, 0x0f, 0x4a, 0x5e, 0x8f, 0x51, 0x0c, 0x5c, 0x2e, 0x77, 0x6d, 0x1a,
];

/// Bytes of a block of SHA-256, which HMAC pads its key to (RFC 2104).
const BLOCK: usize = 64;

/// A robot's id, from the machine id as in `/etc/machine-id` (`machine-id(5)`): what
/// `sd_id128_get_machine_app_specific(3)` gives for [`APP_ID`], 32 hexadecimal digits. `None` if the
/// text is not a machine id, such as `uninitialized`, or all zeros.
#[must_use]
pub fn of_machine(machine_id: &str) -> Option<Name> {
    let machine = HEXLOWER.decode(machine_id.trim().as_bytes()).ok()?;
    let machine: [u8; 16] = machine.try_into().ok()?;
    if machine == [0; 16] {
        return None;
    }
    let mut id = [0; 16];
    id.copy_from_slice(&hmac(&machine, &APP_ID)[..16]);
    // A UUID of version 4, as systemd makes it one (`sd-id128/id128-util.c`, `id128_make_v4_uuid`).
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    HEXLOWER.encode(&id).parse().ok()
}

/// A digest of the number that hardware says it has; `None` where it says none, or what boards say that
/// nobody has given one: the same digit throughout.
#[must_use]
pub fn of_hardware(number: &str) -> Option<Sha256> {
    let number = number.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    let number = number.to_ascii_lowercase();
    let mut digits = number.chars().filter(char::is_ascii_alphanumeric);
    let first = digits.next()?;
    if digits.all(|digit| digit == first) {
        return None;
    }
    let hasher = Hasher::new().chain_update("surefoot hardware 1\0");
    Some(Sha256(hasher.chain_update(number).finalize().into()))
}

/// HMAC-SHA-256 (RFC 2104) with a key that is no longer than a block.
fn hmac(key: &[u8; 16], message: &[u8]) -> [u8; 32] {
    let padded = |byte: u8| {
        let mut block = [byte; BLOCK];
        for (at, key) in block.iter_mut().zip(key) {
            *at ^= key;
        }
        block
    };
    let inner = Hasher::new()
        .chain_update(padded(0x36))
        .chain_update(message);
    let outer = Hasher::new().chain_update(padded(0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

/// What tells a robot apart from all others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// Its id; `None` if it has none.
    pub id: Option<Name>,
    /// A digest of the hardware's own number, if it has one: robots that were all made from one image
    /// with one machine id differ by it.
    pub hardware: Option<Sha256>,
}

impl Identity {
    /// The robot's place in the row of those that get a release; `None`, which is the last, without an
    /// id. Each release has another row, so that not the same robots are always first.
    #[must_use]
    pub fn place(&self, release: &Name) -> Option<Place> {
        let id = self.id.as_ref()?;
        let mut hasher = Hasher::new();
        // Neither a name nor a digest in hexadecimal has a zero byte.
        for part in ["surefoot place 1", release.as_str(), id.as_str()] {
            hasher.update(part);
            hasher.update([0]);
        }
        if let Some(hardware) = &self.hardware {
            hasher.update(hardware.0);
        }
        let digest: [u8; 32] = hasher.finalize().into();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Some(Place(u64::from_be_bytes(first)))
    }
}

/// A place from 0 up to, and not including, 1, in parts of 2⁶⁴.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

impl Place {
    /// The place in millionths, rounded down: 0 to 999 999.
    #[must_use]
    pub fn millionths(self) -> u32 {
        // Below 10⁶, as the place is below 1.
        u32::try_from((u128::from(self.0) * 1_000_000) >> 64).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn an_id_is_what_systemd_derives_for_this_program() {
        let machine = "b642b4217b34b1e8d3bd915fc65c4452";
        let derived = of_machine(machine).unwrap();
        // By the hmac of Python; what systemd gives for this machine is below.
        assert_eq!(derived, name("9016954398e74fd8ac42864e8fb43494"));
        assert_ne!(Some(derived), of_machine(&machine.replace('4', "5")));
        for text in [
            "",
            "uninitialized",
            "b642",
            &"0".repeat(32),
            &"g".repeat(32),
        ] {
            assert_eq!(of_machine(text), None, "{text}");
        }
        // This machine's own, where it has one and systemd.
        let (Ok(own), Ok(said)) = (
            std::fs::read_to_string("/etc/machine-id"),
            Command::new("systemd-id128")
                .args(["machine-id", "--app-specific"])
                .arg(HEXLOWER.encode(&APP_ID))
                .output(),
        ) else {
            return;
        };
        if said.status.success() {
            let said = String::from_utf8(said.stdout).unwrap();
            assert_eq!(of_machine(&own), Some(name(said.trim())));
        }
    }

    #[test]
    fn a_keyed_digest_is_that_of_the_rfc() {
        // RFC 4231 has no key of 16 bytes; this is by `openssl dgst -sha256 -hmac`.
        let digest = HEXLOWER.encode(&hmac(b"0123456789abcdef", b"what do ya want for nothing?"));
        assert_eq!(
            digest,
            "e9265dc1bf18d4ec36915d9e82226c7ea0fa4e7f8077f611515bd5e29ec9988c"
        );
    }

    #[test]
    fn robots_and_releases_have_places_of_their_own() {
        let robot = |id: &str, hardware: Option<u8>| Identity {
            id: Some(name(id)),
            hardware: hardware.map(|byte| Sha256([byte; 32])),
        };
        let place = |robot: &Identity, release: &str| robot.place(&name(release));
        let one = robot("a", None);
        assert_eq!(place(&one, "1"), place(&one, "1"));
        assert_ne!(place(&one, "1"), place(&one, "2"));
        assert_ne!(place(&one, "1"), place(&robot("b", None), "1"));
        assert_ne!(place(&one, "1"), place(&robot("a", Some(1)), "1"));
        assert_ne!(
            place(&robot("a", Some(2)), "1"),
            place(&robot("a", Some(1)), "1")
        );
        // Nothing of one part can be taken for the next one's.
        assert_ne!(
            place(&robot("bc", None), "a"),
            place(&robot("c", None), "ab")
        );
        let nobody = Identity {
            id: None,
            hardware: Some(Sha256([1; 32])),
        };
        assert_eq!(place(&nobody, "1"), None);
        assert_eq!(Place(u64::MAX).millionths(), 999_999);
        assert_eq!(Place(0).millionths(), 0);
        assert_eq!(Place(1 << 63).millionths(), 500_000);
    }
}
