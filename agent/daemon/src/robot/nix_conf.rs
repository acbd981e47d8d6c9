//! What `nix.conf` says of signatures: which keys the Nix daemon will believe.
//!
//! Source: Nix `src/libutil/config.cc` (`applyConfig`), `src/libstore/keys.cc` (`getDefaultPublicKeys`).

use std::path::{Path, PathBuf};
use surefoot_base::{file, text};
use surefoot_core::StorePath;
use surefoot_store::{nix_daemon::ValidPath, signature::PublicKey};

/// Files above this size are not read, bytes.
const MAX_FILE: u64 = 256 << 10;

/// At most so many files are followed, and so many keys looked at.
const MAX_FILES: usize = 32;
const MAX_KEYS: usize = 256;

/// What is believed if nothing else is said.
const DEFAULT: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

/// The keys of a daemon that has this file.
#[derive(Debug)]
pub(super) struct Keys {
    /// As they stand there.
    words: Vec<String>,
    /// Whether signatures are asked for at all.
    required: bool,
}

/// Reads a `nix.conf` with what it includes; `None` if there is none. `find` gives the file that will lie
/// at a place.
pub(super) fn keys(path: &Path, find: impl Fn(&Path) -> PathBuf) -> Option<Keys> {
    let mut keys = Keys {
        words: vec![DEFAULT.to_owned()],
        required: true,
    };
    // The files that are left to read, in the order in which their lines count.
    let mut left = vec![(path.to_owned(), lines(&find(path))?.into_iter())];
    let mut files = 1;
    while let Some((at, rest)) = left.last_mut() {
        let Some(line) = rest.next() else {
            left.pop();
            continue;
        };
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("include" | "!include"), Some(file)) if files < MAX_FILES => {
                files += 1;
                let file = at.with_file_name("").join(file);
                if let Some(lines) = lines(&find(&file)) {
                    left.push((file, lines.into_iter()));
                }
            }
            (Some(name), Some("=")) => {
                let values = words.map(str::to_owned);
                match name {
                    "trusted-public-keys" | "binary-cache-public-keys" => {
                        keys.words = values.collect();
                    }
                    // Added to what was said so far: a later list without `extra-` stands alone.
                    "extra-trusted-public-keys" | "extra-binary-cache-public-keys" => {
                        keys.words.extend(values);
                    }
                    "require-sigs" => keys.required = line.trim_end().ends_with("true"),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    keys.words.truncate(MAX_KEYS);
    Some(keys)
}

fn lines(path: &Path) -> Option<Vec<String>> {
    let text = file::read_text(path, MAX_FILE).ok()?;
    let line = |line: &str| line.split('#').next().unwrap_or_default().to_owned();
    Some(text.lines().map(line).collect())
}

impl Keys {
    /// A key that Nix could not read; it imports nothing then.
    pub(super) fn malformed(&self) -> Option<String> {
        let mut words = self.words.iter();
        let bad = words.find(|word| word.parse::<PublicKey>().is_err())?;
        self.required.then(|| text::shown(bad).to_string())
    }

    /// Whether one of them signed a path, or none has to.
    pub(super) fn believe(&self, path: &StorePath, info: &ValidPath) -> bool {
        let mut keys = self.words.iter().filter_map(|word| word.parse().ok());
        !self.required || keys.any(|key: PublicKey| key.signed_valid(path, info))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const GOOD: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[test]
    fn the_last_word_counts_and_files_are_included_where_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nix.conf");
        let of = |text: &str| {
            fs::write(&path, text).unwrap();
            keys(&path, Path::to_owned).unwrap()
        };
        assert_eq!(of("").words, [DEFAULT]);
        fs::write(
            dir.path().join("more.conf"),
            "trusted-public-keys = b\nextra-trusted-public-keys = c # d\n",
        )
        .unwrap();
        let read = of("trusted-public-keys = a a2\n!include more.conf\n!include missing\n");
        assert_eq!(read.words, ["b", "c"]);
        let read = of("include more.conf\ntrusted-public-keys = a\n");
        assert_eq!(read.words, ["a"]);
        let read = of("extra-trusted-public-keys = c\n");
        assert_eq!(read.words, [DEFAULT, "c"]);
        // A circle ends.
        of("include nix.conf\n");
        assert!(keys(&dir.path().join("none"), Path::to_owned).is_none());

        assert_eq!(
            of(&format!("trusted-public-keys = {GOOD}")).malformed(),
            None
        );
        let bad = format!("trusted-public-keys = {GOOD} b:AAAA");
        assert_eq!(of(&bad).malformed().as_deref(), Some("b:AAAA"));
        assert_eq!(
            of(&format!("{bad}\nrequire-sigs = false")).malformed(),
            None
        );
    }
}
