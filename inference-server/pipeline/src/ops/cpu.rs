//! Where our own kernels meet candle's tensors.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Storage, Tensor, WithDType};
use diffusion_kernels::{Element, Epilogue};
use half::bf16;

use super::Activation;
use crate::checkpoint::Weights;

/// A type of numbers that tensors and kernels have in common.
pub(super) trait Number: Element + WithDType {}
impl Number for f32 {}
impl Number for bf16 {}

/// `$f::<T>($arguments)` for the type of numbers that `$dtype` is.
macro_rules! for_type {
    ($dtype:expr, $f:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            candle_core::DType::F32 => $f::<f32>($($argument),*),
            candle_core::DType::BF16 => $f::<half::bf16>($($argument),*),
            other => Err(candle_core::Error::Msg(format!("a CPU computes with f32 or bf16, not {other:?}")).into()),
        }
    };
}
pub(super) use for_type;

/// Whether a layer with these weights runs on our kernels.
pub(super) fn computes(weights: &Weights) -> bool {
    super::on_kernels(weights.device())
}

/// A packed layer of either type of numbers.
pub(super) trait Packed: Send + Sync + std::fmt::Debug {
    /// See [`Call`].
    fn forward(&self, x: &Tensor, call: &Call<'_>) -> Result<Tensor>;
}

/// What a packed layer is called with.
pub(super) struct Call<'a> {
    /// Of the result.
    pub shape: &'a [usize],
    /// The sides of `x` and what they are enlarged to; of no meaning for a matrix.
    pub enlarged: Option<[usize; 2]>,
    pub bias: Option<&'a [f32]>,
    pub activation: Option<Activation>,
    pub residual: Option<&'a Tensor>,
}

/// A tensor's numbers as f32: biases and the like.
pub(super) fn numbers(x: &Tensor) -> Result<Arc<[f32]>> {
    Ok(x.to_dtype(DType::F32)?.to_vec1::<f32>()?.into())
}

/// The numbers of a tensor on the CPU, in its own order.
pub(super) fn with_numbers<T: Number, R>(x: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let x = x.contiguous()?;
    let n = x.elem_count();
    with_storage(&x, |numbers, offset| match numbers.get(offset..offset + n) {
        Some(numbers) => f(numbers),
        None => candle_core::bail!("{n} numbers that are not where they should be"),
    })
}

/// The storage that a tensor on the CPU is in, and where in it the tensor begins.
pub(super) fn with_storage<T: Number, R>(x: &Tensor, f: impl FnOnce(&[T], usize) -> Result<R>) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { candle_core::bail!("a tensor that is not on the CPU") };
    f(storage.as_slice::<T>()?, layout.start_offset())
}

/// `f` of the numbers of `x` and of what is done with the result, as a tensor of the call's shape.
pub(super) fn compute<T: Number>(
    x: &Tensor,
    call: &Call<'_>,
    f: impl FnOnce(&[T], &Epilogue<'_, T>) -> Vec<T>,
) -> Result<Tensor> {
    let Call { shape, bias, residual, .. } = *call;
    let activation = call.activation.map(Activation::kernel).unwrap_or_default();
    let numbers = with_numbers(x, |x| match residual {
        None => Ok(f(x, &Epilogue { bias, activation, residual: None })),
        Some(residual) if residual.elem_count() == shape.iter().product::<usize>() => {
            with_numbers(residual, |residual| {
                Ok(f(x, &Epilogue { bias, activation, residual: Some(residual) }))
            })
        }
        Some(residual) => candle_core::bail!("{:?} cannot be added to {shape:?}", residual.dims()),
    })?;
    Tensor::from_vec(numbers, shape, &Device::Cpu)
}
