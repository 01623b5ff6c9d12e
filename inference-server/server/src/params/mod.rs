//! What a request may say: reading it, checking it, and turning it into a [`diffusion_pipeline::Request`].
//!
//! HTTP bodies and command line flags meet here: both become [`Fields`], which [`resolve`] checks against the model and
//! the limits. Nothing here does I/O or waits, so that a fuzzer can drive all of it.

mod json;
mod limits;
mod numbers;
mod picture;
mod resolve;
mod suggest;
#[cfg(test)]
pub(crate) use resolve::tests;

pub use json::parse;
pub use limits::{Defaults, Limits};
pub use picture::decode as decode_picture;
pub use resolve::{Drawing, resolve};
pub(crate) use suggest::nearest;

/// What a caller asked for; `None` is "not said".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields {
    /// What to draw.
    pub prompt: Option<String>,
    /// What not to draw.
    pub negative_prompt: Option<String>,
    /// Seed of the noise.
    pub seed: Option<u64>,
    /// Denoising steps.
    pub steps: Option<u64>,
    /// Classifier-free guidance.
    pub guidance_scale: Option<f64>,
    /// Rescale of the guided noise.
    pub guidance_rescale: Option<f64>,
    /// Where guidance begins, as a fraction of the evaluations.
    pub guidance_start: Option<f64>,
    /// Where it ends.
    pub guidance_end: Option<f64>,
    /// Every how many evaluations the whole UNet runs.
    pub cache_interval: Option<u64>,
    /// The part of the tokens that self-attention sees merged.
    pub token_merging: Option<f64>,
    /// Width in pixels.
    pub width: Option<u64>,
    /// Height in pixels.
    pub height: Option<u64>,
    /// Name of a scheduler.
    pub scheduler: Option<String>,
    /// Karras noise levels.
    pub karras: Option<bool>,
    /// Stochasticity of DDIM.
    pub eta: Option<f64>,
    /// A PNG, JPEG or WebP file to start from.
    pub image: Option<Vec<u8>>,
    /// How much of `image` is replaced.
    pub strength: Option<f64>,
    /// Whether the picture carries its parameters.
    pub metadata: Option<bool>,
    /// How many previews are wanted while it is drawn.
    pub previews: Option<u64>,
}

/// Names of the fields, as in JSON.
pub const FIELD_NAMES: [&str; 19] = [
    "prompt",
    "negative_prompt",
    "seed",
    "steps",
    "guidance_scale",
    "guidance_rescale",
    "guidance_start",
    "guidance_end",
    "cache_interval",
    "token_merging",
    "width",
    "height",
    "scheduler",
    "karras",
    "eta",
    "image",
    "strength",
    "metadata",
    "previews",
];

/// A field that cannot be used: which one and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("{field}: {problem}")]
pub struct FieldProblem {
    /// Name of the field, as in JSON.
    pub field: String,
    /// What was expected, what came, and what to do.
    pub problem: String,
}

impl FieldProblem {
    /// `field` has this problem.
    pub fn new(field: &str, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl From<diffusion_pipeline::FieldError> for FieldProblem {
    fn from(error: diffusion_pipeline::FieldError) -> Self {
        Self { field: error.field.into(), problem: error.problem }
    }
}

/// A body that is not a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a JSON object in UTF-8 with each key once.
    #[error("{0}")]
    Malformed(String),
    /// An object, with fields that are unknown or of the wrong type.
    #[error("{}", list(.0))]
    Invalid(Vec<FieldProblem>),
}

/// All problems in one line.
pub fn list(problems: &[FieldProblem]) -> String {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
