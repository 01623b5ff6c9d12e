//! Elementary functions without branches, which the compiler turns into vectors.

/// `e^x`, relative error below 2e-7; 0 below -87.3, and the largest power of two that fits above 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 x 2^23: adding it rounds to an integer
    let x = x.clamp(-87.3, 88.0);
    let n = (x * std::f32::consts::LOG2_E + MAGIC) - MAGIC;
    // ln 2 in two parts, the first with zeros at the end (Cody and Waite 1980).
    let r = x - n * 0.693_359_4;
    let r = r - n * -2.121_944_4e-4;
    // Cephes' polynomial for e^r, |r| <= ln 2 / 2.
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((((n as i32) + 127) << 23) as u32)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The probability that a standard normal number is below `x`, absolute error below 4e-7 (Abramowitz and Stegun 1964,
/// 7.1.26).
#[inline(always)]
pub(crate) fn normal(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_72, 0.254_829_6] {
        p = p * t + c;
    }
    let above = 0.5 * p * t * exp(-z * z);
    if x < 0.0 { above } else { 1.0 - above }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_sigmoid_are_within_their_bounds() {
        let mut worst = (0f64, 0f64);
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            worst.0 = worst.0.max((f64::from(exp(x)) / want - 1.0).abs());
            let want = 1.0 / (1.0 + (-f64::from(x)).exp());
            worst.1 = worst.1.max((f64::from(sigmoid(x)) / want - 1.0).abs());
        }
        // The density by Simpson's rule from 0.
        let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
        let (step, mut sum) = (1e-3, 0.5);
        for i in 0..8000 {
            let x = f64::from(i) * step;
            for (got, want) in [(normal(x as f32), sum), (normal(-x as f32), 1.0 - sum)] {
                assert!((f64::from(got) - want).abs() < 4e-7, "{got} instead of {want} at {x}");
            }
            sum += step / 6.0 * (density(x) + 4.0 * density(x + step / 2.0) + density(x + step));
        }
        assert!(worst.0 < 2e-7 && worst.1 < 4e-7, "{worst:?}");
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(f32::INFINITY) > 1e38 && exp(f32::NAN).is_nan());
    }
}
