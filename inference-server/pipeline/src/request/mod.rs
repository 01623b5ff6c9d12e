//! What a caller asks for.

mod check;

pub(crate) use check::check;

use crate::{ModelInfo, SchedulerKind};

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
    /// Where guidance begins, as a fraction of the evaluations, 0 to 1 (Kynkäänniemi et al. 2024). Evaluation `i` of `n`,
    /// counted from 0, is guided when `guidance_start <= i / n < guidance_end`; the others cost half.
    pub guidance_start: f64,
    /// Where guidance ends: above `guidance_start`, at most 1.
    pub guidance_end: f64,
    /// Every how many evaluations the whole UNet runs; in between its inner part is taken from the last whole one (Ma et
    /// al. 2024, DeepCache). 1 is off, at most [`Self::MAX_CACHE_INTERVAL`].
    pub cache_interval: usize,
    /// The part of the tokens of the UNet's largest maps that self-attention sees merged with similar ones (Bolya and
    /// Hoffman 2023). 0 is off, at most [`Self::MAX_TOKEN_MERGING`].
    pub token_merging: f64,
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
    /// The largest `cache_interval`; beyond it pictures fall apart.
    pub const MAX_CACHE_INTERVAL: usize = 10;
    /// The largest `token_merging`: one token of each 2 x 2 stays.
    pub const MAX_TOKEN_MERGING: f64 = 0.75;

    /// The request in the text form that AUTOMATIC1111-style tools read back: the prompt, the negative prompt, and a
    /// line of `Name: value` pairs.
    pub fn describe(&self, model: &ModelInfo) -> String {
        let mut text = self.prompt.clone();
        if !self.negative_prompt.is_empty() {
            text.push_str("\nNegative prompt: ");
            text.push_str(&self.negative_prompt);
        }
        let scheduler = self.scheduler.unwrap_or(model.scheduler);
        let mut pairs = vec![
            ("Steps", self.steps.to_string()),
            ("Sampler", sampler_name(scheduler).to_owned()),
            ("CFG scale", self.guidance_scale.to_string()),
            ("Seed", self.seed.to_string()),
            ("Size", format!("{}x{}", self.width, self.height)),
            ("Model", quoted(&model.name)),
        ];
        if let Some(karras) = self.karras {
            pairs.push(("Schedule type", if karras { "Karras" } else { "Automatic" }.into()));
        }
        if let Some(init) = &self.init {
            pairs.push(("Denoising strength", init.strength.to_string()));
        }
        if self.guidance_rescale > 0.0 {
            pairs.push(("CFG rescale", self.guidance_rescale.to_string()));
        }
        if self.guidance_start > 0.0 || self.guidance_end < 1.0 {
            pairs.push(("CFG interval", format!("{}-{}", self.guidance_start, self.guidance_end)));
        }
        if self.cache_interval > 1 {
            pairs.push(("DeepCache interval", self.cache_interval.to_string()));
        }
        if self.token_merging > 0.0 {
            pairs.push(("Token merging ratio", self.token_merging.to_string()));
        }
        if self.eta > 0.0 {
            pairs.push(("Eta", self.eta.to_string()));
        }
        pairs.push(("Version", concat!("diffusion-operator ", env!("CARGO_PKG_VERSION")).into()));
        let line: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        format!("{text}\n{}", line.join(", "))
    }
}

/// The sampler's name as those tools spell it.
fn sampler_name(scheduler: SchedulerKind) -> &'static str {
    match scheduler {
        SchedulerKind::Pndm => "PLMS",
        SchedulerKind::Ddim => "DDIM",
        SchedulerKind::Lms => "LMS",
        SchedulerKind::Euler => "Euler",
        SchedulerKind::EulerAncestral => "Euler a",
        SchedulerKind::Heun => "Heun",
        SchedulerKind::DpmSolverMultistep => "DPM++ 2M",
        SchedulerKind::UniPcMultistep => "UniPC",
        SchedulerKind::Lcm => "LCM",
    }
}

/// A value with a comma, colon or line break is written as a JSON string, so that a reader can split the line.
fn quoted(value: &str) -> String {
    if value.contains([',', ':', '\n', '"']) {
        serde_json::Value::from(value).to_string()
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Precision;

    #[test]
    fn parameters_read_as_those_tools_write_them() {
        let model = ModelInfo {
            name: "a, b".into(),
            scheduler: SchedulerKind::Pndm,
            schedulers: SchedulerKind::ALL.into(),
            width: 512,
            height: 512,
            size_multiple: 8,
            steps: 50,
            guidance_scale: 7.5,
            max_tokens: 77,
            train_timesteps: 1000,
            image_to_image: true,
            parameters: 1,
            precision: Precision::F32,
        };
        let version = env!("CARGO_PKG_VERSION");
        let plain = Request { seed: u64::MAX, ..model.defaults("a cat") };
        assert_eq!(
            plain.describe(&model),
            format!(
                "a cat\nSteps: 50, Sampler: PLMS, CFG scale: 7.5, Seed: 18446744073709551615, Size: 512x512, \
                 Model: \"a, b\", Version: diffusion-operator {version}"
            )
        );
        let negative = Request { negative_prompt: "blur".into(), karras: Some(true), eta: 0.5, ..plain };
        let text = negative.describe(&model);
        assert!(text.starts_with("a cat\nNegative prompt: blur\nSteps: 50"), "{text}");
        assert!(text.contains("Schedule type: Karras, Eta: 0.5"), "{text}");
        let fast =
            Request { guidance_end: 0.6, cache_interval: 3, token_merging: 0.5, ..model.defaults("a cat") };
        let text = fast.describe(&model);
        assert!(
            text.contains("CFG interval: 0-0.6, DeepCache interval: 3, Token merging ratio: 0.5, Version"),
            "{text}"
        );
    }
}
