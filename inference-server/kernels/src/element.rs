//! The types of numbers that flow between kernels. Sums are always taken in f32.

use half::bf16;

use crate::attention::Weight;
use crate::level::Level;
use crate::tile::Kernels;

/// A type of numbers: `f32` or [`half::bf16`].
pub trait Element: Sealed + Copy + Default + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// The same number.
    fn to_f32(self) -> f32;

    /// The nearest number, the even one of two.
    fn from_f32(x: f32) -> Self;
}

/// What only this crate needs of an element.
pub trait Sealed: Weight {
    /// Numbers that one instruction multiplies and adds up: they lie together in packed weights.
    const GROUP: usize;

    /// # Panics
    /// Where the machine does not have the level.
    fn kernels(level: Level) -> &'static Kernels<Self>;
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    // Without the crate's branch, so that loops over it become vectors.
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        Self::from_bits(if x.is_nan() { 0x7fc0 } else { rounded as u16 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_as_the_crate_does() {
        for i in 0..=u32::MAX / 4099 {
            let x = f32::from_bits(i * 4099);
            let (got, want) = (<bf16 as Element>::from_f32(x), bf16::from_f32(x));
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{x}: {got} {want}");
        }
        for x in [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40] {
            assert_eq!(<bf16 as Element>::from_f32(x), bf16::from_f32(x), "{x}");
            assert_eq!(Element::to_f32(bf16::from_f32(x)), bf16::from_f32(x).to_f32(), "{x}");
        }
    }
}
