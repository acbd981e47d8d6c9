//! The private keys at hand: a directory of PEM files.

use crate::{
    Error, files,
    keys::{PrivateKey, PublicKey, Signer},
    metadata::{Envelope, Key, KeyId, Role, RoleKeys, Signature},
    verify,
};
use data_encoding::HEXLOWER;
use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

/// Key files above this size are refused, bytes.
const MAX_KEY_BYTES: u64 = 64 << 10;

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

    /// Reads every `*.pem` file that holds a private key, in the directory and those below it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Key`] naming the file.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let mut ring = Self::new();
        ring.load_into(dir, 0)?;
        Ok(ring)
    }

    fn load_into(&mut self, dir: &Path, depth: u32) -> Result<(), Error> {
        let mut entries: Vec<_> = fs::read_dir(dir)
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(Error::io(dir))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if path.is_dir() {
                if depth < 4 {
                    self.load_into(&path, depth + 1)?;
                }
            } else if path.extension().is_some_and(|e| e == "pem") {
                self.load_file(&path)?;
            }
        }
        Ok(())
    }

    fn load_file(&mut self, path: &Path) -> Result<(), Error> {
        let name = path.display().to_string();
        let bytes = files::read(path, MAX_KEY_BYTES)?.unwrap_or_default();
        let text = String::from_utf8(bytes).map_err(|_| Error::Key {
            name: name.clone(),
            why: "is no text".to_owned(),
        })?;
        if text.contains("PRIVATE KEY-----") {
            self.add(Arc::new(PrivateKey::from_pem(&name, &text)?));
        }
        Ok(())
    }

    /// Adds a key.
    pub fn add(&mut self, signer: Arc<dyn Signer>) {
        if let Some(public) = PublicKey::of(signer.public()) {
            self.signers.push((public, signer));
        }
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

    /// Signs metadata with every key of the role that is at hand and gives the file's bytes.
    ///
    /// # Errors
    /// [`Error::MissingKeys`] if that is not enough; [`Error::Key`] if a key cannot sign.
    pub fn sign<R: Role>(
        &self,
        name: &str,
        role: &R,
        keys: &BTreeMap<KeyId, Key>,
        role_keys: &RoleKeys,
    ) -> Result<Vec<u8>, Error> {
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
        envelope.to_bytes()
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
