//! LCM: multistep sampling of latent consistency models (Luo et al. 2023, algorithm 3).

use candle_core::{Result, Tensor};

use super::Scheduler;
use super::betas::AlphasCumprod;
use super::build::Setup;
use super::combine::combine;
use super::ddim::usable;
use super::prediction::{Limit, Prediction, clean_latents};
use super::timesteps::distilled;
use super::walk::Walk;
use crate::noise::TorchGenerator;

/// Deviation of the data that the boundary condition assumes (Luo et al. 2023, section 4.1).
const SIGMA_DATA: f64 = 0.5;

pub(crate) struct Lcm {
    walk: Walk,
    alphas: AlphasCumprod,
    prediction: Prediction,
    limit: Limit,
    timestep_scaling: f64,
}

impl Lcm {
    pub(crate) fn new(setup: Setup<'_>) -> Self {
        let options = setup.options;
        let timesteps = distilled(options.train_timesteps, options.original_inference_steps, setup.steps);
        Self {
            walk: Walk::new(timesteps),
            alphas: usable(setup.alphas, options.prediction),
            prediction: options.prediction,
            limit: setup.limit,
            timestep_scaling: options.timestep_scaling,
        }
    }
}

impl Scheduler for Lcm {
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
        let index = self.walk.advance()?;
        let alpha = self.alphas.at(timestep);
        let levels = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let clean = clean_latents(self.prediction, self.limit, levels, output, latents)?;

        let scaled = timestep * self.timestep_scaling;
        let skip = SIGMA_DATA * SIGMA_DATA / (scaled * scaled + SIGMA_DATA * SIGMA_DATA);
        let out = scaled / scaled.hypot(SIGMA_DATA);
        let denoised = combine(&[(out, &clean), (skip, latents)])?;
        let Some(next) = self.walk.all().get(index + 1) else { return Ok(denoised) };
        let alpha = self.alphas.at(*next);
        let fresh = super::fresh_noise(noise, latents)?;
        combine(&[(alpha.sqrt(), &denoised), ((1.0 - alpha).sqrt(), &fresh)])
    }
}
