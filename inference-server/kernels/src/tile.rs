//! The innermost loop: a tile of the result that is held in registers, `rows x columns`, as a sum of outer products.
//!
//! The rows of the left side are read where they are, through a pointer each (Dukhan 2019, "The Indirect Convolution
//! Algorithm"): the same loop multiplies matrices and convolves, with any stride and padding, and nothing is copied.
#![allow(unsafe_code)]

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use half::bf16;

#[cfg(target_arch = "x86_64")]
use crate::element::round_bf16;
use crate::element::{Sealed, round};
use crate::level::Level;

/// `sums[i, j] (+)= sum over segments s and k of rows[s][i][offset + k] panel[s, k, j]`.
#[derive(Debug, Clone, Copy)]
pub struct Product<T> {
    /// For every segment, [`Kernels::rows`] pointers.
    pub rows: *const *const T,
    pub segments: usize,
    /// Where in the segments' rows the sum begins.
    pub offset: usize,
    /// Groups of numbers ([`Sealed::GROUP`]) of a segment that are added up.
    pub steps: usize,
    /// For every segment and step, a group for each column.
    pub panel: *const T,
    /// Panels of this width that follow each other.
    pub panels: usize,
    /// `rows x columns`, and behind each row those of the next panel.
    pub sums: *mut f32,
    pub sums_row: usize,
    /// Add to what is in `sums`.
    pub accumulate: bool,
}

/// One level's loops for one type of numbers.
pub struct Kernels<T: 'static> {
    /// Columns of the narrowest tile: all tiles have a multiple of them.
    pub columns: usize,
    /// Rows of a tile.
    pub rows: usize,
    /// The loops for the narrowest tile, twice its columns and so on. Safe to call where the level is supported, and all that the sum reads
    /// and writes (whole vectors and rows) is valid.
    pub run: &'static [unsafe fn(&Product<T>)],
}

impl<T> Kernels<T> {
    /// Columns of the widest tile.
    pub(crate) fn widest(&self) -> usize {
        self.run.len() * self.columns
    }

    /// Computes tiles of `columns`, a multiple of the narrowest.
    ///
    /// # Safety
    /// See [`Self::run`]; `columns` are at least the narrowest and at most the widest tile's.
    #[inline]
    pub(crate) unsafe fn compute(&self, columns: usize, product: &Product<T>) {
        // SAFETY: the caller's.
        unsafe { self.run[columns / self.columns - 1](product) }
    }
}

impl Sealed for f32 {
    const GROUP: usize = 1;

    #[inline(always)]
    unsafe fn round<const BF16: bool>(x: &[f32; 16]) -> [Self; 16] {
        *x
    }

    fn kernels(level: Level) -> &'static Kernels<Self> {
        assert!(level.is_supported(), "this machine has no {}", level.name());
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512f | Level::Avx512Bf16 => &x86::F32_AVX512,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2Fma => &x86::F32_AVX2,
            _ => &portable::F32,
        }
    }
}

impl Sealed for bf16 {
    const GROUP: usize = 2;

    #[inline(always)]
    unsafe fn round<const BF16: bool>(x: &[f32; 16]) -> [Self; 16] {
        #[cfg(target_arch = "x86_64")]
        if BF16 {
            // SAFETY: the caller's.
            return unsafe { round_bf16(x) };
        }
        round(x)
    }

    fn kernels(level: Level) -> &'static Kernels<Self> {
        assert!(level.is_supported(), "this machine has no {}", level.name());
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => &x86::BF16_AVX512_BF16,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512f => &x86::BF16_AVX512,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2Fma => &x86::BF16_AVX2,
            _ => &portable::BF16,
        }
    }
}
