//! Evaluations that reuse what an earlier one computed (Ma et al. 2024, "DeepCache: Accelerating diffusion models for
//! free"): from one step to the next the inner maps of the UNet hardly change, so that its outermost layers alone, fed
//! with an inner map of some steps ago, come close to the whole.
//!
//! The outermost layers are the first convolution and the last layer, DeepCache's branch 0. On the bundled model the
//! next branch, with the first block on the way down and the whole last one, gives 1.0 to 2.3 dB more at the same interval,
//! but at the same processor time no more: 20 steps in bf16 take 60 % of the time for 39.0 dB (every 2nd evaluation
//! whole), there 58 % for 38.6 dB (every 3rd).

use candle_core::{Result, Tensor};

use super::UNet;
use super::prompt::Prompt;
use crate::ops::FeatureMap;

impl UNet {
    /// [`Self::forward`] with the map `kept` of an earlier evaluation of the same rows in the place of everything but the
    /// outermost layers.
    pub(crate) fn forward_reusing(
        &self,
        latents: &Tensor,
        timesteps: &[f64],
        prompt: &Prompt,
        merging: f64,
        kept: FeatureMap,
    ) -> Result<Tensor> {
        let Some(last) = self.up.last() else { candle_core::bail!("a UNet without blocks") };
        let (x, mut given) = self.enter(latents, timesteps, prompt, merging)?;
        given.prompt.skip_to_last(last.last_looks());
        // The last layer takes the first map beside what comes from below.
        let (_, outermost) = last.inner_and_last();
        let x = last.forward_layers(outermost, kept, &mut given, &mut vec![x])?;
        self.leave(&x, latents)
    }
}
