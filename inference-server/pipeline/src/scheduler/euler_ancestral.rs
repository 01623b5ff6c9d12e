//! Euler's method with ancestral noise (after k-diffusion): each step goes below its noise level and back up with
//! fresh noise, as the reverse process of Ho et al. (2020) does.

use candle_core::{Result, Tensor};

use super::Scheduler;
use super::build::Setup;
use super::combine::combine;
use super::prediction::Limit;
use super::sigma_walk::SigmaWalk;
use super::walk::Walk;
use crate::noise::TorchGenerator;

pub(crate) struct EulerAncestral {
    base: SigmaWalk,
}

impl EulerAncestral {
    pub(crate) fn new(setup: Setup<'_>) -> Self {
        let (timesteps, sigmas) = setup.levels();
        let base = SigmaWalk {
            walk: Walk::new(timesteps),
            sigmas,
            prediction: setup.options.prediction,
            spacing: setup.timesteps.spacing,
        };
        Self { base }
    }
}

impl Scheduler for EulerAncestral {
    fn timesteps(&self) -> &[f64] {
        self.base.walk.timesteps()
    }

    fn init_noise_sigma(&self) -> f64 {
        self.base.init_noise_sigma()
    }

    fn start_at(&mut self, index: usize) {
        self.base.walk.start_at(index);
    }

    fn add_noise(&self, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        self.base.add_noise(clean, noise)
    }

    fn scale_model_input(&self, latents: &Tensor) -> Result<Tensor> {
        self.base.scale_model_input(latents)
    }

    fn clean_weights(&self) -> (f64, f64) {
        self.base.clean_weights()
    }

    fn step(&mut self, output: &Tensor, latents: &Tensor, noise: &mut TorchGenerator) -> Result<Tensor> {
        let index = self.base.walk.advance()?;
        let (sigma, next) = (self.base.sigmas[index], self.base.sigmas[index + 1]);
        let derivative = self.base.derivative(Limit::None, sigma, output, latents)?;
        // up^2 + down^2 = next^2, and up^2 is the variance of the reverse process.
        let ratio = next / sigma;
        let up = next * (1.0 - ratio * ratio).max(0.0).sqrt();
        let down = (next * next - up * up).max(0.0).sqrt();
        let fresh = super::fresh_noise(noise, latents)?;
        combine(&[(1.0, latents), (down - sigma, &derivative), (up, &fresh)])
    }
}
