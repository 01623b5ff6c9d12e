//! From sums to results: bias, activation, gate, residual and the output's type.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crate::dispatch::for_every_level;
use crate::element::{Element, write_rounded};
use crate::epilogue::{Activation, Function, for_function};
use crate::level::Level;

/// Some rows of a tile of sums, and where they go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish<T> {
    pub rows: usize,
    /// Numbers of a row that are written.
    pub columns: usize,
    pub sums: *const f32,
    pub sums_row: usize,
    pub output: *mut T,
    pub output_row: usize,
    /// One number for each of a row's sums (with a gate, for the written ones, and `gate` numbers later for the gates);
    /// null if there is none.
    pub bias: *const f32,
    pub activation: Activation,
    /// Laid out as the output; null if there is none.
    pub residual: *const T,
    /// Where in a row the gates begin, if there are gates: the result is multiplied with the activation of its gate, and
    /// not activated itself. The distance of a gate's bias follows.
    pub gate: Option<(usize, usize)>,
}

impl<T> Finish<T> {
    /// Asks for the memory that is going to be written and for the residual, as early as there is something to compute meanwhile:
    /// stores that wait for it hold everything up behind them.
    #[inline(always)]
    pub(crate) fn announce(&self) {
        for row in 0..self.rows {
            let (at, bytes) = (row * self.output_row, self.columns * size_of::<T>());
            prefetch::<true>(self.output.wrapping_add(at).cast(), bytes);
            if !self.residual.is_null() {
                prefetch::<false>(self.residual.wrapping_add(at).cast(), bytes);
            }
        }
    }
}

/// `bytes` from `start` on are read, or with `WRITE` written, soon.
#[inline(always)]
fn prefetch<const WRITE: bool>(start: *const u8, bytes: usize) {
    const LINE: usize = 64;
    for line in (0..bytes).step_by(LINE) {
        let place = start.wrapping_add(line).cast();
        // SAFETY: it is a hint, which may name any place.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};
            if WRITE { _mm_prefetch::<_MM_HINT_ET0>(place) } else { _mm_prefetch::<_MM_HINT_T0>(place) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _: *const i8 = place;
    }
}

/// `activation(sum + bias) + residual`, or `(sum + bias) activation(gate + its bias) + residual`.
///
/// # Safety
/// The pointers of `f` are valid for what it says.
pub(crate) unsafe fn finish<T: Element>(level: Level, f: &Finish<T>) {
    finish_rows(level, f);
}

for_every_level! {
    fn finish_rows<T>(f: &Finish<T>) {
        for_function!(f.activation, rows::<T, FMA, BF16>(f));
    }
}

#[inline(always)]
fn rows<T: Element, const FMA: bool, const BF16: bool, F: Function>(f: &Finish<T>) {
    let Finish { columns, .. } = *f;
    for row in 0..f.rows {
        // SAFETY: the caller vouches for rows and columns of all pointers.
        let numbers = |from: *const f32, offset: usize| unsafe {
            std::slice::from_raw_parts(from.add(offset), columns)
        };
        // A vector of zeros stands for no bias: it is as long as the widest tile.
        let bias = |offset: usize| match f.bias.is_null() {
            true => &NO_BIAS[..columns],
            false => numbers(f.bias, offset),
        };
        // SAFETY: as above, and nobody else has this part of the output, which may not be initialised yet.
        let (sums, output, residual) = unsafe {
            let output = f.output.add(row * f.output_row).cast::<MaybeUninit<T>>();
            let residual = (!f.residual.is_null())
                .then(|| std::slice::from_raw_parts(f.residual.add(row * f.output_row), columns));
            (f.sums.add(row * f.sums_row), std::slice::from_raw_parts_mut(output, columns), residual)
        };
        let (values, biases) = (numbers(sums, 0), bias(0));
        match (f.gate, residual) {
            (None, None) => {
                write_rounded!(T, BF16, output, [x: values, bias: biases] => F::at::<T, FMA>(x + bias));
            }
            (None, Some(residual)) => {
                write_rounded!(T, BF16, output, [x: values, bias: biases, residual: residual] => {
                    F::at::<T, FMA>(x + bias) + residual.to_f32()
                });
            }
            (Some((gate, distance)), None) => {
                let (gates, gate_biases) = (numbers(sums, gate), bias(distance));
                write_rounded!(T, BF16, output, [x: values, bias: biases, gate: gates, b: gate_biases] => {
                    (x + bias) * F::at::<T, FMA>(gate + b)
                });
            }
            (Some((gate, distance)), Some(residual)) => {
                let (gates, gate_biases) = (numbers(sums, gate), bias(distance));
                write_rounded!(
                    T,
                    BF16,
                    output,
                    [x: values, bias: biases, gate: gates, b: gate_biases, residual: residual] => {
                        (x + bias) * F::at::<T, FMA>(gate + b) + residual.to_f32()
                    }
                );
            }
        }
    }
}

static NO_BIAS: [f32; 64] = [0.0; 64];
