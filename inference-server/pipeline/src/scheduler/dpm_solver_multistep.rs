//! DPM-Solver++ (Lu et al. 2022b), multistep, orders 1 to 3, and its stochastic form (SDE-DPM-Solver++, section 5 of
//! its second version).

use std::collections::VecDeque;

use candle_core::{Result, Tensor};

use super::Scheduler;
use super::betas::{AlphasCumprod, BetaSchedule};
use super::build::Setup;
use super::combine::combine;
use super::config::SolverType;
use super::prediction::{Limit, Prediction, clean_latents};
use super::sigmas::FinalSigma;
use super::solver_walk::SolverWalk;
use super::walk::Walk;
use crate::noise::TorchGenerator;

/// With fewer evaluations than this, the last steps have lower orders (`lower_order_final`).
const FEW: usize = 15;

pub(crate) struct DpmSolverMultistep {
    base: SolverWalk,
    prediction: Prediction,
    limit: Limit,
    order: usize,
    heun: bool,
    stochastic: bool,
    first_order_last: bool,
    second_order_before_last: bool,
    /// Latest clean latents, newest first.
    clean: VecDeque<Tensor>,
}

impl DpmSolverMultistep {
    pub(crate) fn new(setup: Setup<'_>) -> Self {
        let options = setup.options;
        let highest = timesteps_above(&setup.alphas, options.lambda_min_clipped);
        let round = options.beta_schedule != Some(BetaSchedule::SquaredCosCap);
        let (timesteps, levels) = setup.solver_levels(highest, round);
        let few = options.lower_order_final && timesteps.len() < FEW;
        Self {
            base: SolverWalk { walk: Walk::new(timesteps), levels },
            prediction: options.prediction,
            limit: setup.limit,
            order: options.solver_order,
            heun: options.solver_type == Some(SolverType::Heun),
            stochastic: options.stochastic,
            first_order_last: options.euler_at_final || few || options.final_sigma == FinalSigma::Zero,
            second_order_before_last: few,
            clean: VecDeque::with_capacity(options.solver_order),
        }
    }

    /// Order of the step at `index`, which has length `h`.
    fn order_at(&self, index: usize, h: f64) -> usize {
        let left = self.base.walk.len() - index;
        let limit = match left {
            1 if self.first_order_last => 1,
            2 if self.second_order_before_last => 2,
            _ => 3,
        };
        self.base.order(self.order.min(self.clean.len()).min(limit), index, h)
    }
}

/// One past the highest timestep whose `lambda` is not below `least`.
fn timesteps_above(alphas: &AlphasCumprod, least: f64) -> usize {
    let below = |alpha: &&f32| {
        let alpha = f64::from(**alpha);
        0.5 * (alpha / (1.0 - alpha)).ln() < least
    };
    let all = alphas.values();
    (all.len() - all.iter().filter(below).count()).max(1)
}

/// Weights of the terms of a step of length `h`: of the newest clean latents, and of their first and second
/// differences. With `g = exp(-h) - 1` for the ODE (Lu et al. 2022b, equation 14 and appendix B); the SDE's are those
/// of a step twice as long.
fn difference_weights(order: usize, heun: bool, stochastic: bool, h: f64) -> [f64; 3] {
    let h = if stochastic { 2.0 * h } else { h };
    let g = (-h).exp_m1();
    match order {
        1 => [-g, 0.0, 0.0],
        2 if !heun => [-g, -0.5 * g, 0.0],
        2 => [-g, g / h + 1.0, 0.0],
        // diffusers subtracts the half in the stochastic form, where the derivation adds it; its pictures are the
        // ones that we are to draw.
        _ => [-g, g / h + 1.0, -(g + h) / (h * h) + if stochastic { -0.5 } else { 0.5 }],
    }
}

impl Scheduler for DpmSolverMultistep {
    fn timesteps(&self) -> &[f64] {
        self.base.walk.timesteps()
    }

    fn start_at(&mut self, index: usize) {
        self.base.walk.start_at(index);
    }

    fn add_noise(&self, clean: &Tensor, noise: &Tensor) -> Result<Tensor> {
        self.base.add_noise(clean, noise)
    }

    fn clean_weights(&self) -> (f64, f64) {
        self.base.clean_weights(self.prediction)
    }

    fn step(&mut self, output: &Tensor, latents: &Tensor, noise: &mut TorchGenerator) -> Result<Tensor> {
        let index = self.base.walk.advance()?;
        let from = self.base.alpha_sigma(index);
        let clean = clean_latents(self.prediction, self.limit, from, output, latents)?;
        self.clean.truncate(self.order - 1);
        self.clean.push_front(clean);

        let (alpha, sigma) = self.base.alpha_sigma(index + 1);
        let h = self.base.lambda_step(index, index + 1);
        let order = self.order_at(index, h);
        let [w0, w1, w2] = difference_weights(order, self.heun, self.stochastic, h);
        // The differences are combinations of the clean latents m0, m1, m2 (newest first), with step ratios r0, r1.
        let r = |back: usize| self.base.lambda_step(index - back, index + 1 - back) / h;
        let of_clean = match order {
            1 => [w0, 0.0, 0.0],
            2 => [w0 + w1 / r(1), -w1 / r(1), 0.0],
            _ => {
                let (r0, r1) = (r(1), r(2));
                let (newer, older) = (1.0 / r0, 1.0 / r1);
                let share = r0 / (r0 + r1);
                // First difference: (1 + share) * newer - share * older; second: (newer - older) / (r0 + r1).
                let d0 = (w1 * (1.0 + share) + w2 / (r0 + r1)) * newer;
                let d1 = (w1 * share + w2 / (r0 + r1)) * older;
                [w0 + d0, -d0 - d1, d1]
            }
        };
        let decay = if self.stochastic { (-h).exp() } else { 1.0 };
        let mut terms = vec![(sigma / from.1 * decay, latents)];
        terms.extend(of_clean.iter().map(|w| alpha * w).zip(&self.clean));
        if !self.stochastic {
            return combine(&terms);
        }
        let fresh = super::fresh_noise(noise, latents)?;
        terms.push((sigma * (-(-2.0 * h).exp_m1()).max(0.0).sqrt(), &fresh));
        combine(&terms)
    }
}
