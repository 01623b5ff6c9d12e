//! Linear multistep of order 4 on the noise levels ("K-LMS", after k-diffusion).

use candle_core::{Result, Tensor};

use super::Scheduler;
use super::build::Setup;
use super::combine::combine;
use super::prediction::Limit;
use super::sigma_walk::SigmaWalk;
use super::walk::Walk;
use crate::noise::TorchGenerator;

const ORDER: usize = 4;

pub(crate) struct Lms {
    base: SigmaWalk,
    /// Latest derivatives, newest last.
    derivatives: Vec<Tensor>,
}

impl Lms {
    pub(crate) fn new(setup: Setup<'_>) -> Self {
        let (timesteps, sigmas) = setup.levels();
        let base = SigmaWalk {
            walk: Walk::new(timesteps),
            sigmas,
            prediction: setup.options.prediction,
            spacing: setup.timesteps.spacing,
        };
        Self { base, derivatives: Vec::with_capacity(ORDER) }
    }
}

/// Integrals, from the first noise level to `to`, of the Lagrange polynomials on `levels` (newest first).
///
/// Up to four levels make polynomials of degree 3 at most, for which Gauss's rule with two points is exact.
fn weights(levels: &[f64], to: f64) -> Vec<f64> {
    let Some(from) = levels.first() else { return Vec::new() };
    let (middle, half) = ((from + to) / 2.0, (to - from) / 2.0);
    let nodes = [middle - half / 3f64.sqrt(), middle + half / 3f64.sqrt()];
    let polynomial = |j: usize, x: f64| -> f64 {
        let others = levels.iter().enumerate().filter(|(k, _)| *k != j);
        others.map(|(_, level)| (x - level) / (levels[j] - level)).product()
    };
    (0..levels.len()).map(|j| half * (polynomial(j, nodes[0]) + polynomial(j, nodes[1]))).collect()
}

impl Scheduler for Lms {
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
        let sigmas = &self.base.sigmas;
        let derivative = self.base.derivative(Limit::None, sigmas[index], output, latents)?;
        if self.derivatives.len() == ORDER {
            self.derivatives.remove(0);
        }
        self.derivatives.push(derivative);
        // The order follows from the index and not from the derivatives that there are: a walk that starts in the
        // middle (image to image) uses the first weights of order 4 on fewer derivatives. That is what diffusers
        // does, and our pictures are to be its pictures.
        let mut levels: Vec<f64> = sigmas[..=index].iter().rev().take(ORDER).copied().collect();
        // Equal levels (timesteps past the training range) make no polynomial.
        if let Some(equal) = levels.windows(2).position(|pair| pair[0] == pair[1]) {
            levels.truncate(equal + 1);
        }
        let weights = weights(&levels, sigmas[index + 1]);
        let mut terms = vec![(1.0, latents)];
        terms.extend(weights.into_iter().zip(self.derivatives.iter().rev()));
        combine(&terms)
    }
}

#[cfg(test)]
mod tests {
    use super::weights;

    #[test]
    fn weights_integrate_cubics_exactly() {
        let levels = [2.0, 3.5, 5.0, 9.0];
        let cubic = |x: f64| 1.0 - 2.0 * x + 0.5 * x * x + 0.25 * x * x * x;
        let integral = |x: f64| x - x * x + x.powi(3) / 6.0 + x.powi(4) / 16.0;
        let sum: f64 = weights(&levels, 0.5).iter().zip(levels).map(|(w, level)| w * cubic(level)).sum();
        assert!((sum - (integral(0.5) - integral(2.0))).abs() < 1e-12);
    }

    #[test]
    fn one_level_is_eulers_method() {
        assert!((weights(&[2.0], 0.5)[0] + 1.5).abs() < 1e-12);
    }
}
