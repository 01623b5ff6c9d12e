//! What all rows of the table share: prompt, noise and the schedulers' walks, as `inputs.py` wrote them.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::Deserialize;

use crate::Outcome;

#[derive(Deserialize)]
pub(crate) struct Inputs {
    pub(crate) prompt: String,
    pub(crate) negative_prompt: String,
    pub(crate) seed: u64,
    pub(crate) guidance_scale: f64,
    pub(crate) size: usize,
    /// Token ids of the negative prompt and of the prompt.
    pub(crate) tokens: Vec<Vec<u32>>,
    walks: HashMap<String, Walk>,
    /// `(1, 4, size / 8, size / 8)`.
    #[serde(skip)]
    noise: Option<Tensor>,
}

/// A scheduler's steps: the latents before an evaluation, and at the end, are a weighted sum of the noise and of the
/// model's outputs so far.
#[derive(Deserialize)]
pub(crate) struct Walk {
    /// The scheduler's name in requests.
    pub(crate) scheduler: String,
    pub(crate) steps: usize,
    pub(crate) timesteps: Vec<f64>,
    weights: Vec<Vec<f64>>,
}

impl Inputs {
    pub(crate) fn read(folder: &Path) -> Outcome<Self> {
        let mut inputs: Self = serde_json::from_slice(&std::fs::read(folder.join("inputs.json"))?)?;
        inputs.noise =
            candle_core::safetensors::load(folder.join("inputs.safetensors"), &Device::Cpu)?.remove("noise");
        Ok(inputs)
    }

    pub(crate) fn walk(&self, part: &str) -> Outcome<&Walk> {
        self.walks.get(part).ok_or_else(|| format!("no walk is called {part}").into())
    }

    pub(crate) fn noise(&self) -> Outcome<Tensor> {
        self.noise.clone().ok_or_else(|| "inputs.safetensors has no noise".into())
    }
}

impl Walk {
    /// The latents after `history`: the noise, then the outputs so far.
    pub(crate) fn latents(&self, history: &[Tensor]) -> Outcome<Tensor> {
        let (first, rest) = history.split_first().ok_or("no noise")?;
        let weights = self.weights.get(rest.len()).ok_or("the walk is over")?;
        let mut sum = first.zeros_like()?;
        for (weight, tensor) in weights.iter().zip(history) {
            sum = (sum + (tensor * *weight)?)?;
        }
        Ok(sum)
    }
}
