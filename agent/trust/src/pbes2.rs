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
use pkcs8::{
    EncryptedPrivateKeyInfoRef,
    der::{Encode as _, asn1::OctetStringRef},
    pkcs5::pbes2::{EncryptionScheme, Parameters, Pbkdf2Params, Pbkdf2Prf},
};
use std::num::NonZeroU32;

/// What OWASP advises for PBKDF2 with HMAC-SHA-256; tests need not wait.
const ITERATIONS: u32 = if cfg!(test) { 70_000 } else { 600_000 };
/// More are not worth waiting for, least of all by a fuzzer.
const MAX_ITERATIONS: u32 = if cfg!(fuzzing) { 16 } else { 20_000_000 };

/// What a private key begins with (DER, X.690).
const SEQUENCE: u8 = 0x30;

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
    wrap(&salt, iv, &data)
}

/// The file of an encrypted key.
fn wrap(salt: &[u8; 16], iv: [u8; 16], data: &[u8]) -> Option<Vec<u8>> {
    let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(ITERATIONS, salt, iv).ok()?;
    let sealed = EncryptedPrivateKeyInfoRef {
        encryption_algorithm: parameters.into(),
        encrypted_data: OctetStringRef::new(data).ok()?,
    };
    sealed.to_der().ok()
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
        let key = derive(
            passphrase,
            sealed.kdf.salt.as_bytes(),
            sealed.kdf.iteration_count,
        )?;
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

/// An encrypted key of the kind that this module writes, taken apart.
struct Sealed<'a> {
    kdf: Pbkdf2Params,
    iv: [u8; 16],
    data: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn parse(der: &'a [u8]) -> Option<Self> {
        let sealed = EncryptedPrivateKeyInfoRef::try_from(der).ok()?;
        let parameters = sealed.encryption_algorithm.pbes2()?;
        let kdf = *parameters.kdf.pbkdf2()?;
        let EncryptionScheme::Aes256Cbc { iv } = parameters.encryption else {
            return None;
        };
        let known = kdf.prf == Pbkdf2Prf::HmacWithSha256
            && (1..=MAX_ITERATIONS).contains(&kdf.iteration_count);
        known.then_some(Self {
            kdf,
            iv,
            data: sealed.encrypted_data.as_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkcs8::der::{Tag, asn1::AnyRef};
    use proptest::prelude::*;

    fn tlv(tag: Tag, content: &[u8]) -> Vec<u8> {
        AnyRef::new(tag, content).unwrap().to_der().unwrap()
    }

    #[test]
    fn what_is_encrypted_can_be_decrypted_by_its_passphrase_alone() {
        let key = tlv(Tag::Sequence, &[7; 1200]);
        let sealed = encrypt(&key, "correct horse").unwrap();
        assert_eq!(decrypt(&sealed, "correct horse"), Ok(key));
        assert_eq!(decrypt(&sealed, "wrong horse"), Err(Refusal::Wrong));
        assert_eq!(decrypt(&sealed[1..], "x"), Err(Refusal::Unknown));
    }

    #[test]
    fn the_file_is_as_it_was_written_ever_since() {
        let head = "3069306006092a864886f70d01050d3053303206092a864886f70d01050c30250410\
                    07070707070707070707070707070707\
                    0203011170300c06082a864886f70d02090500\
                    301d060960864801650304012a041009090909090909090909090909090909\
                    0405";
        let file = wrap(&[7; 16], [9; 16], b"hello").unwrap();
        let hex = data_encoding::HEXLOWER.encode(&file);
        assert_eq!(hex, format!("{head}68656c6c6f"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            mut bytes: Vec<u8>,
            at: proptest::sample::Index,
        ) {
            let _ = Sealed::parse(&bytes);
            let inner = [tlv(Tag::Sequence, &bytes), tlv(Tag::OctetString, &bytes)].concat();
            let real = wrap(&[7; 16], [9; 16], &bytes).unwrap();
            bytes.push(0);
            for mut whole in [tlv(Tag::Sequence, &inner), real] {
                let _ = Sealed::parse(&whole);
                let at = at.index(whole.len());
                whole[at] ^= bytes[0] | 1;
                let _ = Sealed::parse(&whole);
            }
        }
    }
}
