//! Fully connected layers.

use std::sync::Arc;

use candle_core::{D, Result, Tensor};
use diffusion_kernels::{Level, PackedMatrix};

use super::{Activation, cpu};
use crate::LoadError;
use crate::checkpoint::Weights;

/// `x W^T + b` over the last dimension.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

#[derive(Debug, Clone)]
enum Weight {
    /// `(outputs, inputs)`, in the type that the weights are kept in.
    Tensor(Tensor),
    Packed(Arc<PackedMatrix>),
}

impl Linear {
    /// Reads `weight` `(outputs, inputs)` and `bias`.
    pub(crate) fn load(
        weights: &Weights,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, LoadError> {
        let bias = weights.tensor("bias", &[outputs])?;
        Ok(Self { bias: Some(bias), ..Self::without_bias(weights, inputs, outputs)? })
    }

    /// Reads `weight` alone.
    pub(crate) fn without_bias(
        weights: &Weights,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, LoadError> {
        let weight = weights.tensor("weight", &[outputs, inputs])?;
        let weight = match cpu::computes(weights) {
            false => Weight::Tensor(weight),
            true => Weight::Packed(Arc::new(cpu::with_numbers(&weight, |numbers| {
                Ok(PackedMatrix::new(Level::current(), numbers, outputs, inputs))
            })?)),
        };
        Ok(Self { weight, bias: None })
    }

    /// `(batch, ..., inputs)` to `(batch, ..., outputs)`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.compute(x, None, None)
    }

    /// The layer and an activation in one.
    pub(crate) fn forward_with(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.compute(x, Some(activation), None)
    }

    /// The layer's result added to `residual`.
    pub(crate) fn forward_onto(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.compute(x, None, Some(residual))
    }

    fn compute(
        &self,
        x: &Tensor,
        activation: Option<Activation>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (outputs, inputs) = match &self.weight {
            Weight::Tensor(weight) => weight.dims2()?,
            Weight::Packed(weight) => (weight.outputs(), weight.inputs()),
        };
        let mut shape = x.dims().to_vec();
        match shape.last_mut() {
            Some(last) if *last == inputs => *last = outputs,
            _ => candle_core::bail!("{:?} where {inputs} inputs were expected", x.dims()),
        }
        let weight = match &self.weight {
            Weight::Tensor(weight) => weight,
            Weight::Packed(weight) => {
                let rows = shape.iter().rev().skip(1).product();
                let multiply = |bias: Option<&[f32]>| {
                    cpu::compute(x, &shape, bias, activation, residual, |x, epilogue| {
                        weight.multiply(x, rows, epilogue)
                    })
                };
                return match &self.bias {
                    None => multiply(None),
                    Some(bias) => cpu::with_numbers(bias, |bias| multiply(Some(bias))),
                };
            }
        };
        let weight = weight.to_dtype(x.dtype())?.t()?;
        let y = super::each_row(x, |row| {
            let inputs = row.dim(D::Minus1)?;
            row.reshape(((), inputs))?.matmul(&weight)
        })?;
        let mut y = y.reshape(shape)?;
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(&bias.to_dtype(x.dtype())?)?;
        }
        super::finish(y, activation, residual)
    }
}
