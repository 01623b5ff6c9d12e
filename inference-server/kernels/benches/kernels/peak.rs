//! What this machine reaches at best, on every thread: multiply-adds of registers, and copies.
#![allow(unsafe_code, reason = "the peak is measured with intrinsics")]

use std::hint::black_box;
use std::time::Instant;

use diffusion_kernels::{Element, Level};
use rayon::prelude::*;

use crate::suite::numbers;

/// Best of so many runs: the machine may be shared.
const RUNS: usize = 15;

/// Sums that do not wait for each other.
const SUMS: usize = 12;

/// Those of plain Rust: of more, the compiler keeps none in registers.
const FEW_SUMS: usize = 8;

/// GFLOP/s of multiply-adds of registers on every thread.
pub(crate) fn multiply_adds(level: Level, bf16: bool) -> f64 {
    const ROUNDS: usize = 10_000_000;
    let flop = ROUNDS * rayon::current_num_threads() * flop_of_a_round(level, bf16);
    let nanoseconds = best(|| {
        rayon::broadcast(|_| black_box(rounds(level, bf16, black_box(ROUNDS))));
    });
    flop as f64 / nanoseconds
}

/// GB/s of a copy of `n` numbers by every thread, each read once and written once.
pub(crate) fn copy<T: Element>(n: usize) -> f64 {
    // Zeros to read could all be the system's one page of them.
    let (from, mut to) = (numbers::<T>(n, 1.0), vec![T::default(); n]);
    let threads = rayon::current_num_threads();
    let chunk = n.div_ceil(4 * threads).max(1);
    let nanoseconds = best(|| {
        let from = black_box(&from);
        // As the kernels: one thread wakes no other.
        match threads {
            1 => to.copy_from_slice(from),
            _ => to
                .par_chunks_mut(chunk)
                .zip(from.par_chunks(chunk))
                .for_each(|(to, from)| to.copy_from_slice(from)),
        }
        black_box(&to);
    });
    2.0 * size_of_val(from.as_slice()) as f64 / nanoseconds
}

fn best(mut f: impl FnMut()) -> f64 {
    let time = |_| {
        let begin = Instant::now();
        f();
        begin.elapsed().as_nanos() as f64
    };
    (0..RUNS).map(time).fold(f64::INFINITY, f64::min)
}

fn flop_of_a_round(level: Level, bf16: bool) -> usize {
    let numbers = match level {
        Level::Avx512Bf16 if bf16 => 32 * SUMS,
        Level::Avx512f | Level::Avx512Bf16 => 16 * SUMS,
        Level::Avx2Fma => 8 * SUMS,
        Level::Portable => 4 * FEW_SUMS,
    };
    2 * numbers
}

fn rounds(level: Level, bf16: bool, n: usize) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::*;
        #[target_feature(enable = "avx512f,avx512bf16")]
        fn half(n: usize) -> f32 {
            let number = _mm512_set1_epi32(black_box(0x3f80_3f80));
            // SAFETY: both are 64 bytes of bits.
            let number: __m512bh = unsafe { std::mem::transmute(number) };
            let mut sums = [_mm512_set1_ps(1.0); SUMS];
            for _ in 0..n {
                sums.iter_mut().for_each(|sum| *sum = _mm512_dpbf16_ps(*sum, number, number));
            }
            sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
        }
        #[target_feature(enable = "avx512f")]
        fn wide(n: usize) -> f32 {
            let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(0.001));
            let mut sums = [_mm512_set1_ps(1.0); SUMS];
            for _ in 0..n {
                sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, a, b));
            }
            sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
        }
        #[target_feature(enable = "avx2,fma")]
        fn narrow(n: usize) -> f32 {
            let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(0.001));
            let mut sums = [_mm256_set1_ps(1.0); SUMS];
            for _ in 0..n {
                sums.iter_mut().for_each(|sum| *sum = _mm256_fmadd_ps(*sum, a, b));
            }
            sums.into_iter().map(|sum| _mm256_cvtss_f32(sum)).sum()
        }
        // SAFETY: the machine has the level.
        match level {
            Level::Avx512Bf16 if bf16 => return unsafe { half(n) },
            Level::Avx512f | Level::Avx512Bf16 => return unsafe { wide(n) },
            Level::Avx2Fma => return unsafe { narrow(n) },
            Level::Portable => {}
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (level, bf16);
    let a = black_box([0.999f32; 4]);
    let mut sums = [[1f32; 4]; FEW_SUMS];
    for _ in 0..n {
        for sum in &mut sums {
            *sum = std::array::from_fn(|i| sum[i] * a[i] + 0.001);
        }
    }
    sums.as_flattened().iter().sum()
}
