//! Normalisation.

use std::sync::Arc;

use candle_core::{D, Result, Tensor};
use diffusion_kernels::Level;

use super::cpu::{self, Number, for_type};
use super::map::{FeatureMap, MapShape};
use super::{Activation, finish};
use crate::LoadError;
use crate::checkpoint::Weights;
use crate::profile;

/// Weight and bias of a layer, and what is done with them where our kernels do not compute.
#[derive(Debug, Clone)]
enum Kind<K> {
    Tensors { weight: Tensor, bias: Tensor },
    Kernel(Arc<K>),
}

fn load<K>(
    weights: &Weights,
    n: usize,
    kernel: impl FnOnce(Vec<f32>, Vec<f32>) -> K,
) -> std::result::Result<Kind<K>, LoadError> {
    let (weight, bias) = (weights.tensor("weight", &[n])?, weights.tensor("bias", &[n])?);
    Ok(match cpu::computes(weights) {
        false => Kind::Tensors { weight, bias },
        true => {
            Kind::Kernel(Arc::new(kernel(cpu::numbers(&weight)?.to_vec(), cpu::numbers(&bias)?.to_vec())))
        }
    })
}

/// Group normalisation (Wu and He 2018) over the pixels and channels of a feature map.
#[derive(Debug, Clone)]
pub(crate) struct GroupNorm {
    kind: Kind<diffusion_kernels::GroupNorm>,
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
        let kernel =
            |weight, bias| diffusion_kernels::GroupNorm::new(Level::current(), groups, eps, weight, bias);
        Ok(Self { kind: load(weights, channels, kernel)?, groups, eps })
    }

    /// A map of the same shape, every group of channels with mean 0 and variance 1, then scaled and moved.
    pub(crate) fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        self.compute(x, None)
    }

    /// Normalisation and an activation in one.
    pub(crate) fn forward_with(&self, x: &FeatureMap, activation: Activation) -> Result<FeatureMap> {
        self.compute(x, Some(activation))
    }

    fn compute(&self, x: &FeatureMap, activation: Option<Activation>) -> Result<FeatureMap> {
        let MapShape { batch, channels, .. } = x.shape;
        let tensor = profile::timed(profile::Kind::GroupNorm, 0, || match &self.kind {
            Kind::Kernel(kernel) => {
                if channels != kernel.channels() {
                    candle_core::bail!("{channels} channels where {} were expected", kernel.channels());
                }
                for_type!(x.tensor.dtype(), group_norm(kernel, x, activation))
            }
            Kind::Tensors { weight, bias } => {
                let grouped = x.tensor.contiguous()?.reshape((batch, self.groups, ()))?;
                let normal = standardise(&grouped, self.eps)?.reshape(x.tensor.dims())?;
                let y = normal.broadcast_mul(&weight.reshape((1, channels, 1, 1))?)?;
                finish(y.broadcast_add(&bias.reshape((1, channels, 1, 1))?)?, activation, None)
            }
        })?;
        Ok(FeatureMap { tensor, shape: x.shape })
    }
}

fn group_norm<T: Number>(
    kernel: &diffusion_kernels::GroupNorm,
    x: &FeatureMap,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let MapShape { batch, height, width, .. } = x.shape;
    let activation = activation.map(Activation::kernel).unwrap_or_default();
    let y = cpu::with_numbers::<T, _>(&x.tensor, |numbers| {
        Ok(kernel.forward(numbers, [batch, height * width], activation))
    })?;
    Tensor::from_vec(y, x.tensor.dims(), x.tensor.device())
}

/// Layer normalisation (Ba et al. 2016) over the last dimension.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    kind: Kind<diffusion_kernels::LayerNorm>,
    eps: f64,
}

impl LayerNorm {
    /// Reads `weight` and `bias` of `width` numbers each.
    pub(crate) fn load(weights: &Weights, width: usize, eps: f64) -> std::result::Result<Self, LoadError> {
        let kernel = |weight, bias| diffusion_kernels::LayerNorm::new(Level::current(), eps, weight, bias);
        Ok(Self { kind: load(weights, width, kernel)?, eps })
    }

    /// `(..., width)`, every row with mean 0 and variance 1, then scaled and moved.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        profile::timed(profile::Kind::LayerNorm, 0, || match &self.kind {
            Kind::Kernel(kernel) => {
                let width = x.dim(D::Minus1)?;
                if width != kernel.width() {
                    candle_core::bail!("rows of {width} where {} were expected", kernel.width());
                }
                for_type!(x.dtype(), layer_norm(kernel, x))
            }
            Kind::Tensors { weight, bias } => {
                standardise(x, self.eps)?.broadcast_mul(weight)?.broadcast_add(bias)
            }
        })
    }
}

fn layer_norm<T: Number>(kernel: &diffusion_kernels::LayerNorm, x: &Tensor) -> Result<Tensor> {
    let y = cpu::with_numbers::<T, _>(x, |numbers| Ok(kernel.forward(numbers)))?;
    Tensor::from_vec(y, x.dims(), x.device())
}

fn standardise(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}
