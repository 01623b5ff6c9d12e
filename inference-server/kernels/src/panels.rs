//! Packed weights, and the loops around the tiles.
//!
//! The sum behind a number has `segments` parts of `depth` terms: one segment for a matrix, one for each place of the
//! kernel for a convolution. A panel holds the weights of as many outputs as a tile has columns, segment by segment and
//! within a segment input by input, in the order in which the innermost loop reads them.
#![allow(unsafe_code)]

mod pack;
mod transpose;

use std::ops::Range;

use crate::aligned::{Aligned, with_scratch};
use crate::element::Element;
use crate::epilogue::Epilogue;
use crate::finish::{Finish, finish};
use crate::level::Level;
use crate::output::Output;
use crate::parallel;
use crate::tile::Product;

/// Bytes of a panel that are added up in registers: they stay in the second-level cache while the rows go by.
const BLOCK: usize = 256 << 10;

/// Rows that a task takes at most: their sums stay in the second-level cache too.
const ROWS: usize = 256;

/// Weights of `outputs` sums.
#[derive(Debug)]
pub(crate) struct Panels<T> {
    level: Level,
    outputs: usize,
    segments: usize,
    depth: usize,
    /// Whether an output is a value and a gate, two sums that lie in the same panel.
    gated: bool,
    numbers: Aligned<T>,
}

/// The rows that weights are multiplied with.
pub(crate) struct Left<'a, T> {
    pub rows: usize,
    /// Rows that have a bias of their own, if the bias is not the same for all.
    pub picture: usize,
    /// The numbers of `(row, segment)`: as many as [`Panels::row_length`].
    pub place: &'a (dyn Fn(usize, usize) -> &'a [T] + Sync),
    /// Which row of the result a row becomes, if not the one of the same number.
    pub becomes: Option<&'a (dyn Fn(usize) -> usize + Sync)>,
}

/// Terms of a sum that go together.
#[derive(Debug, Clone, Copy)]
struct Block {
    segments: (usize, usize),
    offset: usize,
    steps: usize,
}

impl<T: Element> Panels<T> {
    /// The sum that is in a column of a panel.
    fn sum(&self, panel: usize, column: usize) -> Option<usize> {
        let half = self.columns(panel) / 2;
        let (column, gate) = match self.gated {
            true if column >= half => (column - half, self.outputs),
            _ => (column, 0),
        };
        let output = panel * self.outputs_a_panel() + column;
        (output < self.outputs).then_some(output + gate)
    }

    /// Numbers that a row of the left side must have: the depth, rounded up to whole groups. What is beyond the depth is
    /// multiplied with zero.
    pub(crate) fn row_length(&self) -> usize {
        self.steps() * T::GROUP
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    pub(crate) fn steps(&self) -> usize {
        self.depth.div_ceil(T::GROUP)
    }

    fn outputs_a_panel(&self) -> usize {
        T::kernels(self.level).widest() / if self.gated { 2 } else { 1 }
    }

    pub(crate) fn panels(&self) -> usize {
        self.outputs.div_ceil(self.outputs_a_panel())
    }

    /// Columns of a panel: whole vectors, an even number of them if they are gated.
    pub(crate) fn columns(&self, panel: usize) -> usize {
        let narrowest = T::kernels(self.level).columns;
        let outputs = self.outputs_a_panel().min(self.outputs - panel * self.outputs_a_panel());
        outputs.next_multiple_of(narrowest) * if self.gated { 2 } else { 1 }
    }

    /// Where a panel begins.
    fn panel_offset(&self, panel: usize) -> usize {
        let columns = (0..panel).map(|panel| self.columns(panel)).sum::<usize>();
        columns * self.segments * self.row_length()
    }

    /// The numbers of a panel from a segment on.
    pub(crate) fn segment(&self, panel: usize, segment: usize) -> &[T] {
        let start = segment * self.row_length() * self.columns(panel);
        &self.numbers.as_slice()[self.panel_offset(1) * panel + start..]
    }

    /// The first output of a panel and their number.
    pub(crate) fn outputs_of(&self, panel: usize) -> (usize, usize) {
        let first = panel * self.outputs_a_panel();
        (first, (self.outputs - first).min(self.outputs_a_panel()))
    }

    /// The parts of a sum, so that a block of a panel fits the cache.
    fn blocks(&self) -> Vec<Block> {
        let widest = T::kernels(self.level).widest() * T::GROUP * size_of::<T>();
        let (most, steps) = ((BLOCK / widest).max(1), self.steps());
        if steps <= most {
            let parts = self.segments.div_ceil(most / steps.max(1));
            let block = |i| {
                let range = parallel::range(self.segments, i, parts);
                Block { segments: (range.start, range.len()), offset: 0, steps }
            };
            return (0..parts).map(block).collect();
        }
        let parts = steps.div_ceil(most);
        let block = |i| {
            let range = parallel::range(steps, i % parts, parts);
            Block { segments: (i / parts, 1), offset: range.start * T::GROUP, steps: range.len() }
        };
        (0..parts * self.segments).map(block).collect()
    }

    /// The products of all rows with all outputs, `(rows, outputs)`.
    ///
    /// # Panics
    /// If `place` gives fewer numbers than a row needs, or the epilogue has other lengths than the result.
    pub(crate) fn multiply(&self, left: &Left<'_, T>, epilogue: &Epilogue<'_, T>) -> Vec<T> {
        let output = Output::new(left.rows * self.outputs);
        // SAFETY: every row becomes itself.
        unsafe {
            self.multiply_into(&Left { becomes: None, ..*left }, epilogue, &output);
            output.finish()
        }
    }

    /// The products of all rows with all outputs, written to the rows of `output` that they become.
    ///
    /// # Panics
    /// As [`Self::multiply`].
    ///
    /// # Safety
    /// Rows become different rows, all within `output`, which nobody else uses.
    pub(crate) unsafe fn multiply_into(
        &self,
        left: &Left<'_, T>,
        epilogue: &Epilogue<'_, T>,
        output: &Output<T>,
    ) {
        let (rows, tile) = (left.rows, T::kernels(self.level).rows);
        let sums = self.outputs * if self.gated { 2 } else { 1 };
        let pictures = rows.checked_div(left.picture).unwrap_or(0);
        let bias_step = epilogue.check(sums, pictures, output.len());
        let panels = self.panels();
        let (bands, groups) = parallel::cut(rows, ROWS, panels);
        let blocks = self.blocks();
        parallel::for_each(if panels == 0 { 0 } else { bands * groups }, |task| {
            let band = parallel::range(rows.div_ceil(tile), task / groups, bands);
            let rows = band.start * tile..(band.end * tile).min(rows);
            let panels = parallel::range(panels, task % groups, groups);
            self.band(left, rows, panels, &blocks, epilogue, bias_step, output.pointer());
        });
    }

    #[expect(clippy::too_many_arguments, reason = "what a task needs to know")]
    fn band(
        &self,
        left: &Left<'_, T>,
        rows: Range<usize>,
        panels: Range<usize>,
        blocks: &[Block],
        epilogue: &Epilogue<'_, T>,
        bias_step: usize,
        output: *mut T,
    ) {
        let kernels = T::kernels(self.level);
        let table = self.table(left, rows.clone());
        let tiles = rows.len().div_ceil(kernels.rows);
        let tile = kernels.rows * kernels.widest();
        with_scratch(if blocks.len() > 1 { tiles * tile } else { tile }, |scratch| {
            for panel in panels {
                let columns = self.columns(panel);
                let numbers = self.segment(panel, 0);
                for (i, block) in blocks.iter().enumerate() {
                    let (first, segments) = block.segments;
                    let start = (first * self.row_length() + block.offset) * columns;
                    for index in 0..tiles {
                        let from = if blocks.len() > 1 { index * tile } else { 0 };
                        let sums = &mut scratch[from..from + tile];
                        let product = Product {
                            rows: table[(index * self.segments + first) * kernels.rows..].as_ptr(),
                            segments,
                            offset: block.offset,
                            steps: block.steps,
                            panel: numbers[start..].as_ptr(),
                            panels: 1,
                            sums: sums.as_mut_ptr(),
                            sums_row: columns,
                            accumulate: i > 0,
                        };
                        let first = rows.start + index * kernels.rows;
                        let rows = first..(first + kernels.rows).min(rows.end);
                        let results = Results { panel, rows, left, epilogue, bias_step, output };
                        let last = i + 1 == blocks.len();
                        if last {
                            self.each_finish(&results, product.sums, |f| f.announce());
                        }
                        // SAFETY: `kernels` has checked the level. The table has pointers for every segment and row of
                        // the tile, each to a whole row; the panel has its columns for every step of every segment;
                        // `sums` is a tile, and was written in the first round when it is added to.
                        unsafe { kernels.compute(columns, &product) };
                        if last {
                            // SAFETY: the tile has these rows and columns, and gates half a row later; bias and residual
                            // have been checked to be as long as the result; these rows and this panel's columns are
                            // this task's alone, and within the output.
                            self.each_finish(&results, product.sums, |f| unsafe { finish(self.level, f) });
                        }
                    }
                }
            }
        });
    }

    /// For every tile of rows, every segment and every row of the tile, where its numbers are. Behind the last row it
    /// comes again.
    fn table<'a>(&self, left: &Left<'a, T>, rows: Range<usize>) -> Vec<*const T> {
        let tile = T::kernels(self.level).rows;
        let mut table = Vec::with_capacity(rows.len().next_multiple_of(tile) * self.segments);
        for first in rows.clone().step_by(tile) {
            for segment in 0..self.segments {
                for row in first..first + tile {
                    let numbers = (left.place)(row.min(rows.end - 1), segment);
                    assert!(numbers.len() >= self.row_length(), "a number for every input");
                    table.push(numbers.as_ptr());
                }
            }
        }
        table
    }

    /// What is done with a tile of sums, as few pieces as there are rows that have a bias in common and stay together.
    #[inline(always)]
    fn each_finish(&self, results: &Results<'_, '_, T>, sums: *const f32, mut f: impl FnMut(&Finish<T>)) {
        let Results { panel, ref rows, left, epilogue, bias_step, output } = *results;
        let (first, columns) = self.outputs_of(panel);
        let sums_row = self.columns(panel);
        let mut row = rows.start;
        while row < rows.end {
            let (number, until) = match bias_step {
                0 => (0, rows.end),
                _ => (row / left.picture, (row / left.picture + 1) * left.picture),
            };
            let (to, until) = left.becomes.map_or((row, until), |becomes| (becomes(row), row + 1));
            let n = until.min(rows.end) - row;
            let at = to * self.outputs + first;
            f(&Finish {
                rows: n,
                columns,
                sums: sums.wrapping_add((row - rows.start) * sums_row),
                sums_row,
                output: output.wrapping_add(at),
                output_row: self.outputs,
                bias: epilogue.bias.map_or(std::ptr::null(), |b| b[number * bias_step + first..].as_ptr()),
                activation: epilogue.activation,
                residual: epilogue.residual.map_or(std::ptr::null(), |r| r[at..].as_ptr()),
                gate: self.gated.then_some((sums_row / 2, self.outputs)),
            });
            row += n;
        }
    }
}

/// A tile of results.
struct Results<'a, 'l, T> {
    panel: usize,
    rows: Range<usize>,
    left: &'a Left<'l, T>,
    epilogue: &'a Epilogue<'a, T>,
    bias_step: usize,
    output: *mut T,
}
