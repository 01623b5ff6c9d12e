//! What the operator of the server allows, and what a request gets that does not say.

use diffusion_pipeline::SchedulerKind;

/// Upper bounds of one request. The names are those of the flags without `max-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Denoising steps.
    pub steps: u64,
    /// Width x height.
    pub pixels: u64,
    /// Characters of a prompt.
    pub prompt_chars: usize,
    /// Width x height of the picture that image to image starts from.
    pub image_pixels: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 150, pixels: 1 << 20, prompt_chars: 10_000, image_pixels: 1 << 24 }
    }
}

/// What a request gets that does not say; `None` leaves it to the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    /// Negative prompt.
    pub negative_prompt: Option<String>,
    /// Denoising steps.
    pub steps: Option<u64>,
    /// Classifier-free guidance.
    pub guidance_scale: Option<f64>,
    /// Width in pixels.
    pub width: Option<u64>,
    /// Height in pixels.
    pub height: Option<u64>,
    /// Scheduler.
    pub scheduler: Option<SchedulerKind>,
    /// Whether a picture carries its parameters; `None` is yes.
    pub metadata: Option<bool>,
}
