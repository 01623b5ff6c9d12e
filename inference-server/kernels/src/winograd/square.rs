//! The transforms in two dimensions.

use super::transform::{LANES, Vector, doubled, four, two};
use super::{MOST, Place, Sums};
use crate::dispatch::for_every_level;
use crate::element::Element;
use crate::level::Level;

/// A square of `OUT x OUT` results, which sees `IN x IN` pixels and takes a product at each of `SIDE x SIDE` points.
pub(crate) trait Square: Send + Sync + 'static {
    const OUT: usize;
    const IN: usize;
    const SIDE: usize;
    /// `SIDE x SIDE`.
    const POINTS: usize = Self::SIDE * Self::SIDE;
    /// Pixels of the input from a square to the next; its first pixel is one before.
    const STEP: usize;
    /// Results of the first square that are before the picture.
    const BEFORE: usize;

    /// `G g G^T` of `n` kernels of 3 x 3. `places` is where the numbers of the kernels' first place are, and how many
    /// numbers later those of the next.
    ///
    /// # Safety
    /// Each place is valid for `n` numbers, and so is each point of the result.
    unsafe fn kernel<T: Element>(level: Level, places: (*const T, usize), to: Place<T>, n: usize);

    /// `B^T d B` of every channel.
    ///
    /// # Safety
    /// A pixel for each that the square sees is valid for `inputs` numbers, and `place` for a row of whole vectors for each point.
    unsafe fn input<T: Element>(level: Level, pixels: &[*const T; MOST], inputs: usize, place: Place<T>);

    /// `A^T m A` of every column, `(OUT x OUT, columns)`.
    fn output(level: Level, sums: &Sums<'_>, results: &mut [f32]);
}

/// 2 x 2 results of a picture that is enlarged to twice its sides, each of which sees two pixels of the original.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doubled;

/// 2 x 2 results.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Two;

/// 4 x 4 results.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Four;

/// 16 numbers.
///
/// # Safety
/// `from` is valid for them.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn load<T: Element>(from: *const T) -> Vector {
    // SAFETY: the caller's.
    let numbers = unsafe { from.cast::<[T; LANES]>().read_unaligned() };
    let mut vector = [0f32; LANES];
    for (place, x) in vector.iter_mut().zip(numbers) {
        *place = x.to_f32();
    }
    vector
}

/// As [`load`], of fewer: the others are 0.
///
/// # Safety
/// `from` is valid for `n` numbers.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn load_some<T: Element>(from: *const T, n: usize) -> Vector {
    let mut vector = [0f32; LANES];
    for (i, place) in vector.iter_mut().enumerate().take(n) {
        // SAFETY: the caller's.
        *place = unsafe { from.add(i).read() }.to_f32();
    }
    vector
}

/// `d` transformed in both dimensions.
macro_rules! in_two_dimensions {
    ($one:path, $from:expr, $to:expr, |$i:ident, $j:ident| $load:expr, |$at:ident, $vector:ident| $store:expr) => {{
        let mut rows = [[[0f32; LANES]; $to]; $from];
        for ($i, row) in rows.iter_mut().enumerate() {
            let mut d = [[0f32; LANES]; $from];
            for ($j, d) in d.iter_mut().enumerate() {
                *d = $load;
            }
            *row = $one(d);
        }
        for j in 0..$to {
            let mut column = [[0f32; LANES]; $from];
            for (place, row) in column.iter_mut().zip(&rows) {
                *place = row[j];
            }
            for (i, $vector) in $one(column).iter().enumerate() {
                let $at = i * $to + j;
                $store
            }
        }
    }};
}

/// Rounds 16 numbers of a point and puts them in its row.
///
/// # Safety
/// The row is whole vectors; `BF16` is the level's.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn store<T: Element, const BF16: bool>(vector: &Vector, place: Place<T>, point: usize, from: usize) {
    // SAFETY: the caller's.
    unsafe {
        let numbers = T::round::<BF16>(vector);
        place.to.add(point * place.step + from).cast::<[T; LANES]>().write_unaligned(numbers);
    }
}

macro_rules! square {
    (
        $type:ident: out $out:literal, in $in:literal, side $side:literal, step $step:literal, before $before:literal,
        $one:ident, $kernel:ident, $input:ident, $output:ident
    ) => {
        for_every_level! {
            fn $kernel<T>(places: (*const T, usize), to: Place<T>, n: usize) {
                let whole = n / LANES * LANES;
                // SAFETY: of the whole body, see `Square::kernel`; `BF16` is the level's.
                #[allow(unsafe_code)]
                for from in (0..whole).step_by(LANES) {
                    in_two_dimensions!(
                        $one::kernel, 3, $side,
                        |i, j| unsafe { load(places.0.add((i * 3 + j) * places.1 + from)) },
                        |at, vector| unsafe { store::<T, BF16>(vector, to, at, from) }
                    );
                }
                // The panels of narrow vectors.
                #[allow(unsafe_code)]
                if whole < n {
                    in_two_dimensions!(
                        $one::kernel, 3, $side,
                        |i, j| unsafe {
                            load_some(places.0.add((i * 3 + j) * places.1 + whole), n - whole)
                        },
                        |at, vector| for (i, x) in vector.iter().enumerate().take(n - whole) {
                            unsafe { to.to.add(at * to.step + whole + i).write(T::from_f32(*x)) }
                        }
                    );
                }
            }
        }

        for_every_level! {
            fn $input<T>(pixels: &[*const T; MOST], inputs: usize, place: Place<T>) {
                let whole = inputs / LANES * LANES;
                // SAFETY: of the whole body, see `Square::input`; `BF16` is the level's.
                #[allow(unsafe_code)]
                for from in (0..whole).step_by(LANES) {
                    in_two_dimensions!(
                        $one::input, $in, $side,
                        |i, j| unsafe { load(pixels[i * $in + j].add(from)) },
                        |at, vector| unsafe { store::<T, BF16>(vector, place, at, from) }
                    );
                }
                #[allow(unsafe_code)]
                if whole < inputs {
                    in_two_dimensions!(
                        $one::input, $in, $side,
                        |i, j| unsafe { load_some(pixels[i * $in + j].add(whole), inputs - whole) },
                        |at, vector| unsafe { store::<T, BF16>(vector, place, at, whole) }
                    );
                }
            }
        }

        for_every_level! {
            fn $output(sums: &Sums<'_>, results: &mut [f32]) {
                let Sums { numbers, point_step, columns } = *sums;
                assert!(numbers.len() >= ($side * $side - 1) * point_step + columns, "a row for every point");
                assert!(results.len() >= $out * $out * columns, "a row for every result");
                let whole = columns / LANES * LANES;
                let (numbers, results) = (numbers.as_ptr(), results.as_mut_ptr());
                // SAFETY: of the whole body, the rows have `columns` numbers, as has been checked.
                #[allow(unsafe_code)]
                for from in (0..whole).step_by(LANES) {
                    in_two_dimensions!(
                        $one::output, $side, $out,
                        |i, j| unsafe { load(numbers.add((i * $side + j) * point_step + from)) },
                        |at, vector| unsafe {
                            results.add(at * columns + from).cast::<Vector>().write_unaligned(*vector);
                        }
                    );
                }
                // The panels of narrow vectors.
                #[allow(unsafe_code)]
                if whole < columns {
                    in_two_dimensions!(
                        $one::output, $side, $out,
                        |i, j| unsafe {
                            load_some(numbers.add((i * $side + j) * point_step + whole), columns - whole)
                        },
                        |at, vector| for (i, x) in vector.iter().enumerate().take(columns - whole) {
                            unsafe { results.add(at * columns + whole + i).write(*x) }
                        }
                    );
                }
            }
        }

        impl Square for $type {
            const OUT: usize = $out;
            const IN: usize = $in;
            const SIDE: usize = $side;
            const STEP: usize = $step;
            const BEFORE: usize = $before;

            unsafe fn kernel<T: Element>(level: Level, places: (*const T, usize), to: Place<T>, n: usize) {
                $kernel(level, places, to, n);
            }

            unsafe fn input<T: Element>(
                level: Level,
                pixels: &[*const T; MOST],
                inputs: usize,
                place: Place<T>,
            ) {
                $input(level, pixels, inputs, place);
            }

            fn output(level: Level, sums: &Sums<'_>, results: &mut [f32]) {
                $output(level, sums, results);
            }
        }
    };
}

square!(
    Doubled: out 2, in 2, side 3, step 1, before 1,
    doubled, kernel_of_doubled, input_of_doubled, output_of_doubled
);
square!(Two: out 2, in 4, side 4, step 2, before 0, two, kernel_of_two, input_of_two, output_of_two);
square!(Four: out 4, in 6, side 6, step 4, before 0, four, kernel_of_four, input_of_four, output_of_four);
