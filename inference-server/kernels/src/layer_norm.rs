//! Layer normalisation of rows.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crate::dispatch::for_every_level;
use crate::element::{Element, write_rounded};
use crate::level::Level;
use crate::math::multiply_add;
use crate::output::{Cut, map};

/// Numbers that a task takes, or so.
const BLOCK: usize = 1 << 14;
/// Sums that do not wait for each other: vectors of every level.
const LANES: usize = 32;

/// Layer normalisation (Ba et al. 2016): every row gets mean 0 and variance 1, then each of its numbers is multiplied with
/// its weight and moved by its bias.
///
/// Statistics are right to the last bits of f32 also when the mean is thousands of times the deviation.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    level: Level,
    eps: f64,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl LayerNorm {
    /// `weight` and `bias` have a number for each of a row; `eps` is added to the variance.
    ///
    /// # Panics
    /// If the two are not of the same length.
    pub fn new(level: Level, eps: f64, weight: Vec<f32>, bias: Vec<f32>) -> Self {
        assert_eq!(weight.len(), bias.len(), "a weight and a bias for every number of a row");
        Self { level, eps, weight, bias }
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.weight.len()
    }

    /// `x` `(rows, width)` to the same shape.
    ///
    /// # Panics
    /// If `x` does not have whole rows, or the machine does not have the level.
    pub fn forward<T: Element>(&self, x: &[T]) -> Vec<T> {
        let width = self.width();
        assert!(x.len().is_multiple_of(width), "{} numbers in rows of {width}", x.len());
        let rows = (BLOCK / width.max(1)).max(1);
        // SAFETY: blocks are of whole rows: every number is written.
        unsafe {
            map(x, Cut::new(1, x.len(), rows * width), |_, x, y| {
                normalise(self.level, &self.weight, &self.bias, self.eps, x, y);
            })
        }
    }
}

for_every_level! {
    /// All of `y`, which is as long as `x`: whole rows.
    fn normalise<T>(weight: &[f32], bias: &[f32], eps: f64, x: &[T], y: &mut [MaybeUninit<T>]) {
        let width = weight.len();
        let (bias, n) = (&bias[..width], width as f64);
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let centre = (sum(x) / n) as f32;
            let [sum, square] = distances::<T, FMA>(x, centre);
            // What the centre is short of the mean, which counts if the deviation is much smaller; and the variance without
            // it (Chan et al. 1983, the corrected two-pass algorithm).
            let rest = sum / n;
            let variance = (square / n - rest * rest).max(0.0);
            let scale = 1.0 / (variance + eps).sqrt();
            let (shift, scale) = ((-rest * scale) as f32, scale as f32);
            write_rounded!(T, BF16, y, [x: x, weight: weight, bias: bias] => {
                let normal = multiply_add::<FMA>(x.to_f32() - centre, scale, shift);
                multiply_add::<FMA>(normal, weight, bias)
            });
        }
    }
}

/// The sum of a row.
#[inline(always)]
fn sum<T: Element>(x: &[T]) -> f64 {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x.to_f32();
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x.to_f32();
    }
    total(lanes)
}

/// The sum of the distances from a centre, and that of their squares.
#[inline(always)]
fn distances<T: Element, const FMA: bool>(x: &[T], centre: f32) -> [f64; 2] {
    let mut both = ([0f32; LANES], [0f32; LANES]);
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        add::<T, FMA>(chunk, centre, &mut both);
    }
    add::<T, FMA>(rest, centre, &mut both);
    [total(both.0), total(both.1)]
}

#[inline(always)]
fn add<T: Element, const FMA: bool>(x: &[T], centre: f32, both: &mut ([f32; LANES], [f32; LANES])) {
    for ((sum, square), x) in both.0.iter_mut().zip(&mut both.1).zip(x) {
        let distance = x.to_f32() - centre;
        *sum += distance;
        *square = multiply_add::<FMA>(distance, distance, *square);
    }
}

/// The sum of all lanes, halves added to each other.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f64 {
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] += lanes[i + n];
        }
    }
    f64::from(lanes[0])
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::testing::{Random, assert_normal, levels, with_threads};

    /// In f64, from what `x` is after rounding to its type.
    fn reference<T: Element>(norm: &LayerNorm, x: &[T]) -> Vec<f32> {
        let n = norm.width() as f64;
        let row = |x: &[T]| {
            let x: Vec<f64> = x.iter().map(|x| f64::from(x.to_f32())).collect();
            let mean = x.iter().sum::<f64>() / n;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let deviation = (variance + norm.eps).sqrt();
            let parameters = norm.weight.iter().zip(&norm.bias);
            let number =
                |(x, (w, b)): (&f64, (&f32, &f32))| (x - mean) / deviation * f64::from(*w) + f64::from(*b);
            x.iter().zip(parameters).map(|x| number(x) as f32).collect::<Vec<_>>()
        };
        x.chunks(norm.width().max(1)).flat_map(row).collect()
    }

    fn norm(random: &mut Random, level: Level, width: usize) -> LayerNorm {
        LayerNorm::new(level, 1e-5, random.numbers(width), random.numbers(width))
    }

    fn every_shape<T: Element>(seed: u64) {
        let mut random = Random::new(seed);
        for level in levels() {
            let mut shapes = vec![[0, 5], [5, 0], [1, 1], [3, 32], [300, 320], [7, 33], [2, 20_000]];
            shapes.extend((0..40).map(|_| [1 + random.below(40), 1 + random.below(300)]));
            for shape @ [rows, width] in shapes {
                let norm = norm(&mut random, level, width);
                for mean in [0.0, 600.0, -60_000.0] {
                    let x = random.numbers(rows * width);
                    let x: Vec<T> = x.into_iter().map(|x| T::from_f32(x + mean)).collect();
                    let want = reference(&norm, &x);
                    assert_normal(&norm.forward(&x), &want, 1e-6, &format!("{level:?} {shape:?} {mean}"));
                }
            }
        }
    }

    #[test]
    fn every_level_normalises_any_shape_with_any_mean_in_f32() {
        every_shape::<f32>(30);
    }

    #[test]
    fn every_level_normalises_any_shape_with_any_mean_in_bf16() {
        every_shape::<bf16>(31);
    }

    fn alone<T: Element>(seed: u64) {
        let mut random = Random::new(seed);
        let (rows, width) = (500, 203);
        let x = random.elements::<T>(rows * width);
        for level in levels() {
            let norm = norm(&mut random, level, width);
            let all = with_threads(1, || norm.forward(&x));
            assert_eq!(all, with_threads(3, || norm.forward(&x)), "{level:?}");
            for (x, all) in x.chunks(width).zip(all.chunks(width)) {
                assert_eq!(norm.forward(x), all, "{level:?}");
            }
        }
    }

    #[test]
    fn threads_and_other_rows_change_no_bit() {
        alone::<f32>(32);
        alone::<bf16>(33);
    }
}
