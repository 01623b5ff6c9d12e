//! Packing: rows of weights, one after the other in a file, become panels.

use std::ops::Range;

use rayon::prelude::*;

use super::Panels;
use super::transpose::transpose;
use crate::aligned::Aligned;
use crate::element::Element;
use crate::level::Level;

/// Terms of each of a panel's sums that are packed at a time. A file is read in pieces that are worth it, and those of
/// all columns stay in the second-level cache until they have changed places.
const PIECE: usize = 1024;

impl<T: Element> Panels<T> {
    /// Packs `weight(sum, segment, k)`. With gates, sums `0..outputs` are values, and the next `outputs` their gates.
    pub(crate) fn pack(
        level: Level,
        outputs: usize,
        shape @ [segments, _]: [usize; 2],
        gated: bool,
        weight: impl Fn(usize, usize, usize) -> T + Sync,
    ) -> Self {
        Self::pack_rows(level, outputs, shape, gated, |sum, inputs, row| {
            for (k, numbers) in inputs.zip(row.chunks_exact_mut(segments)) {
                for (segment, number) in numbers.iter_mut().enumerate() {
                    *number = weight(sum, segment, k);
                }
            }
        })
    }

    /// As [`Self::pack`], of weights `(sums, depth, segments)`: `read(i, numbers)` fills `numbers` with those from the
    /// i-th on.
    pub(crate) fn read(
        level: Level,
        outputs: usize,
        shape @ [segments, depth]: [usize; 2],
        gated: bool,
        read: impl Fn(usize, &mut [T]) + Sync,
    ) -> Self {
        Self::pack_rows(level, outputs, shape, gated, |sum, inputs, row| {
            read((sum * depth + inputs.start) * segments, row);
        })
    }

    /// As [`Self::pack`]: `fill(sum, inputs, row)` writes a sum's weights of some inputs, `(inputs, segments)`.
    pub(crate) fn pack_rows(
        level: Level,
        outputs: usize,
        [segments, depth]: [usize; 2],
        gated: bool,
        fill: impl Fn(usize, Range<usize>, &mut [T]) + Sync,
    ) -> Self {
        let packed = Self { level, outputs, segments, depth, gated, numbers: Aligned::default() };
        packed.written(|packed, index, panel| packed.pack_panel(panel, index, &fill))
    }

    /// As [`Self::read`], with other segments: `f(from, to, n)` makes the `mapped` segments of one panel, of `n` numbers
    /// each, from its segments of before.
    pub(crate) fn read_mapped(
        level: Level,
        outputs: usize,
        [segments, depth]: [usize; 2],
        read: impl Fn(usize, &mut [T]) + Sync,
        mapped: usize,
        f: impl Fn(&[T], &mut [T], usize) + Sync,
    ) -> Self {
        let plain = Self { level, outputs, segments, depth, gated: false, numbers: Aligned::default() };
        let panels = Self { segments: mapped, numbers: Aligned::default(), ..plain };
        panels.written(|_, index, to| {
            let n = plain.columns(index) * plain.row_length();
            let mut from = vec![T::default(); n * segments];
            plain.pack_panel(&mut from, index, &|sum: usize, inputs: Range<usize>, row: &mut [T]| {
                read((sum * depth + inputs.start) * segments, row);
            });
            f(&from, to, n);
        })
    }

    /// The same panels with memory, each of which `write(panels, index, panel)` fills, on all threads.
    fn written(mut self, write: impl Fn(&Self, usize, &mut [T]) + Sync) -> Self {
        let length = self.panel_offset(self.panels());
        let mut numbers = Aligned::lasting(length);
        let panel = self.panel_offset(1).max(1);
        numbers.as_mut_slice()[..length].par_chunks_mut(panel).enumerate().for_each(|(index, panel)| {
            write(&self, index, panel);
        });
        self.numbers = numbers;
        self
    }

    fn pack_panel(&self, panel: &mut [T], index: usize, fill: &impl Fn(usize, Range<usize>, &mut [T])) {
        let Self { segments, depth, .. } = *self;
        let columns = self.columns(index);
        let most = (PIECE / segments.max(1)).next_multiple_of(T::GROUP).max(T::GROUP);
        // The rows' beginnings are not a power of two apart, which would put them all into the same few places of the cache.
        let row = (most.min(self.row_length()) * segments).next_multiple_of(PIECE) + 64 / size_of::<T>();
        let mut rows = vec![T::default(); columns * row];
        let mut apart = vec![T::default(); row];
        for from in (0..depth).step_by(most) {
            let inputs = from..(from + most).min(depth);
            let (n, length) = (inputs.len() * segments, inputs.len().next_multiple_of(T::GROUP) * segments);
            for (column, row) in rows.chunks_exact_mut(row).enumerate() {
                let Some(sum) = self.sum(index, column) else { continue };
                let together = segments == 1 || T::GROUP == 1;
                let read = if together { &mut *row } else { &mut apart };
                fill(sum, inputs.clone(), &mut read[..n]);
                // What is beyond the depth.
                read[n..length].fill(T::default());
                if !together {
                    pair(&apart[..length], segments, &mut row[..length]);
                }
            }
            let place = |group: usize| {
                let (step, segment) = (group / segments, group % segments);
                (segment * self.row_length() + from + step * T::GROUP) * columns
            };
            transpose(self.level, &rows, row, length / T::GROUP, columns, panel, place);
        }
    }
}

/// From `(inputs, segments)` to `(pairs of inputs, segments, pair)`: a group is one number, or two.
fn pair<T: Element>(apart: &[T], segments: usize, row: &mut [T]) {
    for (apart, row) in apart.chunks_exact(2 * segments).zip(row.chunks_exact_mut(2 * segments)) {
        let (first, second) = apart.split_at(segments);
        for ((place, first), second) in row.as_chunks_mut::<2>().0.iter_mut().zip(first).zip(second) {
            *place = [*first, *second];
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::testing::{Random, levels, with_threads};

    /// Where a weight is in the panels, by their definition.
    fn at<T: Element>(panels: &Panels<T>, panel: usize, column: usize, segment: usize, k: usize) -> usize {
        let group = (segment * panels.steps() + k / T::GROUP) * panels.columns(panel) + column;
        panels.panel_offset(panel) + group * T::GROUP + k % T::GROUP
    }

    fn every_shape<T: Element>(seed: u64) {
        let mut random = Random::new(seed);
        for level in levels() {
            let mut shapes = vec![
                [0, 1, 5],
                [5, 1, 0],
                [1, 1, 1],
                [130, 1, 2 * PIECE + 7],
                [70, 9, 300],
                [3, PIECE + 1, 3],
            ];
            shapes.extend((0..30).map(|_| [random.below(150), 1 + random.below(10), random.below(90)]));
            for (i, [outputs, segments, depth]) in shapes.into_iter().enumerate() {
                let gated = i % 3 == 0;
                let sums = outputs * if gated { 2 } else { 1 };
                let weights = random.elements::<T>(sums * segments * depth);
                let shape = [segments, depth];
                let read = |from: usize, numbers: &mut [T]| {
                    numbers.copy_from_slice(&weights[from..from + numbers.len()]);
                };
                let read = with_threads(1 + i % 3, || Panels::read(level, outputs, shape, gated, read));
                let weight =
                    |sum: usize, segment: usize, k: usize| weights[(sum * depth + k) * segments + segment];
                let packed = Panels::pack(level, outputs, shape, gated, weight);
                let length = read.panel_offset(read.panels());
                let mut want = vec![T::default(); length];
                for panel in 0..read.panels() {
                    for column in 0..read.columns(panel) {
                        let Some(sum) = read.sum(panel, column) else { continue };
                        for k in 0..depth {
                            for segment in 0..segments {
                                want[at(&read, panel, column, segment, k)] = weight(sum, segment, k);
                            }
                        }
                    }
                }
                let what = format!("{level:?} {outputs} {segments} {depth} gated: {gated}");
                assert!(read.numbers.as_slice()[..length] == want, "{what}");
                assert!(packed.numbers.as_slice()[..length] == want, "{what}");
            }
        }
    }

    #[test]
    fn every_weight_is_in_its_place_and_zeros_are_in_all_others() {
        every_shape::<f32>(51);
        every_shape::<bf16>(52);
    }
}
