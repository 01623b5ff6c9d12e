//! UniPC: a unified predictor-corrector (Zhao et al. 2023), multistep, orders 1 to 3.
//!
//! Each evaluation first corrects the latents that it was made for (UniC, algorithm 1) and then predicts the next
//! (UniP, algorithm 2).

use std::collections::VecDeque;

use candle_core::{Result, Tensor};

use super::Scheduler;
use super::build::Setup;
use super::combine::combine;
use super::config::SolverType;
use super::prediction::{Limit, Prediction, clean_latents};
use super::solver_walk::SolverWalk;
use super::walk::Walk;
use crate::noise::TorchGenerator;

pub(crate) struct UniPcMultistep {
    base: SolverWalk,
    prediction: Prediction,
    limit: Limit,
    solver_order: usize,
    /// Whether `B(h)` is `exp(h) - 1`, and not `h` (Zhao et al. 2023, section 3.1).
    bh2: bool,
    /// Whether the polynomials go through clean latents, and not through noise.
    predict_x0: bool,
    lower_order_final: bool,
    disable_corrector: Vec<usize>,
    /// Latest clean latents (or noise), newest first.
    outputs: VecDeque<Tensor>,
    /// The latents, and the order, of the last prediction.
    last: Option<(Tensor, usize)>,
}

impl UniPcMultistep {
    pub(crate) fn new(setup: Setup<'_>) -> Self {
        let options = setup.options;
        let (timesteps, levels) = setup.solver_levels(options.train_timesteps, true);
        Self {
            base: SolverWalk { walk: Walk::new(timesteps), levels },
            prediction: options.prediction,
            limit: setup.limit,
            solver_order: options.solver_order,
            bh2: options.solver_type != Some(SolverType::Bh1),
            predict_x0: options.predict_x0,
            lower_order_final: options.lower_order_final,
            disable_corrector: options.disable_corrector.clone(),
            outputs: VecDeque::with_capacity(options.solver_order),
            last: None,
        }
    }

    /// A step from index `from` to the next. `corrected` is the model's output at its end, when that is known.
    fn solve(
        &self,
        from: usize,
        wanted: usize,
        latents: &Tensor,
        corrected: Option<&Tensor>,
    ) -> Result<Tensor> {
        let h = self.base.lambda_step(from, from + 1);
        let order = self.base.order(wanted.min(self.outputs.len()), from, h);
        let ((alpha_from, sigma_from), (alpha, sigma)) =
            (self.base.alpha_sigma(from), self.base.alpha_sigma(from + 1));
        // Zhao et al. (2023), equations 3 and A.3: weights of the latents, of the newest output, of everything else.
        let (of_latents, of_newest, scale, hh) = if self.predict_x0 {
            (sigma / sigma_from, -alpha * (-h).exp_m1(), alpha, -h)
        } else {
            // sigma * (exp(h) - 1), written so that it stays finite where sigma is 0.
            let of_newest = -alpha * (self.base.levels[from] - self.base.levels[from + 1]);
            (alpha / alpha_from, of_newest, sigma, h)
        };
        let Some(newest) = self.outputs.front() else { return Ok(latents.clone()) };
        if h == 0.0 || !h.is_finite() {
            return combine(&[(of_latents, latents), (of_newest, newest)]);
        }
        let b_h = if self.bh2 { hh.exp_m1() } else { hh };
        // Where the outputs lie, in lengths of this step, counted from its start.
        let mut nodes: Vec<f64> =
            (1..order).map(|back| -self.base.lambda_step(from - back, from) / h).collect();
        let weights = if corrected.is_some() {
            nodes.push(1.0);
            if order == 1 { vec![0.5] } else { solve_moments(&nodes, hh, b_h) }
        } else if order == 2 {
            vec![0.5]
        } else {
            solve_moments(&nodes, hh, b_h)
        };
        let others = self.outputs.iter().skip(1).take(order - 1).chain(corrected);
        let mut terms = vec![(of_latents, latents), (of_newest, newest)];
        for ((weight, node), output) in weights.iter().zip(&nodes).zip(others) {
            // The last node is the step's end, where the difference is not divided (its node is 1).
            let w = -scale * b_h * weight / node;
            terms.push((w, output));
            terms[1].0 -= w;
        }
        combine(&terms)
    }
}

/// Weights whose moments on `nodes` are those of the exponential integrator (Zhao et al. 2023, equation 5):
/// `sum of weight * node^(k-1) = k! * phi_(k+1)(h) / B(h)` for k from 1.
fn solve_moments(nodes: &[f64], h: f64, b_h: f64) -> Vec<f64> {
    let n = nodes.len();
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(n);
    let (mut phi, mut factorial) = (h.exp_m1() / h - 1.0, 1.0);
    for k in 0..n {
        let powers = nodes.iter().map(|node| node.powi(k as i32));
        rows.push(powers.chain([phi * factorial / b_h]).collect());
        factorial *= (k + 2) as f64;
        phi = phi / h - 1.0 / factorial;
    }
    // Gauss's elimination. Nodes differ, so the matrix (Vandermonde's) is regular; the first row is all ones.
    for i in 0..n {
        let best = (i..n).max_by(|a, b| rows[*a][i].abs().total_cmp(&rows[*b][i].abs())).unwrap_or(i);
        rows.swap(i, best);
        let pivot = rows[i].clone();
        for row in rows.iter_mut().enumerate().filter(|(j, _)| *j != i).map(|(_, row)| row) {
            let factor = row[i] / pivot[i];
            row.iter_mut().zip(&pivot).for_each(|(value, p)| *value -= factor * p);
        }
    }
    (0..n).map(|i| rows[i][n] / rows[i][i]).collect()
}

impl Scheduler for UniPcMultistep {
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

    fn step(&mut self, output: &Tensor, latents: &Tensor, _noise: &mut TorchGenerator) -> Result<Tensor> {
        let index = self.base.walk.advance()?;
        let (alpha, sigma) = self.base.alpha_sigma(index);
        let output = if self.predict_x0 {
            clean_latents(self.prediction, self.limit, (alpha, sigma), output, latents)?
        } else {
            let (of_latents, of_output) = self.prediction.noise(alpha, sigma);
            combine(&[(of_latents, latents), (of_output, output)])?
        };
        let latents = match self.last.take() {
            Some((last, order)) if index > 0 && !self.disable_corrector.contains(&(index - 1)) => {
                self.solve(index - 1, order, &last, Some(&output))?
            }
            _ => latents.clone(),
        };
        self.outputs.truncate(self.solver_order - 1);
        self.outputs.push_front(output);
        let left = if self.lower_order_final { self.base.walk.len() - index } else { self.solver_order };
        let order = self.solver_order.min(left).min(self.outputs.len());
        let next = self.solve(index, order, &latents, None)?;
        self.last = Some((latents, order));
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_met() {
        let (nodes, h): ([f64; 3], f64) = ([-2.0, -0.7, 1.0], 0.4);
        let weights = solve_moments(&nodes, h, h);
        let moment = |k: i32| weights.iter().zip(nodes).map(|(w, node)| w * node.powi(k)).sum::<f64>();
        // phi_2, 2 phi_3 and 6 phi_4 by their series, sum of h^j / (j + k)!, less one power of h.
        let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
        let phi = |k: u32| (0..20).map(|j| h.powi(j as i32) / factorial(j + k)).sum::<f64>();
        for (k, expected) in [(0, phi(2)), (1, 2.0 * phi(3)), (2, 6.0 * phi(4))] {
            assert!((moment(k) - expected).abs() < 1e-9, "{k}: {} {expected}", moment(k));
        }
    }
}
