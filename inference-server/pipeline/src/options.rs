//! How to load a checkpoint: precision and device.

use candle_core::{DType, Device};

use crate::LoadError;

/// The type that weights are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// f32 on a CPU, f16 on a GPU.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// bfloat16: half the memory; sums are taken in f32.
    Bf16,
    /// IEEE half, on a GPU.
    F16,
}

impl Precision {
    /// As it is written on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The one that a type of weights is.
    pub(crate) fn of(dtype: DType) -> Self {
        match dtype {
            DType::F16 => Self::F16,
            DType::BF16 => Self::Bf16,
            _ => Self::F32,
        }
    }
}

/// How to load a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Type of the weights.
    pub precision: Precision,
}

/// Where a model's tensors are, and of which types.
pub(crate) struct Placement {
    pub device: Device,
    /// Type of the weights in memory.
    pub weights: DType,
}

impl Placement {
    /// The first GPU that this build can use, else the CPU.
    pub(crate) fn choose(options: &LoadOptions) -> Result<Self, LoadError> {
        let device = if cfg!(feature = "cuda") {
            Device::cuda_if_available(0)?
        } else if cfg!(feature = "metal") {
            Device::metal_if_available(0)?
        } else {
            Device::Cpu
        };
        let weights = match (options.precision, device.is_cpu()) {
            (Precision::Auto, true) | (Precision::F32, _) => DType::F32,
            (Precision::Bf16, _) => DType::BF16,
            (Precision::F16, false) | (Precision::Auto, false) => DType::F16,
            (Precision::F16, true) => {
                return Err(LoadError::Source {
                    given: "precision f16".into(),
                    problem: "a CPU computes with f32 or bf16; choose one of these or auto".into(),
                });
            }
        };
        Ok(Self { device, weights })
    }
}
