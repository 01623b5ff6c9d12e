//! The queries of a task.
#![allow(unsafe_code)]

use std::ops::Range;

use super::packed::{Packed, each, panels};
use super::softmax::{LANES, Tile, divide};
use super::{Attention, Rows};
use crate::aligned::{Aligned, with_scratch};
use crate::element::Element;
use crate::tile::{Kernels, Product};

/// Some queries of one head of one item of the batch, with all of its keys.
pub(super) struct Band<'a, T: 'static> {
    attention: &'a Attention,
    packed: &'a Packed<T>,
    kernels: &'static Kernels<T>,
    /// `batch index x heads + head`.
    item: usize,
    /// Of the item.
    queries: usize,
    rows: Range<usize>,
}

/// What the queries of a band have seen so far.
struct State<'a> {
    /// For every query, rows of [`Packed::width`].
    values: &'a mut [f32],
    highest: &'a mut [f32],
    sums: &'a mut [f32],
}

/// Memory for the scores of a tile of queries and a block of keys, and for what becomes of them.
struct Scratch<'a, T> {
    scores: &'a mut [f32],
    weights: &'a mut [T],
    /// Where each row of weights begins.
    pointers: Vec<*const T>,
    seen: Vec<usize>,
}

impl<'a, T: Element> Band<'a, T> {
    pub(super) fn new(
        attention: &'a Attention,
        packed: &'a Packed<T>,
        item: usize,
        queries: usize,
        rows: Range<usize>,
    ) -> Self {
        Self { attention, packed, kernels: T::kernels(packed.level), item, queries, rows }
    }

    /// # Safety
    /// `output` has a row of `heads x head` for every query of every item, and nobody else reads or writes what
    /// belongs to this band's.
    pub(super) unsafe fn attend(&self, q: Rows<'_, T>, output: *mut T) {
        let Packed { block, blocks, width, .. } = *self.packed;
        let tile = self.kernels.rows;
        let rows = self.rows.len().next_multiple_of(tile);
        let mut weights = Aligned::<T>::zeros(tile * block);
        let padded = self.padded(q);
        let pointers = self.pointers(q, padded.as_ref());
        with_scratch(rows * (width + 2) + tile * block, |scratch| {
            let (scores, rest) = scratch.split_at_mut(tile * block);
            let (values, rest) = rest.split_at_mut(rows * width);
            let (highest, rest) = rest.split_at_mut(rows);
            let sums = &mut rest[..rows];
            highest.fill(f32::NEG_INFINITY);
            let weights = weights.as_mut_slice();
            let starts = (0..tile).map(|row| weights[row * block..].as_ptr()).collect();
            let mut scratch = Scratch { scores, weights, pointers: starts, seen: vec![0; tile] };
            for block in 0..blocks {
                for first in (0..rows).step_by(tile) {
                    let queries = first..first + tile;
                    let state = State {
                        values: &mut values[first * width..][..tile * width],
                        highest: &mut highest[queries.clone()],
                        sums: &mut sums[queries.clone()],
                    };
                    // SAFETY: each pointer is to a whole query, of as many numbers as a key has in its panel.
                    unsafe { self.tile(block, first, &pointers[queries], state, &mut scratch) };
                }
            }
            // SAFETY: the caller's.
            unsafe { self.write(values, sums, output) };
        });
    }

    /// The queries with a zero behind them, if their numbers are no whole groups.
    fn padded(&self, q: Rows<'_, T>) -> Option<Aligned<T>> {
        let (head, length) = (self.attention.head, self.packed.steps * T::GROUP);
        (length != head).then(|| {
            let mut padded = Aligned::zeros(self.rows.len() * length);
            for (to, row) in padded.as_mut_slice().chunks_exact_mut(length).zip(self.rows.clone()) {
                to[..head].copy_from_slice(self.query(q, row));
            }
            padded
        })
    }

    fn query<'q>(&self, q: Rows<'q, T>, row: usize) -> &'q [T] {
        let Attention { heads, head, .. } = *self.attention;
        q.part(self.item / heads * self.queries + row, self.item % heads * head, head)
    }

    /// Where each query is. The last one comes again until the tile is full.
    fn pointers(&self, q: Rows<'_, T>, padded: Option<&Aligned<T>>) -> Vec<*const T> {
        let length = self.packed.steps * T::GROUP;
        let pointer = |row: usize| {
            let row = row.min(self.rows.len() - 1);
            match padded {
                Some(padded) => padded.as_slice()[row * length..][..length].as_ptr(),
                None => self.query(q, self.rows.start + row)[..length].as_ptr(),
            }
        };
        (0..self.rows.len().next_multiple_of(self.kernels.rows)).map(pointer).collect()
    }

    /// A tile of queries, from the `first` of the band on, and a block of keys.
    ///
    /// # Safety
    /// `queries` are a tile of pointers, each to as many numbers as a key has in its panel.
    unsafe fn tile(
        &self,
        block: usize,
        first: usize,
        queries: &[*const T],
        state: State<'_>,
        scratch: &mut Scratch<'_, T>,
    ) {
        let Packed { level, steps, width, block: stride, keys, .. } = *self.packed;
        let from = block * stride;
        let keys = stride.min(keys - from);
        for (row, seen) in scratch.seen.iter_mut().enumerate() {
            *seen = match self.attention.causal {
                true => (self.rows.start + first + row + 1).saturating_sub(from).min(keys),
                false => keys,
            };
        }
        // The last query sees most.
        let most = scratch.seen.last().copied().unwrap_or(0);
        if most == 0 {
            return;
        }
        let (k, v) = self.packed.block(self.item, block);
        for panels in panels(self.kernels, stride) {
            // Those that a query sees anything of.
            let count = most.saturating_sub(panels.start).div_ceil(panels.columns.max(1)).min(panels.count);
            if count == 0 {
                continue;
            }
            let product = Product {
                rows: queries.as_ptr(),
                segments: 1,
                offset: 0,
                steps,
                panel: k[panels.start * steps * T::GROUP..].as_ptr(),
                panels: count,
                sums: scratch.scores[panels.start..].as_mut_ptr(),
                sums_row: stride,
                accumulate: false,
            };
            // SAFETY: `kernels` has checked the level. The caller answers for the queries; the block has these panels, of
            // `steps` groups for each column, and a row of scores has a number for every column of its panels.
            unsafe { self.kernels.compute(panels.columns, &product) };
        }
        let later = block > 0;
        T::softmax(
            level,
            &mut Tile {
                scores: scratch.scores,
                weights: scratch.weights,
                stride,
                length: most.next_multiple_of(LANES),
                seen: &scratch.seen,
                scale: self.attention.scale * std::f32::consts::LOG2_E,
                highest: state.highest,
                sums: state.sums,
                values: if later { &mut *state.values } else { &mut [] },
            },
        );
        for panel in each(panels(self.kernels, width)) {
            let product = Product {
                rows: scratch.pointers.as_ptr(),
                segments: 1,
                offset: 0,
                steps: most.div_ceil(T::GROUP),
                panel: v[panel.start * stride..].as_ptr(),
                panels: 1,
                sums: state.values[panel.start..].as_mut_ptr(),
                sums_row: width,
                accumulate: later,
            };
            // SAFETY: as above; the weights have been written in all rows up to whole vectors, which are whole groups;
            // the block has a group of values for each of their groups and column. A block that is not the first finds
            // values that the first has written.
            unsafe { self.kernels.compute(panel.len(), &product) };
        }
    }

    /// # Safety
    /// See [`Self::attend`].
    unsafe fn write(&self, values: &[f32], sums: &[f32], output: *mut T) {
        let Attention { heads, head, .. } = *self.attention;
        let width = self.packed.width;
        let mut numbers = vec![T::default(); self.rows.len() * width];
        divide(self.packed.level, values, sums, width, &mut numbers);
        for (row, numbers) in self.rows.clone().zip(numbers.chunks_exact(width)) {
            let row = self.item / heads * self.queries + row;
            let to = output.wrapping_add(row * heads * head + self.item % heads * head);
            // SAFETY: the output has this row, a row of `numbers` is at least a head's, and they do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), to, head) };
        }
    }
}
