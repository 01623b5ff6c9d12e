//! Which parts of a stretch are free.

use std::collections::BTreeMap;

/// Free ranges, none of which touches another.
pub(super) struct Ranges {
    /// Where each begins and ends. A map's own memory is in small blocks, which the stretch is not asked for.
    free: BTreeMap<usize, usize>,
    length: usize,
}

impl Ranges {
    /// All of it.
    pub(super) fn new(length: usize) -> Self {
        Self { free: BTreeMap::from([(0, length)]), length }
    }

    /// Takes the first part that is long enough: what is in use stays close together.
    pub(super) fn take(&mut self, bytes: usize) -> Option<usize> {
        let (&start, &end) = self.free.iter().find(|(start, end)| *end - **start >= bytes)?;
        self.free.remove(&start);
        if start + bytes < end {
            self.free.insert(start + bytes, end);
        }
        Some(start)
    }

    /// Gives back what was taken.
    pub(super) fn give(&mut self, start: usize, bytes: usize) {
        let (mut from, mut until) = (start, start + bytes);
        if let Some((&before, &end)) = self.free.range(..start).next_back()
            && end == start
        {
            from = before;
        }
        if let Some(end) = self.free.remove(&until) {
            until = end;
        }
        self.free.insert(from, until);
    }

    /// Where the ranges begin and end, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        self.free.iter().map(|(&start, &end)| (start, end))
    }

    /// The end of the last part that is in use.
    pub(super) fn last_used(&self) -> usize {
        match self.free.last_key_value() {
            Some((&start, &end)) if end == self.length => start,
            _ => self.length,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_in_use_are_apart_and_become_one_range_again(
            sizes in proptest::collection::vec(1usize..9, 1..60),
            order in any::<u64>(),
        ) {
            const LENGTH: usize = 100;
            let (mut ranges, mut used, mut order) = (Ranges::new(LENGTH), Vec::new(), order);
            for bytes in sizes {
                match ranges.take(bytes) {
                    Some(start) => used.push((start, bytes)),
                    None => prop_assert!(ranges.iter().all(|(start, end)| end - start < bytes)),
                }
                order = order.rotate_left(7) ^ 0x9e37;
                if order.is_multiple_of(2) && !used.is_empty() {
                    let (start, bytes) = used.swap_remove(order as usize % used.len());
                    ranges.give(start, bytes);
                }
                // What is in use and what is free are all of it, and no two free ranges touch.
                let mut all = used.iter().map(|&(start, bytes)| (start, start + bytes, true)).collect::<Vec<_>>();
                all.extend(ranges.iter().map(|(start, end)| (start, end, false)));
                all.sort_unstable();
                prop_assert_eq!((all[0].0, all[all.len() - 1].1), (0, LENGTH));
                prop_assert!(all.windows(2).all(|pair| pair[0].1 == pair[1].0 && (pair[0].2 || pair[1].2)), "{:?}", all);
                let last_used = used.iter().map(|(start, bytes)| start + bytes).max().unwrap_or(0);
                prop_assert_eq!(ranges.last_used(), last_used);
            }
            for (start, bytes) in used {
                ranges.give(start, bytes);
            }
            prop_assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, LENGTH)]);
        }
    }
}
