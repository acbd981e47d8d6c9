//! Bytes that outlast a power cut at any byte, a flipped bit and a bad block.
//!
//! Two slots take turns: the older one is replaced (temporary file, fsync, rename, fsync of the
//! directory), the newer one is never touched. Each begins with one line (a word that names the
//! format, the SHA-256 of all after it, a counter), so damage is noticed; the other slot then stands
//! in, and the damaged one is written next.

use crate::file::{self, ReadError};
use sha2::{Digest as _, Sha256};
use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

/// The few things that slots need of a directory. Real, or simulated with power cuts.
pub trait Disk {
    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// The disk says no.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Writes a file, which may stay in memory.
    ///
    /// # Errors
    /// The disk says no.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Brings a file's content to the disk.
    ///
    /// # Errors
    /// The disk says no.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Puts a file in another's place.
    ///
    /// # Errors
    /// The disk says no.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Brings the directory's names to the disk.
    ///
    /// # Errors
    /// The disk says no.
    fn sync_dir(&mut self) -> io::Result<()>;
    /// For errors.
    fn path(&self, name: &str) -> PathBuf;
}

/// A directory of the machine.
#[derive(Debug)]
pub struct RealDisk {
    /// Which one.
    pub dir: PathBuf,
    /// Files above this size are not read, bytes.
    pub limit: u64,
    /// What `open(2)` is given for a new file: the umask takes from it.
    pub mode: u32,
}

impl Disk for RealDisk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match file::read_if_there(&self.dir.join(name), self.limit) {
            Err(ReadError::NotAFile) => Ok(None),
            read => Ok(read?),
        }
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(self.mode);
        options.open(self.dir.join(name))?.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        File::open(self.dir.join(name))?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        file::sync_dir(&self.dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// How a pair of slots is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// First word of a slot: names the format, without a space.
    pub magic: &'static str,
    /// The two files.
    pub slots: [&'static str; 2],
    /// What a file is called until it is whole.
    pub temporary: &'static str,
}

/// The two slots.
#[derive(Debug)]
pub struct Slots<D> {
    disk: D,
    names: Names,
    counter: u64,
    /// The slot that is written next.
    next: usize,
}

/// What was found at the start.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The newest content that is whole.
    pub content: Option<T>,
    /// A slot that could not be read, and why: something was lost, and somebody should know.
    pub damage: Option<String>,
}

impl<D: Disk> Slots<D> {
    /// Reads the slots. `decode` says what a content means, or why it means nothing: that is damage
    /// as well.
    ///
    /// # Errors
    /// The disk cannot be read. Damage is no error.
    pub fn open<T>(
        disk: D,
        names: Names,
        decode: impl Fn(&[u8]) -> Result<T, String>,
    ) -> io::Result<(Self, Found<T>)> {
        let mut damage = None;
        let mut contents = [None, None];
        for (slot, name) in names.slots.iter().enumerate() {
            let read = match disk.read(name) {
                Ok(Some(bytes)) => unwrap(names.magic, &bytes)
                    .and_then(|(counter, body)| Ok((counter, decode(body)?))),
                Ok(None) => continue,
                Err(error) if is_damage(&error) => Err(error.to_string()),
                Err(error) => return Err(error),
            };
            match read {
                Ok(read) => contents[slot] = Some(read),
                Err(why) => damage = Some(format!("{}: {why}", disk.path(name).display())),
            }
        }
        let counter = |slot: usize| contents[slot].as_ref().map(|(counter, _)| *counter);
        // The newer one, and a damaged or missing one is written first.
        let newest = usize::from(counter(1) > counter(0));
        let newest_counter = counter(newest).unwrap_or(0);
        let content = contents[newest].take().map(|(_, content)| content);
        let slots = Self {
            disk,
            names,
            counter: newest_counter,
            next: if content.is_some() { 1 - newest } else { 0 },
        };
        Ok((slots, Found { content, damage }))
    }

    /// Replaces the older slot.
    ///
    /// # Errors
    /// The disk says no. Then either content may be found later: whoever must be sure that the new one
    /// is not saves the old one again, which takes its place.
    pub fn save(&mut self, body: &[u8]) -> io::Result<()> {
        let counter = self.counter.saturating_add(1);
        let bytes = wrap(self.names.magic, counter, body);
        let (name, temporary) = (self.names.slots[self.next], self.names.temporary);
        let disk = &mut self.disk;
        disk.write(temporary, &bytes)?;
        disk.sync(temporary)?;
        disk.rename(temporary, name)?;
        disk.sync_dir()?;
        self.counter = counter;
        self.next = 1 - self.next;
        Ok(())
    }

    /// Where a file of the slots lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
}

/// A slot as it lies on the disk: one line, and then the content as it is.
#[must_use]
pub fn wrap(magic: &str, counter: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(magic, counter, body);
    bytes.extend_from_slice(body);
    bytes
}

/// The line before a content.
fn header(magic: &str, counter: u64, body: &[u8]) -> Vec<u8> {
    let digest = Sha256::new()
        .chain_update(format!("{counter}\n"))
        .chain_update(body)
        .finalize();
    let mut line = format!("{magic} ");
    for byte in digest {
        // Writing into a string cannot fail.
        let _ = write!(line, "{byte:02x}");
    }
    let _ = writeln!(line, " {counter}");
    line.into_bytes()
}

/// Counter and content of a slot.
///
/// # Errors
/// Why it is not what [`wrap`] made, in words.
pub fn unwrap<'a>(magic: &str, bytes: &'a [u8]) -> Result<(u64, &'a [u8]), String> {
    let at = bytes
        .iter()
        .position(|b| *b == b'\n')
        .ok_or("it has no header")?;
    let (line, body) = bytes.split_at(at + 1);
    let counter = str::from_utf8(line)
        .ok()
        .and_then(|line| line.trim_end().rsplit(' ').next()?.parse().ok())
        .ok_or("its header has no counter")?;
    if line != header(magic, counter, body) {
        return Err("its content does not match its checksum".into());
    }
    Ok((counter, body))
}

/// Whether a disk says that it cannot give back what was written: a bad block, a checksum that is
/// wrong, or a file that nobody here wrote. What may pass, as want of memory, is not that.
fn is_damage(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let damage = [Errno::EIO, Errno::EUCLEAN, Errno::EBADMSG];
    error.kind() == io::ErrorKind::InvalidData
        || damage
            .iter()
            .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, fs};

    const NAMES: Names = Names {
        magic: "test-1",
        slots: ["trusted.0", "trusted.1"],
        temporary: "trusted.new",
    };

    fn state(n: u64) -> Vec<u8> {
        format!("content {n}\nä{}", "x".repeat(120)).into_bytes()
    }

    fn open<D: Disk>(disk: D) -> (Slots<D>, Found<Vec<u8>>) {
        Slots::open(disk, NAMES, |bytes| Ok(bytes.to_vec())).unwrap()
    }

    /// A disk that forgets what was not synced, as cruelly as the rules allow.
    #[derive(Debug, Clone, Default)]
    struct SimDisk {
        /// Names as they are seen, and the content behind them.
        seen: BTreeMap<String, usize>,
        /// Names as they are on the disk.
        synced: BTreeMap<String, usize>,
        /// Contents, and how many of their bytes are on the disk.
        contents: Vec<(Vec<u8>, usize)>,
        /// Power goes off at this operation.
        cut_at: Option<usize>,
        /// From this operation on the disk says no, so many times; whether it has done by then what it
        /// says no to.
        no: Option<(usize, usize, bool)>,
        operations: usize,
        /// A file that the disk cannot read any more, and what it says.
        bad: Option<(&'static str, i32)>,
    }

    impl SimDisk {
        fn operation(&mut self) -> io::Result<()> {
            if self.cut_at == Some(self.operations) {
                return Err(io::Error::other("power cut"));
            }
            self.operations += 1;
            Ok(())
        }

        /// Does an operation, unless the disk says no; it may have done it then all the same.
        fn does(&mut self, what: impl FnOnce(&mut Self)) -> io::Result<()> {
            self.operation()?;
            let at = self.operations;
            match self.no {
                Some((from, times, done)) if (from..from + times).contains(&at) => {
                    if done {
                        what(self);
                    }
                    Err(io::Error::other("the disk says no"))
                }
                _ => {
                    what(self);
                    Ok(())
                }
            }
        }

        /// What is there when power comes back. `names`: whether renames that were not synced
        /// happened; `bytes`: how much of a content that was not synced did.
        fn reboot(&self, names: bool, bytes: usize) -> Self {
            let listed = if names { &self.seen } else { &self.synced };
            let contents = self
                .contents
                .iter()
                .map(|(content, synced)| {
                    let there = (*synced).max(bytes.min(content.len()));
                    (content[..there].to_vec(), there)
                })
                .collect();
            Self {
                seen: listed.clone(),
                synced: listed.clone(),
                contents,
                ..Self::default()
            }
        }
    }

    impl Disk for SimDisk {
        fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
            match self.bad {
                Some((bad, errno)) if bad == name => Err(io::Error::from_raw_os_error(errno)),
                _ => Ok(self.seen.get(name).map(|at| self.contents[*at].0.clone())),
            }
        }

        fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
            // The content is there before the cut, to be torn at any byte.
            self.contents.push((bytes.to_vec(), 0));
            self.seen.insert(name.into(), self.contents.len() - 1);
            self.does(|_| {})
        }

        fn sync(&mut self, name: &str) -> io::Result<()> {
            self.does(|disk| {
                let content = &mut disk.contents[disk.seen[name]];
                content.1 = content.0.len();
            })
        }

        fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
            self.does(|disk| {
                let content = disk.seen.remove(from).unwrap();
                disk.seen.insert(to.into(), content);
            })
        }

        fn sync_dir(&mut self) -> io::Result<()> {
            self.does(|disk| disk.synced = disk.seen.clone())
        }

        fn path(&self, name: &str) -> PathBuf {
            name.into()
        }
    }

    #[test]
    fn after_a_power_cut_anywhere_it_is_the_old_content_or_the_new_one() {
        let mut cuts = 0;
        // Disks that were written so often; the first time there is no old content.
        for saves in 0..=3 {
            let mut disk = SimDisk::default();
            for n in 1..=saves {
                let (mut slots, _) = open(disk);
                slots.save(&state(n)).unwrap();
                disk = slots.disk;
            }
            disk.operations = 0;
            let (old, new) = ((saves > 0).then(|| state(saves)), Some(state(9)));
            let length = wrap(NAMES.magic, saves + 1, &state(9)).len();
            for cut in 0..=4 {
                for names in [false, true] {
                    for bytes in 0..=length {
                        let mut victim = disk.clone();
                        victim.cut_at = Some(cut);
                        let (mut slots, found) = open(victim);
                        assert_eq!(found.content, old);
                        let saved = slots.save(&state(9));
                        assert_eq!(saved.is_ok(), cut == 4);
                        let rebooted = slots.disk.reboot(names, bytes);
                        let (mut slots, found) = open(rebooted);
                        assert!(
                            found.content == new || (cut < 4 && found.content == old),
                            "save {saves}, cut {cut}, names {names}, {bytes} bytes"
                        );
                        assert_eq!(found.damage, None);
                        // And life goes on.
                        slots.save(&state(10)).unwrap();
                        let (_, found) = open(slots.disk.reboot(false, 0));
                        assert_eq!(found.content, Some(state(10)));
                        cuts += 1;
                    }
                }
            }
        }
        assert!(cuts > 4000);
    }

    #[test]
    fn a_save_that_failed_anywhere_is_undone_by_saving_what_was_there_before() {
        for saves in 1..=3 {
            for at in 1..=4 {
                for times in 1..=6 {
                    for done in [false, true] {
                        let (mut slots, _) = open(SimDisk::default());
                        for n in 1..=saves {
                            slots.save(&state(n)).unwrap();
                        }
                        slots.disk.operations = 0;
                        slots.disk.no = Some((at, times, done));
                        slots.save(&state(9)).unwrap_err();
                        // The disk may go on saying no.
                        while slots.save(&state(saves)).is_err() {}
                        for names in [false, true] {
                            let (_, found) = open(slots.disk.reboot(names, usize::MAX));
                            assert_eq!(found.content, Some(state(saves)), "{at} {times} {done}");
                        }
                        assert_eq!(open(slots.disk).1.content, Some(state(saves)));
                    }
                }
            }
        }
    }

    #[test]
    fn corruption_of_any_byte_is_noticed_and_the_other_slot_stands_in() {
        let (mut slots, _) = open(SimDisk::default());
        slots.save(&state(1)).unwrap();
        slots.save(&state(2)).unwrap();
        let disk = slots.disk;
        for (slot, other) in [("trusted.1", state(1)), ("trusted.0", state(2))] {
            let content = disk.seen[slot];
            for at in 0..disk.contents[content].0.len() {
                for bit in (0..8).map(|bit| 1_u8 << bit) {
                    let mut bent = disk.clone();
                    bent.contents[content].0[at] ^= bit;
                    let (mut slots, found) = open(bent);
                    assert!(found.damage.unwrap().starts_with(slot), "byte {at}");
                    assert_eq!(found.content, Some(other.clone()));
                    // The damaged slot is the one that is written next.
                    slots.save(&state(3)).unwrap();
                    let (_, found) = open(slots.disk);
                    assert_eq!((found.content, found.damage), (Some(state(3)), None));
                }
            }
        }
    }

    #[test]
    fn a_slot_of_any_length_but_its_own_is_damage_and_the_other_stands_in() {
        let (mut slots, _) = open(SimDisk::default());
        slots.save(&state(1)).unwrap();
        slots.save(&state(2)).unwrap();
        let disk = slots.disk;
        for (slot, other) in [("trusted.1", state(1)), ("trusted.0", state(2))] {
            let content = disk.seen[slot];
            for length in 0..disk.contents[content].0.len() {
                let mut torn = disk.clone();
                torn.contents[content].0.truncate(length);
                let (_, found) = open(torn);
                assert!(found.damage.unwrap().starts_with(slot), "{length} bytes");
                assert_eq!(found.content, Some(other.clone()));
            }
            let mut missing = disk.clone();
            missing.seen.remove(slot);
            assert_eq!(open(missing).1.content, Some(other));
        }
    }

    #[test]
    fn a_slot_on_a_bad_block_is_damage_and_want_of_memory_is_not() {
        use nix::errno::Errno;
        let (mut slots, _) = open(SimDisk::default());
        slots.save(&state(1)).unwrap();
        slots.save(&state(2)).unwrap();
        let mut disk = slots.disk;
        for (slot, left) in [("trusted.1", 1), ("trusted.0", 2)] {
            disk.bad = Some((slot, Errno::EIO as i32));
            let (mut slots, found) = open(disk.clone());
            assert!(found.damage.unwrap().starts_with(slot));
            assert_eq!(found.content, Some(state(left)));
            // It is written anew, on other blocks.
            slots.save(&state(3)).unwrap();
            slots.disk.bad = None;
            let (_, found) = open(slots.disk);
            assert_eq!(found.content, Some(state(3)));
        }
        disk.bad = Some(("trusted.1", Errno::ENOMEM as i32));
        Slots::open(disk, NAMES, |bytes| Ok(bytes.to_vec())).unwrap_err();
    }

    #[test]
    fn a_state_survives_a_real_disk() {
        let dir = tempfile::tempdir().unwrap();
        let reopen = || {
            open(RealDisk {
                dir: dir.path().to_owned(),
                limit: 1 << 20,
                mode: 0o600,
            })
        };
        let (mut slots, found) = reopen();
        assert_eq!((found.content, found.damage), (None, None));
        for n in 1..=5 {
            slots.save(&state(n)).unwrap();
            assert_eq!(reopen().1.content, Some(state(n)));
        }
        // Nothing but the two slots is left.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        for slot in NAMES.slots {
            fs::write(dir.path().join(slot), "garbage").unwrap();
        }
        let (_, found) = reopen();
        assert!(found.content.is_none() && found.damage.is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = unwrap(NAMES.magic, &bytes);
            let slot = wrap("m", 7, &bytes);
            prop_assert_eq!(unwrap("m", &slot), Ok((7, &bytes[..])));
        }
    }
}
