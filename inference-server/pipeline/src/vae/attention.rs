//! Self-attention of one head over the pixels of a feature map.

use candle_core::{D, Result};

use super::config::EPS;
use crate::LoadError;
use crate::checkpoint::Weights;
use crate::ops::{FeatureMap, GroupNorm, Linear, Sees, attention};

/// Names of the four projections, today's and those of checkpoints saved before diffusers 0.18.
const NAMES: [[&str; 4]; 2] = [["to_q", "to_k", "to_v", "to_out.0"], ["query", "key", "value", "proj_attn"]];

pub(super) struct Attention {
    norm: GroupNorm,
    /// Queries, keys and values.
    projections: Linear,
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
        let parts = [query, key, value].map(|name| weights.pp(name));
        Ok(Self {
            norm: GroupNorm::load(&weights.pp("group_norm"), groups, channels, EPS)?,
            projections: Linear::joined(&parts, channels, channels, true)?,
            out: Linear::load(&weights.pp(out), channels, channels)?,
        })
    }

    /// To the same shape.
    pub(super) fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        let tokens = self.norm.forward(x)?.tokens()?;
        let width = tokens.dim(D::Minus1)?;
        let all = self.projections.forward(&tokens)?;
        let part = |i| all.narrow(D::Minus1, i * width, width);
        let seen = attention(&part(0)?, &part(1)?, &part(2)?, 1, Sees::All)?;
        x.with_tokens(&self.out.forward_onto(&seen, &x.tokens()?)?)
    }
}
