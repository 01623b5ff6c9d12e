//! The most similar destination of every source, by the cosine of the angle between them.

use candle_core::{DType, Result, Tensor};
use diffusion_kernels::{Epilogue, Level, PackedMatrix};
use rayon::prelude::*;

use super::plan::{Nearest, Split};
use super::token;
use crate::ops::cpu::{self, Number};

/// Sources that are compared at a time: their scores stay in the cache, and are few whatever the picture's size.
const BLOCK: usize = 512;
/// A token of zeros is like no other, not a division by zero.
const SHORTEST: f32 = 1e-12;
/// Scores are cosines less 1: tokens that are worth merging have cosines close to 1, where bf16 has few numbers, and the
/// difference has many. It is taken before the rounding.
const LESS_ONE: f32 = -1.0;

/// For every row of `x` `(batch, tokens, width)`, on our kernels.
pub(super) fn nearest<T: Number>(x: &Tensor, width: usize, split: &Split) -> Result<Vec<Vec<Nearest>>> {
    let tokens = split.sources.len() + split.destinations.len();
    let bias = vec![LESS_ONE; split.destinations.len()];
    let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
    cpu::with_numbers(x, |x: &[T]| {
        let rows = x.chunks((tokens * width).max(1)).map(|row| {
            let to = directions(row, width, &split.destinations);
            let to = PackedMatrix::new(Level::current(), split.destinations.len(), width, |output, input| {
                to.get(output * width + input).copied().unwrap_or_default()
            });
            let blocks = split.sources.chunks(BLOCK).flat_map(|sources| {
                let scores = to.multiply(&directions(row, width, sources), sources.len(), &epilogue);
                let nearest = scores.par_chunks(split.destinations.len().max(1)).map(highest);
                nearest.collect::<Vec<_>>()
            });
            blocks.collect()
        });
        Ok(rows.collect())
    })
}

/// Some tokens of a row, each divided by its length.
fn directions<T: Number>(row: &[T], width: usize, tokens: &[u32]) -> Vec<T> {
    let mut directions = vec![T::default(); tokens.len() * width];
    directions.par_chunks_mut(width.max(1)).zip(tokens).for_each(|(direction, &index)| {
        let token = token(row, width, index);
        let squares: f32 = token.iter().map(|x| x.to_f32() * x.to_f32()).sum();
        let scale = 1.0 / squares.sqrt().max(SHORTEST);
        for (to, from) in direction.iter_mut().zip(token) {
            *to = T::from_f32(from.to_f32() * scale);
        }
    });
    directions
}

/// The first of the highest scores.
fn highest<T: Number>(scores: &[T]) -> Nearest {
    // Several maxima side by side are what the compiler has vector instructions for.
    let mut maxima = [f32::NEG_INFINITY; 16];
    for scores in scores.chunks(16) {
        for (maximum, score) in maxima.iter_mut().zip(scores) {
            let score = score.to_f32();
            *maximum = if score > *maximum { score } else { *maximum };
        }
    }
    let score = maxima.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let destination = scores.iter().position(|x| x.to_f32() == score).unwrap_or_default();
    Nearest { destination, score }
}

/// The same on candle's operations. Scores are sorted on the host: candle's sort on a GPU has no room for this many.
pub(super) fn nearest_composed(x: &Tensor, split: &Split) -> Result<Vec<Vec<Nearest>>> {
    let ids = |ids: &[u32]| Tensor::new(ids, x.device());
    let (sources, destinations) = (ids(&split.sources)?, ids(&split.destinations)?);
    let row = |row: usize| {
        let x = x.get(row)?.to_dtype(DType::F32)?.contiguous()?;
        let x = x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(SHORTEST)?)?;
        let (from, to) = (x.index_select(&sources, 0)?, x.index_select(&destinations, 0)?.t()?);
        let mut nearest = Vec::with_capacity(split.sources.len());
        for start in (0..split.sources.len()).step_by(BLOCK) {
            let scores = from.narrow(0, start, BLOCK.min(split.sources.len() - start))?.matmul(&to)?;
            let (best, score) = (scores.argmax(1)?.to_vec1::<u32>()?, scores.max(1)?.to_vec1::<f32>()?);
            let pairs = best.into_iter().zip(score);
            nearest.extend(pairs.map(|(best, score)| Nearest { destination: best as usize, score }));
        }
        Ok(nearest)
    };
    (0..x.dim(0)?).map(row).collect()
}
