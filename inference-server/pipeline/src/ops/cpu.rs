//! Where our own kernels meet candle's tensors.

use candle_core::{DType, Device, Result, Storage, Tensor};
use diffusion_kernels::Epilogue;

use super::Activation;
use crate::checkpoint::Weights;

/// Whether a layer with these weights runs on our kernels.
pub(super) fn computes(weights: &Weights) -> bool {
    weights.device().is_cpu() && weights.dtype() == DType::F32
}

/// The numbers of a tensor of f32 on the CPU.
pub(super) fn with_numbers<R>(x: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { candle_core::bail!("a tensor that is not on the CPU") };
    let range = layout.contiguous_offsets().and_then(|(from, to)| storage.as_slice().ok()?.get(from..to));
    match range {
        Some(numbers) => f(numbers),
        None => candle_core::bail!("a tensor of {:?} where f32 was expected", x.dtype()),
    }
}

/// `f` of the numbers of `x` and of what is done with the result, as a tensor of `shape`.
pub(super) fn compute(
    x: &Tensor,
    shape: &[usize],
    bias: Option<&[f32]>,
    activation: Option<Activation>,
    residual: Option<&Tensor>,
    f: impl FnOnce(&[f32], &Epilogue<'_>) -> Vec<f32>,
) -> Result<Tensor> {
    let activation = activation.map(Activation::kernel).unwrap_or_default();
    let numbers = with_numbers(x, |x| match residual {
        None => Ok(f(x, &Epilogue { bias, activation, residual: None })),
        Some(residual) if residual.dims() == shape => with_numbers(residual, |residual| {
            Ok(f(x, &Epilogue { bias, activation, residual: Some(residual) }))
        }),
        Some(residual) => candle_core::bail!("{:?} cannot be added to {shape:?}", residual.dims()),
    })?;
    Tensor::from_vec(numbers, shape, &Device::Cpu)
}
