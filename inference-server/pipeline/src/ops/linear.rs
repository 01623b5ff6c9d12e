//! Fully connected layers.

use candle_core::{Result, Tensor};

use crate::LoadError;
use crate::checkpoint::Weights;

/// `x W^T + b` over the last dimension.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    /// `(outputs, inputs)`, in the type that the weights are kept in.
    weight: Tensor,
    bias: Option<Tensor>,
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
        Ok(Self { weight: weights.tensor("weight", &[outputs, inputs])?, bias: None })
    }

    /// `(batch, ..., inputs)` to `(batch, ..., outputs)`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight.to_dtype(x.dtype())?.t()?;
        let y = super::each_row(x, |row| {
            let inputs = row.dim(candle_core::D::Minus1)?;
            row.reshape(((), inputs))?.matmul(&weight)
        })?;
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.weight.dim(0)?;
        }
        let y = y.reshape(shape)?;
        match &self.bias {
            None => Ok(y),
            Some(bias) => y.broadcast_add(&bias.to_dtype(x.dtype())?),
        }
    }
}
