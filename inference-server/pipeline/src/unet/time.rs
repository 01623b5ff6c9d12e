//! The timestep as a vector.

use candle_core::{DType, Device, Result, Tensor};

use super::config::Config;
use crate::LoadError;
use crate::checkpoint::Weights;
use crate::ops::{Activation, Linear};

/// Sines and cosines of the timestep (Vaswani et al. 2017, section 3.5), then two layers.
pub(super) struct TimeEmbedding {
    width: usize,
    cosines_first: bool,
    frequency_shift: f64,
    activation: Activation,
    linear1: Linear,
    linear2: Linear,
}

impl TimeEmbedding {
    pub(super) fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, LoadError> {
        let width = config.widths.first().copied().unwrap_or_default();
        Ok(Self {
            width,
            cosines_first: config.flip_sin_to_cos,
            frequency_shift: config.freq_shift,
            activation: config.activation,
            linear1: Linear::load(&weights.pp("linear_1"), width, config.time_width)?,
            linear2: Linear::load(&weights.pp("linear_2"), config.time_width, config.time_width)?,
        })
    }

    /// One timestep a row to `(rows, time width)`.
    pub(super) fn forward(&self, timesteps: &[f64], device: &Device, dtype: DType) -> Result<Tensor> {
        let values: Vec<f32> = timesteps.iter().flat_map(|&t| self.sinusoids(t as f32)).collect();
        let x = Tensor::from_vec(values, (timesteps.len(), self.width), device)?.to_dtype(dtype)?;
        self.linear2.forward(&self.linear1.forward_with(&x, self.activation)?)
    }

    /// In f32 from end to end, as diffusers computes it: the sine of a large angle shows every rounding.
    fn sinusoids(&self, timestep: f32) -> Vec<f32> {
        let half = self.width / 2;
        let span = (half as f64 - self.frequency_shift) as f32;
        let angles = (0..half).map(|i| {
            let exponent = -(10_000f64.ln() as f32) * i as f32 / span;
            timestep * exponent.exp()
        });
        let (sines, cosines): (Vec<f32>, Vec<f32>) = angles.map(f32::sin_cos).unzip();
        let mut both = if self.cosines_first { [cosines, sines] } else { [sines, cosines] }.concat();
        both.resize(self.width, 0.0); // an odd width ends in a zero
        both
    }
}
