//! What LMS, Euler, Euler ancestral and Heun share: latents that are `clean + sigma * noise`, and the ODE
//! `dx / d sigma = (x - clean) / sigma` (Karras et al. 2022, equation 3).

use candle_core::{Result, Tensor};

use super::combine::combine;
use super::prediction::{Limit, Prediction};
use super::timesteps::Spacing;
use super::walk::Walk;

pub(crate) struct SigmaWalk {
    pub(crate) walk: Walk,
    /// Noise levels of the evaluations, and the one after the last.
    pub(crate) sigmas: Vec<f64>,
    pub(crate) prediction: Prediction,
    pub(crate) spacing: Spacing,
}

impl SigmaWalk {
    /// The highest noise level; leading spacing, which does not start at the top, also has the signal's share.
    pub(crate) fn init_noise_sigma(&self) -> f64 {
        let max = self.sigmas.iter().copied().fold(0.0, f64::max);
        match self.spacing {
            Spacing::Leading => max.hypot(1.0),
            Spacing::Linspace | Spacing::Trailing => max,
        }
    }

    pub(crate) fn add_noise(&self, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        combine(&[(1.0, clean), (self.sigmas[self.walk.index()], noise)])
    }

    /// Latents of unit variance.
    pub(crate) fn scale_model_input(&self, latents: &Tensor) -> Result<Tensor> {
        combine(&[(1.0 / self.sigmas[self.walk.index()].hypot(1.0), latents)])
    }

    /// As [`super::Scheduler::clean_weights`].
    pub(crate) fn clean_weights(&self) -> (f64, f64) {
        let sigma = self.sigmas[self.walk.index()];
        let scale = 1.0 / sigma.hypot(1.0);
        let (of_latents, of_output) = self.prediction.clean(scale, sigma * scale);
        (of_latents * scale, of_output)
    }

    /// `(latents - clean) / sigma` at noise level `sigma`.
    pub(crate) fn derivative(
        &self,
        limit: Limit,
        sigma: f64,
        output: &Tensor,
        latents: &Tensor,
    ) -> Result<Tensor> {
        // alpha and sigma of the same noise level, with the latents scaled to unit variance.
        let scale = 1.0 / sigma.hypot(1.0);
        let (alpha, noise) = (scale, sigma * scale);
        if limit.is_none() {
            // Without a detour over the clean latents, which loses digits at high noise levels.
            let (of_latents, of_output) = self.prediction.noise(alpha, noise);
            return combine(&[(of_latents * scale, latents), (of_output, output)]);
        }
        let (of_latents, of_output) = self.prediction.clean(alpha, noise);
        let clean = limit.apply(combine(&[(of_latents * scale, latents), (of_output, output)])?)?;
        combine(&[(1.0 / sigma, latents), (-1.0 / sigma, &clean)])
    }
}
