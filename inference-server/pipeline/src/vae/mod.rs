//! The autoencoder between pixels and latents (Kingma and Welling 2014; Rombach et al. 2022), diffusers'
//! `AutoencoderKL`.

mod attention;
mod coder;
mod config;
#[cfg(test)]
mod tests;

use candle_core::{DType, Result, Tensor};

use self::coder::{Decoder, Encoder};
use self::config::Config;
use crate::LoadError;
use crate::checkpoint::{ConfigFile, Weights};
use crate::ops::{Conv2d, FeatureMap};

/// The autoencoder of a checkpoint.
pub(crate) struct Vae {
    config: Config,
    encoder: Option<PictureEncoder>,
    post_quant: Option<Conv2d>,
    decoder: Decoder,
    /// Of what flows through.
    dtype: DType,
}

/// What the encoder says of a picture: a Gaussian for every latent.
pub(crate) struct Posterior {
    /// `(batch, channels, height, width)`.
    pub mean: Tensor,
    /// Natural logarithm of the variance, same shape, between -30 and 20.
    pub log_variance: Tensor,
}

impl Posterior {
    /// A draw, given standard normal noise of the same shape.
    pub(crate) fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        let deviation = (&self.log_variance * 0.5)?.exp()?;
        &self.mean + (deviation * noise)?
    }
}

/// Pixels to moments. Only pictures that start from a picture need it, and a server that draws none is spared its memory:
/// it is packed when it is used. What is wrong with it is found at load.
struct PictureEncoder {
    encoder: Encoder,
    quant: Option<Conv2d>,
}

impl PictureEncoder {
    fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, LoadError> {
        let weights = weights.lazily();
        let moments = 2 * config.latents;
        let quant = config.quant_conv.then(|| Conv2d::load(&weights.pp("quant_conv"), moments, moments, 1));
        // Its latents are what a picture starts from, and it runs once a request. At Stable Diffusion's widths Winograd's
        // roundings bring its error in bf16 from 0.84 to 0.99 of torch's to 1.04 to 1.19.
        let encoder = Encoder::load(&weights.pp("encoder").precisely(), config)?;
        Ok(Self { encoder, quant: quant.transpose()? })
    }
}

impl Vae {
    /// Builds the model that `config` describes. The encoder is left out when the weights have none.
    pub(crate) fn load(config: ConfigFile, weights: &Weights) -> std::result::Result<Self, LoadError> {
        let config = Config::read(config)?;
        let latents = config.latents;
        let encoder = match weights.has_prefix("encoder") {
            false => None,
            true => Some(PictureEncoder::load(weights, &config)?),
        };
        let post_quant =
            config.post_quant_conv.then(|| Conv2d::load(&weights.pp("post_quant_conv"), latents, latents, 1));
        Ok(Self {
            encoder,
            post_quant: post_quant.transpose()?,
            decoder: Decoder::load(&weights.pp("decoder"), &config)?,
            dtype: weights.dtype(),
            config,
        })
    }

    /// Pixels a side for one latent.
    pub(crate) fn factor(&self) -> usize {
        1 << self.config.widths.len().saturating_sub(1)
    }

    /// Channels of the latents.
    pub(crate) fn channels(&self) -> usize {
        self.config.latents
    }

    /// Whether pictures can be encoded.
    pub(crate) fn has_encoder(&self) -> bool {
        self.encoder.is_some()
    }

    /// Latents as the UNet has them to what the decoder takes: divided by `scaling_factor`, `shift_factor` added.
    pub(crate) fn unscale(&self, latents: &Tensor) -> Result<Tensor> {
        (latents / self.config.scaling_factor)? + self.config.shift_factor
    }

    /// The inverse of [`Self::unscale`].
    pub(crate) fn scale(&self, latents: &Tensor) -> Result<Tensor> {
        (latents - self.config.shift_factor)? * self.config.scaling_factor
    }

    /// Unscaled latents `(batch, channels, height, width)` to pixels in about -1..1 `(batch, 3, factor x height, factor x
    /// width)`.
    pub(crate) fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let latents = FeatureMap::new(&latents.to_dtype(self.dtype)?)?;
        let latents = match &self.post_quant {
            None => latents,
            Some(conv) => conv.forward(&latents)?,
        };
        self.decoder.forward(&latents)?.into_tensor()
    }

    /// Pixels in -1..1 `(batch, 3, height, width)` to unscaled latents.
    pub(crate) fn encode(&self, pixels: &Tensor) -> Result<Posterior> {
        let Some(PictureEncoder { encoder, quant }) = &self.encoder else {
            candle_core::bail!("the checkpoint's VAE has no encoder")
        };
        let moments = encoder.forward(&FeatureMap::new(&pixels.to_dtype(self.dtype)?)?)?;
        let moments = match quant {
            None => moments,
            Some(conv) => conv.forward(&moments)?,
        };
        let moments = moments.into_tensor()?.to_dtype(DType::F32)?;
        let latents = self.config.latents;
        Ok(Posterior {
            mean: moments.narrow(1, 0, latents)?.contiguous()?,
            log_variance: moments.narrow(1, latents, latents)?.contiguous()?.clamp(-30f32, 20f32)?,
        })
    }
}
