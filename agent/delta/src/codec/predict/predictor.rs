//! What the references of an old file will be in the new one.

use super::{
    image::{HEAD, Image},
    movement::Movement,
    references::{Moved, Reference},
};

/// As many targets are remembered, a power of two.
const LEARNED: usize = 1 << 16;

/// Where targets were found that had not moved as predicted. One may be forgotten for another.
#[derive(Debug)]
pub(super) struct Learned {
    entries: Vec<Entry>,
    /// Entries of other files do not count.
    file: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    file: u64,
    old: u64,
    new: u64,
}

impl Learned {
    /// What it takes, bytes.
    pub(super) const MEMORY: u64 = (LEARNED * size_of::<Entry>()) as u64;

    pub(super) fn new() -> Self {
        Self {
            entries: vec![Entry::default(); LEARNED],
            file: 0,
        }
    }

    /// Forgets all.
    pub(super) const fn next_file(&mut self) {
        self.file += 1;
    }

    const fn index(target: u64) -> usize {
        (target.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize % LEARNED
    }

    fn get(&self, old: u64) -> Option<u64> {
        let entry = self.entries[Self::index(old)];
        (entry.file == self.file && entry.old == old).then_some(entry.new)
    }

    fn set(&mut self, old: u64, new: u64) {
        let file = self.file;
        self.entries[Self::index(old)] = Entry { file, old, new };
    }
}

/// Predicts the references of one file.
#[derive(Debug)]
pub(super) struct Predictor<'a> {
    old: &'a Image,
    movement: &'a Movement,
    learned: &'a mut Learned,
    /// What the new file begins with, until that is enough to know its segments.
    head: Vec<u8>,
    new_size: u64,
    new: Option<Image>,
}

impl<'a> Predictor<'a> {
    pub(super) fn new(
        old: &'a Image,
        movement: &'a Movement,
        learned: &'a mut Learned,
        new_size: u64,
    ) -> Self {
        learned.next_file();
        Self {
            old,
            movement,
            learned,
            head: Vec::new(),
            new_size,
            new: None,
        }
    }

    /// Takes note of what comes next in the new file.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        let wanted = HEAD.min(self.new_size) as usize;
        let room = wanted - self.head.len();
        if room > 0 && !bytes.is_empty() {
            self.head.extend_from_slice(&bytes[..room.min(bytes.len())]);
            if self.head.len() == wanted {
                let image = Image::new(&self.head, self.new_size);
                self.new = image.filter(|image| image.machine == self.old.machine);
            }
        }
    }

    /// Whether there is anything to be predicted by now.
    pub(super) const fn is_ready(&self) -> bool {
        self.new.is_some()
    }

    /// Puts what is predicted in the place of references. These were found in `bytes`, which stand at
    /// `old_at` in the old file and will stand at `new_at` in the new one, but for the differences that
    /// `truth` and `other` know: what each byte really is.
    pub(super) fn correct(
        &mut self,
        found: &[Reference],
        (old_at, new_at): (u64, u64),
        bytes: &mut [u8],
        other: &[u8],
        truth: impl Fn(u8, u8) -> u8,
    ) {
        let Some(new) = &self.new else {
            return;
        };
        let frames = |image: &Image| image.frames.map_or(0, |(address, _)| address);
        for reference in found {
            let (at, kind) = (reference.at, reference.kind);
            let (Some(old_from), Some(new_from)) = (
                self.old.address(old_at + at as u64),
                new.address(new_at + at as u64),
            ) else {
                continue;
            };
            let known = self.learned.get(reference.target);
            let Some(target) =
                known.or_else(|| predict(self.old, new, self.movement, reference.target))
            else {
                continue;
            };
            let old = Moved {
                kind,
                from: old_from,
                target: reference.target,
                frames: frames(self.old),
            };
            let moved = Moved {
                kind,
                from: new_from,
                target,
                frames: frames(new),
            };
            let end = at + kind.size();
            moved.write(old, &mut bytes[at..end]);
            let mut real = [0; 8];
            for (real, (byte, other)) in real
                .iter_mut()
                .zip(bytes[at..end].iter().zip(&other[at..end]))
            {
                *real = truth(*byte, *other);
            }
            if let Some(real) = moved.read(&real[..kind.size()])
                && real != target
                && new.holds(real)
            {
                self.learned.set(reference.target, real);
            }
        }
    }
}

/// Where something at an address of the old file lies in the new one.
fn predict(old: &Image, new: &Image, movement: &Movement, target: u64) -> Option<u64> {
    if let Some(place) = old.place(target) {
        return new.address(place.wrapping_add(movement.at(place)?));
    }
    // What only memory has: as far from the end as it was.
    let before = old
        .segments
        .iter()
        .find(|segment| target.wrapping_sub(segment.address) < segment.memory)?;
    let after =
        new.segments.iter().rev().find(|segment| {
            segment.executable == before.executable && segment.memory > segment.size
        })?;
    let end = before.address + before.memory;
    Some((after.address + after.memory).wrapping_sub(end - target))
}
