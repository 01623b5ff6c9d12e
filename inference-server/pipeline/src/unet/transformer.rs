//! Transformer blocks over the pixels of a feature map, which look at each other and at the prompt.

use candle_core::{D, DType, Result, Tensor};

use crate::LoadError;
use crate::checkpoint::Weights;
use crate::ops::{Activation, Conv2d, GroupNorm, LayerNorm, Linear, attention};

const NORM_EPS: f64 = 1e-5;
const GROUP_NORM_EPS: f64 = 1e-6;

/// What a spatial transformer looks like.
#[derive(Debug, Clone, Copy)]
pub(super) struct TransformerShape {
    pub channels: usize,
    pub heads: usize,
    pub depth: usize,
    /// Width of the text embeddings.
    pub context: usize,
    pub groups: usize,
    /// Linear layers instead of 1x1 convolutions around the blocks (Stable Diffusion 2).
    pub linear: bool,
    /// Both attentions look at the prompt.
    pub only_cross: bool,
    /// Attention is computed in f32 whatever the activations are.
    pub upcast: bool,
}

/// A feature map to a feature map of the same shape.
pub(super) struct Transformer {
    norm: GroupNorm,
    into: Projection,
    blocks: Vec<Block>,
    out: Projection,
}

enum Projection {
    Conv(Conv2d),
    Linear(Linear),
}

impl Projection {
    fn load(weights: &Weights, channels: usize, linear: bool) -> std::result::Result<Self, LoadError> {
        Ok(match linear {
            true => Self::Linear(Linear::load(weights, channels, channels)?),
            false => Self::Conv(Conv2d::load(weights, channels, channels, 1)?),
        })
    }
}

impl Transformer {
    pub(super) fn load(weights: &Weights, shape: TransformerShape) -> std::result::Result<Self, LoadError> {
        let channels = shape.channels;
        let blocks = (0..shape.depth).map(|i| Block::load(&weights.pp("transformer_blocks").pp(i), shape));
        Ok(Self {
            norm: GroupNorm::load(&weights.pp("norm"), shape.groups, channels, GROUP_NORM_EPS)?,
            into: Projection::load(&weights.pp("proj_in"), channels, shape.linear)?,
            blocks: blocks.collect::<std::result::Result<_, _>>()?,
            out: Projection::load(&weights.pp("proj_out"), channels, shape.linear)?,
        })
    }

    /// `x` `(batch, channels, height, width)`, `context` `(batch, tokens, width)`.
    pub(super) fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let y = self.norm.forward(x)?;
        let mut tokens = match &self.into {
            Projection::Conv(layer) => to_tokens(&layer.forward(&y)?)?,
            Projection::Linear(layer) => layer.forward(&to_tokens(&y)?)?,
        };
        for block in &self.blocks {
            tokens = block.forward(&tokens, context)?;
        }
        match &self.out {
            Projection::Conv(layer) => layer.forward_onto(&to_map(&tokens, height, width)?, x),
            Projection::Linear(layer) => x + to_map(&layer.forward(&tokens)?, height, width)?,
        }
    }
}

/// `(batch, channels, height, width)` to `(batch, height x width, channels)`.
fn to_tokens(x: &Tensor) -> Result<Tensor> {
    x.flatten_from(2)?.transpose(1, 2)?.contiguous()
}

fn to_map(tokens: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (batch, _, channels) = tokens.dims3()?;
    tokens.transpose(1, 2)?.reshape((batch, channels, height, width))
}

/// Self-attention, cross-attention, feed-forward, each normalised before and added to its input.
struct Block {
    norm1: LayerNorm,
    attention1: Attention,
    /// The first attention looks at the prompt too.
    only_cross: bool,
    norm2: LayerNorm,
    attention2: Attention,
    norm3: LayerNorm,
    feed_forward: FeedForward,
}

impl Block {
    fn load(weights: &Weights, shape: TransformerShape) -> std::result::Result<Self, LoadError> {
        let TransformerShape { channels, heads, context, only_cross, upcast, .. } = shape;
        let norm = |name| LayerNorm::load(&weights.pp(name), channels, NORM_EPS);
        let seen = if only_cross { context } else { channels };
        Ok(Self {
            norm1: norm("norm1")?,
            attention1: Attention::load(&weights.pp("attn1"), channels, seen, heads, upcast)?,
            only_cross,
            norm2: norm("norm2")?,
            attention2: Attention::load(&weights.pp("attn2"), channels, context, heads, upcast)?,
            norm3: norm("norm3")?,
            feed_forward: FeedForward::load(&weights.pp("ff"), channels)?,
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let y = self.norm1.forward(x)?;
        let x = self.attention1.forward_onto(&y, if self.only_cross { context } else { &y }, x)?;
        let x = self.attention2.forward_onto(&self.norm2.forward(&x)?, context, &x)?;
        self.feed_forward.forward_onto(&self.norm3.forward(&x)?, &x)
    }
}

struct Attention {
    heads: usize,
    upcast: bool,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
}

impl Attention {
    fn load(
        weights: &Weights,
        channels: usize,
        seen: usize,
        heads: usize,
        upcast: bool,
    ) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            heads,
            upcast,
            query: Linear::without_bias(&weights.pp("to_q"), channels, channels)?,
            key: Linear::without_bias(&weights.pp("to_k"), seen, channels)?,
            value: Linear::without_bias(&weights.pp("to_v"), seen, channels)?,
            out: Linear::load(&weights.pp("to_out.0"), channels, channels)?,
        })
    }

    /// What `x` finds in `seen`, added to `residual`.
    fn forward_onto(&self, x: &Tensor, seen: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let (q, k, v) = (self.query.forward(x)?, self.key.forward(seen)?, self.value.forward(seen)?);
        if !self.upcast {
            return self.out.forward_onto(&attention(&q, &k, &v, self.heads, None)?, residual);
        }
        let wide = |x: Tensor| x.to_dtype(DType::F32);
        let seen = attention(&wide(q)?, &wide(k)?, &wide(v)?, self.heads, None)?;
        self.out.forward_onto(&seen.to_dtype(x.dtype())?, residual)
    }
}

/// A gated feed-forward layer of four times the width (Shazeer 2020, GEGLU).
struct FeedForward {
    up: Linear,
    down: Linear,
}

impl FeedForward {
    fn load(weights: &Weights, channels: usize) -> std::result::Result<Self, LoadError> {
        let inner = 4 * channels;
        Ok(Self {
            up: Linear::load(&weights.pp("net.0.proj"), channels, 2 * inner)?,
            down: Linear::load(&weights.pp("net.2"), inner, channels)?,
        })
    }

    /// The layer's result added to `residual`.
    fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let both = self.up.forward(x)?;
        let inner = both.dim(D::Minus1)? / 2;
        let gate = Activation::Gelu.forward(&both.narrow(D::Minus1, inner, inner)?.contiguous()?)?;
        self.down.forward_onto(&(both.narrow(D::Minus1, 0, inner)? * gate)?, residual)
    }
}
