//! The private keys at hand: a directory of them.

use crate::{
    Error, files,
    keys::{PrivateKey, PublicKey, Signer},
    metadata::{Envelope, Key, KeyId, Role, RoleKeys, Signature},
    signer::{CommandSigner, EncryptedKey},
    verify,
};
use data_encoding::HEXLOWER;
use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

/// Key files above this size are refused, bytes.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// Gives the passphrase of a key, named by its file.
pub type Passphrase = Arc<dyn Fn(&str) -> Result<String, Error> + Send + Sync>;

/// Keys that can sign. Which role a key speaks for is said by the metadata, not by where the key
/// lies.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    signers: Vec<(PublicKey, Arc<dyn Signer>)>,
}

impl Keyring {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the private keys of a directory and those below it: `*.pem` files (PKCS#8), and
    /// `*.signer.json` files that name a program which signs (see [`crate::signer`]). Keys that
    /// are encrypted are refused when they have to sign.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Key`] naming the file.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let nobody: Passphrase = Arc::new(|name| {
            Err(Error::Key {
                name: name.to_owned(),
                why: "is encrypted, and nobody gave its passphrase".to_owned(),
            })
        });
        Self::load_with(dir, &nobody)
    }

    /// The same, with passphrases for keys that are encrypted. They are asked for when a key signs
    /// for the first time.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(dir: &Path, passphrase: &Passphrase) -> Result<Self, Error> {
        let mut ring = Self::new();
        ring.load_into(dir, passphrase, 0)?;
        Ok(ring)
    }

    fn load_into(&mut self, dir: &Path, passphrase: &Passphrase, depth: u32) -> Result<(), Error> {
        let mut entries: Vec<_> = fs::read_dir(dir)
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(Error::io(dir))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let file = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if depth < 4 {
                    self.load_into(&path, passphrase, depth + 1)?;
                }
            } else if file.ends_with(".signer.json") {
                let text = read_text(&path)?;
                self.add(Arc::new(CommandSigner::parse(&path, &text)?));
            } else if file.ends_with(".pem") {
                let text = read_text(&path)?;
                let name = path.display().to_string();
                if text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
                    self.add(Arc::new(EncryptedKey::new(name, text, passphrase)?));
                } else if text.contains("PRIVATE KEY-----") {
                    self.add(Arc::new(PrivateKey::from_pem(&name, &text)?));
                }
            }
        }
        Ok(())
    }

    /// Adds a key.
    pub fn add(&mut self, signer: Arc<dyn Signer>) {
        if let Some(public) = PublicKey::of(signer.public()) {
            self.signers.push((public, signer));
        }
    }

    /// Adds all keys of another keyring.
    pub fn append(&mut self, other: Self) {
        self.signers.extend(other.signers);
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.signers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.signers.is_empty()
    }

    /// Who can sign as this public key.
    fn signer(&self, key: &Key) -> Option<&dyn Signer> {
        let public = PublicKey::of(key)?;
        self.signers
            .iter()
            .find(|(known, _)| *known == public)
            .map(|(_, signer)| signer.as_ref())
    }

    /// How many of a role's keys are at hand.
    #[must_use]
    pub fn count(&self, keys: &BTreeMap<KeyId, Key>, role: &RoleKeys) -> u64 {
        role.keyids
            .iter()
            .filter_map(|id| keys.get(id))
            .filter(|key| self.signer(key).is_some())
            .count() as u64
    }

    /// Signs metadata with every key of the role that is at hand.
    ///
    /// # Errors
    /// [`Error::MissingKeys`] if that is not enough; [`Error::Key`] if a key cannot sign.
    pub fn sign<R: Role>(
        &self,
        name: &str,
        role: &R,
        keys: &BTreeMap<KeyId, Key>,
        role_keys: &RoleKeys,
    ) -> Result<Envelope, Error> {
        let mut envelope = Envelope::wrap(role)?;
        let have = self.add_signatures(&mut envelope, keys, role_keys)?;
        if have < role_keys.threshold {
            return Err(Error::MissingKeys {
                role: name.to_owned(),
                have,
                need: role_keys.threshold,
            });
        }
        // A signer outside this program may answer anything.
        verify::threshold(name, &envelope, keys, role_keys, "the keys at hand")?;
        Ok(envelope)
    }

    /// Adds a signature by every key of the role that is at hand and has not signed yet; gives how
    /// many it could.
    ///
    /// # Errors
    /// [`Error::Key`] if a key cannot sign.
    pub fn add_signatures(
        &self,
        envelope: &mut Envelope,
        keys: &BTreeMap<KeyId, Key>,
        role_keys: &RoleKeys,
    ) -> Result<u64, Error> {
        let message = envelope.message();
        let mut have = 0;
        for id in &role_keys.keyids {
            let Some(signer) = keys.get(id).and_then(|key| self.signer(key)) else {
                continue;
            };
            have += 1;
            if envelope.signatures.iter().any(|s| s.keyid == *id) {
                continue;
            }
            envelope.signatures.push(Signature {
                keyid: id.clone(),
                sig: HEXLOWER.encode(&signer.sign(&message)?),
                extra: Default::default(),
            });
        }
        Ok(have)
    }
}

fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = files::read(path, MAX_KEY_BYTES)?.unwrap_or_default();
    String::from_utf8(bytes).map_err(|_| Error::Key {
        name: path.display().to_string(),
        why: "is not text".to_owned(),
    })
}
