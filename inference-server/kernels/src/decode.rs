//! From numbers as files have them to numbers as the kernels have them.

use half::bf16;

use crate::dispatch::for_every_level;
use crate::element::Element;
use crate::level::Level;

/// How a file has its numbers, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Of half precision (IEEE 754 binary16).
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Of single precision.
    F32,
    /// Of double precision.
    F64,
}

impl Format {
    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The numbers in `bytes`, each rounded to the nearest; as many as there are of both.
    ///
    /// # Panics
    /// If the machine does not have the level.
    pub fn decode<T: Element>(self, level: Level, bytes: &[u8], numbers: &mut [T]) {
        match self {
            Self::F16 => decode_f16(level, bytes, numbers),
            Self::Bf16 => decode_bf16(level, bytes, numbers),
            Self::F32 => decode_f32(level, bytes, numbers),
            Self::F64 => decode_f64(level, bytes, numbers),
        }
    }
}

for_every_level! {
    fn decode_f16<T>(bytes: &[u8], numbers: &mut [T]) {
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *number = T::from_f32(single(u16::from_le_bytes(*bytes)));
        }
    }
}

for_every_level! {
    fn decode_bf16<T>(bytes: &[u8], numbers: &mut [T]) {
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *number = T::from_f32(Element::to_f32(bf16::from_le_bytes(*bytes)));
        }
    }
}

for_every_level! {
    fn decode_f32<T>(bytes: &[u8], numbers: &mut [T]) {
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *number = T::from_f32(f32::from_le_bytes(*bytes));
        }
    }
}

for_every_level! {
    fn decode_f64<T>(bytes: &[u8], numbers: &mut [T]) {
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *number = T::from_f32(f64::from_le_bytes(*bytes) as f32);
        }
    }
}

/// The number whose bits in half precision these are. Without branches, so that loops over it become vectors, and as the
/// processor's instruction has it: a signalling NaN becomes quiet.
#[inline(always)]
fn single(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // Exponents of the two types begin 112 apart.
    let normal = magnitude + (112 << 23);
    // Below 2^-14: the fraction behind a one that is then taken away.
    let small = (f32::from_bits(magnitude | 113 << 23) - f32::from_bits(113 << 23)).to_bits();
    let quiet = if magnitude > 0x7c00 << 13 { 1 << 22 } else { 0 };
    let special = magnitude | 0xff << 23 | quiet;
    let unsigned = if magnitude < 0x400 << 13 { small } else { normal };
    f32::from_bits(sign | if magnitude >= 0x7c00 << 13 { special } else { unsigned })
}

#[cfg(test)]
mod tests {
    use half::f16;
    use half::slice::HalfFloatSliceExt;

    use super::*;
    use crate::testing::levels;

    fn decoded<T: Element>(level: Level, format: Format, bytes: &[u8]) -> Vec<T> {
        let mut numbers = vec![T::default(); bytes.len() / format.size()];
        format.decode(level, bytes, &mut numbers);
        numbers
    }

    #[test]
    fn every_number_of_half_precision_is_as_the_crate_has_it() {
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let mut want = vec![0f32; halves.len()];
        halves.convert_to_f32_slice(&mut want);
        for level in levels() {
            for (got, want) in decoded::<f32>(level, Format::F16, &bytes).into_iter().zip(&want) {
                assert_eq!(got.to_bits(), want.to_bits(), "{level:?} {got} {want}");
            }
            for (got, want) in decoded::<bf16>(level, Format::F16, &bytes).into_iter().zip(&want) {
                let want = <bf16 as Element>::from_f32(*want);
                assert_eq!(got.to_bits(), want.to_bits(), "{level:?} {got} {want}");
            }
        }
    }

    #[test]
    fn other_formats_are_rounded_once_and_the_shorter_side_ends() {
        let numbers = [0.1f64, -3.0, 1e-40, f64::INFINITY, 1e300, -0.0];
        let singles = numbers.map(|x| x as f32);
        let halves = singles.map(bf16::from_f32);
        let bytes = [
            (Format::F64, numbers.map(f64::to_le_bytes).concat()),
            (Format::F32, singles.map(f32::to_le_bytes).concat()),
            (Format::Bf16, halves.map(bf16::to_le_bytes).concat()),
        ];
        for level in levels() {
            for (format, bytes) in &bytes {
                assert_eq!(decoded::<bf16>(level, *format, bytes), halves, "{level:?} {format:?}");
                if *format != Format::Bf16 {
                    assert_eq!(decoded::<f32>(level, *format, bytes), singles, "{level:?} {format:?}");
                }
                let mut more = [7f32; 8];
                format.decode(level, bytes, &mut more);
                assert_eq!(more[6..], [7.0; 2]);
                let mut fewer = [7f32; 2];
                format.decode(level, bytes, &mut fewer);
                assert_eq!(fewer[1], -3.0);
            }
        }
    }
}
