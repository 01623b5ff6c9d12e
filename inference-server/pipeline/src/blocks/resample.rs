//! Halving and doubling a picture's sides.

use candle_core::{Result, Tensor};

use crate::LoadError;
use crate::checkpoint::Weights;
use crate::ops::{Conv2d, Padding, upsample_nearest};

/// A 3x3 convolution of stride 2.
pub(crate) struct Downsample(Conv2d);

impl Downsample {
    /// Reads `conv`.
    pub(crate) fn load(
        weights: &Weights,
        channels: usize,
        padding: Padding,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self(Conv2d::strided(&weights.pp("conv"), channels, channels, 3, 2, padding)?))
    }

    /// `(batch, channels, height, width)` to half of the height and width.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x)
    }
}

/// Nearest-neighbour enlargement, then a 3x3 convolution.
pub(crate) struct Upsample(Conv2d);

impl Upsample {
    /// Reads `conv`.
    pub(crate) fn load(weights: &Weights, channels: usize) -> std::result::Result<Self, LoadError> {
        Ok(Self(Conv2d::load(&weights.pp("conv"), channels, channels, 3)?))
    }

    /// `(batch, channels, height, width)` to `(batch, channels, size.0, size.1)`.
    pub(crate) fn forward_to(&self, x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        self.0.forward(&upsample_nearest(x, size.0, size.1)?)
    }

    /// To twice the height and width.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        self.forward_to(x, (2 * height, 2 * width))
    }
}
