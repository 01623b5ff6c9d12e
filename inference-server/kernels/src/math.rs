//! Elementary functions without branches, which the compiler turns into vectors. `FMA` says whether the level has a fused
//! multiply-add.

/// `a b + c`, rounded once if the level can, as without the instruction the fused operation is a slow function.
#[inline(always)]
pub(crate) fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `((c0 x + c1) x + c2) x...` (Horner).
#[inline(always)]
fn polynomial<const FMA: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    // Not from a 0, whose product the compiler may not leave out. A plain loop: a closure may not be inlined, and is then
    // compiled without the level's instructions.
    let mut sum = coefficients[0];
    let mut i = 1;
    while i < N {
        sum = multiply_add::<FMA>(sum, x, coefficients[i]);
        i += 1;
    }
    sum
}

/// `e^x`, relative error below 1e-7; 1.2e-38 below -87.3, and 1.7e38 above 88.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 x 2^23: adding it rounds to an integer
    let x = x.clamp(-87.3, 88.0);
    let shifted = multiply_add::<FMA>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    // ln 2 in two parts, the first with zeros at the end (Cody and Waite 1980).
    let r = multiply_add::<FMA>(n, -0.693_359_4, x);
    let r = multiply_add::<FMA>(n, 2.121_944_4e-4, r);
    // Cephes' polynomial for e^r, |r| <= ln 2 / 2.
    let p = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1.0, 1.0];
    let p = polynomial::<FMA, 8>(r, p);
    // The last bits of `shifted` are n; a conversion would have to look for numbers that are too large, and for NaN.
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1f32.to_bits()))
}

/// `y / (1 + e^-x)`, relative error below 2e-7 for x down to -87.3.
#[inline(always)]
pub(crate) fn times_sigmoid<const FMA: bool>(y: f32, x: f32) -> f32 {
    y / (1.0 + exp::<FMA>(-x))
}

/// The probability that a standard normal number is below `x`, absolute error below 4e-7 (Abramowitz and Stegun 1964,
/// 7.1.26).
#[inline(always)]
pub(crate) fn normal<const FMA: bool>(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / multiply_add::<FMA>(0.327_591_1, z, 1.0);
    // Halves of the book's.
    let p = [0.530_702_7, -0.726_576, 0.710_706_85, -0.142_248_36, 0.127_414_8, 0.0];
    let above = polynomial::<FMA, 6>(t, p) * exp::<FMA>(-z * z);
    if x < 0.0 { above } else { 1.0 - above }
}

/// As [`normal`] for a result that is rounded to bf16, in a third of the time: the absolute error, also of `x` times it, is
/// below 6e-5, a quarter of what rounding takes from a number of 0.1.
///
/// An odd polynomial that is a half at its end (by Lawson's iteration).
#[inline(always)]
pub(crate) fn roughly_normal<const FMA: bool>(x: f32) -> f32 {
    let x = x.clamp(-4.3, 4.3);
    let p = [
        5.311_796e-11,
        -5.191_662_7e-9,
        2.235_344e-7,
        -5.642_822_5e-6,
        9.423_382e-5,
        -1.118_272_7e-3,
        9.868_987e-3,
        -6.647_586e-2,
        0.399_013_73,
    ];
    multiply_add::<FMA>(x, polynomial::<FMA, 9>(x * x, p), 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds<const FMA: bool>() {
        let mut worst = (0f64, 0f64);
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            worst.0 = worst.0.max((f64::from(exp::<FMA>(x)) / want - 1.0).abs());
            let want = 1.0 / (1.0 + (-f64::from(x)).exp());
            worst.1 = worst.1.max((f64::from(times_sigmoid::<FMA>(1.0, x)) / want - 1.0).abs());
        }
        // The density by Simpson's rule from 0.
        let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
        let (step, mut sum) = (1e-3, 0.5);
        for i in 0..8000 {
            let x = f64::from(i) * step;
            for (got, want) in [(normal::<FMA>(x as f32), sum), (normal::<FMA>(-x as f32), 1.0 - sum)] {
                assert!((f64::from(got) - want).abs() < 4e-7, "{got} instead of {want} at {x}");
            }
            for (x, want) in [(x, sum), (-x, 1.0 - sum)] {
                let error = (f64::from(roughly_normal::<FMA>(x as f32)) - want).abs() * x.abs().max(1.0);
                assert!(error < 6e-5, "{error} at {x}");
            }
            sum += step / 6.0 * (density(x) + 4.0 * density(x + step / 2.0) + density(x + step));
        }
        assert!(worst.0 < 1e-7 && worst.1 < 2e-7, "{worst:?}");
    }

    #[test]
    fn functions_are_within_their_bounds() {
        bounds::<false>();
        bounds::<true>();
    }

    fn extremes<const FMA: bool>() {
        assert!(exp::<FMA>(f32::NEG_INFINITY) < 2e-38 && exp::<FMA>(f32::INFINITY) > 1e38);
        // With and without a sign, quiet, and with bits at the end.
        for bits in [0x7fc0_0000, 0xffc0_0000, 0x7fc0_0001, 0xffff_ffff] {
            let nan = f32::from_bits(bits);
            assert!(
                exp::<FMA>(nan).is_nan()
                    && times_sigmoid::<FMA>(1.0, nan).is_nan()
                    && normal::<FMA>(nan).is_nan()
                    && roughly_normal::<FMA>(nan).is_nan()
            );
        }
    }

    #[test]
    fn extremes_stay_within_f32() {
        extremes::<false>();
        extremes::<true>();
    }
}
