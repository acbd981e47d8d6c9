//! Private keys encrypted at rest: PKCS#8 with PBES2 (RFC 8018), as `openssl pkcs8 -topk8` writes
//! it. PBKDF2 with HMAC-SHA-256, then AES-256-CBC.

use aws_lc_rs::{
    cipher::{
        AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
        PaddedBlockEncryptingKey, UnboundCipherKey,
    },
    iv::FixedLength,
    pbkdf2,
    rand::{SecureRandom, SystemRandom},
};
use std::num::NonZeroU32;

/// What OWASP advises for PBKDF2 with HMAC-SHA-256; tests need not wait.
const ITERATIONS: u32 = if cfg!(test) { 70_000 } else { 600_000 };
/// More are not worth waiting for, least of all by a fuzzer.
const MAX_ITERATIONS: u32 = if cfg!(fuzzing) { 16 } else { 20_000_000 };

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;

/// 1.2.840.113549.1.5.13
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
/// 1.2.840.113549.1.5.12
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// 1.2.840.113549.2.9
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];
/// 2.16.840.1.101.3.4.1.42
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];

/// Encrypts a private key; `None` if the machine has no randomness.
pub(crate) fn encrypt(der: &[u8], passphrase: &str) -> Option<Vec<u8>> {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    SystemRandom::new().fill(&mut salt).ok()?;
    SystemRandom::new().fill(&mut iv).ok()?;
    let key = UnboundCipherKey::new(&AES_256, &derive(passphrase, &salt, ITERATIONS)?).ok()?;
    let mut data = der.to_vec();
    PaddedBlockEncryptingKey::cbc_pkcs7(key)
        .ok()?
        .less_safe_encrypt(&mut data, EncryptionContext::Iv128(FixedLength::from(&iv)))
        .ok()?;
    let [_, a, b, c] = ITERATIONS.to_be_bytes();
    let prf = tlv(SEQUENCE, &[tlv(OID, HMAC_SHA256), tlv(NULL, &[])].concat());
    let kdf = [tlv(OCTETS, &salt), tlv(INTEGER, &[a, b, c]), prf].concat();
    let kdf = [tlv(OID, PBKDF2), tlv(SEQUENCE, &kdf)].concat();
    let cipher = [tlv(OID, AES_256_CBC), tlv(OCTETS, &iv)].concat();
    let parameters = [tlv(SEQUENCE, &kdf), tlv(SEQUENCE, &cipher)].concat();
    let algorithm = [tlv(OID, PBES2), tlv(SEQUENCE, &parameters)].concat();
    Some(tlv(
        SEQUENCE,
        &[tlv(SEQUENCE, &algorithm), tlv(OCTETS, &data)].concat(),
    ))
}

/// Why an encrypted key could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Of another kind than this module writes.
    Unknown,
    /// Most likely the passphrase.
    Wrong,
}

/// Decrypts a private key.
pub(crate) fn decrypt(der: &[u8], passphrase: &str) -> Result<Vec<u8>, Refusal> {
    let sealed = Sealed::parse(der).ok_or(Refusal::Unknown)?;
    let open = || {
        let key = derive(passphrase, sealed.salt, sealed.iterations)?;
        let key = UnboundCipherKey::new(&AES_256, &key).ok()?;
        let iv = FixedLength::from(&sealed.iv);
        let mut data = sealed.data.to_vec();
        let plain = PaddedBlockDecryptingKey::cbc_pkcs7(key)
            .ok()?
            .decrypt(&mut data, DecryptionContext::Iv128(iv))
            .ok()?
            .to_vec();
        // The padding is right by chance once in 256 times.
        (plain.first() == Some(&SEQUENCE)).then_some(plain)
    };
    open().ok_or(Refusal::Wrong)
}

fn derive(passphrase: &str, salt: &[u8], iterations: u32) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        NonZeroU32::new(iterations)?,
        salt,
        passphrase.as_bytes(),
        &mut key,
    );
    Some(key)
}

/// An encrypted key, taken apart.
struct Sealed<'a> {
    salt: &'a [u8],
    iterations: u32,
    iv: [u8; 16],
    data: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn parse(mut der: &'a [u8]) -> Option<Self> {
        let mut outer = take(&mut der, SEQUENCE)?;
        let mut algorithm = take(&mut outer, SEQUENCE)?;
        let data = take(&mut outer, OCTETS)?;
        expect(&mut algorithm, PBES2)?;
        let mut parameters = take(&mut algorithm, SEQUENCE)?;
        let mut kdf = take(&mut parameters, SEQUENCE)?;
        let mut cipher = take(&mut parameters, SEQUENCE)?;
        expect(&mut kdf, PBKDF2)?;
        let mut kdf = take(&mut kdf, SEQUENCE)?;
        let salt = take(&mut kdf, OCTETS)?;
        let count = take(&mut kdf, INTEGER)?;
        let iterations = count
            .iter()
            .try_fold(0u32, |n, b| n.checked_mul(256)?.checked_add((*b).into()))?;
        if kdf.first() == Some(&INTEGER) {
            // The length of the key, which the cipher says as well.
            take(&mut kdf, INTEGER)?;
        }
        expect(&mut take(&mut kdf, SEQUENCE)?, HMAC_SHA256)?;
        expect(&mut cipher, AES_256_CBC)?;
        let iv = take(&mut cipher, OCTETS)?.try_into().ok()?;
        (1..=MAX_ITERATIONS).contains(&iterations).then_some(Self {
            salt,
            iterations,
            iv,
            data,
        })
    }
}

fn expect(from: &mut &[u8], oid: &[u8]) -> Option<()> {
    (take(from, OID)? == oid).then_some(())
}

/// Takes one element with this tag off the front (DER, X.690); lengths up to 65535.
fn take<'a>(from: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, rest) = from.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (
            usize::from(u16::from_be_bytes(*rest.first_chunk()?)),
            rest.get(2..)?,
        ),
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *from = rest;
    (*found == tag).then_some(content)
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u64;
    let mut out = vec![tag];
    match length.to_be_bytes() {
        [0, 0, 0, 0, 0, 0, 0, n] if n < 0x80 => out.push(n),
        [0, 0, 0, 0, 0, 0, 0, n] => out.extend([0x81, n]),
        [.., a, b] => out.extend([0x82, a, b]),
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_encrypted_can_be_decrypted_by_its_passphrase_alone() {
        let key = tlv(SEQUENCE, &[7; 1200]);
        let sealed = encrypt(&key, "correct horse").unwrap();
        assert_eq!(decrypt(&sealed, "correct horse"), Ok(key));
        assert_eq!(decrypt(&sealed, "wrong horse"), Err(Refusal::Wrong));
        assert_eq!(decrypt(&sealed[1..], "x"), Err(Refusal::Unknown));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes: Vec<u8>, at: proptest::sample::Index) {
            let _ = Sealed::parse(&bytes);
            let mut whole = tlv(SEQUENCE, &[tlv(SEQUENCE, &bytes), tlv(OCTETS, &bytes)].concat());
            let _ = Sealed::parse(&whole);
            bytes.push(0);
            let at = at.index(whole.len());
            whole[at] ^= bytes[0] | 1;
            let _ = Sealed::parse(&whole);
        }
    }
}
