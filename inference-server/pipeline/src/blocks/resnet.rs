//! The residual block of two convolutions (He et al. 2016), as latent diffusion uses it (Rombach et al. 2022).

use candle_core::{Result, Tensor};

use crate::LoadError;
use crate::checkpoint::Weights;
use crate::ops::{Activation, Conv2d, FeatureMap, GroupNorm, Linear};

/// What a residual block looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResnetShape {
    pub inputs: usize,
    pub outputs: usize,
    pub groups: usize,
    pub eps: f64,
    pub activation: Activation,
    /// Width of the time embedding, if the block is told the time.
    pub time: Option<usize>,
}

/// Two normalised, activated convolutions around which the input goes unchanged.
pub(crate) struct ResnetBlock {
    activation: Activation,
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    /// Brings the input to the output's channels where they differ.
    shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    pub(crate) fn load(weights: &Weights, shape: ResnetShape) -> std::result::Result<Self, LoadError> {
        let ResnetShape { inputs, outputs, groups, eps, activation, time } = shape;
        let time =
            time.map(|width| Linear::load(&weights.pp("time_emb_proj"), width, outputs)).transpose()?;
        let shortcut = match inputs == outputs {
            true => None,
            false => Some(Conv2d::load(&weights.pp("conv_shortcut"), inputs, outputs, 1)?),
        };
        Ok(Self {
            activation,
            norm1: GroupNorm::load(&weights.pp("norm1"), groups, inputs, eps)?,
            conv1: Conv2d::load(&weights.pp("conv1"), inputs, outputs, 3)?,
            time,
            norm2: GroupNorm::load(&weights.pp("norm2"), groups, outputs, eps)?,
            conv2: Conv2d::load(&weights.pp("conv2"), outputs, outputs, 3)?,
            shortcut,
        })
    }

    /// A map of `inputs` channels to one of `outputs`; `time` is `(batch, width)`, activated.
    pub(crate) fn forward(&self, x: &FeatureMap, time: Option<&Tensor>) -> Result<FeatureMap> {
        // Assigned, not bound again: a map is freed as soon as the next one is there.
        let mut y = self.norm1.forward_with(x, self.activation)?;
        y = match (&self.time, time) {
            (Some(layer), Some(time)) => self.conv1.forward_moved(&y, &layer.forward(time)?)?,
            _ => self.conv1.forward(&y)?,
        };
        y = self.norm2.forward_with(&y, self.activation)?;
        match &self.shortcut {
            None => self.conv2.forward_onto(&y, x),
            Some(shortcut) => self.conv2.forward_onto(&y, &shortcut.forward(x)?),
        }
    }
}
