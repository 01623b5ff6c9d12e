//! From sums to results: bias, activation, gate, residual and the output's type.
#![allow(unsafe_code)]

use crate::dispatch::for_every_level;
use crate::element::Element;
use crate::epilogue::Activation;
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

/// `activation(sum + bias) + residual`, or `(sum + bias) activation(gate + its bias) + residual`.
///
/// # Safety
/// The pointers of `f` are valid for what it says.
pub(crate) unsafe fn finish<T: Element>(level: Level, f: &Finish<T>) {
    finish_rows(level, f);
}

for_every_level! {
    fn finish_rows<T>(f: &Finish<T>) {
        // One copy for each, so that the innermost loop has no branch.
        match f.activation {
            Activation::Identity => rows(f, |x| x),
            Activation::Silu => rows(f, |x| Activation::Silu.at::<FMA>(x)),
            Activation::Gelu => rows(f, |x| Activation::Gelu.at::<FMA>(x)),
            Activation::QuickGelu => rows(f, |x| Activation::QuickGelu.at::<FMA>(x)),
        }
    }
}

#[inline(always)]
fn rows<T: Element>(f: &Finish<T>, activation: impl Fn(f32) -> f32 + Copy) {
    let Finish { columns, .. } = *f;
    // SAFETY: one vector of zeros stands for no bias: it is never longer than the widest tile.
    let bias = |offset: usize| match f.bias.is_null() {
        true => &NO_BIAS[..columns],
        false => unsafe { std::slice::from_raw_parts(f.bias.add(offset), columns) },
    };
    for row in 0..f.rows {
        // SAFETY: the caller vouches for rows and columns of all pointers, and nobody else has this part of the output.
        let (sums, output, residual) = unsafe {
            let residual = (!f.residual.is_null())
                .then(|| std::slice::from_raw_parts(f.residual.add(row * f.output_row), columns));
            (
                f.sums.add(row * f.sums_row),
                std::slice::from_raw_parts_mut(f.output.add(row * f.output_row), columns),
                residual,
            )
        };
        // SAFETY: as above.
        let numbers = |offset: usize| unsafe { std::slice::from_raw_parts(sums.add(offset), columns) };
        match f.gate {
            None => {
                let values = numbers(0).iter().zip(bias(0)).map(|(sum, bias)| activation(sum + bias));
                write(output, values, residual);
            }
            Some((gate, distance)) => {
                let gates = numbers(gate).iter().zip(bias(distance));
                let values = numbers(0).iter().zip(bias(0)).zip(gates);
                let values = values.map(|((sum, bias), (gate, b))| (sum + bias) * activation(gate + b));
                write(output, values, residual);
            }
        }
    }
}

static NO_BIAS: [f32; 64] = [0.0; 64];

#[inline(always)]
fn write<T: Element>(output: &mut [T], values: impl Iterator<Item = f32>, residual: Option<&[T]>) {
    match residual {
        None => output.iter_mut().zip(values).for_each(|(place, x)| *place = T::from_f32(x)),
        Some(residual) => output
            .iter_mut()
            .zip(values)
            .zip(residual)
            .for_each(|((place, x), residual)| *place = T::from_f32(x + residual.to_f32())),
    }
}
