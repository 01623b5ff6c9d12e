//! What every layer of the UNet is told beside its map.

use candle_core::Tensor;

use super::prompt::Layers;

/// What one evaluation depends on.
pub(super) struct Conditions<'a> {
    /// The timesteps as the layers want them, one for every row of the batch.
    pub time: Tensor,
    /// What the layers that are still to come see of the prompts.
    pub prompt: Layers<'a>,
    /// The part of the tokens of the largest maps that is merged, 0 to 1.
    pub merging: f64,
}
