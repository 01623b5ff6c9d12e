//! The baseline: candle-transformers' own Stable Diffusion modules, with the same weights, tokens, noise and steps.

use std::path::Path;

use candle_core::{DType, Device, Module, Tensor};
use candle_transformers::models::stable_diffusion::clip::ClipTextTransformer;
use candle_transformers::models::stable_diffusion::unet_2d::UNet2DConditionModel;
use candle_transformers::models::stable_diffusion::vae::AutoEncoderKL;
use candle_transformers::models::stable_diffusion::{StableDiffusionConfig, build_clip_transformer};
use serde_json::{Value, json};

use crate::Outcome;
use crate::figures::{median, peak_gib, timed};
use crate::inputs::{Inputs, Walk};

/// Stable Diffusion 1's.
const SCALING_FACTOR: f64 = 0.18215;

/// `short`: load, text encoder, steps and decoder; another part: the seconds of a whole picture.
pub(crate) fn part(
    checkpoint: &Path,
    inputs: &Inputs,
    precision: &str,
    part: &str,
    file: &Path,
) -> Outcome<Value> {
    let dtype = if precision == "bf16" { DType::BF16 } else { DType::F32 };
    let walk = inputs.walk(part)?;
    let (load, models) = timed(|| Models::load(checkpoint, inputs.size, dtype))?;
    if part != "short" {
        let (seconds, pixels) = timed(|| {
            let (latents, _) = models.denoise(inputs, walk, &models.text(inputs)?)?;
            models.decode(&latents)
        })?;
        save(&pixels, file)?;
        return Ok(json!({ "load": load, "picture": seconds, "peak_gib": peak_gib()? }));
    }
    let context = models.text(inputs)?;
    let texts = (0..3).map(|_| Ok(timed(|| models.text(inputs))?.0)).collect::<Outcome<Vec<f64>>>()?;
    let (latents, seconds) = models.denoise(inputs, walk, &context)?;
    let (first, _) = timed(|| models.decode(&latents))?;
    let (second, pixels) = timed(|| models.decode(&latents))?;
    save(&pixels, file)?;
    let warm = seconds.get(1..).unwrap_or_default();
    Ok(json!({
        "load": load, "text": median(&texts), "step": median(warm), "decode": median(&[first, second]),
        "peak_gib": peak_gib()?,
    }))
}

struct Models {
    text_encoder: ClipTextTransformer,
    unet: UNet2DConditionModel,
    vae: AutoEncoderKL,
    dtype: DType,
}

impl Models {
    fn load(checkpoint: &Path, size: usize, dtype: DType) -> Outcome<Self> {
        let (device, config) = (Device::Cpu, StableDiffusionConfig::v1_5(None, Some(size), Some(size)));
        let file = |part: &str| checkpoint.join(part).join("diffusion_pytorch_model.safetensors");
        let text = checkpoint.join("text_encoder").join("model.safetensors");
        Ok(Self {
            text_encoder: build_clip_transformer(&config.clip, text, &device, dtype)?,
            unet: config.build_unet(file("unet"), &device, 4, false, dtype)?,
            vae: config.build_vae(file("vae"), &device, dtype)?,
            dtype,
        })
    }

    /// `(2, 77, 768)`. One prompt at a time: its mask does not fit two.
    fn text(&self, inputs: &Inputs) -> Outcome<Tensor> {
        let encode = |ids: &Vec<u32>| {
            let ids = Tensor::new(ids.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
            self.text_encoder.forward(&ids)
        };
        let rows = inputs.tokens.iter().map(encode).collect::<candle_core::Result<Vec<Tensor>>>()?;
        Ok(Tensor::cat(&rows, 0)?)
    }

    /// The latents at the end, and the seconds of each evaluation.
    fn denoise(&self, inputs: &Inputs, walk: &Walk, context: &Tensor) -> Outcome<(Tensor, Vec<f64>)> {
        let (mut history, mut seconds) = (vec![inputs.noise()?], Vec::new());
        for &timestep in &walk.timesteps {
            let latents = walk.latents(&history)?.to_dtype(self.dtype)?;
            let pair = Tensor::cat(&[&latents, &latents], 0)?;
            let (elapsed, output) = timed(|| self.unet.forward(&pair, timestep, context))?;
            let output = output.to_dtype(DType::F32)?;
            let (without, with) = (output.narrow(0, 0, 1)?, output.narrow(0, 1, 1)?);
            history.push((&without + ((&with - &without)? * inputs.guidance_scale)?)?);
            seconds.push(elapsed);
        }
        Ok((walk.latents(&history)?, seconds))
    }

    /// `(1, 3, height, width)` from -1 to 1.
    fn decode(&self, latents: &Tensor) -> Outcome<Tensor> {
        Ok(self.vae.decode(&(latents / SCALING_FACTOR)?.to_dtype(self.dtype)?)?)
    }
}

fn save(pixels: &Tensor, file: &Path) -> Outcome<()> {
    let pixels = ((pixels.to_dtype(DType::F32)? / 2.0)? + 0.5)?.clamp(0f32, 1f32)?;
    let levels = (pixels * 255.0)?.round()?.to_dtype(DType::U8)?.squeeze(0)?.permute((1, 2, 0))?;
    let (height, width, _) = levels.dims3()?;
    let bytes: Vec<u8> = levels.flatten_all()?.to_vec1()?;
    let picture = image::RgbImage::from_raw(u32::try_from(width)?, u32::try_from(height)?, bytes);
    Ok(picture.ok_or("the pixels are not a picture")?.save(file)?)
}
