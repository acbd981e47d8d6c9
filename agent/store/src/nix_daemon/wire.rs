//! How the worker protocol writes values: numbers are 64 bit little endian, strings are their
//! length and their bytes, padded with zeros to a multiple of eight.
//!
//! Source: Nix `src/libutil/serialise.cc`, `src/libstore/common-protocol.cc`.

use std::io;
use surefoot_core::{StorePath, closure::PathInfo};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Strings above this size are a broken daemon, in bytes.
const MAX_STRING: u64 = 4 << 20;
/// Lists above this length are a broken daemon.
const MAX_ITEMS: u64 = 1 << 20;

/// A request under construction.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(crate) fn flag(&mut self, flag: bool) -> &mut Self {
        self.number(flag.into())
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
        let padding = text.len().wrapping_neg() % 8;
        self.0.extend_from_slice(&[0; 8][..padding]);
        self
    }

    pub(crate) fn path(&mut self, path: &StorePath) -> &mut Self {
        self.text(&path.to_string())
    }

    /// A list, which the daemon reads as a set.
    pub(crate) fn texts<T: ToString>(
        &mut self,
        texts: impl ExactSizeIterator<Item = T>,
    ) -> &mut Self {
        self.number(texts.len() as u64);
        for text in texts {
            self.text(&text.to_string());
        }
        self
    }

    /// What stands before each NAR in `AddMultipleToStore`: `ValidPathInfo` as of protocol 1.16.
    /// Times are not the publisher's to tell: the registration time is zero.
    pub(crate) fn valid_path_info(&mut self, info: &PathInfo) -> &mut Self {
        let deriver = info.deriver.as_ref().map(ToString::to_string);
        self.path(&info.path)
            .text(deriver.as_deref().unwrap_or_default())
            .text(&info.nar_hash.hex())
            .texts(info.references.iter())
            .number(0)
            .number(info.nar_size)
            .flag(false)
            .texts(info.signatures.iter())
            .text(info.ca.as_deref().unwrap_or_default())
    }
}

pub(crate) async fn number(from: &mut (impl AsyncRead + Unpin)) -> io::Result<u64> {
    from.read_u64_le().await
}

/// Any bytes: the daemon's messages need not be UTF-8.
pub(crate) async fn bytes(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let len = number(from).await?;
    if len > MAX_STRING {
        return Err(broken(format!("a string of {len} bytes")));
    }
    // At most 4 MiB: the cast holds everywhere.
    let len = len as usize;
    let mut bytes = vec![0; len.next_multiple_of(8)];
    from.read_exact(&mut bytes).await?;
    if bytes[len..].iter().any(|byte| *byte != 0) {
        return Err(broken("padding that is not zero".into()));
    }
    bytes.truncate(len);
    Ok(bytes)
}

pub(crate) async fn text(from: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&bytes(from).await?).into_owned())
}

pub(crate) async fn count(from: &mut (impl AsyncRead + Unpin)) -> io::Result<u64> {
    match number(from).await? {
        items if items > MAX_ITEMS => Err(broken(format!("a list of {items} items"))),
        items => Ok(items),
    }
}

pub(crate) async fn texts(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    for _ in 0..count(from).await? {
        all.push(text(from).await?);
    }
    Ok(all)
}

/// A protocol violation, told from a transport failure by its kind.
pub(crate) fn broken(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    proptest! {
        #[test]
        fn texts_survive_the_wire(all in proptest::collection::vec(".{0,40}", 0..6)) {
            let mut writer = Writer::default();
            writer.texts(all.iter());
            prop_assert_eq!(writer.0.len() % 8, 0);
            prop_assert_eq!(block_on(texts(&mut &writer.0[..])).unwrap(), all);
        }

        #[test]
        fn no_bytes_make_it_panic(junk in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = block_on(texts(&mut &junk[..]));
        }
    }

    #[test]
    fn giants_and_bad_padding_are_refused() {
        let mut writer = Writer::default();
        writer.number(u64::MAX);
        assert!(block_on(text(&mut &writer.0[..])).is_err());
        assert!(block_on(texts(&mut &writer.0[..])).is_err());
        let padded = [1, 0, 0, 0, 0, 0, 0, 0, b'a', 0, 0, 0, 0, 0, 0, 9];
        assert!(block_on(text(&mut &padded[..])).is_err());
    }
}
