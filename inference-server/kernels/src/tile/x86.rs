//! The same loop for AVX2 and AVX-512.

use std::arch::x86_64::{
    __m256bh, __m256i, __m512bh, __m512i, _mm_add_ps, _mm_and_si128, _mm_castsi128_ps, _mm_fmadd_ps,
    _mm_loadu_ps, _mm_loadu_si128, _mm_set1_epi32, _mm_setzero_ps, _mm_slli_epi32, _mm_storeu_ps,
    _mm256_add_ps, _mm256_and_si256, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_dpbf16_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm512_add_ps, _mm512_and_si512,
    _mm512_castps512_ps256, _mm512_castsi512_ps, _mm512_castsi512_si256, _mm512_dpbf16_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_slli_epi32, _mm512_storeu_ps,
};
use std::mem::transmute;

use half::bf16;

use super::{Kernels, Product};

/// The second of two bf16 in 32 bits is an f32 when the first is cleared; the first is one when it is moved up.
const SECOND: i32 = 0xffff_0000_u32 as i32;

/// The first or second of every pair of bf16, as f32.
macro_rules! widen {
    ($both:expr, $part:expr, $cast:ident, $move_up:ident, $and:ident, $all:ident) => {
        $cast(match $part {
            0 => $move_up::<16>($both),
            _ => $and($both, $all(SECOND)),
        })
    };
}

/// A level's loop. `vector` reads a vector of the panel, `number` a number of a row into all lanes; where an instruction
/// takes one number of a group only, they are told which part of the group to read. The same for half a vector, whose
/// number is the whole one's lower half.
macro_rules! level {
    (
        $module:ident: $element:ty, $features:literal, lanes: $lanes:literal, rows: $rows:literal,
        group: $group:literal, parts: $parts:literal,
        number: $number:expr,
        whole: [$vector:expr, $multiply_add:expr, $zero:ident, $load:ident, $store:ident, $add:ident],
        half: [
            $half_number:expr, $half_vector:expr, $half_multiply_add:expr,
            $half_zero:ident, $half_load:ident, $half_store:ident, $half_add:ident
        ]
    ) => {
        mod $module {
            use super::*;

            /// `HALF` is 1 if half a vector follows the whole ones.
            ///
            /// # Safety
            /// See [`Kernels`].
            #[target_feature(enable = $features)]
            pub(super) unsafe fn tile<const VECTORS: usize, const HALF: usize>(p: &Product<$element>) {
                const WIDTH: usize = $lanes * $group;
                let columns = VECTORS * $lanes + HALF * ($lanes / 2);
                let mut panel = p.panel;
                for index in 0..p.panels {
                    let mut sums = [[$zero(); VECTORS]; $rows];
                    let mut halves = [[$half_zero(); HALF]; $rows];
                    for segment in 0..p.segments {
                        // SAFETY: every segment has a pointer for each row.
                        let rows = unsafe { p.rows.cast::<[*const $element; $rows]>().add(segment).read() };
                        let rows = rows.map(|row| row.wrapping_add(p.offset));
                        for step in 0..p.steps {
                            for part in 0..$parts {
                                // SAFETY: the panel has all its columns at every step, and a row a group.
                                let vectors: [_; VECTORS] =
                                    std::array::from_fn(|i| unsafe { $vector(panel.add(i * WIDTH), part) });
                                let half: [_; HALF] = std::array::from_fn(|_| unsafe {
                                    $half_vector(panel.add(VECTORS * WIDTH), part)
                                });
                                for ((row, sums), halves) in rows.iter().zip(&mut sums).zip(&mut halves) {
                                    // SAFETY: as above.
                                    let number = unsafe { $number(row.add(step * $group), part) };
                                    for (sum, vector) in sums.iter_mut().zip(vectors) {
                                        *sum = $multiply_add(number, vector, *sum);
                                    }
                                    for (sum, vector) in halves.iter_mut().zip(half) {
                                        *sum = $half_multiply_add($half_number(number), vector, *sum);
                                    }
                                }
                            }
                            // The last step leaves a pointer that may be past the end, and is not read.
                            panel = panel.wrapping_add(columns * $group);
                        }
                    }
                    for (row, (sums, halves)) in sums.iter().zip(&halves).enumerate() {
                        let place = p.sums.wrapping_add(index * columns + row * p.sums_row);
                        // SAFETY: `sums` are valid for the tiles, and initialised if they are added to.
                        unsafe {
                            for (i, sum) in sums.iter().enumerate() {
                                let place = place.add(i * $lanes);
                                $store(place, if p.accumulate { $add($load(place), *sum) } else { *sum });
                            }
                            for sum in halves {
                                let place = place.add(VECTORS * $lanes);
                                let sum = match p.accumulate {
                                    true => $half_add($half_load(place), *sum),
                                    false => *sum,
                                };
                                $half_store(place, sum);
                            }
                        }
                    }
                }
            }
        }
    };
}

level!(
    f32_avx512: f32, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", lanes: 16, rows: 6, group: 1, parts: 1,
    number: |place: *const f32, _| _mm512_set1_ps(*place),
    whole: [
        |place, _| _mm512_loadu_ps(place), |a, b, c| _mm512_fmadd_ps(a, b, c),
        _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps
    ],
    half: [
        |number| _mm512_castps512_ps256(number),
        |place, _| _mm256_loadu_ps(place), |a, b, c| _mm256_fmadd_ps(a, b, c),
        _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps
    ]
);
level!(
    f32_avx2: f32, "avx2,fma", lanes: 8, rows: 6, group: 1, parts: 1,
    number: |place: *const f32, _| _mm256_set1_ps(*place),
    whole: [
        |place, _| _mm256_loadu_ps(place), |a, b, c| _mm256_fmadd_ps(a, b, c),
        _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps
    ],
    half: [
        |number| _mm256_castps256_ps128(number),
        |place, _| _mm_loadu_ps(place), |a, b, c| _mm_fmadd_ps(a, b, c),
        _mm_setzero_ps, _mm_loadu_ps, _mm_storeu_ps, _mm_add_ps
    ]
);
level!(
    bf16_avx512_bf16: bf16, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma",
    lanes: 16, rows: 6, group: 2, parts: 1,
    number: |place: *const bf16, _| _mm512_set1_epi32(place.cast::<i32>().read_unaligned()),
    whole: [
        |place: *const bf16, _| transmute::<_, __m512bh>(_mm512_loadu_si512(place.cast())),
        // SAFETY: both are vectors of bits.
        |a, b, c| _mm512_dpbf16_ps(c, unsafe { transmute::<__m512i, __m512bh>(a) }, b),
        _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps
    ],
    half: [
        |number| _mm512_castsi512_si256(number),
        |place: *const bf16, _| transmute::<_, __m256bh>(_mm256_loadu_si256(place.cast())),
        // SAFETY: both are vectors of bits.
        |a, b, c| _mm256_dpbf16_ps(c, unsafe { transmute::<__m256i, __m256bh>(a) }, b),
        _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps
    ]
);
level!(
    bf16_avx512: bf16, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    lanes: 16, rows: 6, group: 2, parts: 2,
    number: |place: *const bf16, part: usize| {
        let bits = u32::from(place.add(part).cast::<u16>().read_unaligned()) << 16;
        _mm512_set1_ps(f32::from_bits(bits))
    },
    whole: [
        |place: *const bf16, part| {
            let both = _mm512_loadu_si512(place.cast());
            widen!(both, part, _mm512_castsi512_ps, _mm512_slli_epi32, _mm512_and_si512, _mm512_set1_epi32)
        },
        |a, b, c| _mm512_fmadd_ps(a, b, c),
        _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps
    ],
    half: [
        |number| _mm512_castps512_ps256(number),
        |place: *const bf16, part| {
            let both = _mm256_loadu_si256(place.cast());
            widen!(both, part, _mm256_castsi256_ps, _mm256_slli_epi32, _mm256_and_si256, _mm256_set1_epi32)
        },
        |a, b, c| _mm256_fmadd_ps(a, b, c),
        _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps
    ]
);
level!(
    bf16_avx2: bf16, "avx2,fma", lanes: 8, rows: 6, group: 2, parts: 2,
    number: |place: *const bf16, part: usize| {
        let both = _mm256_set1_epi32(place.cast::<i32>().read_unaligned());
        widen!(both, part, _mm256_castsi256_ps, _mm256_slli_epi32, _mm256_and_si256, _mm256_set1_epi32)
    },
    whole: [
        |place: *const bf16, part| {
            let both = _mm256_loadu_si256(place.cast());
            widen!(both, part, _mm256_castsi256_ps, _mm256_slli_epi32, _mm256_and_si256, _mm256_set1_epi32)
        },
        |a, b, c| _mm256_fmadd_ps(a, b, c),
        _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps
    ],
    half: [
        |number| _mm256_castps256_ps128(number),
        |place: *const bf16, part| {
            let both = _mm_loadu_si128(place.cast());
            widen!(both, part, _mm_castsi128_ps, _mm_slli_epi32, _mm_and_si128, _mm_set1_epi32)
        },
        |a, b, c| _mm_fmadd_ps(a, b, c),
        _mm_setzero_ps, _mm_loadu_ps, _mm_storeu_ps, _mm_add_ps
    ]
);

/// The loops for half a vector of columns, one, one and a half and so on.
macro_rules! kernels {
    ($name:ident: $element:ty, $module:ident, columns: $columns:literal, [$($vectors:literal),+]) => {
        pub(super) static $name: Kernels<$element> = Kernels {
            columns: $columns,
            rows: 6,
            run: &[$($module::tile::<{ $vectors / 2 }, { $vectors % 2 }>),+],
        };
    };
}

// 24 of 32 registers, or 12 of 16, are sums.
kernels!(F32_AVX512: f32, f32_avx512, columns: 8, [1, 2, 3, 4, 5, 6, 7, 8]);
kernels!(F32_AVX2: f32, f32_avx2, columns: 4, [1, 2, 3, 4]);
kernels!(BF16_AVX512_BF16: bf16, bf16_avx512_bf16, columns: 8, [1, 2, 3, 4, 5, 6, 7, 8]);
kernels!(BF16_AVX512: bf16, bf16_avx512, columns: 8, [1, 2, 3, 4, 5, 6, 7, 8]);
kernels!(BF16_AVX2: bf16, bf16_avx2, columns: 4, [1, 2, 3, 4]);
