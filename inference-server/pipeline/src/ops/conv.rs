//! Two-dimensional convolution.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};
use diffusion_kernels::{Algorithm, ConvShape, Level, PackedConv, PackedDoubling, Transformed};

use super::cpu::{self, Call, Number, Packed, for_type};
use super::map::{FeatureMap, MapShape};
use super::packing::Packing;
use crate::LoadError;
use crate::checkpoint::{Stored, Weights};
use crate::profile;

type Loaded<T> = std::result::Result<T, LoadError>;

/// Zeros around the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    /// As many on every side.
    Same(usize),
    /// One on the right and one below: how the VAE's encoder halves a picture.
    RightAndBottom,
}

/// A convolution with bias.
#[derive(Clone)]
pub(crate) struct Conv2d {
    shape: ConvShape,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Tensors {
        /// `(outputs, inputs, kernel, kernel)`.
        weight: Tensor,
        /// `(outputs)`.
        bias: Tensor,
        padding: Padding,
    },
    Packed {
        weight: Arc<Packing>,
        bias: Arc<[f32]>,
        /// Where `weight` is for pictures that are enlarged to twice their sides: what is for the few others, packed when
        /// the first one comes.
        otherwise: Option<Arc<Packing>>,
    },
}

impl Conv2d {
    /// Reads `weight` `(outputs, inputs, kernel, kernel)` and `bias`; stride 1 and the picture's size kept.
    pub(crate) fn load(weights: &Weights, inputs: usize, outputs: usize, kernel: usize) -> Loaded<Self> {
        Self::strided(weights, inputs, outputs, kernel, 1, Padding::Same(kernel / 2))
    }

    /// As [`Self::load`], with a stride and a padding.
    pub(crate) fn strided(
        weights: &Weights,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> Loaded<Self> {
        let bias = weights.tensor("bias", &[outputs])?;
        Self::with_bias(weights, [inputs, outputs, kernel, stride], padding, bias)
    }

    fn with_bias(
        weights: &Weights,
        [inputs, outputs, kernel, stride]: [usize; 4],
        padding: Padding,
        bias: Tensor,
    ) -> Loaded<Self> {
        let (before, after) = match padding {
            Padding::Same(n) => (n, n),
            Padding::RightAndBottom => (0, 1),
        };
        let shape = ConvShape { outputs, inputs, kernel, stride, before, after };
        let kind = match cpu::computes(weights) {
            false => {
                let weight = weights.tensor("weight", &[outputs, inputs, kernel, kernel])?;
                Kind::Tensors { weight, bias, padding }
            }
            true => {
                Kind::Packed { otherwise: None, bias: cpu::numbers(&bias)?, weight: packing(weights, shape)? }
            }
        };
        Ok(Self { shape, kind })
    }

    /// A 3x3 convolution whose input is enlarged first, mostly to twice its sides.
    pub(crate) fn enlarging(weights: &Weights, inputs: usize, outputs: usize) -> Loaded<Self> {
        Self::enlarging_with(weights, inputs, outputs, weights.tensor("bias", &[outputs])?)
    }

    /// As [`Self::enlarging`], without a bias.
    pub(crate) fn enlarging_without_bias(weights: &Weights, inputs: usize, outputs: usize) -> Loaded<Self> {
        let bias = Tensor::zeros(outputs, weights.dtype(), weights.device())?;
        Self::enlarging_with(weights, inputs, outputs, bias)
    }

    fn enlarging_with(weights: &Weights, inputs: usize, outputs: usize, bias: Tensor) -> Loaded<Self> {
        if !cpu::computes(weights) {
            return Self::with_bias(weights, [inputs, outputs, 3, 1], Padding::Same(1), bias);
        }
        let shape = ConvShape { outputs, inputs, kernel: 3, stride: 1, before: 1, after: 1 };
        let kind = Kind::Packed {
            bias: cpu::numbers(&bias)?,
            weight: packing_doubling(weights, shape)?,
            otherwise: Some(packing(&weights.lazily(), shape)?),
        };
        Ok(Self { shape, kind })
    }

    /// A map of `inputs` channels to one of `outputs`.
    pub(crate) fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        self.compute(x, x.size(), None, None)
    }

    /// The convolution's result added to `residual`.
    pub(crate) fn forward_onto(&self, x: &FeatureMap, residual: &FeatureMap) -> Result<FeatureMap> {
        self.compute(x, x.size(), None, Some(residual))
    }

    /// `(batch, outputs)` added to every pixel of the result.
    pub(crate) fn forward_moved(&self, x: &FeatureMap, by: &Tensor) -> Result<FeatureMap> {
        self.compute(x, x.size(), Some(by), None)
    }

    /// The convolution of `x` enlarged to a height and width by its nearest pixels.
    pub(crate) fn forward_enlarged(&self, x: &FeatureMap, to: (usize, usize)) -> Result<FeatureMap> {
        self.compute(x, to, None, None)
    }

    fn compute(
        &self,
        x: &FeatureMap,
        to: (usize, usize),
        moved: Option<&Tensor>,
        residual: Option<&FeatureMap>,
    ) -> Result<FeatureMap> {
        let shape = self.shape;
        let sides = shape.side(to.0).zip(shape.side(to.1)).filter(|_| x.shape.channels == shape.inputs);
        let Some((height, width)) = sides else { candle_core::bail!("{:?} does not fit {shape:?}", x.shape) };
        let result = MapShape { batch: x.shape.batch, channels: shape.outputs, height, width };
        let residual = residual.map(|residual| &residual.tensor);
        let terms = shape.inputs * shape.kernel * shape.kernel;
        let operations = 2 * result.batch * height * width * shape.outputs * terms;
        let compute = || self.tensor(x, to, result, moved, residual);
        Ok(FeatureMap {
            tensor: profile::timed(profile::Kind::Convolution, operations, compute)?,
            shape: result,
        })
    }

    fn tensor(
        &self,
        x: &FeatureMap,
        to: (usize, usize),
        result: MapShape,
        moved: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let shape = self.shape;
        match &self.kind {
            Kind::Packed { weight, bias, otherwise } => {
                let (height, width) = x.size();
                let weight = match otherwise {
                    Some(otherwise) if to != (2 * height, 2 * width) => otherwise,
                    _ => weight,
                };
                let moved = moved.map(|by| moved_bias(bias, by)).transpose()?;
                let bias = Some(moved.as_deref().unwrap_or(bias));
                let (dims, enlarged) = (result.dims(true), Some([to.0, to.1]));
                weight
                    .get()?
                    .forward(&x.tensor, &Call { shape: &dims, enlarged, bias, activation: None, residual })
            }
            Kind::Tensors { weight, bias, padding } => {
                let x = match x.size() == to {
                    true => x.tensor.clone(),
                    false => x.tensor.upsample_nearest2d(to.0, to.1)?,
                };
                let (padded, padding) = match padding {
                    Padding::Same(n) => (x, *n),
                    Padding::RightAndBottom => (x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?, 0),
                };
                let y = super::each_row(&padded, |row| row.conv2d(weight, padding, shape.stride, 1, 1))?;
                let mut y = y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?;
                if let Some(by) = moved {
                    y = y.broadcast_add(&by.reshape((result.batch, shape.outputs, 1, 1))?)?;
                }
                super::finish(y, None, residual)
            }
        }
    }
}

/// For every picture of the batch, the bias and what is added to it.
fn moved_bias(bias: &[f32], by: &Tensor) -> Result<Vec<f32>> {
    let rows = by.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let moved = |row: Vec<f32>| row.into_iter().zip(bias).map(|(by, bias)| by + bias).collect::<Vec<_>>();
    Ok(rows.into_iter().flat_map(moved).collect())
}

fn stored(weights: &Weights, shape: ConvShape) -> Loaded<Vec<Stored>> {
    let ConvShape { outputs, inputs, kernel, .. } = shape;
    Ok(vec![weights.stored("weight", &[outputs, inputs, kernel, kernel])?])
}

fn packing(weights: &Weights, shape: ConvShape) -> Loaded<Arc<Packing>> {
    let dtype = weights.dtype();
    let algorithm = algorithm(dtype, shape, weights.is_precise());
    let pack = move |parts: &[Stored]| for_type!(dtype, pack(parts, shape, algorithm));
    Ok(Packing::new(weights, stored(weights, shape)?, pack))
}

fn pack<T: Number>(parts: &[Stored], shape: ConvShape, algorithm: Algorithm) -> Loaded<Arc<dyn Packed>> {
    let read = |from: usize, numbers: &mut [T]| parts.iter().for_each(|part| part.read(from, numbers));
    Ok(Arc::new(PackedConv::read(Level::current(), shape, algorithm, read)))
}

fn packing_doubling(weights: &Weights, shape: ConvShape) -> Loaded<Arc<Packing>> {
    let dtype = weights.dtype();
    let pack = move |parts: &[Stored]| for_type!(dtype, pack_doubling(parts, shape));
    Ok(Packing::new(weights, stored(weights, shape)?, pack))
}

fn pack_doubling<T: Number>(parts: &[Stored], shape: ConvShape) -> Loaded<Arc<dyn Packed>> {
    let ConvShape { outputs, inputs, .. } = shape;
    let read = |from: usize, numbers: &mut [T]| parts.iter().for_each(|part| part.read(from, numbers));
    Ok(Arc::new(PackedDoubling::read(Level::current(), outputs, inputs, read)))
}

/// Fewer products where they pay: not for few channels, where the transforms take longer than what they save. bf16 allows
/// the smaller squares only, and none where a layer has to be precise: the transforms round inputs and weights again. In
/// f32 nobody can see that.
fn algorithm(dtype: DType, shape: ConvShape, precise: bool) -> Algorithm {
    /// From so many pairs of channels on, the memory of transformed weights matters more than the time to transform them:
    /// wide layers see few pixels. Stable Diffusion's UNet takes 19 MB more in bf16 so, instead of 760.
    const MANY: usize = 1 << 18;
    let ConvShape { inputs, outputs, .. } = shape;
    let transformed = match inputs * outputs > MANY {
        true => Transformed::EachTime,
        false => Transformed::Once,
    };
    let (fewest, faster) = match dtype {
        DType::BF16 if precise => return Algorithm::Direct,
        DType::BF16 => (128, Algorithm::Winograd2(transformed)),
        _ => (16, Algorithm::Winograd4(transformed)),
    };
    match inputs >= fewest && outputs >= fewest.min(64) {
        true => faster,
        false => Algorithm::Direct,
    }
}

impl<T: Number> Packed for PackedConv<T> {
    fn forward(&self, x: &Tensor, call: &Call<'_>) -> Result<Tensor> {
        let (batch, height, width, _) = x.dims4()?;
        let to = call.enlarged.unwrap_or([height, width]);
        cpu::compute::<T>(x, call, |x, epilogue| self.enlarged(x, [batch, height, width], to, epilogue))
    }
}

impl<T: Number> Packed for PackedDoubling<T> {
    fn forward(&self, x: &Tensor, call: &Call<'_>) -> Result<Tensor> {
        let (batch, height, width, _) = x.dims4()?;
        cpu::compute::<T>(x, call, |x, epilogue| self.forward(x, [batch, height, width], epilogue))
    }
}
