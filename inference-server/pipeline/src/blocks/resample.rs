//! Halving and doubling a picture's sides.

use candle_core::Result;

use crate::LoadError;
use crate::checkpoint::Weights;
use crate::ops::{Conv2d, FeatureMap, Padding};

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

    /// To half of the height and width.
    pub(crate) fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        self.0.forward(x)
    }
}

/// Nearest-neighbour enlargement, then a 3x3 convolution.
pub(crate) struct Upsample(Conv2d);

impl Upsample {
    /// Reads `conv`.
    pub(crate) fn load(weights: &Weights, channels: usize) -> std::result::Result<Self, LoadError> {
        Ok(Self(Conv2d::enlarging(&weights.pp("conv"), channels, channels)?))
    }

    /// To the given height and width.
    pub(crate) fn forward_to(&self, x: &FeatureMap, size: (usize, usize)) -> Result<FeatureMap> {
        self.0.forward_enlarged(x, size)
    }

    /// To twice the height and width.
    pub(crate) fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        let (height, width) = x.size();
        self.forward_to(x, (2 * height, 2 * width))
    }
}
