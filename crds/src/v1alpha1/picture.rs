//! `spec.defaults` and `spec.limits`: what a request gets and what it may ask for.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of a request that does not give them.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Defaults {
    /// Scheduler (sampler) of the denoising steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// Denoising steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub steps: Option<i32>,
    /// Classifier-free guidance: how closely the prompt is followed; off at 1 and below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub guidance_scale: Option<f64>,
    /// Width in pixels, a multiple of 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 8192))]
    #[x_kube(validation = Rule::new("self % 8 == 0").message("must be a multiple of 8"))]
    pub width: Option<i32>,
    /// Height in pixels, a multiple of 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 8192))]
    #[x_kube(validation = Rule::new("self % 8 == 0").message("must be a multiple of 8"))]
    pub height: Option<i32>,
    /// What not to draw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10000))]
    pub negative_prompt: Option<String>,
}

/// The schedulers that the server knows, by their names in a request.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the names are the documentation
pub enum Scheduler {
    Pndm,
    Ddim,
    Lms,
    Euler,
    EulerAncestral,
    Heun,
    DpmSolverMultistep,
    UnipcMultistep,
    Lcm,
}

impl Scheduler {
    /// The name in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pndm => "pndm",
            Self::Ddim => "ddim",
            Self::Lms => "lms",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler_ancestral",
            Self::Heun => "heun",
            Self::DpmSolverMultistep => "dpm_solver_multistep",
            Self::UnipcMultistep => "unipc_multistep",
            Self::Lcm => "lcm",
        }
    }
}

/// What one request may ask for, and how much may wait in front of one pod.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Denoising steps of one picture.
    #[serde(default = "max_steps")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_steps: i32,
    /// Width x height of one picture, in pixels.
    #[serde(default = "max_pixels")]
    #[schemars(range(min = 64, max = 67108864))]
    pub max_pixels: i32,
    /// Seconds of work that may wait in front of a request, at the speed that the pod measures; beyond it the answer is
    /// 429 with Retry-After.
    #[serde(default = "max_queue_seconds")]
    #[schemars(range(min = 1, max = 86400))]
    pub max_queue_seconds: i32,
    /// Requests of one size that are advanced together, step by step. More is faster on a GPU and needs memory.
    #[serde(default = "max_batch")]
    #[schemars(range(min = 1, max = 64))]
    pub max_batch: i32,
    /// Seconds from acceptance to picture; what takes longer is given up with 503. A pod that ends gets this long to
    /// finish what it has accepted.
    #[serde(default = "request_timeout")]
    #[schemars(range(min = 1, max = 86400))]
    pub request_timeout: i32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_steps: max_steps(),
            max_pixels: max_pixels(),
            max_queue_seconds: max_queue_seconds(),
            max_batch: max_batch(),
            request_timeout: request_timeout(),
        }
    }
}

fn max_steps() -> i32 {
    150
}

fn max_pixels() -> i32 {
    1 << 20
}

fn max_queue_seconds() -> i32 {
    300
}

fn max_batch() -> i32 {
    4
}

fn request_timeout() -> i32 {
    900
}
