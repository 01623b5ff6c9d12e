//! Sixteen uniform numbers to sixteen normal ones, rounding as torch's AVX2 code rounds.
//!
//! torch computes logarithm, sine and cosine with the single-precision polynomials of the Cephes library (Moshier), eight
//! at a time, its compiler fusing multiplications and additions. The same operations in the same order give the same bits
//! on any machine, because `mul_add` rounds once everywhere.

#![allow(clippy::excessive_precision, reason = "the coefficients are written as the library has them")]

use std::f32::consts::{FRAC_1_SQRT_2, TAU};

/// Box and Muller (1958): the first eight numbers give the lengths, the last eight the angles.
pub(super) fn transform_block(block: &mut [f32; 16]) {
    let (lengths, angles) = block.split_at_mut(8);
    for (length, angle) in lengths.iter_mut().zip(angles) {
        let radius = (-2.0 * ln(1.0 - *length)).sqrt();
        let (sine, cosine) = sin_cos(TAU * *angle);
        *length = radius * cosine;
        *angle = radius * sine;
    }
}

/// `x^n + ... + p_n`, highest power first.
fn polynomial(x: f32, coefficients: &[f32]) -> f32 {
    coefficients.iter().copied().reduce(|sum, p| sum.mul_add(x, p)).unwrap_or_default()
}

/// Natural logarithm of a positive normal number.
fn ln(x: f32) -> f32 {
    #[rustfmt::skip]
    const P: [f32; 9] = [
        7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
        2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
    ];
    // ln 2 in two pieces, the first with few bits.
    const LN2_HIGH: f32 = 0.693_359_375;
    const LN2_LOW: f32 = -2.12194440e-4;

    // x = mantissa * 2^exponent with the mantissa in [1/2, 1), then in [sqrt(1/2), sqrt(2)).
    let bits = x.to_bits();
    let mut exponent = (bits >> 23) as f32 - 126.0;
    let mantissa = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    let mut x = mantissa - 1.0;
    if mantissa < FRAC_1_SQRT_2 {
        exponent -= 1.0;
        x += mantissa;
    }
    let z = x * x;
    let y = polynomial(x, &P) * x;
    let y = y.mul_add(z, exponent * LN2_LOW);
    let y = z.mul_add(-0.5, y);
    exponent.mul_add(LN2_HIGH, x + y)
}

/// Sine and cosine of an angle in `[0, 2 pi]`.
fn sin_cos(x: f32) -> (f32, f32) {
    // pi / 4 in three pieces.
    const PI4: [f32; 3] = [-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8];
    const SIN: [f32; 3] = [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1];
    const COS: [f32; 3] = [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2];

    let octant = ((x * (4.0 / std::f32::consts::PI)) as u32 + 1) & !1;
    let y = octant as f32;
    let x = PI4.iter().fold(x, |x, piece| y.mul_add(*piece, x));
    let z = x * x;
    let cosine = (polynomial(z, &COS) * z).mul_add(z, -(z * 0.5)) + 1.0;
    let sine = (polynomial(z, &SIN) * z).mul_add(x, x);
    let (sine, cosine) = if octant & 2 == 0 { (sine, cosine) } else { (cosine, sine) };
    let sine = if octant & 4 == 0 { sine } else { -sine };
    let cosine = if octant.wrapping_sub(2) & 4 == 0 { -cosine } else { cosine };
    (sine, cosine)
}
