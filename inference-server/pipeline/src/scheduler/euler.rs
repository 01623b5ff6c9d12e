//! Euler's method on the noise levels (Karras et al. 2022, algorithm 2 without its correction and churn).

use candle_core::{Result, Tensor};

use super::Scheduler;
use super::build::Setup;
use super::combine::combine;
use super::prediction::{Limit, Prediction};
use super::sigma_walk::SigmaWalk;
use super::sigmas::as_f32;
use super::walk::Walk;
use crate::noise::TorchGenerator;

pub(crate) struct Euler {
    base: SigmaWalk,
}

impl Euler {
    pub(crate) fn new(setup: Setup<'_>) -> Self {
        let (mut timesteps, sigmas) = setup.levels();
        let prediction = setup.options.prediction;
        if setup.options.continuous_timesteps && prediction == Prediction::Velocity {
            // Karras et al. (2022), table 1: c_noise of EDM.
            let levels = &sigmas[..sigmas.len().saturating_sub(1)];
            timesteps = as_f32(levels.iter().map(|sigma| 0.25 * sigma.ln()));
        }
        let spacing = setup.timesteps.spacing;
        Self { base: SigmaWalk { walk: Walk::new(timesteps), sigmas, prediction, spacing } }
    }
}

impl Scheduler for Euler {
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

    fn step(&mut self, output: &Tensor, latents: &Tensor, _noise: &mut TorchGenerator) -> Result<Tensor> {
        let index = self.base.walk.advance()?;
        let (sigma, next) = (self.base.sigmas[index], self.base.sigmas[index + 1]);
        let derivative = self.base.derivative(Limit::None, sigma, output, latents)?;
        combine(&[(1.0, latents), (next - sigma, &derivative)])
    }
}
