//! The UNet with cross-attention that predicts the noise in latents (Rombach et al. 2022), diffusers'
//! `UNet2DConditionModel` of Stable Diffusion 1.x and 2.x.

mod block;
mod config;
#[cfg(test)]
mod tests;
mod time;
mod transformer;

use candle_core::{Result, Tensor};

use self::block::{DownBlock, MidBlock, UpBlock};
use self::config::Config;
use self::time::TimeEmbedding;
use crate::LoadError;
use crate::checkpoint::{ConfigFile, Weights};
use crate::ops::{Conv2d, FeatureMap, GroupNorm};

/// The denoiser of a checkpoint.
pub(crate) struct UNet {
    config: Config,
    time: TimeEmbedding,
    conv_in: Conv2d,
    down: Vec<DownBlock>,
    mid: MidBlock,
    up: Vec<UpBlock>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl UNet {
    /// Builds the model that `config` describes.
    pub(crate) fn load(config: ConfigFile, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let config = Config::read(config)?;
        let first = config.widths.first().copied().unwrap_or_default();
        let down = config.down_shapes().into_iter().enumerate();
        let up = config.up_shapes().into_iter().enumerate();
        Ok(Self {
            time: TimeEmbedding::load(&weights.pp("time_embedding"), &config)?,
            conv_in: Conv2d::load(&weights.pp("conv_in"), config.inputs, first, config.conv_in_kernel)?,
            down: down
                .map(|(i, shape)| DownBlock::load(&weights.pp("down_blocks").pp(i), shape))
                .collect::<std::result::Result<_, _>>()?,
            mid: MidBlock::load(&weights.pp("mid_block"), config.mid_shape())?,
            up: up
                .map(|(i, shape)| UpBlock::load(&weights.pp("up_blocks").pp(i), shape))
                .collect::<std::result::Result<_, _>>()?,
            norm_out: GroupNorm::load(&weights.pp("conv_norm_out"), config.groups, first, config.eps)?,
            conv_out: Conv2d::load(&weights.pp("conv_out"), first, config.outputs, config.conv_out_kernel)?,
            config,
        })
    }

    /// Channels of the latents.
    pub(crate) fn channels(&self) -> usize {
        self.config.inputs
    }

    /// Channels of the prediction.
    pub(crate) fn outputs(&self) -> usize {
        self.config.outputs
    }

    /// Height and width of the latents that the model was trained on.
    pub(crate) fn sample_size(&self) -> Option<(usize, usize)> {
        self.config.sample_size
    }

    /// Width of the text embeddings that the model looks at.
    pub(crate) fn context_width(&self) -> usize {
        self.config.context
    }

    /// The predicted noise (or velocity, or sample) `(batch, channels, height, width)` for latents of that shape, one
    /// timestep a row, and `context` `(batch, tokens, width)`.
    pub(crate) fn forward(&self, latents: &Tensor, timesteps: &[f64], context: &Tensor) -> Result<Tensor> {
        let dtype = context.dtype();
        let mut x = latents.to_dtype(dtype)?;
        if self.config.center_input_sample {
            x = ((x * 2.0)? - 1.0)?;
        }
        let time = self.time.forward(timesteps, latents.device(), dtype)?;
        let time = self.config.activation.forward(&time)?;
        let mut x = self.conv_in.forward(&FeatureMap::new(&x)?)?;
        let mut skips = vec![x.clone()];
        for block in &self.down {
            x = block.forward(x, &time, context, &mut skips)?;
        }
        x = self.mid.forward(&x, &time, context)?;
        for block in &self.up {
            x = block.forward(x, &time, context, &mut skips)?;
        }
        let x = self.norm_out.forward_with(&x, self.config.activation)?;
        self.conv_out.forward(&x)?.into_tensor()?.to_dtype(latents.dtype())
    }
}
