//! What every layer of the UNet is told beside its map.
//!
//! The two rows of guidance have the same latents and the same time: until a layer looks at the prompt they are the same
//! row, and are computed once. What comes before is all of the outermost residual block and self-attention, which are among
//! the most expensive ones.

use std::borrow::Cow;

use candle_core::{Result, Tensor};

use super::prompt::{Layers, Prompt};
use crate::ops::{FeatureMap, repeat_rows};

/// What one evaluation depends on.
pub(super) struct Conditions<'a> {
    /// The timesteps as the layers want them, one for every row of the latents.
    time: Tensor,
    /// The same for every row of the prompt.
    time_of_prompt: Tensor,
    /// What the layers that are still to come see of the prompts.
    pub prompt: Layers<'a>,
    /// How many rows of the prompt each row of the latents has.
    copies: Cow<'a, [usize]>,
    /// The part of the tokens of the largest maps that is merged, 0 to 1.
    pub merging: f64,
}

impl<'a> Conditions<'a> {
    /// `time` has a row for every row of the prompt, or for every prompt that was joined.
    pub(super) fn new(time: Tensor, prompt: &'a Prompt, merging: f64) -> Result<Self> {
        let copies: Cow<'a, [usize]> = match time.dim(0)? {
            rows if rows == prompt.parts().len() => prompt.parts().into(),
            rows if rows == prompt.rows() => vec![1; rows].into(),
            rows => candle_core::bail!("{rows} rows of latents and {:?} of prompts", prompt.parts()),
        };
        let time_of_prompt = repeat_rows(&time, &copies)?;
        Ok(Self { time, time_of_prompt, prompt: Layers::of(prompt), copies, merging })
    }

    /// The time for a map of so many rows.
    pub(super) fn time(&self, rows: usize) -> &Tensor {
        if rows == self.copies.len() { &self.time } else { &self.time_of_prompt }
    }

    /// `x` with a row for every row of the prompt.
    pub(super) fn spread(&self, x: &Tensor) -> Result<Tensor> {
        if x.dim(0)? == self.copies.len() { repeat_rows(x, &self.copies) } else { Ok(x.clone()) }
    }

    /// [`Self::spread`] of a map.
    pub(super) fn spread_map(&self, x: FeatureMap) -> Result<FeatureMap> {
        if x.batch() == self.copies.len() { x.repeat_rows(&self.copies) } else { Ok(x) }
    }
}
