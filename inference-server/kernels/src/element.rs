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

    /// The nearest numbers, with the instruction that some processors have for it if `BF16`. It takes denormal numbers for
    /// zeros.
    ///
    /// # Safety
    /// `BF16` only in functions that are compiled for [`Level::Avx512Bf16`].
    #[allow(unsafe_code)]
    unsafe fn round<const BF16: bool>(x: &[f32; 16]) -> [Self; 16];

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

/// Writes `$value`, an f32 made of one number of each of the slices `$numbers`, to `$place`, rounded; in a function of
/// `for_every_level!`. All are of the same length.
///
/// Not a function of a closure, which might not be inlined and would then be compiled without the level's instructions;
/// and arrays of a fixed length, whose loops become vectors.
macro_rules! write_rounded {
    ($type:ty, $rounds:ident, $place:expr, [$($name:ident: $numbers:expr),+ $(,)?] => $value:expr $(,)?) => {{
        let place: &mut [::std::mem::MaybeUninit<$type>] = $place;
        let n = place.len();
        let ($($name,)+) = ($(&$numbers[..n],)+);
        let mut done = 0;
        // Only where blocks are needed: LLVM makes gathers of the outer loop if it can.
        if $rounds && <$type as $crate::element::Sealed>::GROUP == 2 {
            $(let $name = $name.as_chunks::<16>().0;)+
            for (index, block) in place.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                $(let $name = &$name[index];)+
                let mut numbers = [0f32; 16];
                for i in 0..16 {
                    $(let $name = $name[i];)+
                    numbers[i] = $value;
                }
                // SAFETY: `$rounds` is the level's.
                #[allow(unsafe_code)]
                let numbers = unsafe { <$type as $crate::element::Sealed>::round::<$rounds>(&numbers) };
                for i in 0..16 {
                    block[i].write(numbers[i]);
                }
            }
            done = n / 16 * 16;
        }
        for i in done..n {
            $(let $name = $name[i];)+
            place[i].write(<$type as $crate::element::Element>::from_f32($value));
        }
    }};
}
pub(crate) use write_rounded;

/// Rounding without a special instruction.
#[inline(always)]
pub(crate) fn round<T: Element>(x: &[f32; 16]) -> [T; 16] {
    let mut result = [T::default(); 16];
    for (place, x) in result.iter_mut().zip(x) {
        *place = T::from_f32(*x);
    }
    result
}

/// # Safety
/// The level is supported.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
#[allow(unsafe_code)]
pub(crate) unsafe fn round_bf16(x: &[f32; 16]) -> [bf16; 16] {
    use std::arch::x86_64::{_mm512_cvtneps_pbh, _mm512_loadu_ps};
    // SAFETY: 16 numbers are read; both of the last are 32 bytes of bits.
    unsafe { std::mem::transmute(_mm512_cvtneps_pbh(_mm512_loadu_ps(x.as_ptr()))) }
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

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_processor_rounds_as_we_do() {
        if !Level::Avx512Bf16.is_supported() {
            return;
        }
        let number = |i: u32| f32::from_bits(i.wrapping_mul(4099));
        for i in (0..=u32::MAX / 4099).step_by(16) {
            let x: [f32; 16] = std::array::from_fn(|lane| number(i + lane as u32));
            // SAFETY: the level is supported.
            #[allow(unsafe_code)]
            let got = unsafe { round_bf16(&x) };
            for (x, got) in x.into_iter().zip(got) {
                let want = <bf16 as Element>::from_f32(x);
                let denormal = x.is_subnormal() && got.to_f32() == 0.0;
                let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                assert!(same || denormal, "{x:e}: {got} instead of {want}");
            }
        }
    }
}
