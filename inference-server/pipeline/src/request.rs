//! What a caller asks for.

use crate::SchedulerKind;

/// A picture to start from (image to image).
#[derive(Debug, Clone, PartialEq)]
pub struct InitImage {
    /// Pixels, resized to the request's width and height when they differ.
    pub image: image::RgbImage,
    /// How much of it is replaced: above 0, at most 1 (1 keeps nothing).
    pub strength: f64,
}

/// One picture to draw. Start from [`crate::ModelInfo::defaults`] and change what matters.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What to draw.
    pub prompt: String,
    /// What not to draw; empty for nothing in particular.
    pub negative_prompt: String,
    /// Seed of the noise: the same seed gives the same picture, and the one that diffusers draws
    /// with `torch.Generator("cpu").manual_seed(seed)`.
    pub seed: u64,
    /// Denoising steps.
    pub steps: usize,
    /// Classifier-free guidance; at 1 or below it is off and a step costs half.
    pub guidance_scale: f64,
    /// Rescale of the guided noise (Lin et al. 2023, section 3.4): 0 is off, 1 is full.
    pub guidance_rescale: f64,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Scheduler to use instead of the checkpoint's own.
    pub scheduler: Option<SchedulerKind>,
    /// Karras et al. (2022) noise levels instead of the scheduler's own; `None` leaves it to the checkpoint.
    pub karras: Option<bool>,
    /// Stochasticity of DDIM, 0 to 1.
    pub eta: f64,
    /// Picture to start from.
    pub init: Option<InitImage>,
}

impl Request {
    /// The request in the text form that AUTOMATIC1111-style tools read.
    pub fn describe(&self) -> String {
        unimplemented!()
    }
}
