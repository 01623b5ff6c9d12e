//! Keys and values in the order in which the tiles read them.

use std::ops::Range;

use super::softmax::LANES;
use super::{Attention, Rows};
use crate::aligned::Aligned;
use crate::element::Element;
use crate::level::Level;
use crate::tile::Kernels;

/// Bytes of keys and values that stay in the second-level cache while a band's queries go by.
const BLOCK: usize = 512 << 10;

/// Keys of a block: with more, the scores of a tile do not fit the first-level cache.
const KEYS: usize = 512;

/// Numbers of a head that are packed at a time, so that what is written stays in the first-level cache.
const PACKED: usize = 128;

/// Keys and values of all heads: for each head, blocks of keys, and in a block first the panels of its keys, then those
/// of its values.
#[derive(Debug)]
pub(super) struct Packed<T> {
    pub level: Level,
    pub keys: usize,
    /// Keys of a block. The last block has as much room, filled up with zeros.
    pub block: usize,
    pub blocks: usize,
    /// Groups of numbers in a key.
    pub steps: usize,
    /// Numbers of a value, rounded up to the columns of a tile.
    pub width: usize,
    numbers: Aligned<T>,
}

/// Panels of the same width that follow each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panels {
    pub start: usize,
    pub columns: usize,
    pub count: usize,
}

/// As few panels as make up `columns`, of almost the same width: the wider ones first.
pub(super) fn panels<T>(kernels: &Kernels<T>, columns: usize) -> [Panels; 2] {
    let narrowest = kernels.columns;
    let all = columns / narrowest;
    let count = all.div_ceil(kernels.run.len()).max(1);
    let (width, wider) = (all / count, all % count);
    let first = Panels { start: 0, columns: (width + 1) * narrowest, count: wider };
    [first, Panels { start: first.columns * wider, columns: width * narrowest, count: count - wider }]
}

/// Each of them.
pub(super) fn each(panels: [Panels; 2]) -> impl Iterator<Item = Range<usize>> {
    panels.into_iter().flat_map(|panels| {
        (0..panels.count).map(move |i| {
            let start = panels.start + i * panels.columns;
            start..start + panels.columns
        })
    })
}

impl<T: Element> Packed<T> {
    /// `keys` and `batch` are not 0.
    pub(super) fn new(
        level: Level,
        attention: &Attention,
        k: Rows<'_, T>,
        v: Rows<'_, T>,
        batch: usize,
        keys: usize,
    ) -> Self {
        let Attention { heads, head, .. } = *attention;
        let (steps, width) = (head.div_ceil(T::GROUP), head.next_multiple_of(T::kernels(level).columns));
        let key = (steps * T::GROUP + width) * size_of::<T>();
        let most = (BLOCK / key / LANES * LANES).clamp(LANES, KEYS);
        let blocks = keys.div_ceil(most);
        let block = keys.div_ceil(blocks).next_multiple_of(LANES);
        let blocks = keys.div_ceil(block);
        let mut packed = Self { level, keys, block, blocks, steps, width, numbers: Aligned::default() };
        let length = packed.length();
        packed.numbers = Aligned::chunks(batch * heads * blocks * length, length, |index, chunk| {
            let (item, first) = (index / blocks, index % blocks * block);
            let place = |key: usize| item / heads * keys + first + key;
            let from = item % heads * head;
            let rows = block.min(keys - first);
            let (to_k, to_v) = chunk.split_at_mut(block * steps * T::GROUP);
            packed.pack_keys(to_k, rows, head, |key| k.part(place(key), from, head));
            packed.pack_values(to_v, rows, head, |key| v.part(place(key), from, head));
        });
        packed
    }

    /// Numbers of a block.
    fn length(&self) -> usize {
        self.block * (self.steps * T::GROUP + self.width)
    }

    /// The panels of a block's keys, and those of its values.
    pub(super) fn block(&self, item: usize, block: usize) -> (&[T], &[T]) {
        let numbers = &self.numbers.as_slice()[(item * self.blocks + block) * self.length()..];
        numbers[..self.length()].split_at(self.block * self.steps * T::GROUP)
    }

    fn pack_keys<'a>(&self, to: &mut [T], keys: usize, head: usize, row: impl Fn(usize) -> &'a [T]) {
        let depth = self.steps * T::GROUP;
        let zeros = vec![T::default(); head];
        let row = |key: usize| if key < keys { row(key) } else { zeros.as_slice() };
        for panel in each(panels(T::kernels(self.level), self.block)) {
            let step = panel.len() * T::GROUP;
            let parts = to[panel.start * depth..panel.end * depth].chunks_mut(PACKED / T::GROUP * step);
            for (to, from) in parts.zip((0..head).step_by(PACKED)) {
                let part = from..(from + PACKED).min(head);
                // Four keys at a time, for fewer instructions around a copy: panels are of a multiple.
                for column in (0..panel.len()).step_by(4) {
                    let keys: [_; 4] = std::array::from_fn(|i| &row(panel.start + column + i)[part.clone()]);
                    let [a, b, c, d] = keys.map(|key| key.chunks_exact(T::GROUP));
                    let steps = to[column * T::GROUP..].chunks_mut(step);
                    for (to, (((a, b), c), d)) in steps.zip(a.zip(b).zip(c).zip(d)) {
                        let to = &mut to[..4 * T::GROUP];
                        to[..T::GROUP].copy_from_slice(a);
                        to[T::GROUP..2 * T::GROUP].copy_from_slice(b);
                        to[2 * T::GROUP..3 * T::GROUP].copy_from_slice(c);
                        to[3 * T::GROUP..].copy_from_slice(d);
                    }
                    let whole = part.len() / T::GROUP;
                    for (i, key) in keys.iter().enumerate() {
                        let rest = &key[whole * T::GROUP..];
                        if !rest.is_empty() {
                            to[whole * step + (column + i) * T::GROUP..][..rest.len()].copy_from_slice(rest);
                        }
                    }
                }
            }
        }
    }

    fn pack_values<'a>(&self, to: &mut [T], keys: usize, head: usize, row: impl Fn(usize) -> &'a [T]) {
        for panel in each(panels(T::kernels(self.level), self.width)) {
            let to = &mut to[panel.start * self.block..][..panel.len() * self.block];
            let columns = panel.start..panel.end.min(head);
            for (step, groups) in to.chunks_exact_mut(panel.len() * T::GROUP).enumerate() {
                let first = step * T::GROUP;
                if T::GROUP == 2 && first + 1 < keys {
                    // As below, in a form that the compiler turns into vectors.
                    let (a, b) = (&row(first)[columns.clone()], &row(first + 1)[columns.clone()]);
                    for ((group, a), b) in groups.as_chunks_mut::<2>().0.iter_mut().zip(a).zip(b) {
                        *group = [*a, *b];
                    }
                    continue;
                }
                for key in first..(first + T::GROUP).min(keys) {
                    let value = &row(key)[columns.clone()];
                    for (group, number) in groups.chunks_exact_mut(T::GROUP).zip(value) {
                        group[key - first] = *number;
                    }
                }
            }
        }
    }
}
