//! 3x3 convolution by Winograd's minimal filtering: a square of results takes fewer products, one matrix product for each
//! of its points, and transforms of the input before and of the sums after.
#![allow(unsafe_code)]

mod transform;

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use crate::aligned::{Aligned, with_scratch};
use crate::conv::ConvShape;
use crate::dispatch::for_every_level;
use crate::element::Element;
use crate::epilogue::Epilogue;
use crate::finish::{Finish, finish};
use crate::level::Level;
use crate::output::Output;
use crate::panels::Panels;
use crate::parallel;
use crate::tile::Product;

use transform::{Four, LANES, Transform, Two, Vector};

/// Bytes of transformed inputs that are made before they are multiplied: they stay in the last-level cache.
const TRANSFORMED: usize = 6 << 20;

/// Squares whose sums a task holds at a time: in the second-level cache.
const SQUARES: usize = 48;

/// Points of the largest square.
const POINTS: usize = 36;

/// The weights of a 3x3 convolution of stride 1 that keeps the picture's sides, transformed and packed.
#[derive(Debug, Clone)]
pub(crate) enum Winograd<T> {
    Two(Sized<T, Two>),
    Four(Sized<T, Four>),
}

impl<T: Element> Winograd<T> {
    /// Packs `weight(i)`, the i-th of `(outputs, inputs, 3, 3)`. Squares of four are faster and round more: the inputs'
    /// transform subtracts numbers up to 100 times the size of a result.
    pub(crate) fn new(level: Level, shape: ConvShape, four: bool, weight: impl Fn(usize) -> T + Sync) -> Self {
        match four {
            false => Self::Two(Sized::new(level, shape, weight)),
            true => Self::Four(Sized::new(level, shape, weight)),
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
#[derive(Debug, Clone)]
pub(crate) struct Sized<T, X> {
    level: Level,
    inputs: usize,
    outputs: usize,
    /// A segment for each point.
    panels: Panels<T>,
    size: PhantomData<X>,
}

/// A call's sizes.
#[derive(Debug, Clone, Copy)]
struct Grid {
    height: usize,
    width: usize,
    /// Squares of a column and of a row of a picture.
    rows: usize,
    columns: usize,
}

impl Grid {
    /// Picture, first row and first column of a square of `side` results.
    fn place(&self, square: usize, side: usize) -> (usize, usize, usize) {
        let (row, column) = (square / self.columns % self.rows, square % self.columns);
        (square / self.columns / self.rows, row * side, column * side)
    }
}

impl<T: Element, X: Transform> Sized<T, X> {
    fn new(level: Level, shape: ConvShape, weight: impl Fn(usize) -> T + Sync) -> Self {
        let ConvShape { outputs, inputs, .. } = shape;
        let points = X::IN * X::IN;
        // G g G^T of every kernel.
        let mut transformed = vec![T::default(); outputs * inputs * points];
        transformed.par_chunks_mut((inputs * points).max(1)).enumerate().for_each(|(output, kernels)| {
            for (input, kernel) in kernels.chunks_exact_mut(points).enumerate() {
                let g = |i: usize| f64::from(weight((output * inputs + input) * 9 + i).to_f32());
                let columns = [0, 1, 2].map(|j| X::kernel([g(j), g(3 + j), g(6 + j)]));
                for (i, row) in kernel.chunks_exact_mut(X::IN).enumerate() {
                    let numbers = X::kernel(columns.map(|column| column[i]));
                    row.iter_mut().zip(numbers).for_each(|(place, x)| *place = T::from_f32(x as f32));
                }
            }
        });
        let point = |output, point, input| transformed[(output * inputs + input) * points + point];
        let panels = Panels::pack(level, outputs, [points, inputs], false, point);
        Self { level, inputs, outputs, panels, size: PhantomData }
    }

    fn forward(&self, x: &[T], [batch, height, width]: [usize; 3], epilogue: &Epilogue<'_, T>) -> Vec<T> {
        let Self { inputs, outputs, .. } = *self;
        assert_eq!(x.len(), batch * height * width * inputs, "every picture has all channels");
        let pixels = batch * height * width;
        let bias_step = epilogue.check(outputs, batch, pixels * outputs);
        let output = Output::new(pixels * outputs);
        let grid = Grid { height, width, rows: height.div_ceil(X::OUT), columns: width.div_ceil(X::OUT) };
        let squares = batch * grid.rows * grid.columns;
        let (points, length) = (X::IN * X::IN, self.panels.row_length());
        // Numbers of a square's point: whole vectors.
        let row = length.next_multiple_of(LANES);
        let most = (TRANSFORMED / (points * row * size_of::<T>())).max(SQUARES).min(squares);
        let mut transformed = Aligned::<T>::zeros(points * most * row);
        for first in (0..squares).step_by(most.max(1)) {
            let squares = first..(first + most).min(squares);
            let numbers = transformed.as_mut_slice();
            let place = Shared(numbers.as_mut_ptr());
            // A few squares a task.
            const FEW: usize = 4;
            parallel::for_each(squares.len().div_ceil(FEW), |task| {
                let from = task * FEW;
                for square in from..(from + FEW).min(squares.len()) {
                    let tile = Input { x, grid, inputs, square: first + square };
                    // SAFETY: the numbers of this square's points are this task's alone, and within `transformed`.
                    let to = unsafe { place.add(square * row) };
                    input::<T, X>(self.level, &tile, to, most * row);
                }
            });
            let numbers = transformed.as_slice();
            let panels = self.panels.panels();
            let bands = squares.len().div_ceil(SQUARES);
            let groups = parallel::enough_tasks().div_ceil(bands.max(1)).clamp(1, panels.max(1));
            parallel::for_each(if panels == 0 { 0 } else { bands * groups }, |task| {
                let band = parallel::range(squares.len(), task / groups, bands);
                let panels = parallel::range(panels, task % groups, groups);
                let call = Call { grid, epilogue, bias_step, output: output.pointer() };
                self.band(&call, numbers, [most * row, row], first, band, panels);
            });
        }
        // SAFETY: the squares and panels make up all of the output.
        unsafe { output.finish() }
    }

    /// The results of some squares for some panels.
    fn band(
        &self,
        call: &Call<'_, T>,
        transformed: &[T],
        [point_step, row]: [usize; 2],
        first: usize,
        squares: Range<usize>,
        panels: Range<usize>,
    ) {
        let kernels = T::kernels(self.level);
        let points = X::IN * X::IN;
        let tiles = squares.len().div_ceil(kernels.rows);
        let padded = tiles * kernels.rows;
        with_scratch(points * padded * kernels.columns(), |scratch| {
            let mut rows = vec![std::ptr::null(); kernels.rows];
            for panel in panels {
                let columns = self.panels.columns(panel);
                for point in 0..points {
                    for tile in 0..tiles {
                        for (i, place) in rows.iter_mut().enumerate() {
                            // Behind the last square it comes again.
                            let square = squares.start + (tile * kernels.rows + i).min(squares.len() - 1);
                            *place = transformed[point * point_step + square * row..][..row].as_ptr();
                        }
                        let sums = &mut scratch[(point * padded + tile * kernels.rows) * columns..];
                        let product = Product {
                            rows: rows.as_ptr(),
                            segments: 1,
                            offset: 0,
                            steps: self.panels.steps(),
                            panel: self.panels.segment(panel, point).as_ptr(),
                            sums: sums[..kernels.rows * columns].as_mut_ptr(),
                            sums_row: columns,
                            accumulate: false,
                        };
                        // SAFETY: `kernels` has checked the level; the rows are whole, the panel has its columns for
                        // every step, and `sums` is a tile.
                        unsafe { kernels.compute(columns, &product) };
                    }
                }
                for square in squares.clone() {
                    let sums = Sums {
                        numbers: &scratch[(square - squares.start) * columns..],
                        point_step: padded * columns,
                        columns,
                    };
                    self.square(call, &sums, panel, first + square);
                }
            }
        });
    }

    /// From a square's sums to its results.
    fn square(&self, call: &Call<'_, T>, sums: &Sums<'_>, panel: usize, square: usize) {
        let Call { grid, epilogue, bias_step, output } = *call;
        let mut results = [0f32; 16 * 64];
        transform_output::<X>(self.level, sums, &mut results);
        let (picture, y, x) = grid.place(square, X::OUT);
        let (from, columns) = self.panels.outputs_of(panel);
        for i in 0..X::OUT.min(grid.height - y) {
            let pixel = (picture * grid.height + y + i) * grid.width + x;
            let at = pixel * self.outputs + from;
            let f = Finish {
                rows: X::OUT.min(grid.width - x),
                columns,
                sums: results[i * X::OUT * sums.columns..].as_ptr(),
                sums_row: sums.columns,
                output: output.wrapping_add(at),
                output_row: self.outputs,
                bias: epilogue.bias.map_or(std::ptr::null(), |b| b[picture * bias_step + from..].as_ptr()),
                activation: epilogue.activation,
                residual: epilogue.residual.map_or(std::ptr::null(), |r| r[at..].as_ptr()),
                gate: None,
            };
            // SAFETY: these pixels and channels are this task's alone, and within the output; `results` has the square's
            // rows; bias and residual have been checked to be as long as the result.
            unsafe { finish(self.level, &f) };
        }
    }
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
struct Sums<'a> {
    numbers: &'a [f32],
    point_step: usize,
    columns: usize,
}

/// A pointer that tasks share, each for numbers of its own.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);

// SAFETY: whoever writes through it answers for where.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// The place is within what the pointer was made of.
    unsafe fn add(&self, n: usize) -> *mut T {
        // SAFETY: the caller's.
        unsafe { self.0.add(n) }
    }
}

/// The pixels around a square.
struct Input<'a, T> {
    x: &'a [T],
    grid: Grid,
    inputs: usize,
    square: usize,
}

/// Transforms a square's input; point `p` goes to `to + p * step`.
fn input<T: Element, X: Transform>(level: Level, input: &Input<'_, T>, to: *mut T, step: usize) {
    let Input { x, grid, inputs, square } = *input;
    let (picture, y, x_at) = grid.place(square, X::OUT);
    // None outside of the picture.
    let mut pixels = [None; POINTS];
    for i in 0..X::IN {
        for j in 0..X::IN {
            let row = (y + i).checked_sub(1).filter(|row| *row < grid.height);
            let column = (x_at + j).checked_sub(1).filter(|column| *column < grid.width);
            pixels[i * X::IN + j] = row.zip(column).map(|(row, column)| {
                let at = ((picture * grid.height + row) * grid.width + column) * inputs;
                &x[at..at + inputs]
            });
        }
    }
    transform_input::<T, X>(level, &pixels, inputs, Place { to, step });
}

/// Where a square's transformed numbers go.
struct Place<T> {
    to: *mut T,
    step: usize,
}

for_every_level! {
    fn transform_input<T: Element, X: Transform>(pixels: &[Option<&[T]>; POINTS], inputs: usize, place: Place<T>) {
        for from in (0..inputs).step_by(LANES) {
            let n = LANES.min(inputs - from);
            let mut d = [[0f32; LANES]; POINTS];
            for (d, pixel) in d[..X::IN * X::IN].iter_mut().zip(pixels) {
                match pixel {
                    None => {}
                    Some(pixel) if n == LANES => {
                        for (d, x) in d.iter_mut().zip(&pixel[from..from + LANES]) {
                            *d = x.to_f32();
                        }
                    }
                    Some(pixel) => {
                        for (d, x) in d.iter_mut().zip(&pixel[from..]) {
                            *d = x.to_f32();
                        }
                    }
                }
            }
            let mut rows = [[0f32; LANES]; POINTS];
            for i in 0..X::IN {
                X::input(&d[i * X::IN..(i + 1) * X::IN], &mut rows[i * X::IN..(i + 1) * X::IN]);
            }
            for j in 0..X::IN {
                let (mut column, mut result) = ([[0f32; LANES]; 6], [[0f32; LANES]; 6]);
                for i in 0..X::IN {
                    column[i] = rows[i * X::IN + j];
                }
                X::input(&column, &mut result);
                for (i, vector) in result[..X::IN].iter().enumerate() {
                    let mut numbers = [T::default(); LANES];
                    for (number, x) in numbers.iter_mut().zip(vector) {
                        *number = T::from_f32(*x);
                    }
                    // SAFETY: a point's numbers are whole vectors, and there is one of each point for this square.
                    unsafe {
                        let to = place.to.add((i * X::IN + j) * place.step + from);
                        to.cast::<[T; LANES]>().write_unaligned(numbers);
                    }
                }
            }
        }
    }
}

for_every_level! {
    /// `results` are `(OUT x OUT, columns)`.
    fn transform_output<X: Transform>(sums: &Sums<'_>, results: &mut [f32; 16 * 64]) {
        let columns = sums.columns;
        // The portable level's panels are narrower than a vector here.
        for from in (0..columns).step_by(LANES) {
            let n = LANES.min(columns - from);
            let mut m: [Vector; POINTS] = [[0f32; LANES]; POINTS];
            for (point, m) in m[..X::IN * X::IN].iter_mut().enumerate() {
                let numbers = &sums.numbers[point * sums.point_step + from..][..n];
                match <&Vector>::try_from(numbers) {
                    Ok(numbers) => *m = *numbers,
                    Err(_) => m[..n].copy_from_slice(numbers),
                }
            }
            let mut rows = [[0f32; LANES]; POINTS];
            for i in 0..X::IN {
                X::output(&m[i * X::IN..(i + 1) * X::IN], &mut rows[i * X::OUT..(i + 1) * X::OUT]);
            }
            for j in 0..X::OUT {
                let (mut column, mut result) = ([[0f32; LANES]; 6], [[0f32; LANES]; 6]);
                for i in 0..X::IN {
                    column[i] = rows[i * X::OUT + j];
                }
                X::output(&column, &mut result);
                for (i, vector) in result[..X::OUT].iter().enumerate() {
                    results[(i * X::OUT + j) * columns + from..][..n].copy_from_slice(&vector[..n]);
                }
            }
        }
    }
}
