//! Heun's method on the noise levels (Karras et al. 2022, algorithm 2 without churn): each step but the last is
//! evaluated at both its ends, so N steps take 2 N - 1 evaluations.

use candle_core::{Result, Tensor};

use super::Scheduler;
use super::build::Setup;
use super::combine::combine;
use super::prediction::Limit;
use super::sigma_walk::SigmaWalk;
use super::walk::Walk;
use crate::noise::TorchGenerator;

pub(crate) struct Heun {
    base: SigmaWalk,
    limit: Limit,
    /// After the first evaluation of a step: where it started, the derivative there, and its length.
    half: Option<(Tensor, Tensor, f64)>,
}

impl Heun {
    pub(crate) fn new(setup: Setup<'_>) -> Self {
        let (timesteps, sigmas) = setup.levels();
        // The level below the last timestep comes once: nothing is evaluated there.
        let last = sigmas.last().copied();
        let levels = doubled(&sigmas[..timesteps.len()]).chain(last).collect();
        let base = SigmaWalk {
            walk: Walk::new(doubled(&timesteps).collect()),
            sigmas: levels,
            prediction: setup.options.prediction,
            spacing: setup.timesteps.spacing,
        };
        Self { base, limit: setup.limit, half: None }
    }
}

/// Every value twice, but the first once.
fn doubled(values: &[f64]) -> impl Iterator<Item = f64> {
    values.iter().flat_map(|value| [*value, *value]).skip(1)
}

impl Scheduler for Heun {
    fn timesteps(&self) -> &[f64] {
        self.base.walk.timesteps()
    }

    fn order(&self) -> usize {
        2
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
        let sigma = self.base.sigmas[index];
        let derivative = self.base.derivative(self.limit, sigma, output, latents)?;
        if let Some((origin, first, length)) = self.half.take() {
            return combine(&[(1.0, &origin), (length / 2.0, &first), (length / 2.0, &derivative)]);
        }
        let length = self.base.sigmas[index + 1] - sigma;
        let next = combine(&[(1.0, latents), (length, &derivative)])?;
        self.half = Some((latents.clone(), derivative, length));
        Ok(next)
    }
}
