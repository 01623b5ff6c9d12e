//! What the modules are made of. This is the one place that decides who computes: the modules know no kernel.
//!
//! Layers own their weights, so that they can be packed once at load. What flows is a [`FeatureMap`] or tokens
//! `(batch, tokens, width)`. On a CPU our own kernels compute, in f32 or bf16; elsewhere candle's operations.

mod activation;
mod attention;
mod conv;
mod cpu;
mod linear;
mod map;
mod merge;
mod norm;
mod packing;
#[cfg(test)]
mod tests;

use candle_core::{Device, Result, Tensor};

pub(crate) use activation::Activation;
pub(crate) use attention::{Sees, attention};
pub(crate) use conv::{Conv2d, Padding};
pub(crate) use linear::Linear;
pub(crate) use map::FeatureMap;
pub(crate) use merge::Merge;
pub(crate) use norm::{GroupNorm, LayerNorm};
#[cfg(test)]
pub(crate) use tests::on_candle;

/// Whether our own kernels compute on a device.
fn on_kernels(device: &Device) -> bool {
    #[cfg(test)]
    if tests::ON_CANDLE.get() {
        return false;
    }
    device.is_cpu()
}

/// `f` of every row of a batch by itself, `(1, ...)` each, joined again. A matrix product rounds differently when it has
/// other dimensions, and a job must give the same picture whatever else is in its batch.
fn each_row(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    match x.dim(0)? {
        1 => f(&x.contiguous()?),
        batch => {
            let rows = (0..batch).map(|row| f(&x.narrow(0, row, 1)?.contiguous()?));
            Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)
        }
    }
}

/// As many copies of each row of a batch as `copies` says, one after the other.
pub(crate) fn repeat_rows(x: &Tensor, copies: &[usize]) -> Result<Tensor> {
    if copies.iter().all(|&n| n == 1) {
        return Ok(x.clone());
    }
    let rows = copies.iter().enumerate().map(|(row, &n)| Ok(vec![x.narrow(0, row, 1)?; n]));
    Tensor::cat(&rows.collect::<Result<Vec<_>>>()?.concat(), 0)
}

/// What comes after a layer, where it is not one with it.
fn finish(y: Tensor, activation: Option<Activation>, residual: Option<&Tensor>) -> Result<Tensor> {
    let y = match activation {
        None => y,
        Some(activation) => activation.forward(&y)?,
    };
    match residual {
        None => Ok(y),
        Some(residual) => residual + y,
    }
}
