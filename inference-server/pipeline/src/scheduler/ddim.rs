//! DDIM: denoising diffusion implicit models (Song et al. 2021), equation 12.

use candle_core::{Result, Tensor};

use super::Scheduler;
use super::betas::AlphasCumprod;
use super::build::Setup;
use super::combine::combine;
use super::prediction::{Limit, Prediction, clean_latents};
use super::walk::Walk;
use crate::noise::TorchGenerator;

pub(crate) struct Ddim {
    walk: Walk,
    alphas: AlphasCumprod,
    final_alpha: f64,
    prediction: Prediction,
    limit: Limit,
    /// Training timesteps per step.
    stride: f64,
    eta: f64,
}

impl Ddim {
    pub(crate) fn new(setup: Setup<'_>) -> Self {
        Self {
            walk: Walk::new(setup.timesteps.whole(setup.steps)),
            stride: (setup.options.train_timesteps / setup.steps) as f64,
            alphas: usable(setup.alphas, setup.options.prediction),
            final_alpha: setup.final_alpha,
            prediction: setup.options.prediction,
            limit: setup.limit,
            eta: setup.eta,
        }
    }
}

/// Where no signal is left, no clean latents follow from predicted noise (diffusers divides by 0 there); a little
/// signal is put in, as the schedulers with sigmas do. The other predictions do not need it.
pub(super) fn usable(alphas: AlphasCumprod, prediction: Prediction) -> AlphasCumprod {
    if prediction == Prediction::Epsilon { alphas.with_some_signal() } else { alphas }
}

impl Scheduler for Ddim {
    fn timesteps(&self) -> &[f64] {
        self.walk.timesteps()
    }

    fn start_at(&mut self, index: usize) {
        self.walk.start_at(index);
    }

    fn add_noise(&self, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let alpha = self.alphas.at(self.walk.timestep());
        combine(&[(alpha.sqrt(), clean), ((1.0 - alpha).sqrt(), noise)])
    }

    fn clean_weights(&self) -> (f64, f64) {
        let alpha = self.alphas.at(self.walk.timestep());
        self.prediction.clean(alpha.sqrt(), (1.0 - alpha).sqrt())
    }

    fn step(&mut self, output: &Tensor, latents: &Tensor, noise: &mut TorchGenerator) -> Result<Tensor> {
        let timestep = self.walk.timestep();
        self.walk.advance()?;
        let before = timestep - self.stride;
        let alpha = self.alphas.at(timestep);
        let alpha_before = if before < 0.0 { self.final_alpha } else { self.alphas.at(before) };
        let (signal, sigma) = (alpha.sqrt(), (1.0 - alpha).sqrt());

        // Song et al. (2021), equation 16. Past the training range both signals can be 0.
        let fraction = if alpha_before > 0.0 { 1.0 - alpha / alpha_before } else { 0.0 };
        let variance = ((1.0 - alpha_before) / (1.0 - alpha) * fraction).max(0.0);
        let deviation = self.eta * variance.sqrt();
        let direction = (1.0 - alpha_before - deviation * deviation).max(0.0).sqrt();
        let (noise_of_latents, noise_of_output) = self.prediction.noise(signal, sigma);

        let clean = clean_latents(self.prediction, self.limit, (signal, sigma), output, latents)?;
        let next = combine(&[
            (alpha_before.sqrt(), &clean),
            (direction * noise_of_latents, latents),
            (direction * noise_of_output, output),
        ])?;
        if self.eta > 0.0 {
            let fresh = super::fresh_noise(noise, latents)?;
            return combine(&[(1.0, &next), (deviation, &fresh)]);
        }
        Ok(next)
    }
}
