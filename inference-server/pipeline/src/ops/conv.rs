//! Two-dimensional convolution.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use diffusion_kernels::{ConvShape, Level, PackedConv};

use super::cpu;
use crate::LoadError;
use crate::checkpoint::Weights;

/// Zeros around the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    /// As many on every side.
    Same(usize),
    /// One on the right and one below: how the VAE's encoder halves a picture.
    RightAndBottom,
}

/// A convolution with bias.
#[derive(Debug, Clone)]
pub(crate) struct Conv2d {
    weight: Weight,
    /// `(outputs)`.
    bias: Tensor,
    stride: usize,
    padding: Padding,
}

#[derive(Debug, Clone)]
enum Weight {
    /// `(outputs, inputs, kernel, kernel)`.
    Tensor(Tensor),
    Packed(Arc<PackedConv>),
}

impl Conv2d {
    /// Reads `weight` `(outputs, inputs, kernel, kernel)` and `bias`; stride 1 and the picture's size kept.
    pub(crate) fn load(
        weights: &Weights,
        inputs: usize,
        outputs: usize,
        kernel: usize,
    ) -> std::result::Result<Self, LoadError> {
        Self::strided(weights, inputs, outputs, kernel, 1, Padding::Same(kernel / 2))
    }

    /// As [`Self::load`], with a stride and a padding.
    pub(crate) fn strided(
        weights: &Weights,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> std::result::Result<Self, LoadError> {
        let weight = weights.tensor("weight", &[outputs, inputs, kernel, kernel])?;
        let (before, after) = match padding {
            Padding::Same(n) => (n, n),
            Padding::RightAndBottom => (0, 1),
        };
        let shape = ConvShape { outputs, inputs, kernel, stride, before, after };
        let weight = match cpu::computes(weights) {
            false => Weight::Tensor(weight),
            true => Weight::Packed(Arc::new(cpu::with_numbers(&weight, |numbers| {
                Ok(PackedConv::new(Level::current(), numbers, shape))
            })?)),
        };
        Ok(Self { weight, bias: weights.tensor("bias", &[outputs])?, stride, padding })
    }

    /// `(batch, inputs, height, width)` to `(batch, outputs, height', width')`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.compute(x, None)
    }

    /// The convolution's result added to `residual`.
    pub(crate) fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.compute(x, Some(residual))
    }

    fn compute(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let weight = match &self.weight {
            Weight::Tensor(weight) => weight,
            Weight::Packed(weight) => {
                let (batch, channels, height, width) = x.dims4()?;
                let shape = weight.shape();
                let sides = shape.side(height).zip(shape.side(width)).filter(|_| channels == shape.inputs);
                let Some((rows, columns)) = sides else {
                    candle_core::bail!("{:?} does not fit {shape:?}", x.dims())
                };
                let result = [batch, shape.outputs, rows, columns];
                return cpu::with_numbers(&self.bias, |bias| {
                    cpu::compute(x, &result, Some(bias), None, residual, |x, epilogue| {
                        weight.forward(x, [batch, height, width], epilogue)
                    })
                });
            }
        };
        let (padded, padding) = match self.padding {
            Padding::Same(n) => (x.clone(), n),
            Padding::RightAndBottom => (x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?, 0),
        };
        let weight = weight.to_dtype(x.dtype())?;
        let y = super::each_row(&padded, |row| row.conv2d(&weight, padding, self.stride, 1, 1))?;
        let bias = self.bias.to_dtype(x.dtype())?.reshape((1, (), 1, 1))?;
        super::finish(y.broadcast_add(&bias)?, None, residual)
    }
}
