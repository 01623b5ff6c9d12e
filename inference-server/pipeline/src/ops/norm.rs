//! Normalisation.

use candle_core::{D, Result, Tensor};

use super::Activation;
use crate::LoadError;
use crate::checkpoint::Weights;

/// Group normalisation (Wu and He 2018) over `(batch, channels, ...)`.
#[derive(Debug, Clone)]
pub(crate) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// Reads `weight` and `bias` of `channels` numbers each.
    pub(crate) fn load(
        weights: &Weights,
        groups: usize,
        channels: usize,
        eps: f64,
    ) -> std::result::Result<Self, LoadError> {
        let weight = weights.tensor("weight", &[channels])?;
        Ok(Self { weight, bias: weights.tensor("bias", &[channels])?, groups, eps })
    }

    /// The same shape, every group of channels with mean 0 and variance 1, then scaled and moved.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, channels) = (x.dim(0)?, x.dim(1)?);
        let grouped = x.contiguous()?.reshape((batch, self.groups, ()))?;
        let normal = standardise(&grouped, self.eps)?.reshape(x.dims())?;
        let mut shape = vec![1; x.rank()];
        if let Some(side) = shape.get_mut(1) {
            *side = channels;
        }
        let weight = self.weight.to_dtype(x.dtype())?.reshape(shape.as_slice())?;
        let bias = self.bias.to_dtype(x.dtype())?.reshape(shape.as_slice())?;
        normal.broadcast_mul(&weight)?.broadcast_add(&bias)
    }

    /// Normalisation and an activation in one.
    pub(crate) fn forward_with(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        activation.forward(&self.forward(x)?)
    }
}

/// Layer normalisation (Ba et al. 2016) over the last dimension.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Reads `weight` and `bias` of `width` numbers each.
    pub(crate) fn load(weights: &Weights, width: usize, eps: f64) -> std::result::Result<Self, LoadError> {
        let weight = weights.tensor("weight", &[width])?;
        Ok(Self { weight, bias: weights.tensor("bias", &[width])?, eps })
    }

    /// `(..., width)`, every row with mean 0 and variance 1, then scaled and moved.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let normal = standardise(x, self.eps)?;
        normal
            .broadcast_mul(&self.weight.to_dtype(x.dtype())?)?
            .broadcast_add(&self.bias.to_dtype(x.dtype())?)
    }
}

fn standardise(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}
