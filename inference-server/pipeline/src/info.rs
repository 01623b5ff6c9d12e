//! What a loaded model is and what it wants by default.

use crate::{Precision, Request, SchedulerKind};

/// Facts about a loaded checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Name for people and for `GET /v1/models`, from the source: `emoji`, `stable-diffusion-v1-4`.
    pub name: String,
    /// The checkpoint's scheduler.
    pub scheduler: SchedulerKind,
    /// Schedulers that a request may name.
    pub schedulers: Vec<SchedulerKind>,
    /// Native width in pixels (`unet.sample_size` x VAE factor).
    pub width: usize,
    /// Native height in pixels.
    pub height: usize,
    /// Width and height must be multiples of this many pixels.
    pub size_multiple: usize,
    /// Default number of denoising steps.
    pub steps: usize,
    /// Default guidance scale.
    pub guidance_scale: f64,
    /// Tokens that a prompt may have, start and end included.
    pub max_tokens: usize,
    /// Training timesteps: the upper limit of `steps`.
    pub train_timesteps: usize,
    /// Whether the checkpoint has a VAE encoder, which image to image needs.
    pub image_to_image: bool,
    /// Parameters of all components.
    pub parameters: usize,
    /// Type of the weights in memory; never [`Precision::Auto`].
    pub precision: Precision,
}

impl ModelInfo {
    /// A request for `prompt` with this model's defaults and seed 0.
    pub fn defaults(&self, prompt: impl Into<String>) -> Request {
        Request {
            prompt: prompt.into(),
            negative_prompt: String::new(),
            seed: 0,
            steps: self.steps,
            guidance_scale: self.guidance_scale,
            guidance_rescale: 0.0,
            guidance_start: 0.0,
            guidance_end: 1.0,
            cache_interval: 1,
            token_merging: 0.0,
            width: self.width,
            height: self.height,
            scheduler: None,
            karras: None,
            eta: 0.0,
            init: None,
        }
    }
}
