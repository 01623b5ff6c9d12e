//! What DPM-Solver and UniPC share: latents that are `alpha * clean + sigma * noise`, and time measured as half the
//! logarithm of the signal-to-noise ratio, `lambda = ln(alpha / sigma)` (Lu et al. 2022, section 3.1).

use candle_core::{Result, Tensor};

use super::combine::combine;
use super::prediction::Prediction;
use super::walk::Walk;

pub(crate) struct SolverWalk {
    pub(crate) walk: Walk,
    /// Noise levels `sigma / alpha` of the evaluations, and the one after the last.
    pub(crate) levels: Vec<f64>,
}

impl SolverWalk {
    /// `(alpha, sigma)` at an index.
    pub(crate) fn alpha_sigma(&self, index: usize) -> (f64, f64) {
        let alpha = 1.0 / self.levels[index].hypot(1.0);
        (alpha, self.levels[index] * alpha)
    }

    /// As [`super::Scheduler::clean_weights`].
    pub(crate) fn clean_weights(&self, prediction: Prediction) -> (f64, f64) {
        let (alpha, sigma) = self.alpha_sigma(self.walk.index());
        prediction.clean(alpha, sigma)
    }

    /// `lambda` at `to` less `lambda` at `from`; infinite when `to` is free of noise.
    pub(crate) fn lambda_step(&self, from: usize, to: usize) -> f64 {
        (self.levels[from] / self.levels[to]).ln()
    }

    /// The order that a step of length `h`, starting at index `at`, can have: no more than `wanted`, and no more
    /// than the levels before it that differ. A step without length or without end has order 1.
    pub(crate) fn order(&self, wanted: usize, at: usize, h: f64) -> usize {
        if h == 0.0 || !h.is_finite() {
            return 1;
        }
        let differ = |back: usize| {
            back <= at && {
                let step = self.lambda_step(at - back, at + 1 - back);
                step != 0.0 && step.is_finite()
            }
        };
        (1..wanted).take_while(|back| differ(*back)).count() + 1
    }

    pub(crate) fn add_noise(&self, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let (alpha, sigma) = self.alpha_sigma(self.walk.index());
        combine(&[(alpha, clean), (sigma, noise)])
    }
}
