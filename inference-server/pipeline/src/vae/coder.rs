//! The two halves of the autoencoder.

use candle_core::Result;

use super::attention::Attention;
use super::config::{Config, EPS};
use crate::LoadError;
use crate::blocks::{Downsample, ResnetBlock, Upsample};
use crate::checkpoint::Weights;
use crate::ops::{Activation, Conv2d, FeatureMap, GroupNorm, Padding};

type Loaded<T> = std::result::Result<T, LoadError>;

/// Two residual blocks and the attention between them.
struct Middle {
    first: ResnetBlock,
    attention: Option<Attention>,
    last: ResnetBlock,
}

impl Middle {
    fn load(weights: &Weights, config: &Config) -> Loaded<Self> {
        let (_, width) = config.ends();
        let resnet = |index| ResnetBlock::load(&weights.pp("resnets").pp(index), config.resnet(width, width));
        let attention =
            config.attends.then(|| Attention::load(&weights.pp("attentions.0"), width, config.groups));
        Ok(Self { first: resnet(0)?, attention: attention.transpose()?, last: resnet(1)? })
    }

    fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        let mut x = self.first.forward(x, None)?;
        if let Some(attention) = &self.attention {
            x = attention.forward(&x)?;
        }
        self.last.forward(&x, None)
    }
}

/// Residual blocks from `inputs` to `outputs` channels.
fn resnets(
    weights: &Weights,
    config: &Config,
    inputs: usize,
    outputs: usize,
    n: usize,
) -> Loaded<Vec<ResnetBlock>> {
    let load = |i: usize| {
        let shape = config.resnet(if i == 0 { inputs } else { outputs }, outputs);
        ResnetBlock::load(&weights.pp("resnets").pp(i), shape)
    };
    (0..n).map(load).collect()
}

/// Pixels to the moments of latents.
pub(super) struct Encoder {
    conv_in: Conv2d,
    blocks: Vec<(Vec<ResnetBlock>, Option<Downsample>)>,
    middle: Middle,
    norm: GroupNorm,
    activation: Activation,
    conv_out: Conv2d,
}

impl Encoder {
    pub(super) fn load(weights: &Weights, config: &Config) -> Loaded<Self> {
        let (first, last) = config.ends();
        let mut blocks = Vec::new();
        let mut inputs = first;
        for (i, &outputs) in config.widths.iter().enumerate() {
            let block = weights.pp("down_blocks").pp(i);
            let halve = (i + 1 < config.widths.len())
                .then(|| Downsample::load(&block.pp("downsamplers.0"), outputs, Padding::RightAndBottom));
            blocks.push((resnets(&block, config, inputs, outputs, config.layers)?, halve.transpose()?));
            inputs = outputs;
        }
        Ok(Self {
            conv_in: Conv2d::load(&weights.pp("conv_in"), 3, first, 3)?,
            blocks,
            middle: Middle::load(&weights.pp("mid_block"), config)?,
            norm: GroupNorm::load(&weights.pp("conv_norm_out"), config.groups, last, EPS)?,
            activation: config.activation,
            conv_out: Conv2d::load(&weights.pp("conv_out"), last, 2 * config.latents, 3)?,
        })
    }

    pub(super) fn forward(&self, pixels: &FeatureMap) -> Result<FeatureMap> {
        let mut x = self.conv_in.forward(pixels)?;
        for (resnets, halve) in &self.blocks {
            for resnet in resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(halve) = halve {
                x = halve.forward(&x)?;
            }
        }
        let x = self.middle.forward(&x)?;
        self.conv_out.forward(&self.norm.forward_with(&x, self.activation)?)
    }
}

/// Latents to pixels.
pub(super) struct Decoder {
    conv_in: Conv2d,
    middle: Middle,
    blocks: Vec<(Vec<ResnetBlock>, Option<Upsample>)>,
    norm: GroupNorm,
    activation: Activation,
    conv_out: Conv2d,
}

impl Decoder {
    pub(super) fn load(weights: &Weights, config: &Config) -> Loaded<Self> {
        let (first, last) = config.ends();
        let mut blocks = Vec::new();
        let mut inputs = last;
        for (i, &outputs) in config.widths.iter().rev().enumerate() {
            let block = weights.pp("up_blocks").pp(i);
            let double =
                (i + 1 < config.widths.len()).then(|| Upsample::load(&block.pp("upsamplers.0"), outputs));
            blocks.push((resnets(&block, config, inputs, outputs, config.layers + 1)?, double.transpose()?));
            inputs = outputs;
        }
        Ok(Self {
            conv_in: Conv2d::load(&weights.pp("conv_in"), config.latents, last, 3)?,
            middle: Middle::load(&weights.pp("mid_block"), config)?,
            blocks,
            norm: GroupNorm::load(&weights.pp("conv_norm_out"), config.groups, first, EPS)?,
            activation: config.activation,
            conv_out: Conv2d::load(&weights.pp("conv_out"), first, 3, 3)?,
        })
    }

    pub(super) fn forward(&self, latents: &FeatureMap) -> Result<FeatureMap> {
        let mut x = self.middle.forward(&self.conv_in.forward(latents)?)?;
        for (resnets, double) in &self.blocks {
            for resnet in resnets {
                x = resnet.forward(&x, None)?;
            }
            if let Some(double) = double {
                x = double.forward(&x)?;
            }
        }
        self.conv_out.forward(&self.norm.forward_with(&x, self.activation)?)
    }
}
