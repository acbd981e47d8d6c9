//! What is added to the store, in frames: each is its length and as many bytes; an empty one is the
//! end.
//!
//! Source: Nix `src/libutil/serialise.hh` (`FramedSource`), `src/libstore/store-api.cc`
//! (`addMultipleToStore`).

use super::wire::Writer;
use surefoot_core::closure::PathInfo;

/// Room for a frame's length at its beginning, bytes: so it goes out in one piece.
pub(super) const HEAD: usize = 8;

/// Writes what [`Connection::add_multiple`](super::Connection::add_multiple) sends.
#[derive(Debug)]
pub struct Payload;

impl Payload {
    /// The first frame: how many paths follow.
    #[must_use]
    pub fn start(paths: usize) -> Vec<u8> {
        let mut writer = Writer(Self::frame(0));
        writer.number(paths as u64);
        writer.0
    }

    /// Another frame, to be filled with so many bytes or more.
    #[must_use]
    pub fn frame(bytes: usize) -> Vec<u8> {
        let mut frame = Vec::with_capacity(HEAD + bytes);
        frame.extend_from_slice(&[0; HEAD]);
        frame
    }

    /// Takes the end of a NAR off its last frame, so that it goes in a frame of its own: the last
    /// thing that every NAR has, without which the daemon cannot take it for complete.
    #[must_use]
    pub fn split_end(last: &mut Vec<u8>) -> Vec<u8> {
        // The string ")".
        const END: usize = 16;
        let mut end = Self::frame(END);
        end.extend(last.drain(last.len().saturating_sub(END).max(HEAD)..));
        end
    }

    /// What stands before each path's NAR, appended to `out`.
    pub fn path(info: &PathInfo, out: &mut Vec<u8>) {
        let mut writer = Writer(std::mem::take(out));
        writer.valid_path_info(info);
        *out = writer.0;
    }
}
