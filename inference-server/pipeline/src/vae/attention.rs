//! Self-attention of one head over the pixels of a feature map.

use candle_core::{Result, Tensor};

use super::config::EPS;
use crate::LoadError;
use crate::checkpoint::Weights;
use crate::ops::{GroupNorm, Linear, attention};

/// Names of the four projections, today's and those of checkpoints saved before diffusers 0.18.
const NAMES: [[&str; 4]; 2] = [["to_q", "to_k", "to_v", "to_out.0"], ["query", "key", "value", "proj_attn"]];

pub(super) struct Attention {
    norm: GroupNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
}

impl Attention {
    pub(super) fn load(
        weights: &Weights,
        channels: usize,
        groups: usize,
    ) -> std::result::Result<Self, LoadError> {
        let [new, old] = NAMES;
        let [query, key, value, out] = if weights.has_prefix("query") { old } else { new };
        let projection = |name| Linear::load(&weights.pp(name), channels, channels);
        Ok(Self {
            norm: GroupNorm::load(&weights.pp("group_norm"), groups, channels, EPS)?,
            query: projection(query)?,
            key: projection(key)?,
            value: projection(value)?,
            out: projection(out)?,
        })
    }

    /// `(batch, channels, height, width)` to the same shape.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let tokens = self.norm.forward(x)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
        let (q, k, v) =
            (self.query.forward(&tokens)?, self.key.forward(&tokens)?, self.value.forward(&tokens)?);
        let seen = self.out.forward(&attention(&q, &k, &v, 1, None)?)?;
        x + seen.transpose(1, 2)?.reshape(x.shape())?
    }
}
