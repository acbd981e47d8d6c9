//! The new file cut into parts, each with what of the base it is to be compared with.

use super::{
    contents::{Contents, contents},
    pairs::pairs,
};
use crate::{
    error::{Error, Result},
    read_at::ReadAt,
};
use std::ops::Range;

/// A part of the new file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where it lies.
    pub(crate) new: Range<u64>,
    /// What of the base it may be made from, in order, without overlaps.
    pub(crate) old: Vec<Range<u64>>,
    /// It is the contents of one file, and `old` is those of another.
    pub(crate) is_pair: bool,
}

/// Whether the contents of a new file are to be compared with those of an old one, and nothing else.
pub(crate) type IsPair<'a> = dyn Fn(&Range<u64>, &Range<u64>) -> Result<bool> + 'a;

/// Cuts the new file into parts of at most `most` bytes, each with at most `most_old` of the base. Small
/// files come together, with what NARs have between them; larger ones are cut. The contents of those
/// that `is_pair` says so of (of the new, and of the old one) are parts of their own, of any size.
pub(crate) fn parts(
    base: &dyn ReadAt,
    new: &dyn ReadAt,
    most: u64,
    most_old: u64,
    is_pair: &IsPair<'_>,
) -> Result<Vec<Part>> {
    let old_files = contents(base).map_err(Error::Base)?;
    let new_files = contents(new).map_err(Error::New)?;
    // A whole that is not a NAR, or has no files, is a file. What fails here is one of the two; which, does not matter.
    let pairs = pairs(base, &old_files, new, &new_files).map_err(Error::New)?;
    let old_spans = spans(&old_files, base.size());
    let mut parts = Parts {
        parts: Vec::new(),
        most,
        most_old,
    };
    let new_spans = spans(&new_files, new.size());
    for ((new, span), pair) in new_files.iter().zip(new_spans).zip(pairs) {
        let Some(index) = pair else {
            parts.add(span, None);
            continue;
        };
        let (old, old_span) = (&old_files[index].at, &old_spans[index]);
        if is_pair(&new.at, old)? {
            parts.add(span.start..new.at.start, Some(old_span.start..old.start));
            parts.parts.push(Part {
                new: new.at.clone(),
                old: vec![old.clone()],
                is_pair: true,
            });
            parts.add(new.at.end..span.end, Some(old.end..old_span.end));
        } else {
            parts.add(span, Some(old_span.clone()));
        }
    }
    Ok(parts.parts)
}

struct Parts {
    parts: Vec<Part>,
    most: u64,
    most_old: u64,
}

impl Parts {
    /// Adds what comes next: to the last part, if it fits in.
    fn add(&mut self, new: Range<u64>, old: Option<Range<u64>>) {
        let old = old.filter(|old| !old.is_empty());
        if new.is_empty() {
            return;
        }
        if let Some(last) = self.parts.last_mut()
            && !last.is_pair
            && new.end - last.new.start <= self.most
            && let Some(both) = with(&last.old, old.clone(), self.most_old)
        {
            last.new.end = new.end;
            last.old = both;
        } else {
            self.cut(&new, old);
        }
    }

    /// A file on its own, in as many parts as it takes: each with the part of the base that lies as far
    /// from the beginning, and as much around it as there may be.
    fn cut(&mut self, new: &Range<u64>, old: Option<Range<u64>>) {
        let old = old.unwrap_or(0..0);
        let (size, old_size) = (new.end - new.start, old.end - old.start);
        let mut from = new.start;
        while from < new.end {
            let to = (from + self.most).min(new.end);
            let room = self.most_old.min(old_size);
            let middle = u128::from((from + to) / 2 - new.start) * u128::from(old_size);
            let middle = (middle / u128::from(size)) as u64;
            let begin = middle.saturating_sub(room / 2).min(old_size - room);
            let range = old.start + begin..old.start + begin + room;
            self.parts.push(Part {
                new: from..to,
                old: Some(range)
                    .filter(|range| !range.is_empty())
                    .into_iter()
                    .collect(),
                is_pair: false,
            });
            from = to;
        }
    }
}

/// The whole in spans, one for each file, with what stands before it; the last has all that follows.
fn spans(files: &[Contents], size: u64) -> Vec<Range<u64>> {
    let mut from = 0;
    let mut spans: Vec<_> = files
        .iter()
        .map(|file| {
            let end = file.at.end.next_multiple_of(8).min(size);
            std::mem::replace(&mut from, end)..end
        })
        .collect();
    if let Some(last) = spans.last_mut() {
        last.end = size;
    }
    spans
}

/// What another range comes to beside those that are there, if that is not too much.
fn with(old: &[Range<u64>], more: Option<Range<u64>>, most: u64) -> Option<Vec<Range<u64>>> {
    let mut all = old.to_vec();
    all.extend(more);
    all.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in all {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    let sum: u64 = merged.iter().map(|range| range.end - range.start).sum();
    (sum <= most).then_some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_where_it_is_too_large_and_the_base_moves_along() {
        let (base, new) = (vec![1; 1000], vec![1; 900]);
        let found = parts(&base, &new, 300, 400, &|_, _| Ok(false)).unwrap();
        let part = |new, old| Part {
            new,
            old: vec![old],
            is_pair: false,
        };
        assert_eq!(
            found,
            [
                part(0..300, 0..400),
                part(300..600, 300..700),
                part(600..900, 600..1000)
            ]
        );
        assert_eq!(
            parts(&base, &Vec::new(), 300, 400, &|_, _| Ok(false)).unwrap(),
            []
        );
        let alone = parts(&Vec::new(), &new, 1000, 400, &|_, _| Ok(false)).unwrap();
        assert_eq!(
            alone,
            [Part {
                new: 0..900,
                old: vec![],
                is_pair: false
            }]
        );
    }

    #[test]
    fn ranges_of_the_base_come_together() {
        let with = |more, most| with(std::slice::from_ref(&(5..9)), more, most);
        let one = |range| Some(Vec::from([range]));
        assert_eq!(with(Some(0..5), 9), one(0..9));
        assert_eq!(with(Some(6..8), 9), one(5..9));
        assert_eq!(with(Some(0..4), 7), None);
        assert_eq!(with(None, 4), one(5..9));
    }
}
