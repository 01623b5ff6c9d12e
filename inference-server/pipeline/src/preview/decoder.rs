//! The decoder of diffusers' `AutoencoderTiny`: convolutions of 3x3 and nothing else.

use candle_core::{DType, Device, Result, Tensor};

use super::config::Config;
use crate::LoadError;
use crate::checkpoint::layout::PREVIEW_DECODER;
use crate::checkpoint::{Checkpoint, Weights};
use crate::ops::{Conv2d, FeatureMap};

type Loaded<T> = std::result::Result<T, LoadError>;

/// Where latents end: they come ever closer to it, which keeps those that are far out from making a mess.
const LIMIT: f64 = 3.0;

/// Three convolutions around which the input goes unchanged.
struct Block([Conv2d; 3]);

impl Block {
    fn load(weights: &Weights, width: usize) -> Loaded<Self> {
        let conv = |index: usize| Conv2d::load(&weights.pp("conv").pp(index), width, width, 3);
        Ok(Self([conv(0)?, conv(2)?, conv(4)?]))
    }

    fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        let Self([first, second, third]) = self;
        let y = first.forward(x)?.relu()?;
        let y = second.forward(&y)?.relu()?;
        third.forward_onto(&y, x)?.relu()
    }
}

/// Blocks of one size, and what leads to the next one.
struct Level {
    blocks: Vec<Block>,
    /// Doubles the sides; the last level's makes pixels instead.
    conv: Conv2d,
}

/// A decoder for previews.
pub(crate) struct PreviewDecoder {
    conv_in: Conv2d,
    levels: Vec<Level>,
    scaling_factor: f64,
    shift_factor: f64,
    dtype: DType,
}

impl PreviewDecoder {
    /// The one of a checkpoint whose latents have so many channels, if it has one.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        channels: usize,
        dtype: DType,
        device: &Device,
    ) -> Loaded<Option<Self>> {
        let file = format!("{PREVIEW_DECODER}/config.json");
        if checkpoint.read(&file)?.is_none() {
            return Ok(None);
        }
        let Config { width, blocks, scaling_factor, shift_factor } =
            Config::read(checkpoint.config(&file)?, channels)?;
        let weights = checkpoint.weights(PREVIEW_DECODER, dtype, device)?;
        // Layers are numbered as they come, those without weights too.
        let layers = weights.pp("decoder.layers");
        let conv_in = Conv2d::load(&layers.pp(0), channels, width, 3)?;
        let mut next = 2;
        let last = blocks.len() - 1;
        let mut levels = Vec::with_capacity(blocks.len());
        for (index, &n) in blocks.iter().enumerate() {
            let loaded = (next..next + n).map(|layer| Block::load(&layers.pp(layer), width));
            let blocks = loaded.collect::<Loaded<_>>()?;
            let conv = match index == last {
                true => Conv2d::load(&layers.pp(next + n), width, 3, 3)?,
                false => Conv2d::enlarging_without_bias(&layers.pp(next + n + 1), width, width)?,
            };
            levels.push(Level { blocks, conv });
            next += n + 2;
        }
        weights.pack()?;
        Ok(Some(Self { conv_in, levels, scaling_factor, shift_factor, dtype }))
    }

    /// Latents as the UNet has them, `(batch, channels, height, width)`, to pixels in about -1..1 `(batch, 3, factor x height,
    /// factor x width)`.
    pub(crate) fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let latents = ((latents / self.scaling_factor)? + self.shift_factor)?;
        let latents = ((latents / LIMIT)?.tanh()? * LIMIT)?;
        let mut x = self.conv_in.forward(&FeatureMap::new(&latents.to_dtype(self.dtype)?)?)?.relu()?;
        for (index, level) in self.levels.iter().enumerate() {
            for block in &level.blocks {
                x = block.forward(&x)?;
            }
            let (height, width) = x.size();
            x = match index + 1 == self.levels.len() {
                true => level.conv.forward(&x)?,
                false => level.conv.forward_enlarged(&x, (2 * height, 2 * width))?,
            };
        }
        // It was trained on pixels in 0..1.
        (x.into_tensor()?.to_dtype(DType::F32)? * 2.0)? - 1.0
    }
}
