//! Noise levels in the form of Karras et al. (2022): `sigma = sqrt((1 - alpha) / alpha)`, the deviation of the noise
//! beside a signal of full strength.

use super::betas::AlphasCumprod;

/// Where the noise levels of a walk come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SigmaSpacing {
    /// From the timesteps.
    Own,
    /// Evenly in `sigma^(1/7)` (Karras et al. 2022, equation 5).
    Karras,
    /// Evenly in `log sigma`.
    Exponential,
    /// Evenly in `log sigma` over the whole training range (Lu et al. 2022), timesteps rounded.
    Lu,
}

/// The noise level after the last evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FinalSigma {
    /// None at all.
    Zero,
    /// The lowest of the training range.
    SigmaMin,
}

/// Karras et al. (2022), section 5: steps near the low end get shorter as it grows.
const RHO: f64 = 7.0;

/// Noise levels of the training timesteps.
pub(crate) struct SigmaTable {
    sigmas: Vec<f32>,
    logs: Vec<f64>,
}

impl SigmaTable {
    pub(crate) fn new(alphas: &AlphasCumprod) -> Self {
        let sigmas: Vec<f32> = alphas.values().iter().map(|a| ((1.0 - a) / a).sqrt()).collect();
        // Logarithms in f32, as diffusers has them: `timestep` divides by their small differences.
        let logs = sigmas.iter().map(|s| f64::from(f64::from(*s).ln() as f32)).collect();
        Self { sigmas, logs }
    }

    pub(crate) fn min(&self) -> f64 {
        f64::from(self.sigmas[0])
    }

    pub(crate) fn max(&self) -> f64 {
        f64::from(self.sigmas[self.last()])
    }

    fn last(&self) -> usize {
        self.sigmas.len() - 1
    }

    /// The noise level at a timestep, on a straight line between training timesteps.
    pub(crate) fn at(&self, timestep: f64) -> f64 {
        let timestep = timestep.clamp(0.0, self.last() as f64);
        let below = timestep as usize;
        let low = f64::from(self.sigmas[below]);
        match self.sigmas.get(below + 1) {
            Some(high) => low + (timestep - below as f64) * (f64::from(*high) - low),
            None => low,
        }
    }

    /// `steps` noise levels from the highest to the lowest, evenly in the logarithm.
    pub(crate) fn lu(&self, steps: usize) -> Vec<f64> {
        let (max, min) = (self.logs[self.last()], self.logs[0]);
        ramp(steps).map(|r| (max + r * (min - max)).exp()).collect()
    }

    /// The timestep of a noise level, on a straight line in `log sigma`; within the training range.
    pub(crate) fn timestep(&self, sigma: f64) -> f64 {
        let log = sigma.max(1e-10).ln();
        let above = self.logs.partition_point(|l| *l <= log);
        let low = above.saturating_sub(1).min(self.last().saturating_sub(1));
        let Some(high) = self.logs.get(low + 1) else { return 0.0 };
        let gap = high - self.logs[low];
        // Levels may be equal in f32 when betas are tiny.
        let weight = if gap > 0.0 { ((log - self.logs[low]) / gap).clamp(0.0, 1.0) } else { 0.0 };
        low as f64 + weight
    }
}

/// `steps` noise levels from `max` to `min` after Karras et al. (2022), equation 5.
pub(crate) fn karras(max: f64, min: f64, steps: usize) -> Vec<f64> {
    let (max, min) = (max.powf(1.0 / RHO), min.powf(1.0 / RHO));
    ramp(steps).map(|r| (max + r * (min - max)).powf(RHO)).collect()
}

/// `steps` noise levels from `max` to `min`, each the same fraction of the one before.
pub(crate) fn exponential(max: f64, min: f64, steps: usize) -> Vec<f64> {
    let (max, min) = (max.ln(), min.ln());
    ramp(steps).map(|r| (max + r * (min - max)).exp()).collect()
}

/// From 0 to 1 in `steps` points; a single point is 0.
fn ramp(steps: usize) -> impl Iterator<Item = f64> {
    (0..steps).map(move |i| i as f64 / (steps.max(2) - 1) as f64)
}

/// Rounds to f32: what diffusers keeps.
pub(crate) fn as_f32(sigmas: impl IntoIterator<Item = f64>) -> Vec<f64> {
    sigmas.into_iter().map(|s| f64::from(s as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::betas::{BetaSchedule, NoiseOptions};
    use super::*;

    fn table(train_timesteps: usize) -> SigmaTable {
        let options = NoiseOptions {
            train_timesteps,
            beta_start: 0.00085,
            beta_end: 0.012,
            schedule: BetaSchedule::ScaledLinear,
            trained: None,
            zero_terminal_snr: false,
        };
        SigmaTable::new(&AlphasCumprod::new(&options).unwrap())
    }

    #[test]
    fn a_noise_level_leads_back_to_its_timestep() {
        let table = table(1000);
        for timestep in [0.0, 1.0, 17.0, 500.0, 998.0, 999.0] {
            assert!((table.timestep(table.at(timestep)) - timestep).abs() < 1e-3);
        }
        assert_eq!(table.timestep(1e9), 999.0);
        assert_eq!(table.timestep(0.0), 0.0);
    }

    #[test]
    fn a_single_training_timestep_is_no_trouble() {
        let table = table(1);
        assert_eq!(table.timestep(table.at(5.0)), 0.0);
        assert_eq!(table.min(), table.max());
    }

    #[test]
    fn both_spacings_run_from_end_to_end() {
        for levels in [karras(14.6, 0.03, 10), exponential(14.6, 0.03, 10)] {
            assert!((levels[0] - 14.6).abs() < 1e-9 && (levels[9] - 0.03).abs() < 1e-9);
            assert!(levels.is_sorted_by(|a, b| a > b));
        }
        assert!((karras(14.6, 0.03, 1)[0] - 14.6).abs() < 1e-9);
    }
}
