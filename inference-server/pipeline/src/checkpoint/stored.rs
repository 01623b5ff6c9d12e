//! A tensor that stays in its file until it is packed.

use std::ops::Range;
use std::sync::Arc;

use candle_core::DType;
use diffusion_kernels::Element;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::weights::Store;

/// A tensor whose name, shape and type have been checked.
#[derive(Clone)]
pub struct Stored {
    pub(super) store: Arc<Store>,
    pub(super) shard: usize,
    pub(super) place: Range<usize>,
    pub(super) dtype: DType,
}

impl Stored {
    /// Numbers that are converted at a time: they stay in the first-level cache.
    const PIECE: usize = 512;

    /// Its numbers from the `from`-th on, as numbers of a type of the kernels'; what is beyond its end stays as it is.
    pub fn read<T: Element>(&self, from: usize, numbers: &mut [T]) {
        let size = self.dtype.size_in_bytes();
        let bytes = self.store.bytes(self.shard, &self.place).get(from * size..).unwrap_or_default();
        for (numbers, bytes) in numbers.chunks_mut(Self::PIECE).zip(bytes.chunks(Self::PIECE * size)) {
            self.convert(bytes, numbers);
        }
    }

    /// Gives back the memory of its part of the file; it would be read from there again.
    pub fn forget(&self) {
        self.store.forget(self.shard, &self.place);
    }

    /// Little-endian numbers as numbers of another type.
    fn convert<T: Element>(&self, bytes: &[u8], numbers: &mut [T]) {
        let mut singles = [0f32; Self::PIECE];
        let singles = &mut singles[..numbers.len().min(Self::PIECE)];
        match self.dtype {
            DType::F16 => {
                let mut halves = [f16::ZERO; Self::PIECE];
                let halves = &mut halves[..singles.len()];
                for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
                    *half = f16::from_le_bytes(*bytes);
                }
                halves.convert_to_f32_slice(singles);
            }
            DType::BF16 => {
                for (single, bytes) in singles.iter_mut().zip(bytes.as_chunks().0) {
                    *single = Element::to_f32(bf16::from_le_bytes(*bytes));
                }
            }
            DType::F64 => {
                for (single, bytes) in singles.iter_mut().zip(bytes.as_chunks().0) {
                    *single = f64::from_le_bytes(*bytes) as f32;
                }
            }
            _ => {
                for (single, bytes) in singles.iter_mut().zip(bytes.as_chunks().0) {
                    *single = f32::from_le_bytes(*bytes);
                }
            }
        }
        numbers.iter_mut().zip(singles).for_each(|(number, single)| *number = T::from_f32(*single));
    }
}
