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
        assert!(worst.0 < 2e-7 && worst.1 < 4e-7, "{worst:?}");
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(f32::INFINITY) > 1e38 && exp(f32::NAN).is_nan());
    }
}
