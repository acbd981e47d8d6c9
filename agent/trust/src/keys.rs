//! Keys: who signed, and signing.
//!
//! Three kinds count, those of the specification (§4.2): `ed25519`, `ecdsa-sha2-nistp256` and
//! `rsassa-pss-sha256`. Keys of other kinds may stand in metadata; their signatures never count.

use crate::{
    Error, canonical_json,
    metadata::{Key, KeyId},
    pbes2::{self, Refusal},
};
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa,
    signature::{
        self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaParameters, RsaPssSaltLength,
        UnparsedPublicKey,
    },
};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde_json::{Map, Value};
use std::fmt;

/// securesystemslib once signed with the longest salt, and verifies any.
static RSA_PSS_MAX_SALT: RsaParameters =
    signature::RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);

/// New RSA keys; tests need not wait.
const RSA_SIZE: rsa::KeySize = if cfg!(test) {
    rsa::KeySize::Rsa2048
} else {
    rsa::KeySize::Rsa3072
};

/// The kinds of keys that are made and believed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256 with SHA-256, signatures in DER.
    EcdsaP256,
    /// RSA-PSS with SHA-256, 2048 to 8192 bits.
    RsaPss,
}

impl Scheme {
    /// `keytype` and `scheme` as metadata names them.
    #[must_use]
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Ed25519 => ("ed25519", "ed25519"),
            Self::EcdsaP256 => ("ecdsa", "ecdsa-sha2-nistp256"),
            Self::RsaPss => ("rsa", "rsassa-pss-sha256"),
        }
    }

    fn of(key: &Key) -> Option<Self> {
        match (key.keytype.as_str(), key.scheme.as_str()) {
            ("ed25519", "ed25519") => Some(Self::Ed25519),
            // The longer keytype is from before version 1.0 of the specification.
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => Some(Self::EcdsaP256),
            ("rsa", "rsassa-pss-sha256") => Some(Self::RsaPss),
            _ => None,
        }
    }
}

/// A public key that is ready to verify.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey {
    // The bytes decide whether two names mean one key.
    bytes: Vec<u8>,
    scheme: u8,
}

impl PublicKey {
    /// Makes a key of metadata ready; `None` if its kind is not known here or it is broken.
    #[must_use]
    pub fn of(key: &Key) -> Option<Self> {
        let scheme = Scheme::of(key)?;
        let public = key.keyval.get("public")?.as_str()?;
        let bytes = match scheme {
            Scheme::Ed25519 => HEXLOWER_PERMISSIVE
                .decode(public.as_bytes())
                .ok()
                .filter(|bytes| bytes.len() == 32)?,
            Scheme::EcdsaP256 | Scheme::RsaPss => pem_decode(public, "PUBLIC KEY")?,
        };
        Some(Self {
            bytes,
            scheme: scheme as u8,
        })
    }

    /// Whether this key made the signature over the message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let by = |algorithm: &'static dyn signature::VerificationAlgorithm| {
            UnparsedPublicKey::new(algorithm, &self.bytes)
                .verify(message, signature)
                .is_ok()
        };
        match self.scheme {
            s if s == Scheme::Ed25519 as u8 => by(&signature::ED25519),
            s if s == Scheme::EcdsaP256 as u8 => by(&signature::ECDSA_P256_SHA256_ASN1),
            _ => by(&signature::RSA_PSS_2048_8192_SHA256) || by(&RSA_PSS_MAX_SALT),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", HEXLOWER.encode(&self.bytes))
    }
}

/// The name of a new key: the SHA-256 of its canonical form, as securesystemslib computes it.
#[must_use]
pub fn key_id(key: &Key) -> KeyId {
    let value = serde_json::to_value(key).unwrap_or_default();
    sha256_hex(&canonical_json::canonical(&value))
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    HEXLOWER.encode(&sha2::Sha256::digest(bytes))
}

/// An Ed25519 key as `SubjectPublicKeyInfo` is this and 32 bytes (RFC 8410).
const ED25519_PREFIX: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// The algorithms in `SubjectPublicKeyInfo`: id-ecPublicKey on prime256v1, and rsaEncryption.
const P256_ALGORITHM: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];
const RSA_ALGORITHM: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];

/// Reads a public key in PEM, as `openssl pkey -pubout` writes it; `name` names it in errors.
///
/// # Errors
/// [`Error::Key`].
pub fn public_key(name: &str, pem: &str) -> Result<Key, Error> {
    let fail = |why: &str| Error::Key {
        name: name.to_owned(),
        why: why.to_owned(),
    };
    let der = pem_decode(pem, "PUBLIC KEY")
        .ok_or_else(|| fail("is not a public key in PEM ('BEGIN PUBLIC KEY')"))?;
    let has = |algorithm: &[u8]| {
        der.get(..40.min(der.len()))
            .is_some_and(|head| head.windows(algorithm.len()).any(|w| w == algorithm))
    };
    let (scheme, public) = if let Some(raw) = der.strip_prefix(ED25519_PREFIX) {
        (Scheme::Ed25519, HEXLOWER.encode(raw))
    } else if has(P256_ALGORITHM) {
        (Scheme::EcdsaP256, pem_encode("PUBLIC KEY", &der))
    } else if has(RSA_ALGORITHM) {
        (Scheme::RsaPss, pem_encode("PUBLIC KEY", &der))
    } else {
        return Err(fail("is of no known kind; use ed25519, ECDSA P-256 or RSA"));
    };
    let key = named(scheme, public);
    if PublicKey::of(&key).is_none() {
        return Err(fail("is broken"));
    }
    Ok(key)
}

/// A public key in PEM; `None` if its kind is not known here.
#[must_use]
pub fn public_pem(key: &Key) -> Option<String> {
    let ready = PublicKey::of(key)?;
    if ready.scheme == Scheme::Ed25519 as u8 {
        let der = [ED25519_PREFIX, &ready.bytes].concat();
        return Some(pem_encode("PUBLIC KEY", &der));
    }
    Some(pem_encode("PUBLIC KEY", &ready.bytes))
}

fn named(scheme: Scheme, public: String) -> Key {
    let (keytype, scheme) = scheme.names();
    let mut keyval = Map::new();
    keyval.insert("public".into(), Value::String(public));
    Key {
        keytype: keytype.to_owned(),
        scheme: scheme.to_owned(),
        keyval,
        extra: Map::new(),
    }
}

/// Whoever can sign: a key in memory, or a program that holds one.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The public half, as metadata lists it.
    fn public(&self) -> &Key;

    /// Signs a message.
    ///
    /// # Errors
    /// [`Error::Key`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error>;
}

/// A private key in memory.
pub struct PrivateKey {
    public: Key,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    Rsa(Box<rsa::KeyPair>),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", key_id(&self.public))
    }
}

impl PrivateKey {
    /// Makes a new key. RSA keys have 3072 bits.
    ///
    /// # Errors
    /// [`Error::Key`] if the machine has no randomness.
    pub fn generate(scheme: Scheme) -> Result<Self, Error> {
        let failed = |_| Error::Key {
            name: scheme.names().1.to_owned(),
            why: "cannot be generated on this machine".to_owned(),
        };
        Self::from_pair(match scheme {
            Scheme::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
            Scheme::EcdsaP256 => Pair::Ecdsa(
                EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING)
                    .map_err(failed)?,
            ),
            Scheme::RsaPss => {
                Pair::Rsa(Box::new(rsa::KeyPair::generate(RSA_SIZE).map_err(failed)?))
            }
        })
    }

    /// Reads a private key: PKCS#8 in PEM, as `openssl genpkey` writes it. `name` names it in
    /// errors.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn from_pem(name: &str, pem: &str) -> Result<Self, Error> {
        let fail = |why: &str| Error::Key {
            name: name.to_owned(),
            why: why.to_owned(),
        };
        let der = pem_decode(pem, "PRIVATE KEY")
            .ok_or_else(|| fail("is not a private key in PEM (PKCS#8, 'BEGIN PRIVATE KEY')"))?;
        Self::from_der(name, &der)
    }

    /// Reads a private key that is encrypted: PKCS#8 in PEM ('BEGIN ENCRYPTED PRIVATE KEY') with
    /// PBKDF2-HMAC-SHA-256 and AES-256-CBC, as [`Self::to_encrypted_pem`] and `openssl pkcs8
    /// -topk8` write it.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn from_encrypted_pem(name: &str, pem: &str, passphrase: &str) -> Result<Self, Error> {
        let fail = |why: &str| Error::Key {
            name: name.to_owned(),
            why: why.to_owned(),
        };
        let der = pem_decode(pem, "ENCRYPTED PRIVATE KEY")
            .ok_or_else(|| fail("is not an encrypted private key in PEM"))?;
        let der = pbes2::decrypt(&der, passphrase).map_err(|refusal| match refusal {
            Refusal::Wrong => fail("does not open with this passphrase"),
            Refusal::Unknown => fail(
                "is encrypted in an unknown way; use openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256",
            ),
        })?;
        Self::from_der(name, &der)
    }

    fn from_der(name: &str, der: &[u8]) -> Result<Self, Error> {
        let fail = |why: &str| Error::Key {
            name: name.to_owned(),
            why: why.to_owned(),
        };
        let pair = if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            Pair::Ed25519(pair)
        } else if let Ok(pair) =
            EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, der)
        {
            Pair::Ecdsa(pair)
        } else if let Ok(pair) = rsa::KeyPair::from_pkcs8(der) {
            Pair::Rsa(Box::new(pair))
        } else {
            return Err(fail(
                "is of no known kind; use ed25519, ECDSA P-256 or RSA of 2048 to 8192 bits",
            ));
        };
        Self::from_pair(pair)
    }

    fn from_pair(pair: Pair) -> Result<Self, Error> {
        let broken = |_| Error::Key {
            name: "in memory".to_owned(),
            why: "has no readable public half".to_owned(),
        };
        let der = |der: PublicKeyX509Der<'_>| pem_encode("PUBLIC KEY", der.as_ref());
        let (scheme, public) = match &pair {
            Pair::Ed25519(pair) => (Scheme::Ed25519, HEXLOWER.encode(pair.public_key().as_ref())),
            Pair::Ecdsa(pair) => (
                Scheme::EcdsaP256,
                der(pair.public_key().as_der().map_err(broken)?),
            ),
            Pair::Rsa(pair) => (
                Scheme::RsaPss,
                der(pair.public_key().as_der().map_err(broken)?),
            ),
        };
        Ok(Self {
            public: named(scheme, public),
            pair,
        })
    }

    /// The key as PKCS#8 in PEM, not encrypted.
    ///
    /// # Errors
    /// [`Error::Key`], which no key made or read here gives.
    pub fn to_pem(&self) -> Result<String, Error> {
        Ok(pem_encode("PRIVATE KEY", &self.to_der()?))
    }

    /// The key as PKCS#8 in PEM, encrypted; the public half before it in the clear, so that the
    /// passphrase is asked for only when the key signs.
    ///
    /// # Errors
    /// [`Error::Key`] if the machine has no randomness.
    pub fn to_encrypted_pem(&self, passphrase: &str) -> Result<String, Error> {
        let sealed = pbes2::encrypt(&self.to_der()?, passphrase).ok_or_else(|| self.failed())?;
        let public = public_pem(&self.public).unwrap_or_default();
        Ok(public + &pem_encode("ENCRYPTED PRIVATE KEY", &sealed))
    }

    fn failed(&self) -> Error {
        Error::Key {
            name: key_id(&self.public),
            why: "cannot be written".to_owned(),
        }
    }

    fn to_der(&self) -> Result<Vec<u8>, Error> {
        let failed = |_| self.failed();
        Ok(match &self.pair {
            Pair::Ed25519(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            Pair::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair.as_ref())
                .map_err(failed)?
                .as_ref()
                .to_vec(),
        })
    }
}

impl Signer for PrivateKey {
    fn public(&self) -> &Key {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::Key {
            name: key_id(&self.public),
            why: "cannot sign".to_owned(),
        };
        let random = SystemRandom::new();
        Ok(match &self.pair {
            Pair::Ed25519(pair) => pair.try_sign(message).map_err(failed)?.as_ref().to_vec(),
            Pair::Ecdsa(pair) => pair
                .sign(&random, message)
                .map_err(failed)?
                .as_ref()
                .to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PSS_SHA256, &random, message, &mut signature)
                    .map_err(failed)?;
                signature
            }
        })
    }
}

/// Writes PEM (RFC 7468).
pub(crate) fn pem_encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in BASE64.encode(der).as_bytes().chunks(64) {
        text.extend(line.iter().map(|b| *b as char));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// Reads the first PEM block with this label.
pub(crate) fn pem_decode(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: Vec<u8> = body.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    BASE64.decode(&body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SCHEMES: [Scheme; 3] = [Scheme::Ed25519, Scheme::EcdsaP256, Scheme::RsaPss];

    #[test]
    fn every_kind_signs_and_verifies_and_survives_its_file() {
        for scheme in SCHEMES {
            let key = PrivateKey::generate(scheme).unwrap();
            let again = PrivateKey::from_pem("x", &key.to_pem().unwrap()).unwrap();
            assert_eq!(again.public(), key.public());
            let pem = public_pem(key.public()).unwrap();
            assert_eq!(public_key("x", &pem).unwrap(), *key.public());
            let public = PublicKey::of(key.public()).unwrap();
            let signature = again.sign(b"message").unwrap();
            assert!(public.verifies(b"message", &signature), "{scheme:?}");
            assert!(!public.verifies(b"massage", &signature));
            let mut bent = signature.clone();
            bent[5] ^= 1;
            assert!(!public.verifies(b"message", &bent));
            assert!(!public.verifies(b"message", b""));
        }
    }

    #[test]
    fn kinds_do_not_stand_in_for_each_other() {
        let mut key = PrivateKey::generate(Scheme::EcdsaP256)
            .unwrap()
            .public()
            .clone();
        key.scheme = "ecdsa-sha2-nistp384".into();
        assert!(PublicKey::of(&key).is_none());
        key.keytype = "ed25519".into();
        key.scheme = "ed25519".into();
        assert!(PublicKey::of(&key).is_none());
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        let error = |text: &str| {
            PrivateKey::from_pem("root-1.pem", text)
                .unwrap_err()
                .to_string()
        };
        assert!(error("hello").contains("root-1.pem is not a private key in PEM"));
        assert!(error(&pem_encode("PRIVATE KEY", b"hello")).contains("no known kind"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}", signature: Vec<u8>) {
            let _ = PrivateKey::from_pem("x", &pem_encode("PRIVATE KEY", text.as_bytes()));
            let _ = pem_decode(&text, "X");
            for scheme in SCHEMES {
                let (keytype, scheme) = scheme.names();
                let mut keyval = Map::new();
                keyval.insert("public".into(), pem_encode("PUBLIC KEY", text.as_bytes()).into());
                let key = Key {
                    keytype: keytype.into(), scheme: scheme.into(), keyval, extra: Map::new(),
                };
                if let Some(key) = PublicKey::of(&key) {
                    prop_assert!(!key.verifies(b"message", &signature));
                }
            }
        }
    }
}
