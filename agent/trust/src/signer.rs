//! Signers that are not a plain key in memory: keys that are encrypted, and programs.
//!
//! A program that signs is described by a file `NAME.signer.json` among the keys:
//!
//! ```json
//! {
//!   "publicKey": "root-hsm.pub",
//!   "command": ["pkcs11-sign", "--label", "root"]
//! }
//! ```
//!
//! `publicKey` is a public key in PEM, beside this file if it is a relative path. The command runs
//! in that directory too. It gets the message on standard input, and writes the signature, raw, to
//! standard output: 64 bytes for Ed25519, DER for ECDSA P-256 with SHA-256, PSS with SHA-256 for
//! RSA. Whatever it writes to standard error is shown. It may take as long as it likes, for
//! somebody may have to touch something.

use crate::{
    Error, Passphrase, files,
    keys::{PrivateKey, PublicKey, Signer, public_key},
    metadata::Key,
};
use serde::Deserialize;
use std::{
    fmt,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Signatures above this size are refused, bytes.
const MAX_SIGNATURE_BYTES: u64 = 16 << 10;

/// A key that is opened by its passphrase when it first signs.
pub(crate) struct EncryptedKey {
    name: String,
    pem: String,
    public: Key,
    passphrase: Passphrase,
    open: OnceLock<PrivateKey>,
}

impl EncryptedKey {
    /// Reads the public half. Without one in the file, the passphrase is needed now.
    pub(crate) fn new(name: String, pem: String, passphrase: &Passphrase) -> Result<Self, Error> {
        let open = OnceLock::new();
        let public = if pem.contains("BEGIN PUBLIC KEY") {
            public_key(&name, &pem)?
        } else {
            let key = PrivateKey::from_encrypted_pem(&name, &pem, &passphrase(&name)?)?;
            let public = key.public().clone();
            let _ = open.set(key);
            public
        };
        Ok(Self {
            name,
            pem,
            public,
            passphrase: passphrase.clone(),
            open,
        })
    }
}

impl fmt::Debug for EncryptedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptedKey({})", self.name)
    }
}

impl Signer for EncryptedKey {
    fn public(&self) -> &Key {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        if let Some(key) = self.open.get() {
            return key.sign(message);
        }
        let passphrase = (self.passphrase)(&self.name)?;
        let key = PrivateKey::from_encrypted_pem(&self.name, &self.pem, &passphrase)?;
        if key.public() != &self.public {
            return Err(Error::Key {
                name: self.name.clone(),
                why: "has another public half than its file says".to_owned(),
            });
        }
        self.open.get_or_init(|| key).sign(message)
    }
}

/// A program that signs.
#[derive(Debug)]
pub struct CommandSigner {
    name: String,
    dir: PathBuf,
    public: Key,
    command: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Described {
    public_key: PathBuf,
    command: Vec<String>,
}

impl CommandSigner {
    /// Reads its description; `path` is where that lies.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::Io`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let name = path.display().to_string();
        let fail = |why: String| Error::Key {
            name: name.clone(),
            why,
        };
        let described: Described =
            serde_json::from_str(text).map_err(|e| fail(format!("cannot be read: {e}")))?;
        if described.command.is_empty() {
            return Err(fail("names no command".to_owned()));
        }
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        let file = dir.join(described.public_key);
        let pem = files::read(&file, 64 << 10)?.ok_or_else(|| Error::NotFound {
            url: file.display().to_string(),
        })?;
        let public = public_key(&file.display().to_string(), &String::from_utf8_lossy(&pem))?;
        Ok(Self {
            name,
            dir,
            public,
            command: described.command,
        })
    }
}

impl Signer for CommandSigner {
    fn public(&self) -> &Key {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let fail = |why: String| Error::Key {
            name: self.name.clone(),
            why,
        };
        let program = &self.command[0];
        // It may wait for a person who touches a token, who can also interrupt it: so without a limit
        // of time. What it writes is bounded.
        let mut child = Command::new(program)
            .args(&self.command[1..])
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| fail(format!("cannot start '{program}': {e}")))?;
        let mut signature = Vec::new();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // A command that does not read to the end says so by its status.
                let _ = stdin.map(|mut stdin| stdin.write_all(message));
            });
            stdout.map(|out| out.take(MAX_SIGNATURE_BYTES).read_to_end(&mut signature))
        })
        .transpose()
        .map_err(|e| fail(format!("does not hear '{program}': {e}")))?;
        let status = child
            .wait()
            .map_err(|e| fail(format!("cannot wait for '{program}': {e}")))?;
        if !status.success() {
            return Err(fail(format!(
                "did not sign: '{program}' ended with {status}"
            )));
        }
        let right =
            PublicKey::of(&self.public).is_some_and(|key| key.verifies(message, &signature));
        if !right {
            return Err(fail(format!(
                "did not sign: what '{program}' wrote is not a signature by this key ({} bytes)",
                signature.len()
            )));
        }
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Keyring,
        keys::{Scheme, public_pem},
    };
    use std::{fs, sync::Arc};

    const SCHEMES: [Scheme; 3] = [Scheme::Ed25519, Scheme::EcdsaP256, Scheme::RsaPss];

    #[test]
    fn a_program_signs() {
        for scheme in [Scheme::EcdsaP256, Scheme::RsaPss] {
            let dir = tempfile::tempdir().unwrap();
            let key = PrivateKey::generate(scheme).unwrap();
            let hidden = dir.path().join("hsm");
            fs::write(&hidden, key.to_pem().unwrap()).unwrap();
            let public = public_pem(key.public()).unwrap();
            fs::write(dir.path().join("root.pub"), public).unwrap();
            let mut command = vec!["openssl", "dgst", "-sha256", "-sign", "hsm"];
            if scheme == Scheme::RsaPss {
                command.extend(["-sigopt", "rsa_padding_mode:pss"]);
                command.extend(["-sigopt", "rsa_pss_saltlen:digest"]);
            }
            let described = serde_json::json!({"publicKey": "root.pub", "command": command});
            let file = dir.path().join("root.signer.json");
            fs::write(&file, described.to_string()).unwrap();
            let signer = CommandSigner::parse(&file, &fs::read_to_string(&file).unwrap()).unwrap();
            let signature = signer.sign(b"message").unwrap();
            let public = PublicKey::of(key.public()).unwrap();
            assert!(public.verifies(b"message", &signature));
            assert_eq!(Keyring::load(dir.path()).unwrap().len(), 1);
        }
    }

    #[test]
    fn a_program_that_does_not_sign_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let key = PrivateKey::generate(Scheme::Ed25519).unwrap();
        fs::write(dir.path().join("k.pub"), public_pem(key.public()).unwrap()).unwrap();
        let error = |command: &[&str]| {
            let text = serde_json::json!({"publicKey": "k.pub", "command": command}).to_string();
            let signer = CommandSigner::parse(&dir.path().join("k.signer.json"), &text);
            signer
                .and_then(|s| s.sign(b"message"))
                .unwrap_err()
                .to_string()
        };
        assert!(error(&[]).ends_with("k.signer.json names no command"));
        assert!(error(&["/nowhere"]).contains("cannot start '/nowhere'"));
        assert!(error(&["false"]).contains("'false' ended with exit status: 1"));
        assert!(error(&["cat"]).contains("not a signature by this key (7 bytes)"));
        assert!(error(&["cat", "/dev/zero"]).contains("ended with signal") || cfg!(not(unix)));
    }

    #[test]
    fn encrypted_keys_open_when_they_sign() {
        let dir = tempfile::tempdir().unwrap();
        let key = PrivateKey::generate(Scheme::Ed25519).unwrap();
        let pem = key.to_encrypted_pem("sesame").unwrap();
        fs::write(dir.path().join("root-1.pem"), pem).unwrap();
        // Without a passphrase it can be listed, but it cannot sign.
        assert_eq!(Keyring::load(dir.path()).unwrap().len(), 1);
        for (said, ok) in [("sesame", true), ("mustard", false)] {
            let passphrase: Passphrase = Arc::new(move |_| Ok(said.to_owned()));
            let name = "root-1.pem".to_owned();
            let pem = fs::read_to_string(dir.path().join("root-1.pem")).unwrap();
            let signer = EncryptedKey::new(name, pem, &passphrase).unwrap();
            match signer.sign(b"message") {
                Ok(signature) => {
                    let public = PublicKey::of(key.public()).unwrap();
                    assert!(ok && public.verifies(b"message", &signature));
                }
                Err(error) => {
                    assert!(!ok);
                    assert_eq!(
                        error.to_string(),
                        "the key root-1.pem does not open with this passphrase"
                    );
                }
            }
        }
    }

    #[test]
    fn openssl_reads_and_writes_the_same_files() {
        let openssl = |args: &[&str], dir: &Path| {
            let out = Command::new("openssl").args(args).current_dir(dir).output();
            let out = out.unwrap();
            assert!(
                out.status.success(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
        };
        for scheme in SCHEMES {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path();
            let key = PrivateKey::generate(scheme).unwrap();
            fs::write(dir.join("ours"), key.to_encrypted_pem("sesame").unwrap()).unwrap();
            let decrypt = [
                "pkcs8",
                "-in",
                "ours",
                "-out",
                "plain",
                "-passin",
                "pass:sesame",
            ];
            openssl(&decrypt, dir);
            let plain = fs::read_to_string(dir.join("plain")).unwrap();
            assert_eq!(
                PrivateKey::from_pem("plain", &plain).unwrap().public(),
                key.public()
            );
            openssl(
                &[
                    "pkcs8",
                    "-topk8",
                    "-in",
                    "plain",
                    "-out",
                    "theirs",
                    "-passout",
                    "pass:open",
                ],
                dir,
            );
            let theirs = fs::read_to_string(dir.join("theirs")).unwrap();
            let read = PrivateKey::from_encrypted_pem("theirs", &theirs, "open").unwrap();
            assert_eq!(read.public(), key.public());
            openssl(&["pkey", "-in", "plain", "-pubout", "-out", "public"], dir);
            let public = fs::read_to_string(dir.join("public")).unwrap();
            assert_eq!(public_key("public", &public).unwrap(), *key.public());
        }
    }
}
