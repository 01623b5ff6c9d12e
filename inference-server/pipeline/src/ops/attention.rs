//! Scaled dot-product attention.

use candle_core::{D, Device, Result, Tensor};
use diffusion_kernels::{Attention, Level, Rows};

use super::cpu::{self, Number, for_type};
use crate::profile;

/// Queries that candle's operations look at together: the matrix of scores is at most this many rows, whatever the
/// picture's size.
const TILE: usize = 256;

/// Which keys a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sees {
    All,
    /// Those of its own position and before.
    Before,
}

/// `softmax(q k^T / sqrt(width of a head)) v` for every head (Vaswani et al. 2017, equation 1).
///
/// `q` is `(batch, queries, heads x head width)`, `k` and `v` are `(batch, keys, heads x head width)`; they may be parts of
/// wider rows. The result has the shape of `q`.
pub(crate) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, sees: Sees) -> Result<Tensor> {
    let operations = 4 * q.elem_count() * k.dim(1)?;
    profile::timed(profile::Kind::Attention, operations, || match super::on_kernels(q.device()) {
        true => for_type!(q.dtype(), fused(q, k, v, heads, sees)),
        false => composed(q, k, v, heads, sees),
    })
}

/// On candle's operations.
fn composed(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, sees: Sees) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let head = width / heads;
    let scale = 1.0 / (head as f64).sqrt();
    let split = |x: &Tensor| x.reshape((x.dim(0)?, x.dim(1)?, heads, head))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = ((split(q)? * scale)?, split(k)?, split(v)?);
    let k = k.transpose(2, 3)?.contiguous()?;
    let mask = match sees {
        Sees::All => None,
        Sees::Before => Some(causal_mask(queries, q.device())?.to_dtype(q.dtype())?),
    };
    let mut tiles = Vec::with_capacity(queries.div_ceil(TILE));
    for from in (0..queries).step_by(TILE) {
        let rows = TILE.min(queries - from);
        let mut scores = q.narrow(2, from, rows)?.contiguous()?.matmul(&k)?;
        if let Some(mask) = &mask {
            scores = scores.broadcast_add(&mask.narrow(0, from, rows)?)?;
        }
        let highest = scores.max_keepdim(D::Minus1)?;
        let weights = scores.broadcast_sub(&highest)?.exp()?;
        let sums = weights.sum_keepdim(D::Minus1)?;
        tiles.push(weights.matmul(&v)?.broadcast_div(&sums)?);
    }
    Tensor::cat(&tiles, 2)?.transpose(1, 2)?.reshape((batch, queries, width))
}

/// `(tokens, tokens)`: 0 where a token may look, minus infinity after it.
fn causal_mask(tokens: usize, device: &Device) -> Result<Tensor> {
    let entry = |i: usize| if i % tokens > i / tokens { f32::NEG_INFINITY } else { 0.0 };
    Tensor::from_iter((0..tokens * tokens).map(entry), device)?.reshape((tokens, tokens))
}

/// On our own kernel.
fn fused<T: Number>(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, sees: Sees) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let (_, keys, _) = k.dims3()?;
    if k.dims() != [batch, keys, width] || v.dims() != k.dims() || heads == 0 || width % heads != 0 {
        candle_core::bail!("{:?}, {:?} and {:?} in {heads} heads", q.dims(), k.dims(), v.dims());
    }
    let head = width / heads;
    let scale = 1.0 / (head as f32).sqrt();
    let attention = Attention { heads, head, scale, causal: sees == Sees::Before };
    let y = with_rows::<T, _>(q, |q| {
        with_rows::<T, _>(k, |k| {
            with_rows::<T, _>(v, |v| Ok(attention.forward(Level::current(), q, k, v, [batch, queries, keys])))
        })
    })?;
    Tensor::from_vec(y, (batch, queries, width), q.device())
}

/// `(batch, rows, width)` where it is, as long as all rows are the same distance apart.
fn with_rows<T: Number, R>(x: &Tensor, f: impl FnOnce(Rows<'_, T>) -> Result<R>) -> Result<R> {
    let (batch, rows, width) = x.dims3()?;
    let evenly = matches!(x.stride(), &[of_batch, stride, 1] if batch == 1 || of_batch == rows * stride);
    let x = if evenly { x.clone() } else { x.contiguous()? };
    let stride = match x.stride() {
        [_, stride, _] if rows > 1 || batch > 1 => *stride,
        _ => width,
    };
    cpu::with_storage(&x, |numbers: &[T], offset| f(Rows { numbers, stride, offset }))
}
