//! The same loop for AVX2 and AVX-512.

use std::arch::x86_64::{
    __m512bh, _mm256_add_ps, _mm256_and_si256, _mm256_castsi256_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32,
    _mm256_storeu_ps, _mm512_add_ps, _mm512_and_si512, _mm512_castsi512_ps, _mm512_dpbf16_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_slli_epi32, _mm512_storeu_ps,
};
use std::mem::transmute;

use half::bf16;

use super::{Kernels, Product};

/// The second of two bf16 in 32 bits is an f32 when the first is cleared; the first is one when it is moved up.
const SECOND: i32 = 0xffff_0000_u32 as i32;

/// A level's loop. `vector` reads a vector of the panel, `number` a number of a row into all lanes; where an instruction
/// takes one number of a group only, they are told which part of the group to read.
macro_rules! level {
    (
        $module:ident: $element:ty, $features:literal, lanes: $lanes:literal, rows: $rows:literal,
        group: $group:literal, parts: $parts:literal,
        vector: $vector:expr, number: $number:expr, multiply_add: $multiply_add:expr,
        $zero:ident, $load:ident, $store:ident, $add:ident
    ) => {
        mod $module {
            use super::*;

            /// # Safety
            /// See [`Kernels`].
            #[target_feature(enable = $features)]
            pub(super) unsafe fn tile<const VECTORS: usize>(p: &Product<$element>) {
                const WIDTH: usize = $lanes * $group;
                let mut sums = [[$zero(); VECTORS]; $rows];
                let mut panel = p.panel;
                for segment in 0..p.segments {
                    // SAFETY: every segment has a pointer for each row.
                    let rows = unsafe { p.rows.cast::<[*const $element; $rows]>().add(segment).read() };
                    let rows = rows.map(|row| row.wrapping_add(p.offset));
                    for step in 0..p.steps {
                        for part in 0..$parts {
                            // SAFETY: the panel has `VECTORS` whole vectors at every step, and a row a group.
                            let vectors: [_; VECTORS] =
                                std::array::from_fn(|i| unsafe { $vector(panel.add(i * WIDTH), part) });
                            for (row, sums) in rows.iter().zip(&mut sums) {
                                // SAFETY: as above.
                                let number = unsafe { $number(row.add(step * $group), part) };
                                for (sum, vector) in sums.iter_mut().zip(vectors) {
                                    *sum = $multiply_add(number, vector, *sum);
                                }
                            }
                        }
                        // The last step leaves a pointer that may be past the end, and is not read.
                        panel = panel.wrapping_add(VECTORS * WIDTH);
                    }
                }
                for (row, sums) in sums.iter().enumerate() {
                    for (i, sum) in sums.iter().enumerate() {
                        // SAFETY: `sums` are valid for the tile, and initialised if they are added to.
                        unsafe {
                            let place = p.sums.add(row * p.sums_row + i * $lanes);
                            $store(place, if p.accumulate { $add($load(place), *sum) } else { *sum });
                        }
                    }
                }
            }
        }
    };
}

level!(
    f32_avx512: f32, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", lanes: 16, rows: 6, group: 1, parts: 1,
    vector: |place, _| _mm512_loadu_ps(place),
    number: |place: *const f32, _| _mm512_set1_ps(*place),
    multiply_add: |a, b, c| _mm512_fmadd_ps(a, b, c),
    _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps
);
level!(
    f32_avx2: f32, "avx2,fma", lanes: 8, rows: 6, group: 1, parts: 1,
    vector: |place, _| _mm256_loadu_ps(place),
    number: |place: *const f32, _| _mm256_set1_ps(*place),
    multiply_add: |a, b, c| _mm256_fmadd_ps(a, b, c),
    _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps
);
level!(
    bf16_avx512_bf16: bf16, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma",
    lanes: 16, rows: 6, group: 2, parts: 1,
    vector: |place: *const bf16, _| transmute::<_, __m512bh>(_mm512_loadu_si512(place.cast())),
    number: |place: *const bf16, _| {
        transmute::<_, __m512bh>(_mm512_set1_epi32(place.cast::<i32>().read_unaligned()))
    },
    multiply_add: |a, b, c| _mm512_dpbf16_ps(c, a, b),
    _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps
);
level!(
    bf16_avx512: bf16, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    lanes: 16, rows: 6, group: 2, parts: 2,
    vector: |place: *const bf16, part| {
        let both = _mm512_loadu_si512(place.cast());
        _mm512_castsi512_ps(match part {
            0 => _mm512_slli_epi32::<16>(both),
            _ => _mm512_and_si512(both, _mm512_set1_epi32(SECOND)),
        })
    },
    number: |place: *const bf16, part: usize| {
        let bits = u32::from(place.add(part).cast::<u16>().read_unaligned()) << 16;
        _mm512_set1_ps(f32::from_bits(bits))
    },
    multiply_add: |a, b, c| _mm512_fmadd_ps(a, b, c),
    _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps
);
level!(
    bf16_avx2: bf16, "avx2,fma", lanes: 8, rows: 6, group: 2, parts: 2,
    vector: |place: *const bf16, part| {
        let both = _mm256_loadu_si256(place.cast());
        _mm256_castsi256_ps(match part {
            0 => _mm256_slli_epi32::<16>(both),
            _ => _mm256_and_si256(both, _mm256_set1_epi32(SECOND)),
        })
    },
    number: |place: *const bf16, part: usize| {
        let both = _mm256_set1_epi32(place.cast::<i32>().read_unaligned());
        _mm256_castsi256_ps(match part {
            0 => _mm256_slli_epi32::<16>(both),
            _ => _mm256_and_si256(both, _mm256_set1_epi32(SECOND)),
        })
    },
    multiply_add: |a, b, c| _mm256_fmadd_ps(a, b, c),
    _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps
);

// 24 of 32 registers, or 12 of 16, are sums.
pub(super) static F32_AVX512: Kernels<f32> = Kernels {
    lanes: 16,
    rows: 6,
    run: &[f32_avx512::tile::<1>, f32_avx512::tile::<2>, f32_avx512::tile::<3>, f32_avx512::tile::<4>],
};
pub(super) static F32_AVX2: Kernels<f32> =
    Kernels { lanes: 8, rows: 6, run: &[f32_avx2::tile::<1>, f32_avx2::tile::<2>] };
pub(super) static BF16_AVX512_BF16: Kernels<bf16> = Kernels {
    lanes: 16,
    rows: 6,
    run: &[
        bf16_avx512_bf16::tile::<1>,
        bf16_avx512_bf16::tile::<2>,
        bf16_avx512_bf16::tile::<3>,
        bf16_avx512_bf16::tile::<4>,
    ],
};
pub(super) static BF16_AVX512: Kernels<bf16> = Kernels {
    lanes: 16,
    rows: 6,
    run: &[bf16_avx512::tile::<1>, bf16_avx512::tile::<2>, bf16_avx512::tile::<3>, bf16_avx512::tile::<4>],
};
pub(super) static BF16_AVX2: Kernels<bf16> =
    Kernels { lanes: 8, rows: 6, run: &[bf16_avx2::tile::<1>, bf16_avx2::tile::<2>] };
