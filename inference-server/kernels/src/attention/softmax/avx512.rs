//! The same for AVX-512, which has instructions for the parts of a power of 2.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_add_ps, _mm512_reduce_max_ps,
    _mm512_reduce_ps, _mm512_scalef_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps, _mm512_sub_ps,
};
use std::mem::transmute;

use super::{LANES, Tile, Weight};

/// As [`Weight::POLYNOMIAL`] for bf16, for an `r` between 0 and 1: relative error below 8.6e-5.
const FROM_0_TO_1: [f32; 4] = [0.077_067_2, 0.227_644_82, 0.695_116_8, 1.0];

/// Rows of a tile at most.
const MOST: usize = 8;

/// `super::rows`. `power` takes scores, the highest of
/// them and the scale; `two` the powers of two vectors of scores and a sum: it writes weights, and adds them up.
macro_rules! rows {
    ($name:ident: $element:ty, $features:literal, power: $power:expr, two: $two:expr) => {
        #[target_feature(enable = $features)]
        pub(super) fn $name(tile: &mut Tile<'_, $element>) {
            assert!(tile.seen.len() <= MOST, "a tile of at most {MOST} rows");
            let scale = _mm512_set1_ps(tile.scale);
            // SAFETY: 16 numbers.
            let load = |scores: &[f32; LANES]| unsafe { _mm512_loadu_ps(scores.as_ptr()) };
            // Of all rows first, so that no row waits for the end of its own reduction.
            let mut highest_of = [0f32; MOST];
            for ((row, seen), highest_of) in tile.seen.iter().enumerate().zip(&mut highest_of) {
                let scores = &mut tile.scores[row * tile.stride..][..tile.length];
                scores[*seen..].fill(f32::NEG_INFINITY);
                let mut highest = _mm512_set1_ps(tile.highest[row]);
                for scores in scores.as_chunks::<LANES>().0 {
                    // The second if the first is not a number.
                    highest = _mm512_max_ps(load(scores), highest);
                }
                *highest_of = _mm512_reduce_max_ps(highest);
            }
            for (row, highest) in highest_of.into_iter().enumerate().take(tile.seen.len()) {
                let scores = &tile.scores[row * tile.stride..][..tile.length];
                let weights = &mut tile.weights[row * tile.stride..][..tile.length];
                let (scores, weights) = (scores.as_chunks::<LANES>().0, weights.as_chunks_mut::<LANES>().0);
                let from = _mm512_set1_ps(highest);
                let power = |scores| $power(load(scores), from, scale);
                let mut sum = _mm512_setzero_ps();
                let (scores, last_scores) = scores.as_chunks::<2>();
                let (weights, last_weights) = weights.as_chunks_mut::<2>();
                for (scores, weights) in scores.iter().zip(weights) {
                    sum = $two([power(&scores[0]), power(&scores[1])], weights, sum);
                }
                for (scores, weights) in last_scores.iter().zip(last_weights) {
                    let mut two = [[<$element>::default(); LANES]; 2];
                    sum = $two([power(scores), _mm512_setzero_ps()], &mut two, sum);
                    *weights = two[0];
                }
                tile.rise::<true>(row, highest, _mm512_reduce_add_ps(sum));
            }
        }
    };
}

rows!(
    f32: f32, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    power: |scores, highest, scale| {
        let x = _mm512_mul_ps(_mm512_sub_ps(scores, highest), scale);
        // What is left by rounding to the nearest integer; 0 for infinity.
        let r = _mm512_reduce_ps::<8>(x);
        let p = <f32 as Weight>::POLYNOMIAL;
        let p = p[1..].iter().fold(_mm512_set1_ps(p[0]), |p, c| _mm512_fmadd_ps(p, r, _mm512_set1_ps(*c)));
        _mm512_scalef_ps(p, _mm512_sub_ps(x, r))
    },
    two: |[a, b]: [__m512; 2], weights: &mut [[f32; LANES]; 2], sum| {
        // SAFETY: each is 16 numbers.
        unsafe {
            _mm512_storeu_ps(weights[0].as_mut_ptr(), a);
            _mm512_storeu_ps(weights[1].as_mut_ptr(), b);
        }
        _mm512_add_ps(_mm512_add_ps(sum, a), b)
    }
);

rows!(
    bf16: half::bf16, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma",
    power: |scores, highest, scale| {
        let x = _mm512_mul_ps(_mm512_sub_ps(scores, highest), scale);
        // What is left by rounding down; 0 for infinity. The last instruction rounds down, too.
        let r = _mm512_reduce_ps::<9>(x);
        let p = FROM_0_TO_1;
        let p = p[1..].iter().fold(_mm512_set1_ps(p[0]), |p, c| _mm512_fmadd_ps(p, r, _mm512_set1_ps(*c)));
        _mm512_scalef_ps(p, x)
    },
    two: |[a, b]: [__m512; 2], weights: &mut [[half::bf16; LANES]; 2], sum| {
        let both = _mm512_cvtne2ps_pbh(b, a);
        // SAFETY: 32 numbers of two bytes, for any two bytes are a number; as many bytes as a vector has.
        let ones = unsafe {
            *weights = transmute::<__m512bh, [[half::bf16; LANES]; 2]>(both);
            transmute::<__m512i, __m512bh>(_mm512_set1_epi32(0x3f80_3f80))
        };
        _mm512_dpbf16_ps(sum, both, ones)
    }
);
