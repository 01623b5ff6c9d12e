//! Merging of similar tokens (Bolya and Hoffman 2023, "Token merging for fast Stable Diffusion", section 4): what comes
//! after sees fewer tokens, and what it finds for a merged one is copied back to all that went into it.

mod nearest;
mod plan;
#[cfg(test)]
mod tests;

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use self::nearest::{nearest, nearest_composed};
use self::plan::{Plan, Split};
use super::cpu::{self, Number, for_type};
use crate::profile;

/// Where the tokens of a feature map go, by row of a batch.
#[derive(Debug)]
pub(crate) struct Merge {
    /// Tokens that are left of a row.
    kept: usize,
    rows: Vec<Plan>,
}

impl Merge {
    /// How to merge a part `ratio` of the tokens `x` `(batch, height x width, width of a token)` with those that point in
    /// the same direction; nothing where there is nothing to merge. A row's plan depends on that row only.
    pub(crate) fn of(x: &Tensor, (height, width): (usize, usize), ratio: f64) -> Result<Option<Self>> {
        if ratio <= 0.0 {
            return Ok(None);
        }
        let (_, tokens, channels) = x.dims3()?;
        if tokens != height * width {
            candle_core::bail!("{tokens} tokens of {height} x {width} pixels");
        }
        let split = Split::of(height, width);
        let removed = split.removed(ratio);
        if removed == 0 {
            return Ok(None);
        }
        let operations = 2 * x.elem_count() / tokens.max(1) * split.sources.len() * split.destinations.len();
        profile::timed(profile::Kind::Merge, operations, || {
            let found = match super::on_kernels(x.device()) {
                true => for_type!(x.dtype(), nearest(x, channels, &split)),
                false => nearest_composed(x, &split),
            };
            let rows = found?.iter().map(|row| Plan::new(&split, row, removed)).collect();
            Ok(Some(Self { kept: tokens - removed, rows }))
        })
    }

    /// `(batch, tokens, width)` to `(batch, fewer tokens, width)`: the mean of those that go together.
    pub(crate) fn merge(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x, |plan| plan.place.len())?;
        profile::timed(profile::Kind::Merge, 0, || match super::on_kernels(x.device()) {
            true => for_type!(x.dtype(), means(self, x)),
            false => self.means_composed(x),
        })
    }

    /// `residual` `(batch, tokens, width)` and for each of its tokens the one of `y` `(batch, fewer tokens, width)` that it
    /// is part of.
    pub(crate) fn unmerge_onto(&self, y: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.check(y, |_| self.kept)?;
        self.check(residual, |plan| plan.place.len())?;
        if y.dim(2)? != residual.dim(2)? {
            candle_core::bail!("tokens of {:?} cannot be added to {:?}", y.dims(), residual.dims());
        }
        profile::timed(profile::Kind::Merge, 0, || match super::on_kernels(y.device()) {
            true => for_type!(y.dtype(), copies(self, y, residual)),
            false => self.copies_composed(y, residual),
        })
    }

    /// Whether a tensor has this merge's rows, and a number of tokens.
    fn check(&self, x: &Tensor, tokens: impl Fn(&Plan) -> usize) -> Result<()> {
        let (batch, n, _) = x.dims3()?;
        if batch != self.rows.len() || self.rows.iter().any(|plan| tokens(plan) != n) {
            candle_core::bail!("a merge of {} rows was given {:?}", self.rows.len(), x.dims());
        }
        Ok(())
    }

    fn means_composed(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, width) = x.dims3()?;
        let rows = self.rows.iter().enumerate().map(|(row, plan)| {
            let tokens = x.get(row)?.to_dtype(DType::F32)?.contiguous()?;
            let sums = Tensor::zeros((self.kept, width), DType::F32, x.device())?;
            let sums = sums.index_add(&Tensor::new(plan.place.as_slice(), x.device())?, &tokens, 0)?;
            let counts = Tensor::new(plan.counts().as_slice(), x.device())?.unsqueeze(1)?;
            sums.broadcast_div(&counts)?.to_dtype(x.dtype())
        });
        Tensor::stack(&rows.collect::<Result<Vec<_>>>()?, 0)
    }

    fn copies_composed(&self, y: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let rows = self.rows.iter().enumerate().map(|(row, plan)| {
            y.get(row)?.contiguous()?.index_select(&Tensor::new(plan.place.as_slice(), y.device())?, 0)
        });
        residual + Tensor::stack(&rows.collect::<Result<Vec<_>>>()?, 0)?
    }
}

/// [`Merge::merge`] on the CPU.
fn means<T: Number>(merge: &Merge, x: &Tensor) -> Result<Tensor> {
    let (batch, tokens, width) = x.dims3()?;
    let mut means = vec![T::default(); batch * merge.kept * width];
    cpu::with_numbers(x, |x: &[T]| {
        let rows = x.chunks(tokens * width).zip(means.chunks_mut(merge.kept * width)).zip(&merge.rows);
        for ((x, means), plan) in rows {
            let groups = plan.groups();
            means.par_chunks_mut(width).zip(groups.par_iter()).for_each_init(
                || vec![0.0; width],
                |sums, (mean, group)| average(x, width, group, sums, mean),
            );
        }
        Ok(())
    })?;
    Tensor::from_vec(means, (batch, merge.kept, width), x.device())
}

/// [`Merge::unmerge_onto`] on the CPU.
fn copies<T: Number>(merge: &Merge, y: &Tensor, residual: &Tensor) -> Result<Tensor> {
    let (batch, tokens, width) = residual.dims3()?;
    let mut sums = vec![T::default(); batch * tokens * width];
    cpu::with_numbers(y, |y: &[T]| {
        cpu::with_numbers(residual, |residual: &[T]| {
            let whole = tokens * width;
            let rows = y.chunks(merge.kept * width).zip(&merge.rows);
            let rows = rows.zip(residual.chunks(whole).zip(sums.chunks_mut(whole)));
            for ((y, plan), (residual, sums)) in rows {
                let tokens = sums.par_chunks_mut(width).zip(residual.par_chunks(width));
                tokens.zip(&plan.place).for_each(|((sums, residual), &place)| {
                    for ((sum, a), b) in sums.iter_mut().zip(residual).zip(token(y, width, place)) {
                        *sum = T::from_f32(a.to_f32() + b.to_f32());
                    }
                });
            }
            Ok(())
        })
    })?;
    Tensor::from_vec(sums, (batch, tokens, width), y.device())
}

/// One of the tokens of a row.
fn token<T>(row: &[T], width: usize, index: u32) -> &[T] {
    row.get(index as usize * width..).and_then(|from| from.get(..width)).unwrap_or_default()
}

/// The mean of a group of tokens. `sums` is memory to work in.
fn average<T: Number>(x: &[T], width: usize, group: &[u32], sums: &mut [f32], mean: &mut [T]) {
    if let [alone] = group {
        return mean.copy_from_slice(token(x, width, *alone));
    }
    sums.fill(0.0);
    for &member in group {
        for (sum, number) in sums.iter_mut().zip(token(x, width, member)) {
            *sum += number.to_f32();
        }
    }
    for (mean, sum) in mean.iter_mut().zip(sums) {
        *mean = T::from_f32(*sum / group.len() as f32);
    }
}
