//! Noise schedules: how much noise each training timestep adds, and how much signal is left.
//!
//! diffusers keeps betas, alphas and their cumulative products in f32. Rounding `1 - beta` to f32 moves the smallest
//! noise levels by more than 1e-5 (relative), so these tables are rounded where diffusers rounds; everything built
//! on them is f64.

use std::f64::consts::PI;

/// The name of a formula for betas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BetaSchedule {
    /// A straight line (Ho et al. 2020, section 4).
    Linear,
    /// A straight line in the square root: latent diffusion (Rombach et al. 2022).
    ScaledLinear,
    /// Squared cosine, capped (Nichol and Dhariwal 2021, equation 17).
    SquaredCosCap,
    /// Signal that falls as `exp(-12 t)`.
    Exponential,
}

/// Everything that decides the betas.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NoiseOptions {
    pub(crate) train_timesteps: usize,
    pub(crate) beta_start: f64,
    pub(crate) beta_end: f64,
    pub(crate) schedule: BetaSchedule,
    /// Betas that the config lists one by one; they win over the formula.
    pub(crate) trained: Option<Vec<f64>>,
    pub(crate) zero_terminal_snr: bool,
}

/// Signal left at a timestep that has none: the value that diffusers' sigma-based schedulers put in place of 0.
pub(crate) const LEAST_SIGNAL: f32 = 1.0 / (1 << 24) as f32;

/// Below this the noise level (1e9) is past what f32 latents can carry through a multistep method.
const UNUSABLE_SIGNAL: f32 = 1e-18;

/// The cumulative product of `1 - beta`: the signal power left at every training timestep.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AlphasCumprod {
    values: Vec<f32>,
}

impl AlphasCumprod {
    /// # Errors
    /// Says which field makes no usable schedule, and why.
    pub(crate) fn new(options: &NoiseOptions) -> Result<Self, (&'static str, String)> {
        let mut betas = betas(options)?;
        if options.zero_terminal_snr {
            betas = rescale_zero_terminal_snr(&betas);
        }
        let values = cumulative(&betas);
        let (first, last) = (values[0], values[values.len() - 1]);
        // With zero terminal SNR the last is 0 and stands for nothing; see `with_some_signal`.
        let lowest = if options.zero_terminal_snr { values[values.len().saturating_sub(2)] } else { last };
        // The comparisons are false for NaN.
        if first < 1.0 && lowest >= UNUSABLE_SIGNAL && values.windows(2).all(|w| w[1] < w[0]) {
            return Ok(Self { values });
        }
        let field = if options.trained.is_some() { "trained_betas" } else { "beta_start" };
        let problem = format!(
            "the betas give no usable noise schedule: the signal must fall at every timestep from below 1 to no less \
             than {UNUSABLE_SIGNAL:e}, but it goes from {first} to {last}"
        );
        Err((field, problem))
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The same, with no timestep left without any signal (a sigma must be finite).
    pub(crate) fn with_some_signal(mut self) -> Self {
        if let [.., before, last] = self.values.as_mut_slice()
            && *last == 0.0
        {
            // The half keeps the signal falling where the schedule is below diffusers' value already.
            *last = LEAST_SIGNAL.min(*before / 2.0);
        }
        self
    }

    /// Signal left at a timestep; timesteps past the last (`steps_offset` can cause them) count as the last.
    pub(crate) fn at(&self, timestep: f64) -> f64 {
        let index = (timestep.max(0.0) as usize).min(self.values.len() - 1);
        f64::from(self.values[index])
    }
}

fn betas(options: &NoiseOptions) -> Result<Vec<f32>, (&'static str, String)> {
    let steps = options.train_timesteps;
    if let Some(trained) = &options.trained {
        if trained.len() != steps {
            let problem = format!("has {} numbers, but num_train_timesteps is {steps}", trained.len());
            return Err(("trained_betas", problem));
        }
        return Ok(trained.iter().map(|b| *b as f32).collect());
    }
    let (start, end) = (options.beta_start, options.beta_end);
    Ok(match options.schedule {
        BetaSchedule::Linear => linspace(start, end, steps),
        BetaSchedule::ScaledLinear => {
            linspace(start.sqrt(), end.sqrt(), steps).into_iter().map(|root| root * root).collect()
        }
        BetaSchedule::SquaredCosCap => from_signal(steps, |t| ((t + 0.008) / 1.008 * PI / 2.0).cos().powi(2)),
        BetaSchedule::Exponential => from_signal(steps, |t| (-12.0 * t).exp()),
    })
}

/// `torch.linspace` in f32, which counts from both ends towards the middle with fused multiply-adds.
fn linspace(start: f64, end: f64, steps: usize) -> Vec<f32> {
    let (start, end) = (start as f32, end as f32);
    if steps == 1 {
        return vec![start];
    }
    let step = (end - start) / (steps - 1) as f32;
    let value = |i: usize| {
        if i < steps / 2 {
            step.mul_add(i as f32, start)
        } else {
            step.mul_add(-((steps - 1 - i) as f32), end)
        }
    };
    (0..steps).map(value).collect()
}

/// Betas whose cumulative product follows `signal` over `0..=1`, none above 0.999.
fn from_signal(steps: usize, signal: impl Fn(f64) -> f64) -> Vec<f32> {
    let at = |i: usize| signal(i as f64 / steps as f64);
    (0..steps).map(|i| (1.0 - at(i + 1) / at(i)).min(0.999) as f32).collect()
}

/// Products of `1 - beta`, accumulated in f64 and rounded to f32, as torch does.
fn cumulative(betas: &[f32]) -> Vec<f32> {
    let mut product = 1.0f64;
    betas
        .iter()
        .map(|beta| {
            product *= f64::from(1.0 - beta);
            product as f32
        })
        .collect()
}

/// Shifts and scales the square roots of the cumulative products so that the last is 0 and the first stays
/// (Lin et al. 2023, algorithm 1).
fn rescale_zero_terminal_snr(betas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = cumulative(betas).into_iter().map(f32::sqrt).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let scale = first / (first - last);
    let products: Vec<f32> = roots.iter().map(|root| (root - last) * scale).map(|root| root * root).collect();
    let mut before = 1.0;
    products.iter().map(|product| 1.0 - product / std::mem::replace(&mut before, *product)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(schedule: BetaSchedule, beta_start: f64, beta_end: f64) -> NoiseOptions {
        let trained = None;
        NoiseOptions {
            train_timesteps: 10,
            beta_start,
            beta_end,
            schedule,
            trained,
            zero_terminal_snr: false,
        }
    }

    #[test]
    fn schedules_without_a_fall_are_refused() {
        for (start, end) in [(0.0, 0.0), (0.1, 1.5), (-0.1, 0.1), (f64::NAN, 0.1), (0.1, f64::INFINITY)] {
            for schedule in [BetaSchedule::Linear, BetaSchedule::ScaledLinear] {
                let (field, problem) = AlphasCumprod::new(&options(schedule, start, end)).unwrap_err();
                assert_eq!(field, "beta_start", "{problem}");
            }
        }
    }

    #[test]
    fn listed_betas_must_be_as_many_as_timesteps() {
        let short = NoiseOptions { trained: Some(vec![0.1; 3]), ..options(BetaSchedule::Linear, 0.1, 0.2) };
        assert_eq!(AlphasCumprod::new(&short).unwrap_err().0, "trained_betas");
    }

    #[test]
    fn zero_terminal_snr_leaves_nothing_at_the_end_and_the_start_as_it_was() {
        let plain = options(BetaSchedule::ScaledLinear, 0.00085, 0.012);
        let zero = NoiseOptions { zero_terminal_snr: true, ..plain.clone() };
        let (plain, zero) = (AlphasCumprod::new(&plain).unwrap(), AlphasCumprod::new(&zero).unwrap());
        assert!((plain.at(0.0) - zero.at(0.0)).abs() < 1e-6);
        assert_eq!(zero.at(9.0), 0.0);
        assert_eq!(zero.with_some_signal().at(1e9), f64::from(LEAST_SIGNAL));
    }
}
