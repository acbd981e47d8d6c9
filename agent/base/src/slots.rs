//! Bytes that outlast a power cut at any byte, a flipped bit, a bad block and a full disk.
//!
//! Two slots take turns: the older one is written, the newer one is never touched. Each begins with
//! one line (a word that names the format, the SHA-256 of all after it, a counter), so damage is
//! noticed; the other slot then stands in, and the damaged one is written next.
//!
//! A slot has a size of its own, which its content need not fill: spaces at the end of that first line
//! do. So a content that fits is written in the place of the old one, which needs no room on the disk.
//! One that does not fit, a slot that is damaged or missing, and a place that cannot be written get a
//! new file (temporary file, fsync, rename, fsync of the directory). All of a slot is really written:
//! room that is only promised may be gone when it is needed.
//!
//! Where a rename is not to be relied on ([`Disk::renames`]) nothing is renamed: a slot that is damaged is
//! written in its place as well, and one that is missing is made there. A power cut just then costs that
//! slot, and never the other.

use crate::{
    file::{self, ReadError},
    space,
};
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
    /// Writes a new file, or one in place of another, which may stay in memory.
    ///
    /// # Errors
    /// The disk says no.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Writes over the beginning of a file that is there; it may stay in memory.
    ///
    /// # Errors
    /// The disk says no, or there is no such file. It may have written a part.
    fn overwrite(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
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
    /// Whether a file may be put in another's place. FAT has no journal: a power cut just then may cost
    /// both files, and more of the directory.
    fn renames(&self) -> bool {
        true
    }
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
    /// Whether files are put in each other's places: [`Disk::renames`].
    pub renames: bool,
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
        let path = self.dir.join(name);
        let mut file = options.open(&path)?;
        space::no_copy_on_write(&file);
        file.write_all(bytes).inspect_err(|_| {
            // What is there of it takes room that others need.
            let _ = std::fs::remove_file(&path);
        })
    }

    fn overwrite(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.dir.join(name))?;
        file.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        File::open(self.dir.join(name))?.sync_data()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.dir.join(from), self.dir.join(to));
        std::fs::rename(&from, &to).or_else(|error| {
            // Where a directory lies in a slot's place, it gives way: what it holds is nobody's here.
            if error.kind() != io::ErrorKind::IsADirectory {
                return Err(error);
            }
            let mut aside = to.clone().into_os_string();
            aside.push(".broken");
            std::fs::rename(&to, aside)?;
            std::fs::rename(&from, &to)
        })
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        file::sync_dir(&self.dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn renames(&self) -> bool {
        self.renames
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
    /// The least size of a slot, bytes.
    pub size: usize,
}

/// The two slots.
#[derive(Debug)]
pub struct Slots<D> {
    disk: D,
    names: Names,
    counter: u64,
    /// The slot that is written next.
    next: usize,
    places: [Place; 2],
}

/// Where a slot lies.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The size of its file, bytes; 0 if there is none that can be read.
    size: usize,
    /// Whether it is used again: it is large enough, and all of it is as it was written.
    good: bool,
}

/// What was found at the start.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The newest content that is whole.
    pub content: Option<T>,
    /// The one before it, if that is whole too.
    pub older: Option<T>,
    /// A slot that could not be read, and why: something was lost, and somebody should know.
    pub damage: Option<String>,
    /// Whether the disk said no to a slot, which it may not do the next time. What it has may be whole.
    pub unreadable: bool,
}

impl<D: Disk> Slots<D> {
    /// Reads the slots. `decode` says what a content means, or why it means nothing: that is damage
    /// as well.
    ///
    /// # Errors
    /// The disk cannot be read. Damage is not an error.
    pub fn open<T>(
        disk: D,
        names: Names,
        decode: impl Fn(&[u8]) -> Result<T, String>,
    ) -> io::Result<(Self, Found<T>)> {
        let (mut damage, mut unreadable) = (None, false);
        let (mut contents, mut places) = ([None, None], [Place::default(); 2]);
        for (slot, name) in names.slots.iter().enumerate() {
            let read = match disk.read(name) {
                Ok(Some(bytes)) => {
                    let read = unwrap(names.magic, &bytes)
                        .and_then(|(counter, body)| Ok((counter, decode(body)?)));
                    places[slot] = Place {
                        size: bytes.len(),
                        good: read.is_ok() && bytes.len() >= names.size,
                    };
                    read
                }
                Ok(None) => continue,
                Err(error) if is_damage(&error) => {
                    // A size that no slot has is damage like a wrong checksum: it does not pass.
                    unreadable |= error.kind() != io::ErrorKind::InvalidData;
                    Err(error.to_string())
                }
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
        let older = contents[1 - newest].take().map(|(_, content)| content);
        let slots = Self {
            disk,
            names,
            counter: newest_counter,
            next: if content.is_some() { 1 - newest } else { 0 },
            places,
        };
        let found = Found {
            content,
            older,
            damage,
            unreadable,
        };
        Ok((slots, found))
    }

    /// Takes the older content for the one in force: what is saved next takes the newer one's place.
    pub const fn pass_over(&mut self) {
        self.next = 1 - self.next;
    }

    /// Writes the older slot; the newer one is never touched.
    ///
    /// # Errors
    /// The disk says no. Then either content may be found later: whoever must be sure that the new one
    /// is not saves the old one again, which takes its place.
    pub fn save(&mut self, body: &[u8]) -> io::Result<()> {
        let counter = self.counter.saturating_add(1);
        let Place { size, good } = self.places[self.next];
        let slot = padded(self.names.magic, counter, body, size);
        let fits = slot.len() == size;
        // What cannot be written whole is damaged.
        self.places[self.next].good = false;
        let size = if fits && size >= self.names.size && !self.disk.renames() {
            self.write_in_place(&slot)?;
            size
        } else if fits && good && self.write_in_place(&slot).is_ok() {
            size
        } else {
            // One that is not good is used again only where there is no room for another.
            self.replace(counter, body).or_else(|error| {
                let written = fits && !good && self.write_in_place(&slot).is_ok();
                written.then_some(size).ok_or(error)
            })?
        };
        self.places[self.next] = Place { size, good: true };
        self.counter = counter;
        self.next = 1 - self.next;
        Ok(())
    }

    fn write_in_place(&mut self, slot: &[u8]) -> io::Result<()> {
        let name = self.names.slots[self.next];
        self.disk.overwrite(name, slot)?;
        self.disk.sync(name)
    }

    /// A new file for a slot, with room to grow; says how large it is.
    fn replace(&mut self, counter: u64, body: &[u8]) -> io::Result<usize> {
        let Names {
            magic,
            slots,
            temporary,
            size,
        } = self.names;
        let least = wrap(magic, counter, body).len();
        let size = least
            .saturating_add(least / 4)
            .next_power_of_two()
            .max(size);
        let slot = padded(magic, counter, body, size);
        let (disk, name) = (&mut self.disk, slots[self.next]);
        if disk.renames() {
            disk.write(temporary, &slot)?;
            disk.sync(temporary)?;
            disk.rename(temporary, name)?;
        } else {
            disk.write(name, &slot)?;
            disk.sync(name)?;
        }
        disk.sync_dir()?;
        Ok(slot.len())
    }

    /// Where a file of the slots lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
}

/// Bytes as they lie on the disk: one line, and then the content as it is.
#[must_use]
pub fn wrap(magic: &str, counter: u64, body: &[u8]) -> Vec<u8> {
    padded(magic, counter, body, 0)
}

/// [`wrap`], with as many spaces at the end of the line as give it this size, if it is smaller.
fn padded(magic: &str, counter: u64, body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = header(magic, counter, body);
    bytes.resize((bytes.len()).max(size.saturating_sub(body.len() + 1)), b' ');
    bytes.push(b'\n');
    bytes.extend_from_slice(body);
    bytes
}

/// The words of the line before a content.
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
    let _ = write!(line, " {counter}");
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
    let (line, body) = (&bytes[..at], &bytes[at + 1..]);
    let words = str::from_utf8(line).map(|line| line.trim_end_matches(' '));
    let words = words.unwrap_or_default();
    let counter = words
        .rsplit(' ')
        .next()
        .and_then(|counter| counter.parse().ok())
        .ok_or("its header has no counter")?;
    if words.as_bytes() != header(magic, counter, body) {
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
    use nix::errno::Errno;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, fs};

    const NAMES: Names = Names {
        magic: "test-1",
        slots: ["trusted.0", "trusted.1"],
        temporary: "trusted.new",
        size: 512,
    };

    fn state(n: u64) -> Vec<u8> {
        format!("content {n}\nä{}", "x".repeat(120)).into_bytes()
    }

    fn open<D: Disk>(disk: D) -> (Slots<D>, Found<Vec<u8>>) {
        Slots::open(disk, NAMES, |bytes| Ok(bytes.to_vec())).unwrap()
    }

    #[test]
    fn a_directory_in_the_place_of_a_slot_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        for slot in NAMES.slots {
            fs::create_dir_all(dir.path().join(slot).join("lost+found")).unwrap();
        }
        let disk = || RealDisk {
            dir: dir.path().to_owned(),
            limit: 1 << 20,
            mode: 0o600,
            renames: true,
        };
        let (mut slots, found) = open(disk());
        assert_eq!(found.content, None);
        for n in 1..=3 {
            slots.save(&state(n)).unwrap();
            assert_eq!(open(disk()).1.content, Some(state(n)));
        }
    }

    /// A disk that forgets what was not synced, as cruelly as the rules allow.
    #[derive(Debug, Clone, Default)]
    struct SimDisk {
        /// Names as they are seen, and the content behind them.
        seen: BTreeMap<String, usize>,
        /// Names as they are on the disk.
        synced: BTreeMap<String, usize>,
        contents: Vec<Content>,
        /// There is no room for another file.
        full: bool,
        /// Power goes off at this operation.
        cut_at: Option<usize>,
        /// From this operation on the disk says no, so many times; whether it has done by then what it
        /// says no to.
        no: Option<(usize, usize, bool)>,
        operations: usize,
        /// A file that the disk cannot read any more, and what it says.
        bad: Option<(&'static str, i32)>,
        /// Nothing may be renamed.
        fat: bool,
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
        /// happened; `written`: which bytes of a content that was not synced were written, by their
        /// place.
        fn reboot(&self, names: bool, written: impl Fn(usize) -> bool) -> Self {
            let listed = if names { &self.seen } else { &self.synced };
            let torn = |content: &Content| {
                let there = (0..content.seen.len())
                    .take_while(|at| *at < content.synced.len() || written(*at));
                let bytes: Vec<u8> = there
                    .map(|at| match content.synced.get(at) {
                        Some(old) if !written(at) => *old,
                        _ => content.seen[at],
                    })
                    .collect();
                Content {
                    seen: bytes.clone(),
                    synced: bytes,
                }
            };
            Self {
                seen: listed.clone(),
                synced: listed.clone(),
                contents: self.contents.iter().map(torn).collect(),
                fat: self.fat,
                ..Self::default()
            }
        }
    }

    /// What is in a file.
    #[derive(Debug, Clone, Default)]
    struct Content {
        seen: Vec<u8>,
        /// On the disk.
        synced: Vec<u8>,
    }

    impl Disk for SimDisk {
        fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
            match self.bad {
                Some((bad, errno)) if bad == name => Err(io::Error::from_raw_os_error(errno)),
                _ => Ok(self
                    .seen
                    .get(name)
                    .map(|at| self.contents[*at].seen.clone())),
            }
        }

        fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
            if self.full {
                return Err(Errno::ENOSPC.into());
            }
            // The content is there before the cut, to be torn at any byte.
            self.contents.push(Content {
                seen: bytes.to_vec(),
                synced: Vec::new(),
            });
            self.seen.insert(name.into(), self.contents.len() - 1);
            self.does(|_| {})
        }

        fn overwrite(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
            let at = *self.seen.get(name).ok_or(Errno::ENOENT)?;
            self.contents[at].seen[..bytes.len()].copy_from_slice(bytes);
            self.does(|_| {})
        }

        fn sync(&mut self, name: &str) -> io::Result<()> {
            self.does(|disk| {
                let content = &mut disk.contents[disk.seen[name]];
                content.synced = content.seen.clone();
            })
        }

        fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
            assert!(!self.fat);
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

        fn renames(&self) -> bool {
            !self.fat
        }
    }

    /// Ways to tear what was not synced: any prefix of it, and any mixture of sectors.
    fn tears(length: usize) -> impl Iterator<Item = Box<dyn Fn(usize) -> bool>> {
        const SECTORS: usize = 6;
        let prefixes = (0..=length)
            .step_by(5)
            .chain([length])
            .map(|n| -> Box<dyn Fn(usize) -> bool> { Box::new(move |at| at < n) });
        let mixtures = (0..1_u32 << SECTORS).map(move |mask| -> Box<dyn Fn(usize) -> bool> {
            Box::new(move |at| mask & (1 << (at * SECTORS / length).min(SECTORS - 1)) != 0)
        });
        prefixes.chain(mixtures)
    }

    #[test]
    fn after_a_power_cut_anywhere_it_is_the_old_content_or_the_new_one() {
        let mut cuts = 0;
        // Disks that were written so often; the first time there is no old content. From the third time
        // on there is a place.
        for saves in 0..=3 {
            for large in [false, true] {
                let mut disk = SimDisk::default();
                for n in 1..=saves {
                    let (mut slots, _) = open(disk);
                    slots.save(&state(n)).unwrap();
                    disk = slots.disk;
                }
                disk.operations = 0;
                let last = if large {
                    "y".repeat(600).into_bytes()
                } else {
                    state(9)
                };
                // Write, sync, rename, sync; or write and sync in the place.
                let all = if saves < 2 || large { 4 } else { 2 };
                let (old, new) = ((saves > 0).then(|| state(saves)), Some(last.clone()));
                for cut in 0..=all {
                    for names in [false, true] {
                        for written in tears(if large { 1024 } else { 512 }) {
                            let mut victim = disk.clone();
                            victim.cut_at = Some(cut);
                            let (mut slots, found) = open(victim);
                            assert_eq!(found.content, old);
                            assert_eq!(slots.save(&last).is_ok(), cut == all);
                            let rebooted = slots.disk.reboot(names, written);
                            let (mut slots, found) = open(rebooted);
                            assert!(
                                found.content == new || (cut < all && found.content == old),
                                "save {saves}, cut {cut}, names {names}"
                            );
                            // What was torn in its place is damage; a new file never is.
                            assert!(found.damage.is_none() || (all == 2 && cut < all));
                            // And life goes on, where no room is left as well.
                            slots.disk.full = saves > 1;
                            slots.save(&state(10)).unwrap();
                            let (_, found) = open(slots.disk.reboot(false, |_| false));
                            assert_eq!(found.content, Some(state(10)));
                            cuts += 1;
                        }
                    }
                }
            }
        }
        assert!(cuts > 8000);
    }

    #[test]
    fn where_nothing_is_renamed_a_power_cut_costs_one_slot_and_never_the_other() {
        for saves in 0..=3 {
            let mut disk = SimDisk {
                fat: true,
                ..SimDisk::default()
            };
            for n in 1..=saves {
                let (mut slots, _) = open(disk);
                slots.save(&state(n)).unwrap();
                disk = slots.disk;
            }
            disk.operations = 0;
            // Write, sync, sync of the name; or write and sync in the place.
            let all = if saves < 2 { 3 } else { 2 };
            let (old, new) = ((saves > 0).then(|| state(saves)), Some(state(9)));
            for (cut, names) in (0..=all).flat_map(|cut| [(cut, false), (cut, true)]) {
                for written in tears(512) {
                    let mut victim = disk.clone();
                    victim.cut_at = Some(cut);
                    let (mut slots, _) = open(victim);
                    assert_eq!(slots.save(&state(9)).is_ok(), cut == all);
                    let (mut slots, found) = open(slots.disk.reboot(names, written));
                    assert!(
                        found.content == new || (cut < all && found.content == old),
                        "save {saves}, cut {cut}, names {names}"
                    );
                    // What was torn is written in its place.
                    slots.disk.full = saves > 1;
                    slots.save(&state(10)).unwrap();
                    let (_, found) = open(slots.disk.reboot(false, |_| false));
                    assert_eq!(found.content, Some(state(10)));
                }
            }
        }
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_keeps_what_was_there() {
        let (mut slots, _) = open(SimDisk::default());
        slots.disk.full = true;
        slots.save(&state(0)).unwrap_err();
        slots.disk.full = false;
        for n in 1..=2 {
            slots.save(&state(n)).unwrap();
        }
        slots.disk.full = true;
        for n in 3..=20 {
            slots.save(&state(n)).unwrap();
            let (_, found) = open(slots.disk.clone());
            assert_eq!((found.content, found.damage), (Some(state(n)), None));
        }
        let large = "y".repeat(600).into_bytes();
        slots.save(&large).unwrap_err();
        let (_, found) = open(slots.disk.clone());
        assert_eq!((found.content, found.damage), (Some(state(20)), None));
        // What still fits goes on, and with room again there is room to grow.
        slots.save(&state(21)).unwrap();
        slots.disk.full = false;
        for _ in 0..2 {
            slots.save(&large).unwrap();
        }
        slots.disk.full = true;
        let larger = "y".repeat(700).into_bytes();
        slots.save(&larger).unwrap();
        assert_eq!(open(slots.disk).1.content, Some(larger));
    }

    #[test]
    fn a_save_in_its_place_is_one_write_and_one_sync() {
        let (mut slots, _) = open(SimDisk::default());
        // The first two make the places.
        for n in 1..=2 {
            slots.save(&state(n)).unwrap();
        }
        let before = slots.disk.operations;
        for n in 3..=9 {
            slots.save(&state(n)).unwrap();
        }
        assert_eq!(slots.disk.operations - before, 7 * 2);
    }

    #[test]
    fn a_slot_without_spaces_is_read_and_gets_them() {
        let mut disk = SimDisk::default();
        let whole = wrap(NAMES.magic, 7, &state(7));
        disk.write("trusted.0", &whole).unwrap();
        let (mut slots, found) = open(disk);
        assert_eq!((found.content, found.damage), (Some(state(7)), None));
        for n in 8..=9 {
            slots.save(&state(n)).unwrap();
        }
        for slot in NAMES.slots {
            let bytes = slots.disk.read(slot).unwrap().unwrap();
            assert_eq!(bytes.len(), NAMES.size);
            // What people read: `tail -n +2`.
            let at = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            assert!(bytes[at + 1..].starts_with(b"content "));
        }
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
                        if slots.save(&state(9)).is_ok() {
                            // Another place was found for it.
                            assert!(saves > 1);
                            let (_, found) = open(slots.disk.reboot(false, |_| false));
                            assert_eq!(found.content, Some(state(9)));
                            continue;
                        }
                        // The disk may go on saying no.
                        while slots.save(&state(saves)).is_err() {}
                        for names in [false, true] {
                            let (_, found) = open(slots.disk.reboot(names, |_| true));
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
            for at in 0..disk.contents[content].seen.len() {
                for bit in (0..8).map(|bit| 1_u8 << bit) {
                    let mut bent = disk.clone();
                    bent.contents[content].seen[at] ^= bit;
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
            for length in 0..disk.contents[content].seen.len() {
                let mut torn = disk.clone();
                torn.contents[content].seen.truncate(length);
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
        let (mut slots, _) = open(SimDisk::default());
        slots.save(&state(1)).unwrap();
        slots.save(&state(2)).unwrap();
        let mut disk = slots.disk;
        for (slot, left) in [("trusted.1", 1), ("trusted.0", 2)] {
            disk.bad = Some((slot, Errno::EIO as i32));
            let (mut slots, found) = open(disk.clone());
            assert!(found.damage.unwrap().starts_with(slot));
            assert!(found.unreadable);
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
    fn slots_of_a_size_that_no_slot_has_are_damage_and_are_made_anew() {
        for renames in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let disk = || RealDisk {
                dir: dir.path().to_owned(),
                limit: 1 << 10,
                mode: 0o600,
                renames,
            };
            for slot in NAMES.slots {
                fs::write(dir.path().join(slot), vec![0; 2 << 10]).unwrap();
            }
            let (mut slots, found) = open(disk());
            let why = found.damage.unwrap();
            assert!(why.contains("more than 1024 bytes"), "{why}");
            assert_eq!((found.content, found.unreadable), (None, false));
            for n in 1..=2 {
                slots.save(&state(n)).unwrap();
            }
            let (_, found) = open(disk());
            assert_eq!((found.content, found.damage), (Some(state(2)), None));
        }
    }

    #[test]
    fn a_state_survives_a_real_disk() {
        let dir = tempfile::tempdir().unwrap();
        let reopen = || {
            open(RealDisk {
                dir: dir.path().to_owned(),
                limit: 1 << 20,
                mode: 0o600,
                renames: true,
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
