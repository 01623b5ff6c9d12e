//! Rows of groups of numbers become columns of groups.
#![allow(unsafe_code)]

use crate::element::Element;
use crate::level::Level;

/// Rows and columns that change places in registers. A group of either type of numbers is as large as one f32.
const SIDE: usize = 16;

/// Writes the first `groups` groups of each of `columns` rows, which begin `row` numbers apart, to `panel`: group `i` of all
/// rows, one after the other, from `place(i)` on.
///
/// # Panics
/// If the machine does not have the level, or a slice is too short.
pub(super) fn transpose<T: Element>(
    level: Level,
    rows: &[T],
    row: usize,
    groups: usize,
    columns: usize,
    panel: &mut [T],
    place: impl Fn(usize) -> usize,
) {
    assert!(level.is_supported(), "this machine has no {}", level.name());
    assert!(groups * T::GROUP <= row && columns * row <= rows.len(), "every row has all groups");
    let whole = match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512f | Level::Avx512Bf16 if columns.is_multiple_of(SIDE) => groups / SIDE * SIDE,
        _ => 0,
    };
    #[cfg(target_arch = "x86_64")]
    for group in (0..whole).step_by(SIDE) {
        let places: [_; SIDE] = std::array::from_fn(|i| {
            panel[place(group + i)..][..columns * T::GROUP].as_mut_ptr().cast::<i32>()
        });
        for column in (0..columns).step_by(SIDE) {
            let from = rows[column * row + group * T::GROUP..].as_ptr().cast::<i32>();
            // SAFETY: the level is supported. `SIDE` rows from this column on have this and the next groups, and so many
            // columns follow at every place (see above); a group is 4 bytes.
            unsafe { square(from, row / T::GROUP, &places, column) };
        }
    }
    for group in whole..groups {
        let places = &mut panel[place(group)..][..columns * T::GROUP];
        for (column, place) in places.chunks_exact_mut(T::GROUP).enumerate() {
            place.copy_from_slice(&rows[column * row + group * T::GROUP..][..T::GROUP]);
        }
    }
}

/// # Safety
/// The machine has AVX-512. There are `SIDE` numbers at `from` and `SIDE - 1` times `row` numbers later, and place for as
/// many `column` numbers behind every one of `places`; places for f32 or pairs of bf16 may begin at any address.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn square(from: *const i32, row: usize, places: &[*mut i32; SIDE], column: usize) {
    use std::arch::x86_64::{
        _mm512_loadu_si512, _mm512_permutex2var_epi32, _mm512_setr_epi32, _mm512_setzero_si512,
        _mm512_storeu_si512,
    };
    let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    let mut numbers = [_mm512_setzero_si512(); SIDE];
    for (i, numbers) in numbers.iter_mut().enumerate() {
        // SAFETY: the caller's.
        *numbers = unsafe { _mm512_loadu_si512(from.add(i * row).cast()) };
    }
    // A number's place is four bits of its row and four of its column. A round of shuffling the two halves into each other
    // moves these eight bits around by one.
    for _ in 0..4 {
        let before = numbers;
        for i in 0..SIDE / 2 {
            let (a, b) = (before[i], before[i + SIDE / 2]);
            numbers[2 * i] = _mm512_permutex2var_epi32(a, low, b);
            numbers[2 * i + 1] = _mm512_permutex2var_epi32(a, high, b);
        }
    }
    for (place, numbers) in places.iter().zip(numbers) {
        // SAFETY: the caller's.
        unsafe { _mm512_storeu_si512(place.add(column).cast(), numbers) };
    }
}
