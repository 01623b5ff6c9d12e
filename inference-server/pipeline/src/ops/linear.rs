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
    pub(crate) fn load(weights: &Weights, inputs: usize, outputs: usize) -> std::result::Result<Self, LoadError> {
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

    /// From tensors at hand.
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// `(..., inputs)` to `(..., outputs)`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight.to_dtype(x.dtype())?.t()?;
        // Row by row of the batch: a row's arithmetic must not depend on what else is in the batch.
        let y = match x.dims() {
            [batch, _, _] => {
                let rows = (0..*batch).map(|row| x.get(row)?.contiguous()?.matmul(&weight));
                Tensor::stack(&rows.collect::<Result<Vec<_>>>()?, 0)?
            }
            _ => x.matmul(&weight)?,
        };
        match &self.bias {
            None => Ok(y),
            Some(bias) => y.broadcast_add(&bias.to_dtype(x.dtype())?),
        }
    }
}
