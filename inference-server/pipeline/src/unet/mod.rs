//! The UNet with cross-attention that predicts the noise in latents (Rombach et al. 2022), diffusers'
//! `UNet2DConditionModel` of Stable Diffusion 1.x and 2.x.

mod block;
mod conditions;
mod config;
mod prompt;
mod reuse;
#[cfg(test)]
mod tests;
mod time;
mod transformer;

use candle_core::{DType, Result, Tensor};

use self::block::{DownBlock, MidBlock, UpBlock};
use self::conditions::Conditions;
use self::config::Config;
pub(crate) use self::prompt::Prompt;
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
    /// Of what flows through.
    dtype: DType,
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
            dtype: weights.dtype(),
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

    /// What the layers see of `context` `(rows, tokens, width)`.
    pub(crate) fn look_at(&self, context: &Tensor) -> Result<Prompt> {
        let context = context.to_dtype(self.dtype)?;
        let mut layers = Vec::new();
        self.down.iter().try_for_each(|block| block.look_at(&context, &mut layers))?;
        self.mid.look_at(&context, &mut layers)?;
        self.up.iter().try_for_each(|block| block.look_at(&context, &mut layers))?;
        Ok(Prompt::new(layers, context.dim(0)?))
    }

    /// The predicted noise (or velocity, or sample) `(rows of the prompt, channels, height, width)` for latents with a
    /// timestep for each, which have as many rows as the prompt or one for every prompt that was joined. With `keep` also the
    /// map that [`Self::forward_reusing`] wants. A part `merging` of the tokens of the largest maps that look at themselves
    /// is merged while they do.
    pub(crate) fn forward(
        &self,
        latents: &Tensor,
        timesteps: &[f64],
        prompt: &Prompt,
        merging: f64,
        keep: bool,
    ) -> Result<(Tensor, Option<FeatureMap>)> {
        let (mut x, mut given) = self.enter(latents, timesteps, prompt, merging)?;
        let mut skips = vec![x.clone()];
        for block in &self.down {
            x = block.forward(x, &mut given, &mut skips)?;
        }
        x = self.mid.forward(&x, &mut given)?;
        let Some((last, up)) = self.up.split_last() else { candle_core::bail!("a UNet without blocks") };
        for block in up {
            x = block.forward(x, &mut given, &mut skips)?;
        }
        let (inner, outermost) = last.inner_and_last();
        x = last.forward_layers(inner, x, &mut given, &mut skips)?;
        let kept = keep.then(|| x.clone());
        x = last.forward_layers(outermost, x, &mut given, &mut skips)?;
        Ok((self.leave(&given.spread_map(x)?, latents)?, kept))
    }

    /// The first map, and what the layers are told.
    fn enter<'a>(
        &self,
        latents: &Tensor,
        timesteps: &[f64],
        prompt: &'a Prompt,
        merging: f64,
    ) -> Result<(FeatureMap, Conditions<'a>)> {
        if latents.dim(0)? != timesteps.len() {
            candle_core::bail!("{:?} latents and {} timesteps", latents.dims(), timesteps.len());
        }
        let mut x = latents.to_dtype(self.dtype)?;
        if self.config.center_input_sample {
            x = ((x * 2.0)? - 1.0)?;
        }
        let time = self.time.forward(timesteps, latents.device(), self.dtype)?;
        let time = self.config.activation.forward(&time)?;
        let given = Conditions::new(time, prompt, merging)?;
        Ok((self.conv_in.forward(&FeatureMap::new(&x)?)?, given))
    }

    /// The prediction from the last map, in the type of the latents.
    fn leave(&self, x: &FeatureMap, latents: &Tensor) -> Result<Tensor> {
        let x = self.norm_out.forward_with(x, self.config.activation)?;
        self.conv_out.forward(&x)?.into_tensor()?.to_dtype(latents.dtype())
    }
}
