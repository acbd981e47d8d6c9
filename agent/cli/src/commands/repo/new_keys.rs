//! How new keys are made, and keys that lie elsewhere are read.

use crate::{files, keyring::KeysArgs, output::Output};
use std::path::PathBuf;
use surefoot_trust::{
    keys::{Scheme, public_key},
    metadata::Key,
};

/// How new keys are made.
#[derive(Debug, clap::Args)]
pub(super) struct NewKeys {
    #[command(flatten)]
    pub(super) at: KeysArgs,
    /// The kind of new keys.
    #[arg(long, value_enum, default_value = "ed25519")]
    pub(super) key_type: KeyType,
    /// Encrypt new keys with a passphrase: asked for, or the first line of the file that
    /// SUREFOOT_PASSPHRASE_FILE names.
    #[arg(long)]
    pub(super) encrypt: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum KeyType {
    Ed25519,
    /// ECDSA on P-256.
    Ecdsa,
    /// RSA-PSS, 3072 bits.
    Rsa,
}

impl From<KeyType> for Scheme {
    fn from(kind: KeyType) -> Self {
        match kind {
            KeyType::Ed25519 => Self::Ed25519,
            KeyType::Ecdsa => Self::EcdsaP256,
            KeyType::Rsa => Self::RsaPss,
        }
    }
}

/// Reads the public halves of keys.
///
/// # Errors
/// One of them cannot be read or understood.
pub(super) fn read_public(files: &[PathBuf]) -> anyhow::Result<Vec<Key>> {
    files
        .iter()
        .map(|file| {
            let name = file.display().to_string();
            let pem = files::read_signed(file)?;
            Ok(public_key(&name, &String::from_utf8_lossy(&pem))?)
        })
        .collect()
}

/// Says which keys are new.
///
/// # Errors
/// Standard output takes nothing.
pub(super) fn print_files(written: &[PathBuf], output: Output) -> anyhow::Result<()> {
    for path in written {
        output.text(&format!("new key {}", path.display()))?;
    }
    Ok(())
}
