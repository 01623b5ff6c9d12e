//! Schedulers: the numerical method that walks from noise to a picture.

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
