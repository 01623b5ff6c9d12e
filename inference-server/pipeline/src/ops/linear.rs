//! Fully connected layers.

use std::sync::Arc;

use candle_core::{D, Result, Tensor};
use diffusion_kernels::{Level, PackedMatrix};

use super::cpu::{self, Call, Number, Packed, for_type};
use super::packing::Packing;
use super::{Activation, finish};
use crate::LoadError;
use crate::checkpoint::{Stored, Weights};
use crate::profile;

type Loaded<T> = std::result::Result<T, LoadError>;

/// `x W^T + b` over the last dimension.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    inputs: usize,
    outputs: usize,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// On candle's operations, in the type that the weights are kept in.
    Tensors {
        /// `(rows, inputs)`.
        weight: Tensor,
        /// `(rows)`.
        bias: Option<Tensor>,
        gated: bool,
    },
    Packed {
        weight: Arc<Packing>,
        bias: Option<Arc<[f32]>>,
    },
}

impl Linear {
    /// Reads `weight` `(outputs, inputs)` and `bias`.
    pub(crate) fn load(weights: &Weights, inputs: usize, outputs: usize) -> Loaded<Self> {
        Self::new(std::slice::from_ref(weights), &[outputs, inputs], true, false)
    }

    /// Reads `weight` alone.
    pub(crate) fn without_bias(weights: &Weights, inputs: usize, outputs: usize) -> Loaded<Self> {
        Self::new(std::slice::from_ref(weights), &[outputs, inputs], false, false)
    }

    /// Reads a 1x1 convolution, `weight` `(outputs, inputs, 1, 1)` and `bias`: over tokens it is a fully connected layer.
    pub(crate) fn pointwise(weights: &Weights, inputs: usize, outputs: usize) -> Loaded<Self> {
        Self::new(std::slice::from_ref(weights), &[outputs, inputs, 1, 1], true, false)
    }

    /// Several layers with the same input as one, whose outputs follow each other.
    pub(crate) fn joined(parts: &[Weights], inputs: usize, outputs: usize, with_bias: bool) -> Loaded<Self> {
        Self::new(parts, &[outputs, inputs], with_bias, false)
    }

    /// A layer of values and gates, `weight` `(2 outputs, inputs)` and `bias`: a result is a value times the activation of
    /// its gate (Shazeer 2020).
    pub(crate) fn gated(weights: &Weights, inputs: usize, outputs: usize) -> Loaded<Self> {
        Self::new(std::slice::from_ref(weights), &[2 * outputs, inputs], true, true)
    }

    /// `shape` is that of every part's `weight`.
    fn new(parts: &[Weights], shape: &[usize], with_bias: bool, gated: bool) -> Loaded<Self> {
        let (&[rows, inputs, ..], Some(first)) = (shape, parts.first()) else {
            return Err(candle_core::Error::Msg(format!("no layer of {shape:?}")).into());
        };
        let bias = with_bias.then(|| {
            let parts = parts.iter().map(|part| part.tensor("bias", &[rows]));
            Loaded::Ok(Tensor::cat(&parts.collect::<Loaded<Vec<_>>>()?, 0)?)
        });
        let bias = bias.transpose()?;
        let outputs = parts.len() * if gated { rows / 2 } else { rows };
        let kind = match cpu::computes(first) {
            false => {
                let parts =
                    parts.iter().map(|part| Ok(part.tensor("weight", shape)?.reshape((rows, inputs))?));
                Kind::Tensors { weight: Tensor::cat(&parts.collect::<Loaded<Vec<_>>>()?, 0)?, bias, gated }
            }
            true => Kind::Packed {
                bias: bias.map(|bias| cpu::numbers(&bias)).transpose()?,
                weight: packing(parts, shape, [outputs, rows, inputs], gated)?,
            },
        };
        Ok(Self { inputs, outputs, kind })
    }

    /// `(batch, ..., inputs)` to `(batch, ..., outputs)`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.compute(x, None, None)
    }

    /// The layer and an activation in one; a gated layer's activation is that of its gates.
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
        let Self { inputs, outputs, kind } = self;
        let mut shape = x.dims().to_vec();
        match shape.last_mut() {
            Some(last) if last == inputs => *last = *outputs,
            _ => candle_core::bail!("{:?} where {inputs} inputs were expected", x.dims()),
        }
        let sums = match kind {
            Kind::Tensors { gated: true, .. } => 2 * outputs,
            Kind::Packed { bias: Some(bias), .. } => bias.len(),
            _ => *outputs,
        };
        let rows: usize = x.elem_count() / (*inputs).max(1);
        profile::timed(profile::Kind::Linear, 2 * rows * inputs * sums, || match kind {
            Kind::Packed { weight, bias } => {
                let bias = bias.as_deref();
                weight.get()?.forward(x, &Call { shape: &shape, enlarged: None, bias, activation, residual })
            }
            Kind::Tensors { weight, bias, gated } => {
                let weight = weight.t()?;
                let y = super::each_row(x, |row| row.reshape(((), *inputs))?.matmul(&weight))?;
                let (last, rows) = (shape.len() - 1, weight.dim(D::Minus1)?);
                let mut wide = shape.clone();
                wide[last] = rows;
                let mut y = y.reshape(wide)?;
                if let Some(bias) = bias {
                    y = y.broadcast_add(bias)?;
                }
                if !gated {
                    return finish(y, activation, residual);
                }
                let half = |from| y.narrow(D::Minus1, from, *outputs)?.contiguous();
                let gate = finish(half(*outputs)?, activation, None)?;
                finish((half(0)? * gate)?, None, residual)
            }
        })
    }
}

fn packing(parts: &[Weights], shape: &[usize], sizes: [usize; 3], gated: bool) -> Loaded<Arc<Packing>> {
    let Some(first) = parts.first() else {
        return Err(candle_core::Error::Msg(format!("no layer of {shape:?}")).into());
    };
    let stored = parts.iter().map(|part| part.stored("weight", shape)).collect::<Loaded<Vec<_>>>()?;
    let dtype = first.dtype();
    let pack = move |parts: &[Stored]| for_type!(dtype, pack(parts, sizes, gated));
    Ok(Packing::new(first, stored, pack))
}

fn pack<T: Number>(
    parts: &[Stored],
    [outputs, rows, inputs]: [usize; 3],
    gated: bool,
) -> Loaded<Arc<dyn Packed>> {
    // What is read at a time is of one row.
    let part = (rows * inputs).max(1);
    let read = |from: usize, numbers: &mut [T]| parts[from / part].read(from % part, numbers);
    Ok(Arc::new(PackedMatrix::read(Level::current(), [outputs, inputs], gated, read)))
}

impl<T: Number> Packed for PackedMatrix<T> {
    fn forward(&self, x: &Tensor, call: &Call<'_>) -> Result<Tensor> {
        let rows = call.shape.iter().rev().skip(1).product();
        cpu::compute::<T>(x, call, |x, epilogue| self.multiply(x, rows, epilogue))
    }
}
