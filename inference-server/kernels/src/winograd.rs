//! 3x3 convolution by Winograd's minimal filtering: a square of results takes fewer products, one matrix product for each
//! of its points, and transforms of the input before and of the sums after.
#![allow(unsafe_code)]

mod square;
mod transform;
mod weights;

use std::ops::Range;

use crate::aligned::with_scratch;
use crate::conv::Transformed;
use crate::element::Element;
use crate::epilogue::Epilogue;
use crate::finish::{Finish, finish};
use crate::level::Level;
use crate::output::Output;
use crate::parallel;
use crate::tile::Product;

pub(crate) use square::Doubled;
use square::{Four, Square, Two};
use transform::LANES;
use weights::Weights;

/// Bytes of transformed inputs that are made before they are multiplied: they stay in the last-level cache.
const TRANSFORMED: usize = 6 << 20;

/// Squares before it is finished, a square's results are announced.
const AHEAD: usize = 4;

/// Pixels that the largest square sees.
pub(crate) const MOST: usize = 36;

/// The weights of a 3x3 convolution of stride 1 that keeps the picture's sides, transformed and packed.
#[derive(Debug)]
pub(crate) enum Winograd<T> {
    Two(Filter<T, Two>),
    Four(Filter<T, Four>),
}

impl<T: Element> Winograd<T> {
    /// Packs the weights of `shape`, `(outputs, inputs)`, `x 3 x 3`: `read(i, numbers)` fills `numbers` with those from the i-th
    /// on, which are of one output. Squares of four are faster and round more.
    pub(crate) fn new(
        level: Level,
        shape: [usize; 2],
        four: bool,
        transformed: Transformed,
        read: impl Fn(usize, &mut [T]) + Sync,
    ) -> Self {
        match four {
            false => Self::Two(Filter::new(level, shape, transformed, read)),
            true => Self::Four(Filter::new(level, shape, transformed, read)),
        }
    }

    /// `x` `(batch, height, width, inputs)` to `(batch, height, width, outputs)`.
    pub(crate) fn forward(&self, x: &[T], sides: [usize; 3], epilogue: &Epilogue<'_, T>) -> Vec<T> {
        match self {
            Self::Two(sized) => sized.forward(x, sides, epilogue),
            Self::Four(sized) => sized.forward(x, sides, epilogue),
        }
    }
}

/// For one size of squares.
#[derive(Debug)]
pub(crate) struct Filter<T, X> {
    level: Level,
    inputs: usize,
    outputs: usize,
    weights: Weights<T, X>,
}

/// A call's sizes.
#[derive(Debug, Clone, Copy)]
struct Grid {
    /// Sides of the pictures that come in.
    height: usize,
    width: usize,
    /// Sides of those that come out.
    out_height: usize,
    out_width: usize,
    /// Squares of a column and of a row of a picture.
    rows: usize,
    columns: usize,
}

impl Grid {
    fn new<X: Square>(height: usize, width: usize) -> Self {
        let (out_height, out_width) = (height * X::OUT / X::STEP, width * X::OUT / X::STEP);
        let squares = |side: usize| (side + X::BEFORE).div_ceil(X::OUT);
        Self { height, width, out_height, out_width, rows: squares(out_height), columns: squares(out_width) }
    }

    /// Picture, row and column of a square.
    fn place(&self, square: usize) -> (usize, usize, usize) {
        (square / self.columns / self.rows, square / self.columns % self.rows, square % self.columns)
    }
}

/// Which of the `OUT` results of the `square`-th are within a side, and where the first of them is.
fn within<X: Square>(square: usize, side: usize) -> (Range<usize>, usize) {
    let start = square * X::OUT;
    let first = X::BEFORE.saturating_sub(start);
    (first..X::OUT.min(side + X::BEFORE - start), start + first - X::BEFORE)
}

impl<T: Element, X: Square> Filter<T, X> {
    /// See [`Winograd::new`].
    pub(crate) fn new(
        level: Level,
        [outputs, inputs]: [usize; 2],
        transformed: Transformed,
        read: impl Fn(usize, &mut [T]) + Sync,
    ) -> Self {
        Self { level, inputs, outputs, weights: Weights::new(level, [outputs, inputs], transformed, read) }
    }

    /// `x` `(batch, height, width, inputs)` to `(batch, height', width', outputs)`.
    pub(crate) fn forward(
        &self,
        x: &[T],
        [batch, height, width]: [usize; 3],
        epilogue: &Epilogue<'_, T>,
    ) -> Vec<T> {
        let Self { inputs, outputs, .. } = *self;
        assert_eq!(x.len(), batch * height * width * inputs, "every picture has all channels");
        let grid = Grid::new::<X>(height, width);
        let length = batch * grid.out_height * grid.out_width * outputs;
        let bias_step = epilogue.check(outputs, batch, length);
        let output = Output::new(length);
        let squares = batch * grid.rows * grid.columns;
        let (points, length) = (X::POINTS, self.weights.panels().row_length());
        // Numbers of a square's point: whole vectors.
        let row = length.next_multiple_of(LANES);
        let most = (TRANSFORMED / (points * row * size_of::<T>())).max(self.weights.squares()).min(squares);
        // Rounds of the same size.
        let most = squares.div_ceil(squares.div_ceil(most.max(1)).max(1));
        let step = apart::<T>(most * row);
        let transformed = Output::<T>::new(points * step);
        let zeros = vec![T::default(); inputs];
        for first in (0..squares).step_by(most.max(1)) {
            let squares = first..(first + most).min(squares);
            // A few squares a task.
            const FEW: usize = 4;
            parallel::for_each(squares.len().div_ceil(FEW), |task| {
                let from = task * FEW;
                for square in from..(from + FEW).min(squares.len()) {
                    let to = transformed.pointer().wrapping_add(square * row);
                    // SAFETY: a row of every point is this task's alone, and within `transformed`.
                    unsafe { self.input(x, &zeros, grid, first + square, Place { to, step }) };
                }
            });
            let panels = self.weights.panels().panels();
            let (bands, groups) = parallel::cut(squares.len(), self.weights.squares(), panels);
            parallel::for_each(if panels == 0 { 0 } else { bands * groups }, |task| {
                let band = parallel::range(squares.len(), task / groups, bands);
                let panels = parallel::range(panels, task % groups, groups);
                let call = Call { grid, epilogue, bias_step, output: output.pointer() };
                let rows = Place { to: transformed.pointer(), step };
                // SAFETY: all rows of these squares have been written, and are only read now.
                unsafe { self.band(&call, rows, row, first, band, panels) };
            });
        }
        // SAFETY: the squares and panels make up all of the output.
        unsafe { output.finish() }
    }

    /// Transforms the input of a square; outside of the picture it is `zeros`.
    ///
    /// # Safety
    /// `place` is this call's alone: a row of whole vectors for each point.
    unsafe fn input(&self, x: &[T], zeros: &[T], grid: Grid, square: usize, place: Place<T>) {
        let inputs = self.inputs;
        let (picture, y, x_at) = grid.place(square);
        let mut pixels = [zeros.as_ptr(); MOST];
        for i in 0..X::IN {
            for j in 0..X::IN {
                let row = (y * X::STEP + i).checked_sub(1).filter(|row| *row < grid.height);
                let column = (x_at * X::STEP + j).checked_sub(1).filter(|column| *column < grid.width);
                if let Some((row, column)) = row.zip(column) {
                    let at = ((picture * grid.height + row) * grid.width + column) * inputs;
                    pixels[i * X::IN + j] = x[at..at + inputs].as_ptr();
                }
            }
        }
        // SAFETY: every pixel has `inputs` numbers; the place is the caller's.
        unsafe { X::input(self.level, &pixels, inputs, place) };
    }

    /// The results of some squares for some panels.
    ///
    /// # Safety
    /// `transformed` has a row of `row` numbers for each point and square.
    unsafe fn band(
        &self,
        call: &Call<'_, T>,
        transformed: Place<T>,
        row: usize,
        first: usize,
        squares: Range<usize>,
        panels: Range<usize>,
    ) {
        let kernels = T::kernels(self.level);
        let points = X::POINTS;
        let tiles = squares.len().div_ceil(kernels.rows);
        let padded = tiles * kernels.rows;
        let square = X::OUT * X::OUT * kernels.widest();
        let (step, room) = (apart::<f32>(padded * kernels.widest()), self.weights.room());
        let room = (room * size_of::<T>()).div_ceil(size_of::<f32>()).next_multiple_of(LANES);
        with_scratch(room + points * step + square, |scratch| {
            let (room, scratch) = scratch.split_at_mut(room);
            let (results, scratch) = scratch.split_at_mut(square);
            let results_at = results.as_ptr();
            let mut rows = vec![std::ptr::null(); kernels.rows];
            let (steps, most) = (self.weights.panels().steps(), self.weights.most_steps());
            for panel in panels {
                let columns = self.weights.panels().columns(panel);
                for from in (0..steps).step_by(most) {
                    let block = from..(from + most).min(steps);
                    // SAFETY: numbers of either type may be in the room, which is large enough and aligned for both.
                    let (weights, weights_step) =
                        unsafe { self.weights.block(panel, block.clone(), room.as_mut_ptr().cast()) };
                    for point in 0..points {
                        for tile in 0..tiles {
                            for (i, place) in rows.iter_mut().enumerate() {
                                // Behind the last square it comes again.
                                let square = squares.start + (tile * kernels.rows + i).min(squares.len() - 1);
                                *place = transformed.to.wrapping_add(point * transformed.step + square * row);
                            }
                            let sums = &mut scratch[point * step + tile * kernels.rows * columns..];
                            let product = Product {
                                rows: rows.as_ptr(),
                                segments: 1,
                                offset: from * T::GROUP,
                                steps: block.len(),
                                panel: weights.wrapping_add(point * weights_step),
                                panels: 1,
                                sums: sums[..kernels.rows * columns].as_mut_ptr(),
                                sums_row: columns,
                                accumulate: from > 0,
                            };
                            // SAFETY: `kernels` has checked the level; the rows are whole, the block has its columns for
                            // every step, and `sums` is a tile, written by the first block when it is added to.
                            unsafe { kernels.compute(columns, &product) };
                        }
                    }
                }
                let announce =
                    |square| self.each_finish(call, panel, first + square, results_at, |f| f.announce());
                squares.clone().take(AHEAD).for_each(announce);
                for square in squares.clone() {
                    if square + AHEAD < squares.end {
                        announce(square + AHEAD);
                    }
                    let sums = Sums {
                        numbers: &scratch[(square - squares.start) * columns..],
                        point_step: step,
                        columns,
                    };
                    self.square(call, &sums, panel, first + square, results);
                }
            }
        });
    }

    /// From a square's sums to its results.
    fn square(&self, call: &Call<'_, T>, sums: &Sums<'_>, panel: usize, square: usize, results: &mut [f32]) {
        X::output(self.level, sums, results);
        // SAFETY: these pixels and channels are this task's alone, and within the output; `results` has the square's
        // rows; bias and residual have been checked to be as long as the result.
        self.each_finish(call, panel, square, results.as_ptr(), |f| unsafe { finish(self.level, f) });
    }

    /// What is done with a square's results, row by row.
    #[inline(always)]
    fn each_finish(
        &self,
        call: &Call<'_, T>,
        panel: usize,
        square: usize,
        results: *const f32,
        mut f: impl FnMut(&Finish<T>),
    ) {
        let Call { grid, epilogue, bias_step, output } = *call;
        let width = self.weights.panels().columns(panel);
        let (picture, row, column) = grid.place(square);
        let (rows, y) = within::<X>(row, grid.out_height);
        let (pixels, x) = within::<X>(column, grid.out_width);
        let (from, columns) = self.weights.panels().outputs_of(panel);
        for (i, row) in rows.enumerate() {
            let pixel = (picture * grid.out_height + y + i) * grid.out_width + x;
            let at = pixel * self.outputs + from;
            f(&Finish {
                rows: pixels.len(),
                columns,
                sums: results.wrapping_add((row * X::OUT + pixels.start) * width),
                sums_row: width,
                output: output.wrapping_add(at),
                output_row: self.outputs,
                bias: epilogue.bias.map_or(std::ptr::null(), |b| b[picture * bias_step + from..].as_ptr()),
                activation: epilogue.activation,
                residual: epilogue.residual.map_or(std::ptr::null(), |r| r[at..].as_ptr()),
                gate: None,
            });
        }
    }
}

/// So many numbers, and some more, from one point's to the next's: the points of a square, which are read and written
/// together, are in different sets of the caches then.
fn apart<T>(numbers: usize) -> usize {
    const PAGE: usize = 4096;
    const LINE: usize = 64;
    ((numbers * size_of::<T>()).next_multiple_of(PAGE) + LINE) / size_of::<T>()
}

/// What all tasks of a call know.
#[derive(Debug, Clone, Copy)]
struct Call<'a, T> {
    grid: Grid,
    epilogue: &'a Epilogue<'a, T>,
    bias_step: usize,
    output: *mut T,
}

/// A square's sums: `columns` for each point.
pub(crate) struct Sums<'a> {
    numbers: &'a [f32],
    point_step: usize,
    columns: usize,
}

/// Where transformed numbers are: a row for each square, and `step` numbers later the next point's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<T> {
    to: *mut T,
    step: usize,
}
