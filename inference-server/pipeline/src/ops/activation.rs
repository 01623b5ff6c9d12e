//! Activation functions.

use candle_core::{Result, Tensor};
use diffusion_kernels::Level;
use rayon::prelude::*;

use super::cpu::{self, Number, for_type};
use crate::LoadError;
use crate::checkpoint::ConfigFile;

/// An activation function by the name that configs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x sigmoid(x)`.
    Silu,
    /// `x Phi(x)` with the error function (Hendrycks and Gimpel 2016).
    Gelu,
    /// `x sigmoid(1.702 x)`, OpenAI CLIP's.
    QuickGelu,
}

impl Activation {
    /// Reads the name in `field`.
    pub(crate) fn read(
        config: &ConfigFile,
        field: &str,
        default: &str,
    ) -> std::result::Result<Self, LoadError> {
        match config.or(field, default.to_owned())?.as_str() {
            "silu" | "swish" => Ok(Self::Silu),
            "gelu" => Ok(Self::Gelu),
            "quick_gelu" => Ok(Self::QuickGelu),
            _ => Err(config.unsupported(field, "\"silu\", \"swish\", \"gelu\", \"quick_gelu\"")),
        }
    }

    /// The same, as the kernels have it.
    pub(super) fn kernel(self) -> diffusion_kernels::Activation {
        match self {
            Self::Silu => diffusion_kernels::Activation::Silu,
            Self::Gelu => diffusion_kernels::Activation::Gelu,
            Self::QuickGelu => diffusion_kernels::Activation::QuickGelu,
        }
    }

    /// The function of every number.
    pub(crate) fn forward(self, x: &Tensor) -> Result<Tensor> {
        if super::on_kernels(x.device()) {
            return for_type!(x.dtype(), apply(self, x));
        }
        match self {
            Self::Silu => x.silu(),
            Self::Gelu => x.gelu_erf(),
            Self::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
        }
    }
}

/// `max(x, 0)` of every number; what is not a number stays.
pub(super) fn relu(x: &Tensor) -> Result<Tensor> {
    if super::on_kernels(x.device()) {
        return for_type!(x.dtype(), positive(x));
    }
    x.relu()
}

fn positive<T: Number>(x: &Tensor) -> Result<Tensor> {
    /// Numbers that are worth another thread's while.
    const MANY: usize = 1 << 14;
    let zero = T::default();
    let numbers = cpu::with_numbers::<T, Vec<T>>(x, |x| {
        Ok(x.par_iter().with_min_len(MANY).map(|&x| if x < zero { zero } else { x }).collect())
    })?;
    Tensor::from_vec(numbers, x.dims(), x.device())
}

fn apply<T: Number>(activation: Activation, x: &Tensor) -> Result<Tensor> {
    let numbers = cpu::with_numbers::<T, _>(x, |x| Ok(activation.kernel().apply(Level::current(), x)))?;
    Tensor::from_vec(numbers, x.dims(), x.device())
}
