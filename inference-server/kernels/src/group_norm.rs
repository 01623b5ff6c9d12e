//! Group normalisation of pictures with their channels last.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crate::dispatch::for_every_level;
use crate::element::{Element, write_rounded};
use crate::epilogue::{Activation, Function, for_function};
use crate::level::Level;
use crate::math::multiply_add;
use crate::output::{Cut, map};
use crate::parallel;

/// Numbers that a task takes, or so: few enough that a picture of 16 x 16 pixels is enough for several threads.
const BLOCK: usize = 1 << 15;
/// Rows that are added up in f32 before their sums go to f64.
const ROWS: usize = 32;
/// Rows whose mean those are compared with.
const FIRST: usize = 4;

/// Group normalisation (Wu and He 2018): every picture's groups of neighbouring channels get mean 0 and variance 1, then
/// each channel is multiplied with its weight and moved by its bias.
///
/// Statistics are right to the last bits of f32 also when the mean is thousands of times the deviation.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    level: Level,
    groups: usize,
    eps: f64,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl GroupNorm {
    /// `weight` and `bias` have a number for each channel; `eps` is added to the variance.
    ///
    /// # Panics
    /// If the two are not of the same length, or the groups do not divide it.
    pub fn new(level: Level, groups: usize, eps: f64, weight: Vec<f32>, bias: Vec<f32>) -> Self {
        assert_eq!(weight.len(), bias.len(), "a weight and a bias for every channel");
        assert!(groups > 0, "at least one group");
        assert!(weight.len().is_multiple_of(groups), "{} channels in {groups} groups", weight.len());
        Self { level, groups, eps, weight, bias }
    }

    /// Numbers of a pixel.
    pub fn channels(&self) -> usize {
        self.weight.len()
    }

    /// `x` `(batch, pixels, channels)` to the same shape: the activation of the normalised numbers.
    ///
    /// # Panics
    /// If `x` does not have all channels of `batch` pictures of `pixels`, or the machine does not have the level.
    pub fn forward<T: Element>(
        &self,
        x: &[T],
        [batch, pixels]: [usize; 2],
        activation: Activation,
    ) -> Vec<T> {
        let channels = self.channels();
        let picture = pixels * channels;
        assert_eq!(x.len(), batch * picture, "every pixel has all channels");
        if x.is_empty() {
            return Vec::new();
        }
        // Whole runs of rows, so that no run is short but a picture's last.
        let rows = (BLOCK / channels).next_multiple_of(ROWS).max(ROWS);
        let cut = Cut::new(batch, picture, rows * channels);
        // For each task and channel, the sum and the sum of squares of distances from the picture's first row.
        let mut sums = vec![0f64; cut.tasks() * 2 * channels];
        parallel::for_each_chunk(&mut sums, 2 * channels, |task, sums| {
            let (range, of) = cut.task(task);
            add_up(self.level, &x[range], &x[of * picture..][..channels], sums);
        });
        let sums = sums.chunks_exact(cut.blocks() * 2 * channels).zip(x.chunks_exact(picture));
        let maps: Vec<Affine> = sums.map(|(sums, x)| self.map_of(sums, &x[..channels], pixels)).collect();
        // SAFETY: rows are whole, and the map has all channels: every number is written.
        unsafe { map(x, cut, |picture, x, y| normalise(self.level, &maps[picture], activation, x, y)) }
    }

    /// What makes a picture normal, from the sums of its blocks and its first row (Chan et al. 1983, for parts of the same
    /// size).
    fn map_of<T: Element>(&self, sums: &[f64], first: &[T], pixels: usize) -> Affine {
        let (channels, pixels) = (self.channels(), pixels as f64);
        let mut total = vec![0f64; 2 * channels];
        for sums in sums.chunks_exact(2 * channels) {
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        let (sum, square) = total.split_at(channels);
        let size = channels / self.groups;
        let mut affine = Affine { centre: vec![], scale: vec![], shift: vec![] };
        for group in 0..self.groups {
            let channels = group * size..(group + 1) * size;
            let mean_of = |c: usize| f64::from(first[c].to_f32()) + sum[c] / pixels;
            let mean = channels.clone().map(mean_of).sum::<f64>() / size as f64;
            let within = |c: usize| square[c] - sum[c] * sum[c] / pixels;
            let between = |c: usize| pixels * (mean_of(c) - mean).powi(2);
            let squares: f64 = channels.clone().map(|c| within(c) + between(c)).sum();
            let deviation = (squares.max(0.0) / (pixels * size as f64) + self.eps).sqrt();
            for c in channels {
                // The mean in two parts: what its f32 loses would be a lot if the deviation is much smaller.
                let (centre, scale) = (mean as f32, f64::from(self.weight[c]) / deviation);
                affine.centre.push(centre);
                affine.scale.push(scale as f32);
                affine.shift.push((f64::from(self.bias[c]) + (f64::from(centre) - mean) * scale) as f32);
            }
        }
        affine
    }
}

/// `(x - centre) scale + shift`, each with a number for every channel.
struct Affine {
    centre: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

for_every_level! {
    /// Adds the distances of whole rows `x` from the picture's `first` one to the first half of `sums`, and their squares
    /// to the second.
    ///
    /// In f32, runs of [`ROWS`] rows are added up as distances from the mean of their first rows. That is a number like
    /// those of the run, so the squares do not lose to cancellation whatever the mean is.
    fn add_up<T>(x: &[T], first: &[T], sums: &mut [f64]) {
        let channels = first.len();
        let mut scratch = vec![0f32; 3 * channels];
        let (centre, rest) = scratch.split_at_mut(channels);
        let (sum, square) = rest.split_at_mut(channels);
        for run in x.chunks(ROWS * channels) {
            mean(&run[..run.len().min(FIRST * channels)], centre);
            sum.fill(0.0);
            square.fill(0.0);
            // In the order of the memory: rows side by side need fewer loads of sums, but large pictures come from memory
            // then only two thirds as fast.
            for row in run.chunks_exact(channels) {
                distances::<T, FMA>(row, centre, sum, square);
            }
            let n = (run.len() / channels) as f64;
            let (total, total_square) = sums.split_at_mut(channels);
            for c in 0..channels {
                let mean = f64::from(sum[c]) / n;
                let distance = f64::from(centre[c]) - f64::from(first[c].to_f32()) + mean;
                let within = f64::from(square[c]) - f64::from(sum[c]) * mean;
                total[c] += n * distance;
                total_square[c] += within + n * distance * distance;
            }
        }
    }
}

/// The mean of whole rows.
#[inline(always)]
fn mean<T: Element>(rows: &[T], mean: &mut [f32]) {
    let channels = mean.len();
    mean.fill(0.0);
    for row in rows.chunks_exact(channels) {
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x.to_f32());
    }
    let factor = 1.0 / (rows.len() / channels) as f32;
    mean.iter_mut().for_each(|mean| *mean *= factor);
}

/// Adds the distances of a row from a centre, and their squares.
#[inline(always)]
fn distances<T: Element, const FMA: bool>(row: &[T], centre: &[f32], sum: &mut [f32], square: &mut [f32]) {
    for (((x, centre), sum), square) in row.iter().zip(centre).zip(sum).zip(square) {
        let distance = x.to_f32() - centre;
        *sum += distance;
        *square = multiply_add::<FMA>(distance, distance, *square);
    }
}

for_every_level! {
    fn normalise<T>(affine: &Affine, activation: Activation, x: &[T], y: &mut [MaybeUninit<T>]) {
        for_function!(activation, write::<T, FMA, BF16>(affine, x, y));
    }
}

/// All of `y`, which is as long as `x`: whole rows.
#[inline(always)]
fn write<T: Element, const FMA: bool, const BF16: bool, F: Function>(
    affine: &Affine,
    x: &[T],
    y: &mut [MaybeUninit<T>],
) {
    let channels = affine.centre.len();
    let (centre, scale, shift) =
        (&affine.centre[..channels], &affine.scale[..channels], &affine.shift[..channels]);
    for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
        write_rounded!(T, BF16, y, [x: x, centre: centre, scale: scale, shift: shift] => {
            F::at::<T, FMA>(multiply_add::<FMA>(x.to_f32() - centre, scale, shift))
        });
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::testing::{Random, assert_normal, levels, with_threads};

    /// In f64, from what `x` is after rounding to its type.
    fn reference<T: Element>(
        norm: &GroupNorm,
        x: &[T],
        [batch, pixels]: [usize; 2],
        activation: Activation,
    ) -> Vec<f32> {
        let (channels, size) = (norm.channels(), norm.channels() / norm.groups);
        let mut y = vec![0f32; x.len()];
        for b in 0..batch {
            for group in 0..norm.groups {
                let places =
                    (0..pixels * size).map(|i| (b * pixels + i / size) * channels + group * size + i % size);
                let number = |at: usize| f64::from(x[at].to_f32());
                let n = (pixels * size) as f64;
                let mean = places.clone().map(number).sum::<f64>() / n;
                let variance = places.clone().map(|at| (number(at) - mean).powi(2)).sum::<f64>() / n;
                for at in places {
                    let (weight, bias) = (norm.weight[at % channels], norm.bias[at % channels]);
                    let normal = (number(at) - mean) / (variance + norm.eps).sqrt();
                    y[at] = activation.of::<T>((normal * f64::from(weight) + f64::from(bias)) as f32);
                }
            }
        }
        y
    }

    fn norm(random: &mut Random, level: Level, groups: usize, channels: usize, eps: f64) -> GroupNorm {
        GroupNorm::new(level, groups, eps, random.numbers(channels), random.numbers(channels))
    }

    fn every_shape<T: Element>(seed: u64) {
        let mut random = Random::new(seed);
        for level in levels() {
            let mut shapes = vec![
                [0, 5, 2, 3],
                [2, 0, 2, 3],
                [2, 5, 2, 0],
                [1, 1, 1, 1],
                [3, 1, 4, 2],
                [2, 500, 32, 10],
                [1, 37, 32, 40],
                [1, 9000, 1, 5],
            ];
            let side = |random: &mut Random, n| 1 + random.below(n);
            shapes.extend((0..40).map(|_| [3, 150, 5, 30].map(|n| side(&mut random, n))));
            for (i, shape @ [batch, pixels, groups, size]) in shapes.into_iter().enumerate() {
                let norm = norm(&mut random, level, groups, groups * size, 1e-5);
                let x = random.elements::<T>(batch * pixels * groups * size);
                let activation = Activation::ALL[i % 4];
                let got = norm.forward(&x, [batch, pixels], activation);
                let want = reference(&norm, &x, [batch, pixels], activation);
                assert_normal(&got, &want, 2e-6, &format!("{level:?} {shape:?} {activation:?}"));
            }
        }
    }

    #[test]
    fn every_level_normalises_any_shape_in_f32() {
        every_shape::<f32>(20);
    }

    #[test]
    fn every_level_normalises_any_shape_in_bf16() {
        every_shape::<bf16>(21);
    }

    #[test]
    fn a_mean_that_is_much_larger_than_the_deviation_costs_no_precision() {
        let mut random = Random::new(22);
        for level in levels() {
            // The deviation of numbers between -1 and 1 is 0.58.
            for mean in [0.0, 600.0, -600.0, 60_000.0] {
                let (batch, pixels, groups, channels) = (2, 700, 8, 48);
                let norm = norm(&mut random, level, groups, channels, 1e-6);
                let mut x = random.numbers(batch * pixels * channels);
                x.iter_mut().for_each(|x| *x += mean);
                // One picture's first numbers are far away.
                x[..channels].fill(mean + 50.0);
                let got = norm.forward(&x, [batch, pixels], Activation::Identity);
                let want = reference(&norm, &x, [batch, pixels], Activation::Identity);
                assert_normal(&got, &want, 1e-6, &format!("{level:?} {mean}"));
            }
        }
    }

    #[test]
    fn numbers_that_are_all_the_same_become_the_bias() {
        let mut random = Random::new(23);
        for level in levels() {
            for (number, pixels) in [(0.0, 1), (1e3, 77), (-7.7, 1000)] {
                let norm = norm(&mut random, level, 2, 6, 1e-5);
                let y = norm.forward(&vec![number; pixels * 6], [1, pixels], Activation::Identity);
                y.chunks(6).for_each(|y| assert_eq!(y, norm.bias, "{level:?} {number}"));
            }
        }
    }

    fn alone<T: Element>(seed: u64) {
        let mut random = Random::new(seed);
        let (batch, pixels, channels) = (3, 1500, 64);
        let x = random.elements::<T>(batch * pixels * channels);
        for level in levels() {
            let norm = norm(&mut random, level, 32, channels, 1e-5);
            let run = |x: &[T], batch| norm.forward(x, [batch, pixels], Activation::Silu);
            let all = with_threads(1, || run(&x, batch));
            assert_eq!(all, with_threads(3, || run(&x, batch)), "{level:?}");
            for (x, all) in x.chunks(pixels * channels).zip(all.chunks(pixels * channels)) {
                assert_eq!(run(x, 1), all, "{level:?}");
            }
        }
    }

    #[test]
    fn threads_and_the_rest_of_the_batch_change_no_bit() {
        alone::<f32>(24);
        alone::<bf16>(25);
    }
}
