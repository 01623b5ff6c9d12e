//! Schedulers: the numerical method that walks from noise to a picture.

use candle_core::{Result, Tensor};

use crate::noise::TorchGenerator;

/// One request's walk from noise to a picture: made for a number of steps, used up by [`Scheduler::step`].
pub(crate) trait Scheduler: Send {
    /// The timestep that the UNet is told, for every evaluation from the first to the last.
    fn timesteps(&self) -> &[f64];

    /// Evaluations that make up one step: 1, or 2 for Heun.
    fn order(&self) -> usize {
        1
    }

    /// Deviation of the initial latents.
    fn init_noise_sigma(&self) -> f64;

    /// Leaves out the evaluations before `index` (image to image); called before anything else.
    fn start_at(&mut self, index: usize);

    /// Clean latents at the noise level of the next evaluation.
    fn add_noise(&self, clean: &Tensor, noise: &Tensor) -> Result<Tensor>;

    /// Latents as the UNet wants them in the next evaluation.
    fn scale_model_input(&self, latents: &Tensor) -> Result<Tensor>;

    /// The latents after the next evaluation, from the model's output for it. Fresh noise, if any, comes from `noise`.
    fn step(&mut self, output: &Tensor, latents: &Tensor, noise: &mut TorchGenerator) -> Result<Tensor>;
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
}
