//! Chance that is the same on every machine and in every version: all of a run comes from one number.

/// A generator of random numbers (xorshift64, Marsaglia 2003).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The course of chance of a number; neighbours have nothing in common.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Splitmix64: spreads small numbers over all bits.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self::from_state((z ^ (z >> 31)) | 1)
    }

    /// The generator in this state, which must not be zero.
    pub(crate) const fn from_state(state: u64) -> Self {
        Self(state)
    }

    /// The next number, any of all.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`, which must not be zero.
    pub const fn below(&mut self, n: u64) -> u64 {
        // The lowest bits of this generator are its weakest.
        (self.next() >> 16) % n
    }

    /// Whether something happens that happens `n` times of `of`.
    pub const fn happens(&mut self, n: u64, of: u64) -> bool {
        self.below(of) < n
    }

    /// One of these, of which there must be one.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        let n = self.below(of.len() as u64);
        of[usize::try_from(n).unwrap_or(0)].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_same_course_everywhere() {
        let mut chance = Chance::new(1);
        let course = [(); 3].map(|()| chance.below(1_000));
        assert_eq!(course, COURSE);
    }

    const COURSE: [u64; 3] = [199, 940, 107];
}
