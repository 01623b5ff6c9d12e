//! The softmax of a tile of scores, corrected as more keys are seen.

#[cfg(target_arch = "x86_64")]
mod avx512;

use half::bf16;

use crate::dispatch::for_every_level;
use crate::element::Element;
use crate::level::Level;

/// Numbers that are looked at together.
pub(super) const LANES: usize = 16;

/// A few queries and a block of keys.
#[derive(Debug)]
pub struct Tile<'a, T> {
    /// A row of `stride` for every query.
    pub scores: &'a mut [f32],
    /// Receives `2^(scale (score - highest))`, laid out as the scores.
    pub weights: &'a mut [T],
    pub stride: usize,
    /// Numbers of every row that are written: whole vectors. Those of keys that the query does not see become 0.
    pub length: usize,
    /// How many of the block's keys each query sees.
    pub seen: &'a [usize],
    /// Of scores as powers of 2; above 0.
    pub scale: f32,
    /// The highest score so far of each query.
    pub highest: &'a mut [f32],
    /// The sum of the weights so far of each query.
    pub sums: &'a mut [f32],
    /// A row for every query, of numbers that are weighted sums so far. Empty for the first block: the sums are then
    /// written, not added to.
    pub values: &'a mut [f32],
}

/// What weights are rounded to.
pub trait Weight: Sized {
    /// The factors of a polynomial, the highest power's first, that is close enough to `2^r` for an `r` between -1/2 and
    /// 1/2, and 1 at 0, so that the highest score's weight is 1: its greatest relative error is the smallest that there
    /// is (by Lawson's iteration; for f32, of those with the slope ln 2 at 0).
    const POLYNOMIAL: &'static [f32];

    /// The nearest to a number that is not negative, the higher of two.
    fn nearest(x: f32) -> Self;

    /// Turns scores into weights, and corrects the sums of earlier blocks where a score is higher than all before
    /// (Milakov and Gimelshein 2018, algorithm 3).
    ///
    /// # Panics
    /// Where the machine does not have the level.
    fn softmax(level: Level, tile: &mut Tile<'_, Self>);
}

impl Weight for f32 {
    const POLYNOMIAL: &'static [f32] =
        &[1.330_062_2e-3, 9.669_696e-3, 5.550_558e-2, 0.240_222_82, std::f32::consts::LN_2, 1.0];

    #[inline(always)]
    fn nearest(x: f32) -> Self {
        x
    }

    fn softmax(level: Level, tile: &mut Tile<'_, Self>) {
        assert!(level.is_supported(), "this machine has no {}", level.name());
        match level {
            // SAFETY: the level is supported.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            Level::Avx512f | Level::Avx512Bf16 => unsafe { avx512::f32(tile) },
            Level::Portable => separate(level, tile),
            _ => fused(level, tile),
        }
    }
}

impl Weight for bf16 {
    const POLYNOMIAL: &'static [f32] = &[0.055_008_847, 0.242_211_17, 0.693_282_96, 1.0];

    // What is not a number stays so: this is cheaper than `from_f32`, not less.
    #[inline(always)]
    fn nearest(x: f32) -> Self {
        Self::from_bits((x.to_bits().wrapping_add(0x8000) >> 16) as u16)
    }

    fn softmax(level: Level, tile: &mut Tile<'_, Self>) {
        assert!(level.is_supported(), "this machine has no {}", level.name());
        match level {
            // SAFETY: the level is supported.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            Level::Avx512Bf16 => unsafe { avx512::bf16(tile) },
            Level::Portable => separate(level, tile),
            _ => fused(level, tile),
        }
    }
}

for_every_level! {
    fn fused<T>(tile: &mut Tile<'_, T>) {
        rows::<T, true>(tile);
    }
}

for_every_level! {
    fn separate<T>(tile: &mut Tile<'_, T>) {
        rows::<T, false>(tile);
    }
}

for_every_level! {
    /// `to = values / sum` for rows of `width` numbers, each with its sum.
    pub(super) fn divide<T>(values: &[f32], sums: &[f32], width: usize, to: &mut [T]) {
        for ((values, to), sum) in values.chunks_exact(width).zip(to.chunks_exact_mut(width)).zip(sums) {
            let factor = 1.0 / sum;
            for (to, value) in to.iter_mut().zip(values) {
                *to = T::from_f32(value * factor);
            }
        }
    }
}

impl<T> Tile<'_, T> {
    /// Takes in a block's weights, of this sum, for a row whose highest score is now `highest`.
    #[inline(always)]
    fn rise<const FUSED: bool>(&mut self, row: usize, highest: f32, sum: f32) {
        let before = std::mem::replace(&mut self.highest[row], highest);
        if self.values.is_empty() {
            self.sums[row] = sum;
            return;
        }
        let factor = weight_of::<f32, FUSED>((before - highest) * self.scale);
        self.sums[row] = self.sums[row] * factor + sum;
        if factor != 1.0 {
            let width = self.values.len() / self.seen.len();
            self.values[row * width..][..width].iter_mut().for_each(|value| *value *= factor);
        }
    }
}

#[inline(always)]
fn rows<T: Element, const FUSED: bool>(tile: &mut Tile<'_, T>) {
    for (row, seen) in tile.seen.iter().enumerate() {
        let scores = &mut tile.scores[row * tile.stride..][..tile.length];
        scores[*seen..].fill(f32::NEG_INFINITY);
        let (scores, _) = scores.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for scores in scores {
            for (highest, score) in lanes.iter_mut().zip(scores) {
                *highest = higher(*score, *highest);
            }
        }
        let before = tile.highest[row];
        let highest = lanes.into_iter().fold(before, |a, b| higher(b, a));

        let weights = &mut tile.weights[row * tile.stride..][..tile.length];
        for (weight, score) in weights.iter_mut().zip(scores.as_flattened()) {
            // Not as one multiply-add: however large a score is, no weight may be above 1.
            *weight = T::nearest(weight_of::<T, FUSED>((score - highest) * tile.scale));
        }
        let mut sums = [0f32; LANES];
        for weights in weights.as_chunks::<LANES>().0 {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += weight.to_f32();
            }
        }
        let sum: f32 = sums.into_iter().sum();

        tile.rise::<FUSED>(row, highest, sum);
    }
}

/// The higher of two, the second if the first is not a number: one instruction, which `f32::max` is not.
#[inline(always)]
fn higher(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, the fused operation is a slow function.
    if FUSED || cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
}

/// `2^x` for an `x` of at most 0; 0 from -127 downwards. The relative error from -126 upwards is below 3e-7, and below
/// 1.1e-4 for a result that is rounded to bf16, a small part of the 1/256 that rounding may lose.
#[inline(always)]
fn weight_of<T: Weight, const FUSED: bool>(x: f32) -> f32 {
    // 1.5 x 2^23 + 127: adding it rounds to an integer, and leaves the exponent of 2^integer in the last bits.
    const MAGIC: f32 = 12_583_039.0;
    // Written so that what is not a number stays so.
    let x = if x < -127.0 { -127.0 } else { x };
    let rounded = x + MAGIC;
    let r = x - (rounded - MAGIC);
    let mut p = T::POLYNOMIAL[0];
    for c in &T::POLYNOMIAL[1..] {
        p = multiply_add::<FUSED>(p, r, *c);
    }
    p * f32::from_bits(rounded.to_bits() << 23)
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn powers_of_two_are_within_their_bounds() {
        fn worst<T: Element, const FUSED: bool>() -> f64 {
            let error = |i: i32| {
                let x = i as f32 * 1.27e-5;
                (f64::from(weight_of::<T, FUSED>(x)) / f64::from(x).exp2() - 1.0).abs()
            };
            (-9_920_000..=0).map(error).fold(0.0, f64::max)
        }
        let f32s = (worst::<f32, true>(), worst::<f32, false>());
        assert!(f32s.0 < 3e-7 && f32s.1 < 3e-7, "{f32s:?}");
        let bf16s = (worst::<bf16, true>(), worst::<bf16, false>());
        assert!(bf16s.0 < 1.1e-4 && bf16s.1 < 1.1e-4, "{bf16s:?}");
    }

    /// Every level's weights, and the sum of what they are rounded to.
    fn weights<T: Element>(rounding: f64) {
        const N: usize = 1 << 14;
        for level in crate::testing::levels() {
            for scale in [0.3f32, 1.0, 7.7] {
                let scores: Vec<f32> = (0..N).map(|i| -126.0 / scale / N as f32 * i as f32 + 3.0).collect();
                let (mut highest, mut sums) = ([f32::NEG_INFINITY], [0.0]);
                let mut weights = vec![T::default(); N];
                let mut tile = Tile {
                    scores: &mut scores.clone(),
                    weights: &mut weights,
                    stride: N,
                    length: N,
                    seen: &[N - 5],
                    scale,
                    highest: &mut highest,
                    sums: &mut sums,
                    values: &mut [],
                };
                T::softmax(level, &mut tile);
                assert_eq!(highest, [3.0]);
                for (i, (weight, score)) in weights.iter().zip(&scores).enumerate() {
                    let want = if i < N - 5 { f64::from((score - 3.0) * scale).exp2() } else { 0.0 };
                    let error = (f64::from(weight.to_f32()) - want).abs();
                    assert!(
                        error <= want * rounding,
                        "{level:?} {scale}: {weight:?} instead of {want} at {i}"
                    );
                }
                let sum: f64 = weights.iter().map(|weight| f64::from(weight.to_f32())).sum();
                assert!((f64::from(sums[0]) / sum - 1.0).abs() < 1e-6, "{level:?} {scale}: {sums:?} {sum}");
            }
        }
    }

    #[test]
    fn weights_of_every_level_are_within_their_bounds() {
        weights::<f32>(3e-7);
        weights::<bf16>(1.0 / 256.0 + 1.1e-4);
    }

    #[test]
    fn powers_of_two_at_the_ends() {
        fn ends<T: Element>() {
            for (x, want) in [(0.0, 1.0), (-3.0, 0.125), (-127.0, 0.0), (f32::NEG_INFINITY, 0.0)] {
                assert_eq!(weight_of::<T, true>(x), want, "{x}");
            }
            assert!(weight_of::<T, true>(f32::NAN).is_nan());
            assert!((-12_700_000..-12_600_000).all(|i| {
                let weight = weight_of::<T, true>(i as f32 * 1e-5);
                (0.0..2e-38).contains(&weight)
            }));
        }
        ends::<f32>();
        ends::<bf16>();
    }
}
