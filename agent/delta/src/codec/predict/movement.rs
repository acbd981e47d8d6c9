//! How far what lay in the old file has moved.

use std::collections::BinaryHeap;

/// A part of the old file that is found again in the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where it begins in the old file.
    pub(super) at: u64,
    pub(super) size: u64,
    /// How far it has moved; it wraps.
    pub(super) by: u64,
}

/// For every place of the old file, how far it has moved.
#[derive(Debug, Default)]
pub(super) struct Movement {
    /// From where on, and how far.
    steps: Vec<(u64, u64)>,
}

impl Movement {
    /// Where stretches overlap, the longest counts; where there is none, the one before.
    pub(super) fn new(mut stretches: Vec<Stretch>) -> Self {
        stretches.retain(|stretch| stretch.size > 0);
        stretches.sort_unstable_by_key(|stretch| (stretch.at, stretch.size, stretch.by));
        let end = |stretch: &Stretch| stretch.at + stretch.size;
        let mut borders: Vec<u64> = stretches
            .iter()
            .flat_map(|stretch| [stretch.at, end(stretch)])
            .collect();
        borders.sort_unstable();
        borders.dedup();
        let mut steps: Vec<(u64, u64)> = Vec::new();
        // The longest of those that have begun, by its index.
        let mut begun: BinaryHeap<(u64, usize)> = BinaryHeap::new();
        let mut next = 0;
        for border in borders {
            while let Some(stretch) = stretches.get(next).filter(|stretch| stretch.at <= border) {
                begun.push((stretch.size, next));
                next += 1;
            }
            while begun
                .peek()
                .is_some_and(|(_, index)| end(&stretches[*index]) <= border)
            {
                begun.pop();
            }
            if let Some((_, index)) = begun.peek() {
                let by = stretches[*index].by;
                if steps.last().is_none_or(|(_, last)| *last != by) {
                    steps.push((border, by));
                }
            }
        }
        Self { steps }
    }

    /// How far what lay here has moved; it wraps.
    pub(super) fn at(&self, place: u64) -> Option<u64> {
        let next = self.steps.partition_point(|(from, _)| *from <= place);
        let step = self.steps.get(next.saturating_sub(1))?;
        Some(step.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stretches() -> impl Strategy<Value = Vec<Stretch>> {
        let stretch = (0..60_u64, 0..30_u64, 0..1000_u64);
        let stretch = stretch.prop_map(|(at, size, by)| Stretch { at, size, by });
        proptest::collection::vec(stretch, 0..8)
    }

    proptest! {
        #[test]
        fn the_longest_stretch_counts(stretches in stretches()) {
            let movement = Movement::new(stretches.clone());
            for place in 0..100 {
                let over = |s: &&Stretch| s.at <= place && place < s.at + s.size;
                let longest = stretches.iter().filter(over).map(|s| s.size).max();
                if let Some(longest) = longest {
                    let by = movement.at(place).unwrap();
                    let known = |s: &Stretch| over(&s) && s.size == longest && s.by == by;
                    prop_assert!(stretches.iter().any(known));
                }
            }
        }
    }

    #[test]
    fn what_is_not_found_again_has_moved_with_what_is_before_it() {
        assert_eq!(Movement::new(vec![]).at(7), None);
        let stretch = |at, by| Stretch { at, size: 10, by };
        let movement = Movement::new(vec![stretch(30, 2), stretch(10, 1)]);
        let found = [0, 10, 25, 30, 99].map(|place| movement.at(place));
        assert_eq!(found, [1, 1, 1, 2, 2].map(Some));
    }
}
