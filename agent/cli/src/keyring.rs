//! The private keys on this machine: where they lie, how they are written and opened.

use anyhow::{Context as _, bail, ensure};
use std::{
    collections::BTreeMap,
    fs,
    io::{IsTerminal as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use surefoot_trust::{
    Error, Keyring, Passphrase,
    keys::{PrivateKey, Signer as _},
    metadata::{Key, KeyId},
};

/// Names a file whose first line is the passphrase of encrypted keys.
const FILE: &str = "SUREFOOT_PASSPHRASE_FILE";

/// Where the private keys are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct KeysArgs {
    /// Where private keys are; may be given several times, for keys that lie in different places. New keys
    /// go to the first. [default: DIR with -keys behind it]
    #[arg(long, value_name = "DIR")]
    keys_dir: Vec<PathBuf>,
}

impl KeysArgs {
    /// Where new keys go: the first place that was said, or beside the repository.
    pub(crate) fn first(&self, repository: &Path) -> PathBuf {
        self.keys_dir.first().cloned().unwrap_or_else(|| {
            let mut name = repository.components().as_path().as_os_str().to_owned();
            name.push("-keys");
            PathBuf::from(name)
        })
    }

    /// All keys at hand. Passphrases come from the file that `SUREFOOT_PASSPHRASE_FILE` names, or are asked
    /// for.
    ///
    /// # Errors
    /// One of the places cannot be read.
    pub(crate) fn ring(&self, repository: &Path) -> Result<Keyring, Error> {
        let mut ring = keyring(&self.first(repository))?;
        for dir in self.keys_dir.iter().skip(1) {
            ring.append(keyring(dir)?);
        }
        Ok(ring)
    }
}

/// The keys of a directory.
fn keyring(dir: &Path) -> Result<Keyring, Error> {
    let ask: Passphrase = Arc::new(|name| {
        passphrase(&format!("Passphrase of {name}: ")).map_err(|e| Error::Key {
            name: name.to_owned(),
            why: format!("is encrypted, and {e:#}"),
        })
    });
    Keyring::load_with(dir, &ask)
}

/// Where new keys go, and how.
#[derive(Debug)]
pub(crate) struct Writer {
    dir: PathBuf,
    passphrase: Option<String>,
    /// The files that were written.
    pub(crate) written: Vec<PathBuf>,
    /// What the new keys are called: as their files.
    pub(crate) names: BTreeMap<KeyId, String>,
}

impl Writer {
    /// Asks for a passphrase if new keys are to be encrypted.
    pub(crate) fn new(dir: PathBuf, encrypt: bool) -> anyhow::Result<Self> {
        let passphrase = if encrypt {
            let one = passphrase("Passphrase for the new keys: ")?;
            if std::env::var_os(FILE).is_none() {
                ensure!(
                    passphrase("The same again: ")? == one,
                    "the two passphrases differ"
                );
            }
            ensure!(!one.is_empty(), "an empty passphrase protects nothing");
            Some(one)
        } else {
            None
        };
        Ok(Self {
            dir,
            passphrase,
            written: Vec::new(),
            names: BTreeMap::new(),
        })
    }

    /// Writes a new key as `FOLDER/ROLE-N.pem`, with the first number that is free.
    pub(crate) fn write(
        &mut self,
        folder: &str,
        role: &str,
        key: &PrivateKey,
    ) -> anyhow::Result<Key> {
        let pem = match &self.passphrase {
            Some(passphrase) => key.to_encrypted_pem(passphrase)?,
            None => key.to_pem()?,
        };
        let folder = self.dir.join(folder);
        let path = (1..)
            .map(|n| folder.join(format!("{role}-{n}.pem")))
            .find(|path| !path.exists())
            .context("no number is free")?;
        write_private(&path, pem.as_bytes()).with_context(|| path.display().to_string())?;
        let name = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        let id = surefoot_trust::keys::key_id(key.public());
        self.names.insert(id, name.unwrap_or_default());
        self.written.push(path);
        Ok(key.public().clone())
    }
}

impl Writer {
    /// Takes new keys away again that came to nothing.
    pub(crate) fn undo<T>(&mut self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        if result.is_err() {
            for path in self.written.drain(..) {
                let _ = fs::remove_file(path);
            }
        }
        result
    }
}

/// The folder that a role's keys lie in.
pub(crate) fn folder(role: &str) -> &str {
    match role {
        "snapshot" | "timestamp" => "online",
        other => other,
    }
}

fn passphrase(prompt: &str) -> anyhow::Result<String> {
    if let Some(file) = std::env::var_os(FILE) {
        let text = fs::read_to_string(&file)
            .with_context(|| format!("{} (from {FILE})", Path::new(&file).display()))?;
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask at; name a file that has the passphrase in {FILE}");
    }
    Ok(rpassword::prompt_password(prompt)?)
}

/// Writes a private key, readable by its owner alone; refuses to replace one.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
