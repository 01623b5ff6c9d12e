//! Transformer blocks over the pixels of a feature map, which look at each other and at the prompt.

use candle_core::{D, DType, Result, Tensor};

use super::conditions::Conditions;
use crate::LoadError;
use crate::checkpoint::Weights;
use crate::ops::{Activation, FeatureMap, GroupNorm, LayerNorm, Linear, Merge, Sees, attention};

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
    /// Whether similar tokens may be merged before they look at each other.
    pub merges: bool,
}

/// A feature map to a feature map of the same shape.
pub(super) struct Transformer {
    norm: GroupNorm,
    into: Linear,
    blocks: Vec<Block>,
    out: Linear,
    merges: bool,
}

impl Transformer {
    pub(super) fn load(weights: &Weights, shape: TransformerShape) -> std::result::Result<Self, LoadError> {
        let channels = shape.channels;
        let blocks = (0..shape.depth).map(|i| Block::load(&weights.pp("transformer_blocks").pp(i), shape));
        let projection = if shape.linear { Linear::load } else { Linear::pointwise };
        Ok(Self {
            norm: GroupNorm::load(&weights.pp("norm"), shape.groups, channels, GROUP_NORM_EPS)?,
            into: projection(&weights.pp("proj_in"), channels, channels)?,
            blocks: blocks.collect::<std::result::Result<_, _>>()?,
            out: projection(&weights.pp("proj_out"), channels, channels)?,
            merges: shape.merges,
        })
    }

    /// Adds what the blocks see of a prompt `(batch, tokens, width)` to `layers`.
    pub(super) fn look_at(&self, context: &Tensor, layers: &mut Vec<Tensor>) -> Result<()> {
        let attentions = self.blocks.iter().flat_map(|block| [&block.attention1, &block.attention2]);
        for attention in attentions {
            if let Projections::OfAnother { key_value, .. } = &attention.projections {
                layers.push(key_value.forward(context)?);
            }
        }
        Ok(())
    }

    /// How many entries of a prompt [`Self::forward`] takes.
    pub(super) fn looks(&self) -> usize {
        let attentions = self.blocks.iter().flat_map(|block| [&block.attention1, &block.attention2]);
        attentions.filter(|attention| matches!(attention.projections, Projections::OfAnother { .. })).count()
    }

    pub(super) fn forward(&self, x: &FeatureMap, given: &mut Conditions<'_>) -> Result<FeatureMap> {
        let merging = if self.merges { given.merging } else { 0.0 };
        let mut tokens = self.into.forward(&self.norm.forward(x)?.tokens()?)?;
        for block in &self.blocks {
            tokens = block.forward(&tokens, given, merging, x.size())?;
        }
        x.with_tokens(&self.out.forward_onto(&tokens, &given.spread(&x.tokens()?)?)?)
    }
}

/// Self-attention, cross-attention, feed-forward, each normalised before and added to its input.
struct Block {
    norm1: LayerNorm,
    /// Looks at the tokens themselves, in some models at the prompt too.
    attention1: Attention,
    norm2: LayerNorm,
    attention2: Attention,
    norm3: LayerNorm,
    feed_forward: FeedForward,
}

impl Block {
    fn load(weights: &Weights, shape: TransformerShape) -> std::result::Result<Self, LoadError> {
        let TransformerShape { channels, heads, context, only_cross, upcast, .. } = shape;
        let norm = |name| LayerNorm::load(&weights.pp(name), channels, NORM_EPS);
        let seen = only_cross.then_some(context);
        Ok(Self {
            norm1: norm("norm1")?,
            attention1: Attention::load(&weights.pp("attn1"), channels, seen, heads, upcast)?,
            norm2: norm("norm2")?,
            attention2: Attention::load(&weights.pp("attn2"), channels, Some(context), heads, upcast)?,
            norm3: norm("norm3")?,
            feed_forward: FeedForward::load(&weights.pp("ff"), channels)?,
        })
    }

    /// A part `merging` of the tokens, which are a map's of `size`, is merged while they look at each other. How similar they
    /// are is decided before they are normalised, as the method's inventors do in their program, tomesd.
    fn forward(
        &self,
        x: &Tensor,
        given: &mut Conditions<'_>,
        merging: f64,
        size: (usize, usize),
    ) -> Result<Tensor> {
        let normal = self.norm1.forward(x)?;
        let merging = if self.attention1.looks_at_itself() { merging } else { 0.0 };
        let x = match Merge::of(x, size, merging)? {
            None => self.attention1.forward_onto(&normal, given, x)?,
            Some(merge) => {
                let found = self.attention1.forward(&merge.merge(&normal)?, given)?;
                merge.unmerge_onto(&found, x)?
            }
        };
        let x = self.attention2.forward_onto(&self.norm2.forward(&x)?, given, &x)?;
        self.feed_forward.forward_onto(&self.norm3.forward(&x)?, &x)
    }
}

struct Attention {
    heads: usize,
    upcast: bool,
    projections: Projections,
    out: Linear,
}

/// Queries, keys and values, from as few layers as possible.
enum Projections {
    /// All three of the same tokens.
    OfItself(Linear),
    /// Queries of the tokens; keys and values of the prompt, which are the same at every step.
    OfAnother { query: Linear, key_value: Linear },
}

impl Attention {
    /// `seen` is the width of what is looked at, if that is something else.
    fn load(
        weights: &Weights,
        channels: usize,
        seen: Option<usize>,
        heads: usize,
        upcast: bool,
    ) -> std::result::Result<Self, LoadError> {
        let [query, key, value] = ["to_q", "to_k", "to_v"].map(|name| weights.pp(name));
        let projections = match seen {
            None => Projections::OfItself(Linear::joined(&[query, key, value], channels, channels, false)?),
            Some(width) => Projections::OfAnother {
                query: Linear::without_bias(&query, channels, channels)?,
                key_value: Linear::joined(&[key, value], width, channels, false)?,
            },
        };
        Ok(Self {
            heads,
            upcast,
            projections,
            out: Linear::load(&weights.pp("to_out.0"), channels, channels)?,
        })
    }

    fn looks_at_itself(&self) -> bool {
        matches!(self.projections, Projections::OfItself(_))
    }

    /// What `x` finds in itself or in the prompt.
    fn forward(&self, x: &Tensor, given: &mut Conditions<'_>) -> Result<Tensor> {
        self.out.forward(&self.look(x, given)?)
    }

    /// The same, added to `residual`.
    fn forward_onto(&self, x: &Tensor, given: &mut Conditions<'_>, residual: &Tensor) -> Result<Tensor> {
        let found = self.look(x, given)?;
        match self.looks_at_itself() {
            true => self.out.forward_onto(&found, residual),
            false => self.out.forward_onto(&found, &given.spread(residual)?),
        }
    }

    /// Here the rows of a prompt part ways.
    fn look(&self, x: &Tensor, given: &mut Conditions<'_>) -> Result<Tensor> {
        let width = x.dim(D::Minus1)?;
        let part = |x: &Tensor, i| x.narrow(D::Minus1, i * width, width);
        let (q, k, v) = match &self.projections {
            Projections::OfItself(layer) => {
                let all = layer.forward(x)?;
                (part(&all, 0)?, part(&all, 1)?, part(&all, 2)?)
            }
            Projections::OfAnother { query, .. } => {
                let both = given.prompt.take()?;
                (given.spread(&query.forward(x)?)?, part(both, 0)?, part(both, 1)?)
            }
        };
        if !self.upcast {
            return attention(&q, &k, &v, self.heads, Sees::All);
        }
        let wide = |x: Tensor| x.to_dtype(DType::F32);
        attention(&wide(q)?, &wide(k)?, &wide(v)?, self.heads, Sees::All)?.to_dtype(x.dtype())
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
            up: Linear::gated(&weights.pp("net.0.proj"), channels, inner)?,
            down: Linear::load(&weights.pp("net.2"), inner, channels)?,
        })
    }

    /// The layer's result added to `residual`.
    fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.down.forward_onto(&self.up.forward_with(x, Activation::Gelu)?, residual)
    }
}
