//! `.narinfo` files: what a binary cache says about one store path.
//!
//! Source: Nix `src/libstore/nar-info.cc`.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};
use surefoot_base::{relative, text::shown_within};
use surefoot_core::{
    StorePath,
    closure::{Compression, Download, PathInfo},
};

/// Larger narinfo files are refused before they are parsed, in bytes. One with 10 000 references
/// stays below it.
pub const MAX_NARINFO_BYTES: usize = 2 << 20;

/// The words that a narinfo uses for [`Compression`].
const COMPRESSIONS: [(&str, Compression); 3] = [
    ("none", Compression::None),
    ("xz", Compression::Xz),
    ("zstd", Compression::Zstd),
];

/// One narinfo. It holds just what the closure index keeps of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NarInfo(pub PathInfo);

/// Why a narinfo was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NarInfoError {
    /// Larger than [`MAX_NARINFO_BYTES`].
    #[error("it has more than {MAX_NARINFO_BYTES} bytes")]
    TooLarge,
    /// Not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// A line that is no `Name: value`.
    #[error("line {0} is not of the form 'Name: value'")]
    Line(usize),
    /// A field that may stand only once stands twice.
    #[error("the field '{0}' stands twice")]
    Twice(&'static str),
    /// A field is missing that must be there.
    #[error("the field '{0}' is missing")]
    Missing(&'static str),
    /// A field's value cannot be read.
    #[error("the field '{field}' cannot be read: {}", shown_within(.why, 400))]
    Value {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl NarInfo {
    /// Reads a narinfo.
    ///
    /// # Errors
    /// [`NarInfoError`] says which field is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, NarInfoError> {
        if bytes.len() > MAX_NARINFO_BYTES {
            return Err(NarInfoError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NarInfoError::NotText)?;
        let mut once = Fields::default();
        let mut signatures = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if line.is_empty() {
                continue;
            }
            let (name, value) = line
                .split_once(':')
                .map(|(name, value)| (name, value.trim_start_matches(' ')))
                .ok_or(NarInfoError::Line(at + 1))?;
            if name == "Sig" {
                signatures.push(value.to_owned());
            } else {
                once.put(name, value)?;
            }
        }
        let base_name = |field| {
            move |text: &str| StorePath::from_base_name(text).map_err(|why| bad(field, &why))
        };
        let mut references: Vec<StorePath> = once
            .get("References")
            .unwrap_or_default()
            .split(' ')
            .filter(|name| !name.is_empty())
            .map(base_name("References"))
            .collect::<Result<_, _>>()?;
        references.sort_unstable();
        references.dedup();
        signatures.sort_unstable();
        signatures.dedup();
        // What is absent was compressed with bzip2, in the days when that was the only one.
        let compression = once.get("Compression").unwrap_or("bzip2");
        let compression = COMPRESSIONS
            .iter()
            .find(|(word, _)| *word == compression)
            .map(|(_, compression)| *compression)
            .ok_or_else(|| {
                let why = format!("'{compression:.40}' is not supported; use xz, zstd or none");
                bad("Compression", &why)
            })?;
        let url = once
            .get("URL")
            .filter(|text| !text.is_empty())
            .ok_or(NarInfoError::Missing("URL"))?
            .to_owned();
        relative::check(&url).map_err(|why| bad("URL", &why))?;
        let nar_size = once
            .number("NarSize")?
            .ok_or(NarInfoError::Missing("NarSize"))?;
        Ok(Self(PathInfo {
            path: once
                .parse("StorePath")?
                .ok_or(NarInfoError::Missing("StorePath"))?,
            nar_hash: once
                .parse("NarHash")?
                .ok_or(NarInfoError::Missing("NarHash"))?,
            nar_size,
            references,
            deriver: once
                .get("Deriver")
                .filter(|text| !text.is_empty() && *text != "unknown-deriver")
                .map(base_name("Deriver"))
                .transpose()?,
            signatures,
            ca: once
                .get("CA")
                .filter(|text| !text.is_empty())
                .map(str::to_owned),
            download: Download {
                url,
                compression: compression.into(),
                file_hash: once.parse("FileHash")?,
                file_size: once.number("FileSize")?,
            },
            deltas: Vec::new(),
        }))
    }
}

fn bad(field: &'static str, why: &impl ToString) -> NarInfoError {
    NarInfoError::Value {
        field,
        why: why.to_string(),
    }
}

/// The fields that may stand once; others are skipped, as Nix does.
#[derive(Default)]
struct Fields<'a>([Option<&'a str>; NAMES.len()]);

const NAMES: [&str; 10] = [
    "StorePath",
    "URL",
    "Compression",
    "FileHash",
    "FileSize",
    "NarHash",
    "NarSize",
    "References",
    "Deriver",
    "CA",
];

impl<'a> Fields<'a> {
    fn put(&mut self, name: &str, value: &'a str) -> Result<(), NarInfoError> {
        match NAMES.iter().position(|known| *known == name) {
            Some(at) if self.0[at].is_some() => Err(NarInfoError::Twice(NAMES[at])),
            Some(at) => {
                self.0[at] = Some(value);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn get(&self, name: &'static str) -> Option<&'a str> {
        let at = NAMES.iter().position(|known| *known == name)?;
        self.0[at]
    }

    fn parse<T: FromStr<Err: fmt::Display>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, NarInfoError> {
        self.get(name)
            .map(|text| text.parse().map_err(|why| bad(name, &why)))
            .transpose()
    }

    /// Sizes: positive, and not so large that a sum of them could overflow.
    fn number(&self, name: &'static str) -> Result<Option<u64>, NarInfoError> {
        match self.parse::<u64>(name)? {
            Some(0) => Err(bad(name, &"it is zero")),
            Some(size) if size > 1 << 50 => Err(bad(name, &"it is above 2^50")),
            other => Ok(other),
        }
    }
}

impl fmt::Display for NarInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.0;
        writeln!(f, "StorePath: {}", info.path)?;
        writeln!(f, "URL: {}", info.download.url)?;
        for (word, compression) in COMPRESSIONS {
            if info.download.compression == compression {
                writeln!(f, "Compression: {word}")?;
            }
        }
        if let Some(hash) = info.download.file_hash {
            writeln!(f, "FileHash: {hash}")?;
        }
        if let Some(size) = info.download.file_size {
            writeln!(f, "FileSize: {size}")?;
        }
        writeln!(f, "NarHash: {}", info.nar_hash)?;
        writeln!(f, "NarSize: {}", info.nar_size)?;
        f.write_str("References:")?;
        for reference in &info.references {
            write!(f, " {}", reference.base_name())?;
        }
        f.write_char('\n')?;
        if let Some(deriver) = &info.deriver {
            writeln!(f, "Deriver: {}", deriver.base_name())?;
        }
        for signature in &info.signatures {
            writeln!(f, "Sig: {signature}")?;
        }
        if let Some(ca) = &info.ca {
            writeln!(f, "CA: {ca}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{PublicKey, fingerprint};
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use data_encoding::BASE64;
    use proptest::prelude::*;

    const TEXT: &str = "\
StorePath: /nix/store/s66mzxpvicwk07gjbjfw9izjfa797vsw-hello-2.12.1
URL: nar/1nhgq6wcggx0plpy4991h3ginj6hipsdslv4fd4zml1n707j26yq.nar.xz
Compression: xz
FileHash: sha256:1nhgq6wcggx0plpy4991h3ginj6hipsdslv4fd4zml1n707j26yq
FileSize: 50088
NarHash: sha256:0yzhigwjl6bws649vcs2asa4lbs8hg93hyix187gc7s7a74w5h80
NarSize: 226488
References: 3n58xw4373jp0ljirf06d8077j15pc4j-glibc-2.37-8 s66mzxpvicwk07gjbjfw9izjfa797vsw-hello-2.12.1
Deriver: ib3sh3pcz10wsmavxvkdbayhqivbghlq-hello-2.12.1.drv
Sig: cache.nixos.org-1:8ijECciSFzWHwwGVOIVYdp2fOIOJAfmzGHPQVwpktfTQJF6kMPPDre7UtFw3o+VqenC5P8RikKOAAfN7CvPEAg==
";

    #[test]
    fn a_real_one_is_read_and_its_signature_holds() {
        let NarInfo(info) = NarInfo::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(info.nar_size, 226_488);
        assert_eq!(info.references.len(), 2);
        assert_eq!(info.download.compression, Compression::Xz);
        assert_eq!(NarInfo(info.clone()).to_string(), TEXT);
        // The key and the signature are those of cache.nixos.org for this very path.
        let key: PublicKey = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
            .parse()
            .unwrap();
        assert!(key.signed(&info));
        let mut other = info;
        other.nar_size += 1;
        assert!(!key.signed(&other));
    }

    #[test]
    fn signatures_count_by_name_and_key() {
        let NarInfo(mut info) = NarInfo::parse(TEXT.as_bytes()).unwrap();
        let pair = Ed25519KeyPair::generate().unwrap();
        let signature = pair.sign(fingerprint(&info).as_bytes());
        info.signatures = vec!["x".into(), "robot-1:!".into()];
        let text = |name: &str, bytes: &[u8]| format!("{name}:{}", BASE64.encode(bytes));
        let key: PublicKey = text("robot-1", pair.public_key().as_ref()).parse().unwrap();
        assert!(!key.signed(&info));
        info.signatures.push(text("robot-2", signature.as_ref()));
        assert!(!key.signed(&info), "another name");
        info.signatures.push(text("robot-1", signature.as_ref()));
        assert!(key.signed(&info));
        for text in ["", "a", "a:", ":AAAA", "a:AAAA", "a:?"] {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let with = |from: &str, to: &str| {
            NarInfo::parse(TEXT.replace(from, to).as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(with("NarSize: 226488\n", "").contains("'NarSize' is missing"));
        assert!(with("URL: ", "Xyz: ").contains("'URL' is missing"));
        assert!(with("NarSize: 226488", "NarSize: -1").contains("'NarSize' cannot be read"));
        assert!(with("NarSize: 226488", "NarSize: 0").contains("zero"));
        assert!(with("NarHash: sha256:", "NarHash: sha512:").contains("'NarHash'"));
        assert!(with("Compression: xz", "Compression: br").contains("'br' is not supported"));
        assert!(with("Compression: xz\n", "").contains("'bzip2' is not supported"));
        assert!(with("/nix/store/", "/gnu/store/").contains("'StorePath'"));
        assert!(with("3n58xw", "../../").contains("'References'"));
        assert!(with("Deriver: ib3", "Deriver: ???").contains("'Deriver'"));
        assert!(with("URL: nar/", "URL: /nar/").contains("'URL'"));
        assert!(with("URL: nar/", "URL: nar/%2e%2e/%2e%2e/").contains("'URL'"));
        assert!(with("URL: nar/", "URL: https://evil/").contains("'URL'"));
        assert!(with("FileSize: 50088", "FileSize 50088").contains("line 5"));
        assert!(with("Deriver:", "NarSize: 1\nDeriver:").contains("twice"));
        assert_eq!(NarInfo::parse(&[0xff]), Err(NarInfoError::NotText));
        assert_eq!(
            NarInfo::parse(&vec![b'\n'; MAX_NARINFO_BYTES + 1]),
            Err(NarInfoError::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = NarInfo::parse(&bytes);
        }

        #[test]
        fn a_damaged_one_is_read_or_refused(at in 0..TEXT.len(), byte: u8) {
            let mut bytes = TEXT.as_bytes().to_vec();
            bytes[at] = byte;
            if let Ok(info) = NarInfo::parse(&bytes) {
                let again = NarInfo::parse(info.to_string().as_bytes());
                prop_assert_eq!(again, Ok(info));
            }
        }
    }
}
