//! The innermost loops: a tile of the result that is held in registers, `rows x columns`, as a sum of outer products.
#![allow(unsafe_code)]

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

use crate::epilogue::{Activation, Epilogue};
use crate::level::Level;

/// The largest tile of any level.
const LARGEST: usize = 14 * 64;

/// Rows and vectors of a tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub rows: usize,
    pub vectors: usize,
}

/// `c[i, j] (+)= sum over k of a[k a_step + i a_row] b[k b_step + j]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub depth: usize,
    pub a: *const f32,
    /// Ignored where a is packed: 1.
    pub a_row: usize,
    pub a_step: usize,
    pub b: *const f32,
    pub b_step: usize,
    pub c: *mut f32,
    pub c_row: usize,
    /// Add to what is in c.
    pub accumulate: bool,
}

/// Where the numbers of `b`'s columns come from for the bias.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bias {
    None,
    /// One for each row of the tile.
    Rows(*const f32),
    /// One for each column.
    Columns(*const f32),
}

/// `c = activation(c + bias) + residual`, `residual` laid out as `c`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish {
    pub rows: usize,
    pub columns: usize,
    pub c: *mut f32,
    pub c_row: usize,
    pub bias: Bias,
    pub activation: Activation,
    /// Null if there is none.
    pub residual: *const f32,
}

/// One level's loops.
pub(crate) struct Kernels {
    /// Numbers in a vector.
    pub lanes: usize,
    /// The tile where `a` is packed, `a_row` = 1.
    pub packed: Size,
    /// The tile where `a` is read as it is.
    pub direct: Size,
    /// `(rows, vectors, product)`. Safe to call where the level is supported, rows and vectors are at least 1 and at
    /// most the size above, and `a`, `b` (whole vectors) and `c` (whole vectors) are valid for what the sum says.
    pub run_packed: unsafe fn(usize, usize, &Product),
    pub run_direct: unsafe fn(usize, usize, &Product),
    /// Safe to call where the level is supported and the pointers are valid for `rows x columns`.
    pub finish: unsafe fn(&Finish),
}

impl Kernels {
    /// # Panics
    /// Where the machine does not have the level.
    pub(crate) fn of(level: Level) -> &'static Self {
        assert!(level.is_supported(), "this machine has no {}", level.name());
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512f | Level::Avx512Bf16 => &x86::AVX512F,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2Fma => &x86::AVX2_FMA,
            _ => &portable::PORTABLE,
        }
    }
}

/// Where a tile's columns are in the output: consecutive numbers of planes of `plane` numbers, a plane every `stride`.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    pub range: Range<usize>,
    pub plane: usize,
    pub stride: usize,
}

impl Columns {
    /// Stretches that lie together: `(first column of the tile, offset in the output, length)`.
    fn stretches(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let Self { range: Range { start, end }, plane, stride } = self.clone();
        let mut at = start;
        std::iter::from_fn(move || {
            let (image, offset) = (at / plane, at % plane);
            let stretch = (at - start, image * stride + offset, (end - at).min(plane - offset));
            at += stretch.2;
            (stretch.2 > 0).then_some(stretch)
        })
    }
}

/// One tile of an output.
pub(crate) struct Target<'a> {
    pub kernels: &'static Kernels,
    pub a_is_packed: bool,
    pub rows: Range<usize>,
    pub columns: Columns,
    /// Of the whole output.
    pub output: *mut f32,
    /// From one row to the next.
    pub row_stride: usize,
    /// `Some` when this is the last part of the sum. The bias is one for each row if `a_is_packed`, else for each column.
    pub epilogue: Option<&'a Epilogue<'a>>,
}

impl Target<'_> {
    /// Computes the tile. `product.c`, `product.c_row` are filled in here.
    ///
    /// # Safety
    /// `kernels` are of a supported level; `product` reads only what is valid; rows and columns fit a tile of the level
    /// and lie within the output, which nobody else reads or writes there meanwhile, and which is initialised there if
    /// `product.accumulate`; the epilogue's slices are as long as the output's rows or columns and the whole output.
    pub(crate) unsafe fn compute(&self, mut product: Product) {
        let Self { kernels, rows, row_stride, .. } = self;
        let (n_rows, n_columns) = (rows.len(), self.columns.range.len());
        let vectors = n_columns.div_ceil(kernels.lanes);
        let run = if self.a_is_packed { kernels.run_packed } else { kernels.run_direct };
        let first = rows.start * row_stride;
        let mut stretches = self.columns.stretches();
        let whole = stretches.next().filter(|s| s.2 == n_columns && n_columns % kernels.lanes == 0);
        // SAFETY: all of the tile's numbers are within the output (caller), or within `tile`, which is large enough for
        // whole vectors of the largest tile.
        unsafe {
            if let Some((_, offset, _)) = whole {
                (product.c, product.c_row) = (self.output.add(first + offset), *row_stride);
                run(n_rows, vectors, &product);
            } else {
                let mut tile = [0f32; LARGEST];
                let width = vectors * kernels.lanes;
                (product.c, product.c_row) = (tile.as_mut_ptr(), width);
                let each = |f: &dyn Fn(*mut f32, usize, usize)| {
                    for row in 0..n_rows {
                        for (column, offset, length) in self.columns.stretches() {
                            let place = self.output.add(first + row * row_stride + offset);
                            f(place, row * width + column, length);
                        }
                    }
                };
                let pointer = product.c;
                if product.accumulate {
                    each(&|place, at, length| place.copy_to_nonoverlapping(pointer.add(at), length));
                }
                run(n_rows, vectors, &product);
                each(&|place, at, length| place.copy_from_nonoverlapping(pointer.add(at), length));
            }
            self.finish();
        }
    }

    /// # Safety
    /// As for [`Self::compute`], which has written the tile.
    unsafe fn finish(&self) {
        let Some(Epilogue { bias, activation, residual }) = self.epilogue else { return };
        if bias.is_none() && residual.is_none() && *activation == Activation::Identity {
            return;
        }
        let first = self.rows.start * self.row_stride;
        for (column, offset, columns) in self.columns.stretches() {
            // SAFETY: the offsets are those that were written, and the epilogue's slices are long enough (caller).
            unsafe {
                let bias = match bias {
                    None => Bias::None,
                    Some(bias) if self.a_is_packed => Bias::Rows(bias.as_ptr().add(self.rows.start)),
                    Some(bias) => Bias::Columns(bias.as_ptr().add(self.columns.range.start + column)),
                };
                (self.kernels.finish)(&Finish {
                    rows: self.rows.len(),
                    columns,
                    c: self.output.add(first + offset),
                    c_row: self.row_stride,
                    bias,
                    activation: *activation,
                    residual: residual.map_or(std::ptr::null(), |r| r.as_ptr().add(first + offset)),
                });
            }
        }
    }
}

/// [`Finish`], compiled once for every level.
///
/// # Safety
/// The pointers are valid for `rows x columns`.
#[inline(always)]
unsafe fn finish(f: &Finish) {
    match f.activation {
        // SAFETY: the caller's. One copy for each, so that the innermost loop has no branch.
        Activation::Identity => unsafe { finish_with(f, |x| x) },
        Activation::Silu => unsafe { finish_with(f, |x| Activation::Silu.of(x)) },
        Activation::Gelu => unsafe { finish_with(f, |x| Activation::Gelu.of(x)) },
        Activation::QuickGelu => unsafe { finish_with(f, |x| Activation::QuickGelu.of(x)) },
    }
}

/// # Safety
/// The pointers are valid for `rows x columns`.
#[inline(always)]
unsafe fn finish_with(f: &Finish, activation: impl Fn(f32) -> f32) {
    for row in 0..f.rows {
        // SAFETY: row and columns are within what the caller vouches for, and nobody else has `c`.
        unsafe {
            let c = std::slice::from_raw_parts_mut(f.c.add(row * f.c_row), f.columns);
            match f.bias {
                Bias::None => c.iter_mut().for_each(|x| *x = activation(*x)),
                Bias::Rows(bias) => {
                    let bias = *bias.add(row);
                    c.iter_mut().for_each(|x| *x = activation(*x + bias));
                }
                Bias::Columns(bias) => {
                    let bias = std::slice::from_raw_parts(bias, f.columns);
                    c.iter_mut().zip(bias).for_each(|(x, bias)| *x = activation(*x + bias));
                }
            }
            if !f.residual.is_null() {
                let residual = std::slice::from_raw_parts(f.residual.add(row * f.c_row), f.columns);
                c.iter_mut().zip(residual).for_each(|(x, residual)| *x += residual);
            }
        }
    }
}
