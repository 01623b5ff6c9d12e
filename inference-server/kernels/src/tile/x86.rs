//! The same loops for AVX2 and AVX-512.

use std::arch::x86_64::{
    _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::{Kernels, Size};

macro_rules! level {
    (
        $module:ident, $features:literal, $lanes:literal,
        $zero:ident, $load:ident, $store:ident, $splat:ident, $add:ident, $multiply_add:ident,
        packed: $packed:tt, direct: $direct:tt
    ) => {
        mod $module {
            use super::*;
            use crate::tile::{Finish, Product};

            const LANES: usize = $lanes;

            /// # Safety
            /// See [`Kernels`].
            #[target_feature(enable = $features)]
            unsafe fn tile<const ROWS: usize, const VECTORS: usize, const PACKED: bool>(p: &Product) {
                let a_row = if PACKED { 1 } else { p.a_row };
                let (mut a, mut b) = (p.a, p.b);
                let mut sums = [[$zero(); VECTORS]; ROWS];
                for _ in 0..p.depth {
                    let mut vectors = [$zero(); VECTORS];
                    for (i, vector) in vectors.iter_mut().enumerate() {
                        // SAFETY: `b` is valid for `VECTORS` whole vectors at every step.
                        *vector = unsafe { $load(b.add(i * LANES)) };
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: `a` is valid for `ROWS` numbers at every step.
                        let a = $splat(unsafe { *a.add(row * a_row) });
                        for (sum, vector) in sums.iter_mut().zip(vectors) {
                            *sum = $multiply_add(a, vector, *sum);
                        }
                    }
                    // The last step leaves pointers that may be past the end, and are not read.
                    (a, b) = (a.wrapping_add(p.a_step), b.wrapping_add(p.b_step));
                }
                for (row, sums) in sums.iter().enumerate() {
                    for (i, sum) in sums.iter().enumerate() {
                        // SAFETY: `c` is valid for the tile, and initialised if it is added to.
                        unsafe {
                            let c = p.c.add(row * p.c_row + i * LANES);
                            $store(c, if p.accumulate { $add($load(c), *sum) } else { *sum });
                        }
                    }
                }
            }

            /// # Safety
            /// See [`Kernels`].
            pub(super) unsafe fn run_packed(rows: usize, vectors: usize, p: &Product) {
                level!(@run rows, vectors, p, true, $packed)
            }

            /// # Safety
            /// See [`Kernels`].
            pub(super) unsafe fn run_direct(rows: usize, vectors: usize, p: &Product) {
                level!(@run rows, vectors, p, false, $direct)
            }

            /// # Safety
            /// See [`Kernels`].
            #[target_feature(enable = $features)]
            pub(super) unsafe fn finish(f: &Finish) {
                // SAFETY: the caller's.
                unsafe { crate::tile::finish(f) }
            }
        }
    };
    (@run $rows:ident, $vectors:ident, $p:ident, $packed:literal, { $($size:tt)* }) => {
        // SAFETY: the caller's; every size that the level has is in the list.
        unsafe { level!(@sizes $rows, $vectors, $p, $packed, $($size)*) }
    };
    (@sizes $r:ident, $v:ident, $p:ident, $packed:literal, $($vectors:literal: [$($rows:literal)*])*) => {
        match $v {
            $($vectors => match $r {
                $($rows => tile::<$rows, $vectors, $packed>($p),)*
                _ => unreachable!("a tile of {} rows", $r),
            },)*
            _ => unreachable!("a tile of {} vectors", $v),
        }
    };
}

level!(
    avx512f, "avx512f,avx2,fma", 16,
    _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_add_ps, _mm512_fmadd_ps,
    packed: { 1: [1 2 3 4 5 6 7 8 9 10 11 12 13 14] 2: [1 2 3 4 5 6 7 8 9 10 11 12 13 14] },
    direct: { 1: [1 2 3 4 5 6] 2: [1 2 3 4 5 6] 3: [1 2 3 4 5 6] 4: [1 2 3 4 5 6] }
);
level!(
    avx2_fma, "avx2,fma", 8,
    _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_add_ps, _mm256_fmadd_ps,
    packed: { 1: [1 2 3 4 5 6] 2: [1 2 3 4 5 6] },
    direct: { 1: [1 2 3 4 5 6] 2: [1 2 3 4 5 6] }
);

/// 28 or 24 of 32 registers are sums.
pub(super) static AVX512F: Kernels = Kernels {
    lanes: 16,
    packed: Size { rows: 14, vectors: 2 },
    direct: Size { rows: 6, vectors: 4 },
    run_packed: avx512f::run_packed,
    run_direct: avx512f::run_direct,
    finish: avx512f::finish,
};

/// 12 of 16 registers are sums.
pub(super) static AVX2_FMA: Kernels = Kernels {
    lanes: 8,
    packed: Size { rows: 6, vectors: 2 },
    direct: Size { rows: 6, vectors: 2 },
    run_packed: avx2_fma::run_packed,
    run_direct: avx2_fma::run_direct,
    finish: avx2_fma::finish,
};
