//! Schedulers: the numerical method that walks from noise to a picture.
//!
//! [`SchedulerConfig`] is a checkpoint's `scheduler_config.json`; its `build` makes one request's [`Scheduler`].
//! Scalars are f64, tensors f32, and the walks are those of diffusers: `tests.rs` compares them with goldens.

mod betas;
mod build;
mod combine;
mod config;
mod ddim;
mod dpm_solver_multistep;
mod euler;
mod euler_ancestral;
mod heun;
mod lcm;
mod lms;
mod pndm;
mod prediction;
mod sigma_walk;
mod sigmas;
mod solver_walk;
#[cfg(test)]
mod tests;
mod timesteps;
mod unipc_multistep;
mod walk;

use candle_core::{Result, Tensor};

pub(crate) use combine::combine;
pub(crate) use config::SchedulerConfig;

use crate::noise::TorchGenerator;

/// One request's walk from noise to a picture: made for a number of steps, used up by [`Scheduler::step`].
pub(crate) trait Scheduler: Send {
    /// The timestep that the UNet is told, for every evaluation from the first to the last.
    fn timesteps(&self) -> &[f64];

    /// Evaluations that make up one step: 1, or 2 for Heun.
    fn order(&self) -> usize {
        1
    }

    /// Deviation of the initial latents: 1 where the variance is preserved.
    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    /// Leaves out the evaluations before `index` (image to image: the steps to skip times [`Self::order`]); called
    /// before anything else. [`Self::timesteps`] are those that are left.
    fn start_at(&mut self, index: usize);

    /// Clean latents at the noise level of the next evaluation.
    fn add_noise(&self, clean: &Tensor, noise: &Tensor) -> Result<Tensor>;

    /// Latents as the UNet wants them in the next evaluation: as they are where the variance is preserved.
    fn scale_model_input(&self, latents: &Tensor) -> Result<Tensor> {
        Ok(latents.clone())
    }

    /// Weights `(of the latents, of the output)` that make the clean latents which the model's output for the next evaluation
    /// stands for; the latents are those before it, not scaled. Limits on clean latents are not in them.
    fn clean_weights(&self) -> (f64, f64);

    /// The latents after the next evaluation, from the model's output for it and the latents before it (not scaled).
    /// Fresh noise, if any, comes from `noise`. An error when no evaluation is left.
    fn step(&mut self, output: &Tensor, latents: &Tensor, noise: &mut TorchGenerator) -> Result<Tensor>;
}

/// Noise of the latents' shape, where they are.
fn fresh_noise(noise: &mut TorchGenerator, latents: &Tensor) -> Result<Tensor> {
    noise.randn(latents.dims())?.to_device(latents.device())?.to_dtype(latents.dtype())
}

/// A scheduler by the name that requests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchedulerKind {
    /// Pseudo numerical methods (Liu et al. 2022); the default of Stable Diffusion v1.
    Pndm,
    /// Denoising diffusion implicit models (Song et al. 2021).
    Ddim,
    /// Linear multistep ("K-LMS").
    Lms,
    /// Euler.
    Euler,
    /// Euler with ancestral noise.
    EulerAncestral,
    /// Heun's second-order method.
    Heun,
    /// DPM-Solver++ (Lu et al. 2022), multistep.
    DpmSolverMultistep,
    /// UniPC (Zhao et al. 2023), multistep.
    UniPcMultistep,
    /// Latent consistency models (Luo et al. 2023).
    Lcm,
}

impl SchedulerKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Pndm,
        Self::Ddim,
        Self::Lms,
        Self::Euler,
        Self::EulerAncestral,
        Self::Heun,
        Self::DpmSolverMultistep,
        Self::UniPcMultistep,
        Self::Lcm,
    ];

    /// The name in requests and flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pndm => "pndm",
            Self::Ddim => "ddim",
            Self::Lms => "lms",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler_ancestral",
            Self::Heun => "heun",
            Self::DpmSolverMultistep => "dpm_solver_multistep",
            Self::UniPcMultistep => "unipc_multistep",
            Self::Lcm => "lcm",
        }
    }

    /// diffusers' name.
    fn class(self) -> &'static str {
        match self {
            Self::Pndm => "PNDMScheduler",
            Self::Ddim => "DDIMScheduler",
            Self::Lms => "LMSDiscreteScheduler",
            Self::Euler => "EulerDiscreteScheduler",
            Self::EulerAncestral => "EulerAncestralDiscreteScheduler",
            Self::Heun => "HeunDiscreteScheduler",
            Self::DpmSolverMultistep => "DPMSolverMultistepScheduler",
            Self::UniPcMultistep => "UniPCMultistepScheduler",
            Self::Lcm => "LCMScheduler",
        }
    }

    /// Whether Karras noise levels can take the place of its own.
    pub fn takes_karras(self) -> bool {
        match self {
            Self::Lms | Self::Euler | Self::Heun | Self::DpmSolverMultistep | Self::UniPcMultistep => true,
            Self::Pndm | Self::Ddim | Self::EulerAncestral | Self::Lcm => false,
        }
    }
}
