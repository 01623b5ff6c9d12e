//! Evaluations that reuse what an earlier one computed (Ma et al. 2024, "DeepCache: Accelerating diffusion models for
//! free"): from one step to the next the inner maps of the UNet hardly change, so that the outermost layers alone, fed
//! with an inner map of some steps ago, come close to the whole.

use candle_core::{Result, Tensor};

use super::UNet;
use super::prompt::{Layers, Prompt};
use crate::ops::FeatureMap;

/// Layers at the end of the last block that run in every evaluation.
fn outer_layers() -> usize {
    std::env::var("OUTER").ok().and_then(|x| x.parse().ok()).unwrap_or(1)
}

impl UNet {
    /// The index of the first layer of the last block that runs in every evaluation. What enters it is what is kept.
    pub(super) fn first_outer_layer(&self) -> usize {
        self.up.last().map_or(0, |block| block.layers().saturating_sub(outer_layers()))
    }

    /// [`Self::forward`] with the map `kept` of an earlier evaluation of the same rows in the place of everything but the
    /// outermost layers. A UNet of any depth has those: its last block has a layer more than its first, which has one.
    pub(crate) fn forward_reusing(
        &self,
        latents: &Tensor,
        timesteps: &[f64],
        prompt: &Prompt,
        kept: FeatureMap,
    ) -> Result<Tensor> {
        let Some(last) = self.up.last() else { candle_core::bail!("a UNet without blocks") };
        let (x, time) = self.enter(latents, timesteps, prompt)?;
        let mut seen = Layers::of(prompt);
        let mut skips = vec![x.clone()];
        let outer = self.first_outer_layer()..last.layers();
        // The last layer takes the first map, the one before it that of the first layer on the way down, and so on.
        if let (Some(first), Some(count @ 1..)) = (self.down.first(), outer.len().checked_sub(1)) {
            first.forward_first(count, x, &time, &mut seen, &mut skips)?;
        }
        seen.skip_to_last(last.looks_from(outer.start));
        let x = last.forward_layers(outer, kept, &time, &mut seen, &mut skips)?;
        self.leave(&x, latents)
    }
}
