//! What the model's output means, and what may be done to the clean latents that follow from it.

use candle_core::{DType, Device, Result, Tensor};

use super::combine::combine;

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity `alpha * noise - sigma * clean` (Salimans and Ho 2022, section 4).
    Velocity,
    /// The clean latents.
    Sample,
}

impl Prediction {
    /// Weights `(of the latents, of the output)` that make the clean latents, where the latents are
    /// `alpha * clean + sigma * noise` with `alpha^2 + sigma^2 = 1`.
    pub(crate) fn clean(self, alpha: f64, sigma: f64) -> (f64, f64) {
        match self {
            Self::Epsilon => (1.0 / alpha, -sigma / alpha),
            Self::Velocity => (alpha, -sigma),
            Self::Sample => (0.0, 1.0),
        }
    }

    /// Weights that make the noise.
    pub(crate) fn noise(self, alpha: f64, sigma: f64) -> (f64, f64) {
        match self {
            Self::Epsilon => (0.0, 1.0),
            Self::Velocity => (sigma, alpha),
            Self::Sample => (1.0 / sigma, -alpha / sigma),
        }
    }
}

/// What keeps predicted clean latents in range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Limit {
    /// Nothing: the rule for latent diffusion.
    None,
    /// Cut to `-range..=range`.
    Clip { range: f64 },
    /// Dynamic thresholding (Saharia et al. 2022, section 2.3): cut at the `ratio` quantile of the magnitudes, which
    /// is taken within `1..=max`, and divide by it.
    Threshold { ratio: f64, max: f64 },
}

impl Limit {
    pub(crate) fn is_none(self) -> bool {
        self == Self::None
    }

    /// Applies the limit to clean latents `(batch, ...)`, each of the batch by itself.
    pub(crate) fn apply(self, clean: Tensor) -> Result<Tensor> {
        match self {
            Self::None => Ok(clean),
            Self::Clip { range } => clean.clamp(-range as f32, range as f32),
            Self::Threshold { ratio, max } => threshold(&clean, ratio, max),
        }
    }
}

fn threshold(clean: &Tensor, ratio: f64, max: f64) -> Result<Tensor> {
    let rows = clean.flatten_from(1)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
    let mut limited = Vec::with_capacity(clean.elem_count());
    for row in rows {
        let mut magnitudes: Vec<f32> = row.iter().map(|v| v.abs()).collect();
        magnitudes.sort_unstable_by(f32::total_cmp);
        // As torch's clamp, the upper bound wins when it is below 1.
        let s = quantile(&magnitudes, ratio as f32).max(1.0).min(max as f32);
        limited.extend(row.iter().map(|v| v.clamp(-s, s) / s));
    }
    Tensor::from_vec(limited, clean.shape(), &Device::Cpu)?.to_device(clean.device())?.to_dtype(clean.dtype())
}

/// `torch.quantile` of ascending values, in f32 and with straight lines between them.
fn quantile(ascending: &[f32], ratio: f32) -> f32 {
    let Some(last) = ascending.len().checked_sub(1) else { return 1.0 };
    let rank = (ratio * last as f32).clamp(0.0, last as f32);
    let below = (rank as usize).min(last);
    let (low, high) = (ascending[below], ascending[(below + 1).min(last)]);
    low + (rank - below as f32) * (high - low)
}

/// The clean latents that the model's output stands for, limited.
pub(crate) fn clean_latents(
    prediction: Prediction,
    limit: Limit,
    (alpha, sigma): (f64, f64),
    output: &Tensor,
    latents: &Tensor,
) -> Result<Tensor> {
    let (of_latents, of_output) = prediction.clean(alpha, sigma);
    limit.apply(combine(&[(of_latents, latents), (of_output, output)])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_predictions_of_one_truth_agree() {
        let (alpha, sigma): (f64, f64) = (0.6, 0.8);
        let (clean, noise) = (2.0, -0.5);
        let latents = alpha * clean + sigma * noise;
        for (prediction, output) in [
            (Prediction::Epsilon, noise),
            (Prediction::Velocity, alpha * noise - sigma * clean),
            (Prediction::Sample, clean),
        ] {
            let apply = |(of_latents, of_output)| of_latents * latents + of_output * output;
            assert!((apply(prediction.clean(alpha, sigma)) - clean).abs() < 1e-12, "{prediction:?}");
            assert!((apply(prediction.noise(alpha, sigma)) - noise).abs() < 1e-12, "{prediction:?}");
        }
    }

    #[test]
    fn quantiles_lie_on_straight_lines() {
        assert_eq!(quantile(&[0.0, 1.0, 2.0, 4.0], 1.0), 4.0);
        assert_eq!(quantile(&[0.0, 1.0, 2.0, 4.0], 0.5), 1.5);
        assert_eq!(quantile(&[3.0], 0.995), 3.0);
    }
}
