//! Two-dimensional convolution.

use candle_core::{Result, Tensor};

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
    /// `(outputs, inputs, kernel, kernel)`.
    weight: Tensor,
    /// `(1, outputs, 1, 1)`.
    bias: Tensor,
    stride: usize,
    padding: Padding,
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
        let bias = weights.tensor("bias", &[outputs])?.reshape((1, outputs, 1, 1))?;
        Ok(Self { weight, bias, stride, padding })
    }

    /// `(batch, inputs, height, width)` to `(batch, outputs, height', width')`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (padded, padding) = match self.padding {
            Padding::Same(n) => (x.clone(), n),
            Padding::RightAndBottom => (x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?, 0),
        };
        let weight = self.weight.to_dtype(x.dtype())?;
        let y = super::each_row(&padded, |row| row.conv2d(&weight, padding, self.stride, 1, 1))?;
        y.broadcast_add(&self.bias.to_dtype(x.dtype())?)
    }
}
