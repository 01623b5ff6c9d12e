//! PNDM: pseudo numerical methods for diffusion models (Liu et al. 2022).
//!
//! The linear multistep method of fourth order (equation 12), with either of two ways to get its first three
//! gradients: pseudo Runge-Kutta steps of four evaluations each (equation 13), or, with `skip_prk_steps`, lower
//! orders and a second evaluation of the second timestep. So N steps take N + 1 evaluations (N + 9 with
//! Runge-Kutta; fewer than 4 steps are too few for it and go without).

use candle_core::{Result, Tensor};

use super::Scheduler;
use super::betas::AlphasCumprod;
use super::build::Setup;
use super::combine::combine;
use super::prediction::Prediction;
use super::walk::Walk;
use crate::noise::TorchGenerator;

pub(crate) struct Pndm {
    walk: Walk,
    alphas: AlphasCumprod,
    final_alpha: f64,
    prediction: Prediction,
    /// Training timesteps per step.
    stride: f64,
    /// Evaluations of the Runge-Kutta steps.
    warm_up: usize,
    /// The timesteps of the steps, each once.
    steps: Vec<f64>,
    /// Latest gradients, newest last.
    gradients: Vec<Tensor>,
    /// Latents to which the step that is being put together will be applied.
    origin: Option<Tensor>,
    /// Weighted sum of the gradients of the current Runge-Kutta step.
    sum: Option<Tensor>,
}

impl Pndm {
    pub(crate) fn new(setup: Setup<'_>) -> Self {
        let stride = setup.options.train_timesteps / setup.steps;
        let steps = setup.timesteps.whole(setup.steps);
        let runge_kutta = !setup.options.skip_prk_steps && steps.len() >= 4;
        let timesteps = if runge_kutta {
            with_runge_kutta(&steps, (stride / 2) as f64)
        } else {
            without_runge_kutta(&steps)
        };
        Self {
            walk: Walk::new(timesteps),
            alphas: setup.alphas,
            final_alpha: setup.final_alpha,
            prediction: setup.options.prediction,
            stride: stride as f64,
            warm_up: if runge_kutta { 12 } else { 0 },
            steps,
            gradients: Vec::new(),
            origin: None,
            sum: None,
        }
    }

    fn alpha(&self, timestep: f64) -> f64 {
        if timestep < 0.0 { self.final_alpha } else { self.alphas.at(timestep) }
    }

    /// The transfer from one timestep to another along a gradient (Liu et al. 2022, equation 11).
    fn transfer(&self, latents: &Tensor, gradient: &Tensor, from: f64, to: f64) -> Result<Tensor> {
        let (a, to) = (self.alpha(from), self.alpha(to));
        let scale = (to / a).sqrt();
        let along = (a - to) / (a * (1.0 - to).sqrt() + (a * (1.0 - a) * to).sqrt());
        // Velocities are mixed as they are and turned into noise here, as diffusers does.
        let (of_latents, of_gradient) = match self.prediction {
            Prediction::Velocity => Prediction::Velocity.noise(a.sqrt(), (1.0 - a).sqrt()),
            Prediction::Epsilon | Prediction::Sample => (0.0, 1.0),
        };
        combine(&[(scale + along * of_latents, latents), (along * of_gradient, gradient)])
    }

    /// One of the four evaluations of a Runge-Kutta step.
    fn runge_kutta(
        &mut self,
        done: usize,
        gradient: &Tensor,
        latents: &Tensor,
        timestep: f64,
    ) -> Result<Tensor> {
        let weight = if matches!(done % 4, 0 | 3) { 1.0 / 6.0 } else { 1.0 / 3.0 };
        let sum = match self.sum.take() {
            Some(sum) if !done.is_multiple_of(4) => combine(&[(1.0, &sum), (weight, gradient)])?,
            _ => combine(&[(weight, gradient)])?,
        };
        if done.is_multiple_of(4) {
            self.gradients.push(gradient.clone());
            self.origin = Some(latents.clone());
        }
        let half = if done % 2 == 1 { 0.0 } else { (self.stride / 2.0).floor() };
        let from = self.walk.all().get(done / 4 * 4).copied().unwrap_or(timestep);
        let origin = self.origin.as_ref().unwrap_or(latents);
        if done % 4 == 3 {
            return self.transfer(origin, &sum, from, timestep - half);
        }
        let next = self.transfer(origin, gradient, from, timestep - half);
        self.sum = Some(sum);
        next
    }

    /// One evaluation of the multistep method.
    fn multistep(
        &mut self,
        done: usize,
        gradient: Tensor,
        latents: &Tensor,
        timestep: f64,
    ) -> Result<Tensor> {
        if done == 1 && self.warm_up == 0 {
            // The second look at the first step: the mean of the gradients at its two ends.
            let origin = self.origin.take();
            let mean = match self.gradients.last() {
                Some(first) => combine(&[(0.5, &gradient), (0.5, first)])?,
                None => gradient,
            };
            return self.transfer(
                origin.as_ref().unwrap_or(latents),
                &mean,
                timestep + self.stride,
                timestep,
            );
        }
        if self.gradients.len() > 3 {
            self.gradients.drain(..self.gradients.len() - 3);
        }
        self.gradients.push(gradient);
        if done == 0 {
            self.origin = Some(latents.clone());
        }
        let weights: &[f64] = match self.gradients.len() {
            1 => &[1.0],
            2 => &[1.5, -0.5],
            3 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
            _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
        };
        let terms: Vec<_> = weights.iter().copied().zip(self.gradients.iter().rev()).collect();
        self.transfer(latents, &combine(&terms)?, timestep, timestep - self.stride)
    }
}

/// The second timestep is evaluated twice.
fn without_runge_kutta(steps: &[f64]) -> Vec<f64> {
    let again = steps.get(1).copied();
    steps.iter().take(1).copied().chain(again).chain(steps.iter().skip(1).copied()).collect()
}

/// Each of the first three steps is evaluated at its start, twice at its middle, and at its end.
fn with_runge_kutta(steps: &[f64], half: f64) -> Vec<f64> {
    let warm_up = steps.windows(2).take(3).flat_map(|pair| {
        let middle = pair[1] + half;
        [pair[0], middle, middle, pair[1]]
    });
    warm_up.chain(steps.iter().skip(3).copied()).collect()
}

impl Scheduler for Pndm {
    fn timesteps(&self) -> &[f64] {
        self.walk.timesteps()
    }

    fn start_at(&mut self, index: usize) {
        if index > 0 && self.warm_up > 0 {
            // A walk that starts in the middle of the Runge-Kutta steps leads nowhere (diffusers goes that way,
            // with the wrong noise levels). The multistep method can start anywhere.
            self.warm_up = 0;
            self.walk = Walk::new(without_runge_kutta(&self.steps));
        }
        self.walk.start_at(index);
    }

    fn add_noise(&self, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let alpha = self.alphas.at(self.walk.timestep());
        combine(&[(alpha.sqrt(), clean), ((1.0 - alpha).sqrt(), noise)])
    }

    fn clean_weights(&self) -> (f64, f64) {
        let alpha = self.alpha(self.walk.timestep());
        self.prediction.clean(alpha.sqrt(), (1.0 - alpha).sqrt())
    }

    fn step(&mut self, output: &Tensor, latents: &Tensor, _noise: &mut TorchGenerator) -> Result<Tensor> {
        let (done, timestep) = (self.walk.done(), self.walk.timestep());
        self.walk.advance()?;
        let gradient = match self.prediction {
            Prediction::Epsilon | Prediction::Velocity => output.clone(),
            Prediction::Sample => {
                let alpha = self.alpha(timestep);
                let (of_latents, of_output) = Prediction::Sample.noise(alpha.sqrt(), (1.0 - alpha).sqrt());
                combine(&[(of_latents, latents), (of_output, output)])?
            }
        };
        if done < self.warm_up {
            self.runge_kutta(done, &gradient, latents, timestep)
        } else {
            self.multistep(done, gradient, latents, timestep)
        }
    }
}
