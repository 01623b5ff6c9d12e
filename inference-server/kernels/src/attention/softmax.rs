//! The softmax of a tile of scores, corrected as more keys are seen.

use crate::dispatch::for_every_level;
use crate::element::Element;
use crate::level::Level;

/// Numbers that are looked at together.
const LANES: usize = super::packed::MULTIPLE;

/// A few queries and a block of keys.
#[derive(Debug)]
pub(super) struct Tile<'a, T> {
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
    /// A row for every query, of numbers that are weighted sums so far. Empty if there are none.
    pub values: &'a mut [f32],
}

/// Turns scores into weights, and corrects the sums of earlier blocks where a score is higher than all before (Milakov
/// and Gimelshein 2018, algorithm 3).
pub(super) fn softmax<T: Element>(level: Level, tile: &mut Tile<'_, T>) {
    match level {
        Level::Portable => separate(level, tile),
        _ => fused(level, tile),
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
    /// `to[i] = values[i] / sum`.
    pub(super) fn divide<T>(values: &[f32], sum: f32, to: &mut [T]) {
        let factor = 1.0 / sum;
        for (to, value) in to.iter_mut().zip(values) {
            *to = T::from_f32(value * factor);
        }
    }
}

#[inline(always)]
fn rows<T: Element, const FUSED: bool>(tile: &mut Tile<'_, T>) {
    let width = tile.values.len() / tile.seen.len().max(1);
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
            *weight = T::from_positive(weight_of::<T, FUSED>((score - highest) * tile.scale));
        }
        let mut sums = [0f32; LANES];
        for weights in weights.as_chunks::<LANES>().0 {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += weight.to_f32();
            }
        }
        let sum: f32 = sums.into_iter().sum();

        let factor = weight_of::<f32, FUSED>((before - highest) * tile.scale);
        tile.highest[row] = highest;
        tile.sums[row] = tile.sums[row] * factor + sum;
        if factor != 1.0 {
            tile.values[row * width..][..width].iter_mut().for_each(|value| *value *= factor);
        }
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
/// 1.1e-4 for a result that is rounded to bf16, an eighteenth of what rounding loses.
#[inline(always)]
fn weight_of<T: Element, const FUSED: bool>(x: f32) -> f32 {
    // 1.5 x 2^23 + 127: adding it rounds to an integer, and leaves the exponent of 2^integer in the last bits.
    const MAGIC: f32 = 12_583_039.0;
    // Written so that what is not a number stays so.
    let x = if x < -127.0 { -127.0 } else { x };
    let rounded = x + MAGIC;
    let r = x - (rounded - MAGIC);
    // Polynomials with 1 at 0 whose greatest relative error for |r| <= 1/2 is smallest (Lawson's iteration).
    let p = if size_of::<T>() == 2 {
        multiply_add::<FUSED>(r, 0.055_008_847, 0.242_211_17)
    } else {
        let p = multiply_add::<FUSED>(r, 1.326_473_7e-3, 9.671_517e-3);
        let p = multiply_add::<FUSED>(r, p, 5.550_733_8e-2);
        multiply_add::<FUSED>(r, p, 0.240_222_42)
    };
    let p = multiply_add::<FUSED>(r, p, if size_of::<T>() == 2 { 0.693_282_96 } else { 0.693_147 });
    multiply_add::<FUSED>(r, p, 1.0) * f32::from_bits(rounded.to_bits() << 23)
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
