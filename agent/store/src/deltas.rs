//! Deltas on a robot: which paths come as one, how the NAR comes out of it, and what did not do.
//!
//! A fetch works on the closure as it has chosen it: where a path comes as a delta, its `download` is that
//! of the delta, with [`Compression::Delta`]. So a delta is brought, resumed, counted and paced as a NAR is,
//! and only who unpacks it sees a difference.

use crate::{
    error::{Error, Kind, Result},
    request::FetchRequest,
    staging::{Found, Staging, StagingKey},
};
use std::{
    collections::HashSet,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};
use surefoot_base::file;
use surefoot_core::{
    Sha256, StorePath,
    closure::{ClosureIndex, Compression, Delta, Download, PathInfo},
    deltas::{GivenUp, Means, choose},
};
use surefoot_delta::{Codec, Limits, Tree};

/// In staging: the deltas that did not do.
const GIVEN_UP: &str = "deltas.json";
/// Bytes of it that are read: what is remembered is bounded.
const MAX_GIVEN_UP: u64 = 256 << 10;

/// What did not do, and the file where that is remembered.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    file: PathBuf,
    pub(crate) given_up: GivenUp,
}

impl Remembered {
    /// What lies in a staging directory. A file that cannot be read remembers nothing.
    pub(crate) fn load(staging: &Path) -> Self {
        let file = staging.join(GIVEN_UP);
        let bytes = file::read_if_there(&file, MAX_GIVEN_UP).ok().flatten();
        let given_up = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self {
            file,
            given_up: given_up.unwrap_or_default(),
        }
    }

    /// Writes it down. What cannot be written is tried once more after a restart.
    pub(crate) fn save(&self) {
        let saved = serde_json::to_vec(&self.given_up)
            .map_err(io::Error::from)
            .and_then(|bytes| file::replace(&self.file, &bytes, 0o600));
        if let Err(error) = saved {
            let at = self.file.display();
            tracing::warn!("cannot remember in {at} which delta did not do: {error}");
        }
    }
}

/// Whether deltas are worth a look for this fetch.
fn are_wanted(request: &FetchRequest, given_up: &GivenUp) -> bool {
    // They are applied to what lies in the store.
    request.deltas && request.store_dir.is_dir() && !given_up.has_system(&request.index.toplevel)
}

/// What a fetch could apply a delta to.
pub(crate) fn bases<'a>(
    request: &'a FetchRequest,
    valid: &HashSet<StorePath>,
    given_up: &GivenUp,
) -> Vec<&'a StorePath> {
    if !are_wanted(request, given_up) {
        return Vec::new();
    }
    let missing = request.index.paths.iter();
    let missing = missing.filter(|info| !valid.contains(&info.path));
    let bases: HashSet<_> = missing
        .flat_map(|info| &info.deltas)
        .map(|delta| &delta.base)
        .collect();
    bases.into_iter().collect()
}

/// The closure as a fetch brings it.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) index: Arc<ClosureIndex>,
    /// Paths that come as a delta.
    pub(crate) deltas: u64,
    /// Bytes of their compressed NARs beyond those of the deltas.
    pub(crate) saved_bytes: u64,
}

impl Chosen {
    /// Chooses for each path that is missing. `bases` lie in the store, and stay there.
    pub(crate) fn new(
        request: &FetchRequest,
        valid: &HashSet<StorePath>,
        bases: &HashSet<StorePath>,
        given_up: &GivenUp,
    ) -> Self {
        let mut chosen = Self {
            index: Arc::clone(&request.index),
            deltas: 0,
            saved_bytes: 0,
        };
        if bases.is_empty() || !are_wanted(request, given_up) {
            return chosen;
        }
        let means = Means {
            memory: request.memory,
            codecs: &Codec::ALL.map(Codec::name),
            bases,
            given_up,
        };
        let left = |key: &StagingKey, size: u64| match Staging::look(&request.staging, key) {
            Found::Nothing => size,
            Found::Part(bytes) | Found::Whole(bytes) => size.saturating_sub(bytes),
        };
        let mut index = None;
        for (at, info) in request.index.paths.iter().enumerate() {
            if info.deltas.is_empty() || valid.contains(&info.path) {
                continue;
            }
            let size = info.download.size(info.nar_size);
            let nar_left = left(&StagingKey::of(info), size);
            let left = |delta: &Delta| left(&StagingKey::of_delta(&info.path, delta), delta.size);
            if let Some(delta) = choose(info, &means, nar_left, left) {
                chosen.deltas += 1;
                let saved = size.saturating_sub(delta.size);
                chosen.saved_bytes = chosen.saved_bytes.saturating_add(saved);
                let index = index.get_or_insert_with(|| (*request.index).clone());
                take(&mut index.paths[at], delta.clone());
            }
        }
        if let Some(index) = index {
            chosen.index = Arc::new(index);
        }
        chosen
    }
}

/// From here on the path comes as this delta.
fn take(info: &mut PathInfo, delta: Delta) {
    info.download = Download {
        url: delta.url.clone(),
        compression: Compression::Delta.into(),
        file_hash: Some(delta.sha256),
        file_size: Some(delta.size),
    };
    info.deltas = vec![delta];
}

/// The delta that a path comes as, if it does.
pub(crate) fn of(info: &PathInfo) -> Option<&Delta> {
    let comes = info.download.compression == Compression::Delta;
    info.deltas.first().filter(|_| comes)
}

/// The error of a path, with the delta that it came of, if it came of one: then the NAR is left. Troubles of
/// this machine are nobody's fault.
pub(crate) fn blamed(info: &PathInfo, error: Error) -> Error {
    let own = matches!(error.kind(), Kind::Disk | Kind::Daemon);
    match of(info) {
        Some(delta) if !own => Error::Delta {
            path: info.path.clone(),
            sha256: delta.sha256,
            why: Box::new(error),
        },
        _ => error,
    }
}

/// Whether waiting may bring a delta that could not be brought.
pub(crate) fn is_passing(error: &Error) -> bool {
    match error {
        // A bucket says 403 of what it does not have.
        Error::Status { status, .. } => *status >= 500 || matches!(status, 408 | 429),
        error => matches!(error.kind(), Kind::Network | Kind::Server),
    }
}

/// Writes the NAR that comes out of a delta onto the end of `frame`, as [`nar::verified`](crate::nar::verified)
/// does: the rest that stays there is what nobody can take the NAR for complete without, and it stays only if
/// all of it is what was signed.
///
/// `file` is the delta, which has the digest that the index says; `store` is where the files of the store
/// lie.
///
/// # Errors
/// [`Error::Unpack`] if it does not give what it should; those of `full`.
pub(crate) fn verified(
    info: &PathInfo,
    delta: &Delta,
    file: &File,
    store: &Path,
    frame: &mut Vec<u8>,
    full: impl FnMut(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let broken = |why: surefoot_delta::Error| Error::Unpack {
        path: info.path.clone(),
        why: io::Error::other(why),
    };
    let other = |what| Error::Unpack {
        path: info.path.clone(),
        why: io::Error::other(format!("its delta has another {what} than the index says")),
    };
    let limits = Limits {
        memory: delta.memory,
        result: info.nar_size,
    };
    let opened = surefoot_delta::Delta::open(file, &limits).map_err(broken)?;
    let header = opened.header();
    if header.result_size != info.nar_size || Sha256(header.result_digest) != info.nar_hash {
        return Err(other("result"));
    }
    if Sha256(header.base_digest) != delta.base_nar_hash {
        return Err(other("base"));
    }
    let base = Tree::new(&store.join(delta.base.base_name()));
    let base = base.map_err(|why| broken(surefoot_delta::Error::Base(why)))?;
    let mut out = Frames {
        frame,
        full,
        failed: None,
    };
    let applied = opened.apply(&base, &mut out);
    match out.failed.take() {
        Some(error) => Err(error),
        None => applied.map_err(broken),
    }
}

/// Puts what comes into frames.
struct Frames<'a, F> {
    frame: &'a mut Vec<u8>,
    full: F,
    /// Why no more is taken.
    failed: Option<Error>,
}

impl<F: FnMut(&mut Vec<u8>) -> Result<()>> Write for Frames<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only now is it known that more comes.
        if self.frame.len() >= crate::nar::PIECE
            && let Err(error) = (self.full)(self.frame)
        {
            self.failed = Some(error);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = crate::nar::PIECE.saturating_sub(self.frame.len()).max(1);
        let count = bytes.len().min(room);
        self.frame.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest as _;
    use std::fs;
    use surefoot_core::closure::SPEC;
    use surefoot_delta::make;

    /// A store with one path, and what is published of the next one.
    struct Robot {
        dir: tempfile::TempDir,
        base: StorePath,
        new: Vec<u8>,
        info: PathInfo,
        file: Vec<u8>,
    }

    fn path(name: &str) -> StorePath {
        StorePath::from_base_name(&format!("{}-{name}", "0".repeat(32))).unwrap()
    }

    fn sha256(bytes: &[u8]) -> Sha256 {
        Sha256(sha2::Sha256::digest(bytes).into())
    }

    impl Robot {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let base = path("tool-1");
            let at = |name: &str| dir.path().join(name);
            let lines =
                |count| (0..count).map(|n: u32| format!("{} {n}\n", n.wrapping_mul(2_654_435_761)));
            fs::create_dir(at(base.base_name())).unwrap();
            fs::write(
                at(base.base_name()).join("x"),
                lines(20_000).collect::<String>(),
            )
            .unwrap();
            fs::create_dir(at("new")).unwrap();
            let text = format!("new\n{}and\n", lines(20_100).collect::<String>());
            fs::write(at("new").join("x"), text).unwrap();
            let (mut old, mut new) = (Vec::new(), Vec::new());
            crate::nar::write(&at(base.base_name()), &mut old).unwrap();
            crate::nar::write(&at("new"), &mut new).unwrap();
            let mut file = Vec::new();
            let header = make(&old, &new, Codec::Predict, &mut file).unwrap();
            assert!(file.len() * 20 < new.len() && new.len() > 2 * crate::nar::PIECE);
            let mut info = PathInfo {
                path: path("tool-2"),
                nar_hash: sha256(&new),
                nar_size: new.len() as u64,
                references: vec![],
                deriver: None,
                signatures: vec![],
                ca: None,
                download: Download {
                    url: "nar/x.nar.xz".into(),
                    compression: Compression::Xz.into(),
                    file_hash: Some(Sha256([9; 32])),
                    file_size: Some(file.len() as u64 * 2),
                },
                deltas: vec![Delta {
                    base: base.clone(),
                    base_nar_hash: sha256(&old),
                    codec: header.codec.name().into(),
                    memory: header.memory,
                    url: "deltas/x".into(),
                    sha256: sha256(&file),
                    size: file.len() as u64,
                }],
            };
            let delta = info.deltas[0].clone();
            take(&mut info, delta);
            Self {
                dir,
                base,
                new,
                info,
                file,
            }
        }

        /// What a robot hands on, and whether all of it.
        fn apply(&self) -> (Vec<u8>, Result<()>) {
            let at = self.dir.path().join("delta");
            fs::write(&at, &self.file).unwrap();
            let file = File::open(at).unwrap();
            let (mut out, mut frame) = (Vec::new(), Vec::new());
            let delta = of(&self.info).expect("it comes as a delta");
            let made = verified(
                &self.info,
                delta,
                &file,
                self.dir.path(),
                &mut frame,
                |frame| {
                    assert!(frame.len() >= crate::nar::PIECE);
                    out.append(frame);
                    Ok(())
                },
            );
            if made.is_ok() {
                out.append(&mut frame);
            }
            (out, made)
        }

        /// Nothing comes out that anybody could take for the NAR, and the error says this.
        fn is_refused(&self, words: &str) {
            let (out, made) = self.apply();
            let error = made.expect_err("it is refused");
            assert!(out.len() < self.new.len(), "{}", out.len());
            assert!(
                matches!(error, Error::Unpack { .. }) && !is_passing(&error),
                "{error:?}"
            );
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn the_nar_comes_out_of_what_lies_in_the_store() {
        let robot = Robot::new();
        let (out, made) = robot.apply();
        made.unwrap();
        assert!(out == robot.new);
    }

    #[test]
    fn a_hostile_delta_makes_nothing() {
        // What was signed of the path is something else.
        let mut robot = Robot::new();
        robot.info.nar_size -= 1;
        robot.is_refused("makes");
        robot.info.nar_size += 2;
        robot.is_refused("another result");
        let mut robot = Robot::new();
        robot.info.nar_hash = Sha256([1; 32]);
        robot.is_refused("another result");
        // It is for another base than the index says, or the base is not what it was.
        let mut robot = Robot::new();
        robot.info.deltas[0].base_nar_hash = Sha256([1; 32]);
        robot.is_refused("another base");
        let robot = Robot::new();
        fs::write(robot.dir.path().join(robot.base.base_name()).join("x"), "").unwrap();
        robot.is_refused("another base");
        let robot = Robot::new();
        fs::remove_dir_all(robot.dir.path().join(robot.base.base_name())).unwrap();
        robot.is_refused("cannot read the base");
        // It takes more memory than the index says.
        let mut robot = Robot::new();
        robot.info.deltas[0].memory -= 1;
        robot.is_refused("memory");
        // A codec of the future, a cut, another byte, no delta at all.
        let mut robot = Robot::new();
        let at = 8 + 1 + "predict-".len();
        robot.file[at] = b'7';
        robot.is_refused("'predict-7'");
        let mut robot = Robot::new();
        robot.file.truncate(robot.file.len() - 1);
        robot.is_refused("delta");
        let mut robot = Robot::new();
        *robot.file.last_mut().unwrap() ^= 1;
        robot.is_refused("delta");
        let mut robot = Robot::new();
        robot.file = b"#!/bin/sh".to_vec();
        robot.is_refused("not a delta");
    }

    #[test]
    fn a_bomb_ends_at_what_was_signed() {
        let mut robot = Robot::new();
        let (base, size) = (vec![0; 100], robot.new.len());
        let mut file = Vec::new();
        let bomb = vec![0; 64 << 20];
        let mut header = make(&base, &bomb, Codec::ZstdPatch, &mut file).unwrap();
        let body = file.split_off(header.to_bytes().len());
        let at = robot.dir.path().join(robot.base.base_name());
        fs::remove_dir_all(&at).unwrap();
        fs::write(&at, "x").unwrap();
        let mut nar = Vec::new();
        crate::nar::write(&at, &mut nar).unwrap();
        // It says what was signed, and would make more.
        header.base_size = nar.len() as u64;
        header.base_digest = sha256(&nar).0;
        header.result_size = size as u64;
        header.result_digest = robot.info.nar_hash.0;
        robot.info.deltas[0].base_nar_hash = sha256(&nar);
        robot.info.deltas[0].memory = header.memory;
        robot.file = [header.to_bytes(), body].concat();
        robot.is_refused("the delta is broken");
    }

    #[test]
    fn what_is_chosen_depends_on_what_this_robot_has_and_allows() {
        let robot = Robot::new();
        let mut listed = robot.info.clone();
        listed.download = Download {
            url: "nar/x.nar.xz".into(),
            compression: Compression::Xz.into(),
            file_hash: None,
            file_size: Some(robot.file.len() as u64 * 2),
        };
        let index = ClosureIndex {
            spec: SPEC,
            toplevel: listed.path.clone(),
            caches: vec![],
            paths: vec![listed],
        };
        let staging = robot.dir.path().join("staging");
        let request = FetchRequest {
            store_dir: robot.dir.path().into(),
            ..FetchRequest::new(Arc::new(index), vec![], staging.clone(), "/root".into())
        };
        let nothing = HashSet::new();
        let mut remembered = Remembered::load(&staging);
        let chosen = |request: &FetchRequest, valid: &HashSet<StorePath>, given_up: &GivenUp| {
            let bases = bases(request, valid, given_up);
            let bases = bases.into_iter().cloned().collect();
            let chosen = Chosen::new(request, valid, &bases, given_up);
            (
                chosen.deltas,
                chosen.saved_bytes,
                of(&chosen.index.paths[0]).is_some(),
            )
        };
        let size = robot.file.len() as u64;
        assert_eq!(
            chosen(&request, &nothing, &remembered.given_up),
            (1, size, true)
        );
        let none = (0, 0, false);
        let there = HashSet::from([robot.info.path.clone()]);
        assert_eq!(chosen(&request, &there, &remembered.given_up), none);
        for change in [
            (|request| request.deltas = false) as fn(&mut FetchRequest),
            |request| request.memory = 1,
            |request| request.store_dir = "/nowhere".into(),
        ] {
            let mut request = request.clone();
            change(&mut request);
            assert_eq!(chosen(&request, &nothing, &remembered.given_up), none);
        }
        // What did not do is left alone after a restart, too; and most of a NAR is not thrown away.
        fs::create_dir(&staging).unwrap();
        remembered.given_up.give_up(robot.info.deltas[0].sha256);
        remembered.save();
        let remembered = Remembered::load(&staging);
        assert_eq!(chosen(&request, &nothing, &remembered.given_up), none);
        let part = format!(
            "nar-{}-{}.nar.xz.part",
            robot.info.nar_hash.hex(),
            "0".repeat(32)
        );
        fs::write(staging.join(part), vec![0; robot.file.len() + 1]).unwrap();
        assert_eq!(chosen(&request, &nothing, &GivenUp::default()), none);
    }
}
