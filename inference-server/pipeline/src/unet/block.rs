//! The blocks on the way down, in the middle and on the way up.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::conditions::Conditions;
use super::transformer::{Transformer, TransformerShape};
use crate::LoadError;
use crate::blocks::{Downsample, ResnetBlock, ResnetShape, Upsample};
use crate::checkpoint::Weights;
use crate::ops::{FeatureMap, Padding};

/// One layer of a block: a residual block, and a transformer where the block has attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerShape {
    pub resnet: ResnetShape,
    pub transformer: Option<TransformerShape>,
}

struct Layer {
    resnet: ResnetBlock,
    transformer: Option<Transformer>,
}

impl Layer {
    fn load(weights: &Weights, index: usize, shape: LayerShape) -> std::result::Result<Self, LoadError> {
        let transformer =
            shape.transformer.map(|t| Transformer::load(&weights.pp("attentions").pp(index), t));
        Ok(Self {
            resnet: ResnetBlock::load(&weights.pp("resnets").pp(index), shape.resnet)?,
            transformer: transformer.transpose()?,
        })
    }

    fn load_all(weights: &Weights, shapes: &[LayerShape]) -> std::result::Result<Vec<Self>, LoadError> {
        shapes.iter().enumerate().map(|(i, shape)| Self::load(weights, i, *shape)).collect()
    }

    /// Adds what the layer sees of a prompt to `layers`.
    fn look_at(&self, context: &Tensor, layers: &mut Vec<Tensor>) -> Result<()> {
        self.transformer.as_ref().map_or(Ok(()), |transformer| transformer.look_at(context, layers))
    }

    /// How many entries of a prompt [`Self::forward`] takes.
    fn looks(&self) -> usize {
        self.transformer.as_ref().map_or(0, Transformer::looks)
    }

    fn forward(&self, x: &FeatureMap, given: &mut Conditions<'_>) -> Result<FeatureMap> {
        let x = self.resnet.forward(x, Some(given.time(x.batch())))?;
        match &self.transformer {
            None => Ok(x),
            Some(transformer) => transformer.forward(&x, given),
        }
    }
}

/// A block on the way down or up.
#[derive(Debug, Clone)]
pub(super) struct BlockShape {
    pub layers: Vec<LayerShape>,
    /// Whether the sides are halved (or doubled) at the end.
    pub resample: bool,
    /// Zeros around the picture where it is halved.
    pub padding: Padding,
    pub outputs: usize,
}

/// `CrossAttnDownBlock2D` and `DownBlock2D`.
pub(super) struct DownBlock {
    layers: Vec<Layer>,
    downsample: Option<Downsample>,
}

impl DownBlock {
    pub(super) fn load(weights: &Weights, shape: BlockShape) -> std::result::Result<Self, LoadError> {
        let sampler = weights.pp("downsamplers.0");
        let downsample = shape.resample.then(|| Downsample::load(&sampler, shape.outputs, shape.padding));
        Ok(Self { layers: Layer::load_all(weights, &shape.layers)?, downsample: downsample.transpose()? })
    }

    /// Adds what the block sees of a prompt to `layers`, in the order in which [`Self::forward`] takes it.
    pub(super) fn look_at(&self, context: &Tensor, layers: &mut Vec<Tensor>) -> Result<()> {
        self.layers.iter().try_for_each(|layer| layer.look_at(context, layers))
    }

    /// Every map that is made goes onto `skips`, for the way up.
    pub(super) fn forward(
        &self,
        mut x: FeatureMap,
        given: &mut Conditions<'_>,
        skips: &mut Vec<FeatureMap>,
    ) -> Result<FeatureMap> {
        for layer in &self.layers {
            x = layer.forward(&x, given)?;
            skips.push(x.clone());
        }
        if let Some(downsample) = &self.downsample {
            x = downsample.forward(&x)?;
            skips.push(x.clone());
        }
        Ok(x)
    }
}

/// `UNetMidBlock2DCrossAttn`: a residual block, a transformer, a residual block.
pub(super) struct MidBlock {
    first: Layer,
    last: ResnetBlock,
}

impl MidBlock {
    pub(super) fn load(weights: &Weights, shape: LayerShape) -> std::result::Result<Self, LoadError> {
        Ok(Self {
            first: Layer::load(weights, 0, shape)?,
            last: ResnetBlock::load(&weights.pp("resnets.1"), shape.resnet)?,
        })
    }

    /// As [`DownBlock::look_at`].
    pub(super) fn look_at(&self, context: &Tensor, layers: &mut Vec<Tensor>) -> Result<()> {
        self.first.look_at(context, layers)
    }

    pub(super) fn forward(&self, x: &FeatureMap, given: &mut Conditions<'_>) -> Result<FeatureMap> {
        let x = self.first.forward(x, given)?;
        self.last.forward(&x, Some(given.time(x.batch())))
    }
}

/// `CrossAttnUpBlock2D` and `UpBlock2D`.
pub(super) struct UpBlock {
    layers: Vec<Layer>,
    upsample: Option<Upsample>,
}

impl UpBlock {
    pub(super) fn load(weights: &Weights, shape: BlockShape) -> std::result::Result<Self, LoadError> {
        let upsample = shape.resample.then(|| Upsample::load(&weights.pp("upsamplers.0"), shape.outputs));
        Ok(Self { layers: Layer::load_all(weights, &shape.layers)?, upsample: upsample.transpose()? })
    }

    /// Adds what the block sees of a prompt to `layers`, in the order in which [`Self::forward`] takes it.
    pub(super) fn look_at(&self, context: &Tensor, layers: &mut Vec<Tensor>) -> Result<()> {
        self.layers.iter().try_for_each(|layer| layer.look_at(context, layers))
    }

    /// The layers but the last, and the last. There is one: a block on the way up has a layer more than its twin on the
    /// way down.
    pub(super) fn inner_and_last(&self) -> (Range<usize>, Range<usize>) {
        let (all, last) = (self.layers.len(), self.layers.len().saturating_sub(1));
        (0..last, last..all)
    }

    /// How many entries of a prompt the last layer takes.
    pub(super) fn last_looks(&self) -> usize {
        self.layers.last().map_or(0, Layer::looks)
    }

    /// Every layer takes the last of `skips` beside what came from below.
    pub(super) fn forward(
        &self,
        x: FeatureMap,
        given: &mut Conditions<'_>,
        skips: &mut Vec<FeatureMap>,
    ) -> Result<FeatureMap> {
        let x = self.forward_layers(0..self.layers.len(), x, given, skips)?;
        match (&self.upsample, skips.last()) {
            // The size of the map that comes next, which is not twice this one's where a side was odd.
            (Some(upsample), Some(next)) => upsample.forward_to(&x, next.size()),
            (Some(upsample), None) => upsample.forward(&x),
            (None, _) => Ok(x),
        }
    }

    /// Some of the layers alone.
    pub(super) fn forward_layers(
        &self,
        layers: Range<usize>,
        mut x: FeatureMap,
        given: &mut Conditions<'_>,
        skips: &mut Vec<FeatureMap>,
    ) -> Result<FeatureMap> {
        for layer in self.layers.get(layers).unwrap_or_default() {
            let Some(skip) = skips.pop() else { candle_core::bail!("more layers on the way up than down") };
            x = layer.forward(&x.beside(&given.spread_map(skip)?)?, given)?;
        }
        Ok(x)
    }
}
