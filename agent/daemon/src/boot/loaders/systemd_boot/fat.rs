//! Directories on FAT that a power cut tore.
//!
//! A directory grows sector by sector, and a power cut may lose one that is followed by one that was
//! written: it reads as zeros, which end the directory, and behind them stand entries. Firmware does
//! not see those; Linux, once it comes across them, makes the file system read-only; and
//! `fsck.fat -a` (dosfstools 4.2) leaves all that as it is. So nothing would be installed any more.
//!
//! What is done here: zeros before further entries are marked as removed entries (Microsoft, FAT
//! specification, section 6), a byte each. Nothing else is written.

use anyhow::{Context as _, bail, ensure};
use std::{collections::BTreeSet, fs::File, os::unix::fs::FileExt};

/// An entry of a directory, bytes.
const ENTRY: usize = 32;

/// The first byte of an entry that was removed.
const REMOVED: u8 = 0xe5;

/// Larger tables are not read, bytes: a partition of 64 GiB has one of 64 MiB at most.
const MAX_TABLE: u64 = 64 << 20;

/// More directories than any boot partition has.
const MAX_DIRECTORIES: usize = 10_000;

/// Where things lie on a FAT file system.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    /// The first table, bytes from the start, and its length.
    table: (u64, u64),
    /// Whether the table has 32 bits for a cluster, or 16.
    wide: bool,
    /// The root directory of one with 16 bits, likewise.
    root: (u64, u64),
    /// That of one with 32 bits, a cluster.
    root_cluster: u32,
    /// The first cluster, bytes from the start.
    data: u64,
    /// Bytes of a cluster.
    cluster: u64,
    clusters: u32,
}

impl Layout {
    /// Reads the boot sector.
    ///
    /// # Errors
    /// It is not that of a FAT file system with 16 or 32 bits.
    fn parse(sector: &[u8; 512]) -> anyhow::Result<Self> {
        let word = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
        let long = |at: usize| word(at) | word(at + 2) << 16;
        let (size, per_cluster, reserved) = (word(11), u64::from(sector[13]), word(14));
        ensure!(
            sector[510..] == [0x55, 0xaa]
                && matches!(size, 512 | 1024 | 2048 | 4096)
                && per_cluster.is_power_of_two()
                && reserved > 0,
            "it is not a FAT file system"
        );
        let wide = word(22) == 0;
        let table = if wide { long(36) } else { word(22) };
        let root = reserved + u64::from(sector[16]) * table;
        let root_length = (word(17) * ENTRY as u64).div_ceil(size);
        let data = root + root_length;
        let total = if word(19) == 0 { long(32) } else { word(19) };
        let clusters = total.saturating_sub(data) / per_cluster;
        ensure!(
            wide || clusters >= 4085,
            "FAT with 12 bits is not known here"
        );
        ensure!(table * size <= MAX_TABLE, "its table is too large");
        Ok(Self {
            table: (reserved * size, table * size),
            wide,
            root: (root * size, root_length * size),
            root_cluster: long(44) as u32,
            data: data * size,
            cluster: per_cluster * size,
            clusters: u32::try_from(clusters).context("it has too many clusters")?,
        })
    }

    /// Where a cluster lies, if it is one.
    fn place(&self, cluster: u32) -> Option<u64> {
        let number = cluster
            .checked_sub(2)
            .filter(|number| *number < self.clusters)?;
        Some(self.data + u64::from(number) * self.cluster)
    }

    /// The cluster after this one, by the table.
    fn next(&self, table: &[u8], cluster: u32) -> u32 {
        let at = cluster as usize * if self.wide { 4 } else { 2 };
        let bytes = |length| table.get(at..at + length);
        if self.wide {
            bytes(4).map_or(0, |b| {
                u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x0fff_ffff
            })
        } else {
            bytes(2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]).into())
        }
    }
}

/// Mends every directory. Gives how many entries were marked.
///
/// # Errors
/// It cannot be read or written, or is not a FAT file system.
pub(super) fn mend(device: &File) -> anyhow::Result<usize> {
    let mut sector = [0; 512];
    device
        .read_exact_at(&mut sector, 0)
        .context("cannot read its boot sector")?;
    let layout = Layout::parse(&sector)?;
    let mut table = vec![0; usize::try_from(layout.table.1)?];
    device
        .read_exact_at(&mut table, layout.table.0)
        .context("cannot read its table")?;

    let mut marked = 0;
    let mut seen = BTreeSet::new();
    let mut directories = vec![layout.root_cluster];
    if !layout.wide {
        (marked, directories) = directory(device, &[layout.root])?;
    }
    while let Some(first) = directories.pop() {
        let mut pieces = Vec::new();
        let mut cluster = first;
        while let Some(place) = layout.place(cluster)
            && seen.insert(cluster)
        {
            pieces.push((place, layout.cluster));
            cluster = layout.next(&table, cluster);
        }
        let Some((place, _)) = pieces.first() else {
            continue;
        };
        // What calls itself a directory and does not begin like one may be anything.
        let mut dots = [0; 2 * ENTRY];
        device.read_exact_at(&mut dots, *place)?;
        let is_one = dots.starts_with(b".          ") && dots[ENTRY..].starts_with(b"..         ");
        if !is_one && first != layout.root_cluster {
            continue;
        }
        let (more, children) = directory(device, &pieces)?;
        marked += more;
        directories.extend(children);
        if directories.len() > MAX_DIRECTORIES {
            bail!("it has more than {MAX_DIRECTORIES} directories");
        }
    }
    device.sync_all().context("cannot sync it")?;
    Ok(marked)
}

/// Mends a directory that lies in these pieces, by marking the zeros that stand before further
/// entries. Gives how many, and the clusters of the directories that are in it.
fn directory(device: &File, pieces: &[(u64, u64)]) -> anyhow::Result<(usize, Vec<u32>)> {
    let (mut marks, mut zeros, mut children) = (Vec::new(), Vec::new(), Vec::new());
    for (place, length) in pieces {
        let mut bytes = vec![0; usize::try_from(*length)?];
        device.read_exact_at(&mut bytes, *place)?;
        for (at, entry) in (*place..).step_by(ENTRY).zip(bytes.chunks_exact(ENTRY)) {
            match entry[0] {
                0 => zeros.push(at),
                REMOVED => {}
                first => {
                    marks.append(&mut zeros);
                    // A directory, and no part of a long name.
                    if entry[11] & 0x10 != 0 && entry[11] & 0x08 == 0 && first != b'.' {
                        let half = |at| u32::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
                        children.push(half(20) << 16 | half(26));
                    }
                }
            }
        }
    }
    for at in &marks {
        device
            .write_all_at(&[REMOVED], *at)
            .context("cannot write to it")?;
    }
    Ok((marks.len(), children))
}

/// Reads bytes as a whole file system.
#[cfg(feature = "fuzz")]
pub(super) fn fuzz(bytes: &[u8]) {
    if let Some(sector) = bytes.first_chunk::<512>()
        && let Ok(layout) = Layout::parse(sector)
    {
        for cluster in [0, 1, 2, layout.root_cluster, u32::MAX] {
            let _ = layout.place(cluster);
            let _ = layout.next(bytes, cluster);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: usize = 512;

    /// A file system with a directory `D` of three clusters, a sector each, in the root. The numbers
    /// of the directory's clusters follow each other, as do their places.
    fn image(wide: bool) -> Vec<u8> {
        let mut boot = [0; SECTOR];
        let mut set = |at: usize, bytes: &[u8]| boot[at..at + bytes.len()].copy_from_slice(bytes);
        set(11, &512_u16.to_le_bytes());
        set(13, &[1]);
        set(14, &1_u16.to_le_bytes());
        set(16, &[1]);
        set(32, &6000_u32.to_le_bytes());
        if wide {
            set(36, &40_u32.to_le_bytes());
            set(44, &2_u32.to_le_bytes());
        } else {
            set(17, &16_u16.to_le_bytes());
            set(22, &40_u16.to_le_bytes());
        }
        set(510, &[0x55, 0xaa]);
        let mut image = vec![0; 6000 * SECTOR];
        image[..SECTOR].copy_from_slice(&boot);
        // Clusters 3, 4 and 5, then its end.
        for (cluster, next) in [(2, 0x0fff_ffff_u32), (3, 4), (4, 5), (5, 0x0fff_ffff)] {
            if wide {
                let at = SECTOR + cluster * 4;
                image[at..at + 4].copy_from_slice(&next.to_le_bytes());
            } else {
                let at = SECTOR + cluster * 2;
                image[at..at + 2].copy_from_slice(&(next as u16).to_le_bytes());
            }
        }
        // Behind the table: the root, in its cluster or before all clusters.
        let root = 41 * SECTOR;
        entry(&mut image, root, b"D          ", 0x10, 3);
        entry(&mut image, root + ENTRY, b"KERNEL  EFI", 0x20, 6);
        image
    }

    fn entry(image: &mut [u8], at: usize, name: &[u8; 11], kind: u8, cluster: u16) {
        image[at..at + 11].copy_from_slice(name);
        image[at + 11] = kind;
        image[at + 26..at + 28].copy_from_slice(&cluster.to_le_bytes());
    }

    /// Where a cluster of an [`image`] lies: the root takes a sector in both.
    fn place(wide: bool, cluster: usize) -> usize {
        let first = if wide { 41 } else { 42 };
        (first + cluster - 2) * SECTOR
    }

    fn mended(image: &[u8]) -> anyhow::Result<(usize, Vec<u8>)> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(image, 0).unwrap();
        let marked = mend(&file)?;
        let mut after = vec![0; image.len()];
        file.read_exact_at(&mut after, 0).unwrap();
        Ok((marked, after))
    }

    #[test]
    fn a_torn_directory_is_whole_again_and_nothing_else_is_touched() {
        for wide in [false, true] {
            let mut image = image(wide);
            let [first, second, third] = [3, 4, 5].map(|cluster| place(wide, cluster));
            entry(&mut image, first, b".          ", 0x10, 3);
            entry(&mut image, first + ENTRY, b"..         ", 0x10, 0);
            for at in (first + 2 * ENTRY..second).step_by(ENTRY) {
                entry(&mut image, at, b"A       CON", 0x20, 0);
            }
            // It ends: zeros after the last entry are as they should be.
            assert_eq!(mended(&image).unwrap(), (0, image.clone()));

            // The second sector was lost.
            entry(&mut image, third, b"B       CON", 0x20, 0);
            let mut expected = image.clone();
            for at in (second..third).step_by(ENTRY) {
                expected[at] = REMOVED;
            }
            let (marked, after) = mended(&image).unwrap();
            assert_eq!(marked, SECTOR / ENTRY);
            assert!(after == expected, "other bytes were changed");
            assert_eq!(mended(&after).unwrap().0, 0);

            // What only says that it is a directory is left alone.
            image[first] = b'x';
            assert_eq!(mended(&image).unwrap().0, 0);
        }
    }

    #[test]
    fn loops_and_nonsense_come_to_an_end() {
        let mut looping = image(true);
        let at = SECTOR + 5 * 4;
        looping[at..at + 4].copy_from_slice(&3_u32.to_le_bytes());
        assert_eq!(mended(&looping).unwrap().0, 0);
        assert!(mended(&[0; 4096]).is_err());
        assert!(mended(&[0; 100]).is_err());
        // Its table would lie beyond its end.
        assert!(mended(&image(true)[..1024]).is_err());
    }
}
