//! The private keys on this machine: where they lie, how they are written and opened.

use anyhow::{Context as _, bail, ensure};
use std::{
    fs,
    io::{IsTerminal as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use surefoot_trust::{
    Error, Keyring, Passphrase,
    keys::{PrivateKey, Signer as _},
    metadata::Key,
};

/// Names a file whose first line is the passphrase of encrypted keys.
const FILE: &str = "SUREFOOT_PASSPHRASE_FILE";

/// The directory of keys: as said, or beside the repository.
pub(crate) fn keys_dir(repository: &Path, said: Option<&Path>) -> PathBuf {
    said.map_or_else(
        || {
            let mut name = repository.components().as_path().as_os_str().to_owned();
            name.push("-keys");
            PathBuf::from(name)
        },
        Path::to_owned,
    )
}

/// The keys of a directory. Passphrases come from the file that `SUREFOOT_PASSPHRASE_FILE` names,
/// or are asked for.
pub(crate) fn keyring(dir: &Path) -> Result<Keyring, Error> {
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
