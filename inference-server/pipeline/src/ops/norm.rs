//! Normalisation.

use candle_core::{D, DType, Result, Tensor};

use super::Activation;
use super::map::{FeatureMap, MapShape};
use crate::LoadError;
use crate::checkpoint::Weights;

/// Group normalisation (Wu and He 2018) over the pixels and channels of a feature map.
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

    /// A map of the same shape, every group of channels with mean 0 and variance 1, then scaled and moved.
    pub(crate) fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        let MapShape { batch, channels, .. } = x.shape;
        let first = match x.channels_last() {
            false => x.tensor.clone(),
            true => x.tensor.permute((0, 3, 1, 2))?.contiguous()?.to_dtype(DType::F32)?,
        };
        let grouped = first.reshape((batch, self.groups, ()))?;
        let normal = standardise(&grouped, self.eps)?.reshape(first.dims())?;
        let weight = self.weight.to_dtype(first.dtype())?.reshape((1, channels, 1, 1))?;
        let bias = self.bias.to_dtype(first.dtype())?.reshape((1, channels, 1, 1))?;
        let y = normal.broadcast_mul(&weight)?.broadcast_add(&bias)?;
        FeatureMap::new(&y.to_dtype(x.tensor.dtype())?)
    }

    /// Normalisation and an activation in one.
    pub(crate) fn forward_with(&self, x: &FeatureMap, activation: Activation) -> Result<FeatureMap> {
        let y = self.forward(x)?;
        Ok(FeatureMap { tensor: activation.forward(&y.tensor)?, shape: y.shape })
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
        let dtype = x.dtype();
        let x = x.to_dtype(DType::F32)?;
        let normal = standardise(&x, self.eps)?;
        normal
            .broadcast_mul(&self.weight.to_dtype(x.dtype())?)?
            .broadcast_add(&self.bias.to_dtype(x.dtype())?)?.to_dtype(dtype)
    }
}

fn standardise(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}
