//! Scaled dot-product attention.

use candle_core::{D, Result, Tensor};

/// Queries that are looked at together: the matrix of scores is at most this many rows, whatever the picture's size.
const TILE: usize = 256;

/// `softmax(q k^T / sqrt(width of a head) + mask) v` for every head (Vaswani et al. 2017, equation 1).
///
/// `q` is `(batch, queries, heads x head width)`, `k` and `v` are `(batch, keys, heads x head width)`; `mask`, if any,
/// is `(queries, keys)` and added to the scores. The result has the shape of `q`.
pub(crate) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let head = width / heads;
    let scale = 1.0 / (head as f64).sqrt();
    let split = |x: &Tensor| x.reshape((x.dim(0)?, x.dim(1)?, heads, head))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = ((split(q)? * scale)?, split(k)?, split(v)?);
    let k = k.transpose(2, 3)?.contiguous()?;
    let mut tiles = Vec::with_capacity(queries.div_ceil(TILE));
    for from in (0..queries).step_by(TILE) {
        let rows = TILE.min(queries - from);
        let mut scores = q.narrow(2, from, rows)?.contiguous()?.matmul(&k)?;
        if let Some(mask) = mask {
            scores = scores.broadcast_add(&mask.narrow(0, from, rows)?)?;
        }
        let highest = scores.max_keepdim(D::Minus1)?;
        let weights = scores.broadcast_sub(&highest)?.exp()?;
        let sums = weights.sum_keepdim(D::Minus1)?;
        tiles.push(weights.matmul(&v)?.broadcast_div(&sums)?);
    }
    Tensor::cat(&tiles, 2)?.transpose(1, 2)?.reshape((batch, queries, width))
}
