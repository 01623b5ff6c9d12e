//! The transforms in two dimensions.

use super::transform::{LANES, Vector, four, two};
use super::{POINTS, Place, Sums};
use crate::dispatch::for_every_level;
use crate::element::Element;
use crate::level::Level;

/// A square of `OUT x OUT` results, which sees `IN x IN` pixels.
pub(crate) trait Square: Send + Sync + 'static {
    const OUT: usize;
    const IN: usize;

    /// `G g G^T` of a kernel of 3 x 3.
    fn kernel<T: Element>(g: [f64; 9], result: &mut [T]);

    /// `B^T d B` of every channel; a pixel outside of the picture is none.
    ///
    /// # Safety
    /// `place` is valid for a row of whole vectors for each point.
    unsafe fn input<T: Element>(
        level: Level,
        pixels: &[Option<&[T]>; POINTS],
        inputs: usize,
        place: Place<T>,
    );

    /// `A^T m A` of every column, `(OUT x OUT, columns)`.
    fn output(level: Level, sums: &Sums<'_>, results: &mut [f32]);
}

/// 2 x 2 results.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Two;

/// 4 x 4 results.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Four;

macro_rules! square {
    ($type:ident, $out:literal, $in:literal, $one:ident, $input:ident, $output:ident) => {
        for_every_level! {
            fn $input<T>(pixels: &[Option<&[T]>; POINTS], inputs: usize, place: Place<T>) {
                input::<T, BF16, $in>(pixels, inputs, place, $one::input);
            }
        }

        for_every_level! {
            fn $output(sums: &Sums<'_>, results: &mut [f32]) {
                output(sums, results, $one::output);
            }
        }

        impl Square for $type {
            const OUT: usize = $out;
            const IN: usize = $in;

            #[inline(always)]
            fn kernel<T: Element>(g: [f64; 9], result: &mut [T]) {
                let a = $one::kernel([g[0], g[3], g[6]]);
                let b = $one::kernel([g[1], g[4], g[7]]);
                let c = $one::kernel([g[2], g[5], g[8]]);
                for (i, row) in result.chunks_exact_mut(Self::IN).enumerate() {
                    let numbers = $one::kernel([a[i], b[i], c[i]]);
                    for j in 0..Self::IN {
                        row[j] = T::from_f32(numbers[j] as f32);
                    }
                }
            }

            unsafe fn input<T: Element>(
                level: Level,
                pixels: &[Option<&[T]>; POINTS],
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

square!(Two, 2, 4, two, input_of_two, output_of_two);
square!(Four, 4, 6, four, input_of_four, output_of_four);

/// Some channels of a pixel.
#[inline(always)]
fn load<T: Element>(pixel: Option<&[T]>, from: usize, n: usize) -> Vector {
    let mut vector = [0f32; LANES];
    let Some(pixel) = pixel else { return vector };
    match <&[T; LANES]>::try_from(&pixel[from..from + n]) {
        Ok(numbers) => {
            for (place, x) in vector.iter_mut().zip(numbers) {
                *place = x.to_f32();
            }
        }
        Err(_) => {
            for (place, x) in vector.iter_mut().zip(&pixel[from..]) {
                *place = x.to_f32();
            }
        }
    }
    vector
}

#[inline(always)]
fn input<T: Element, const BF16: bool, const IN: usize>(
    pixels: &[Option<&[T]>; POINTS],
    inputs: usize,
    place: Place<T>,
    one: impl Fn([Vector; IN]) -> [Vector; IN],
) {
    for from in (0..inputs).step_by(LANES) {
        let n = LANES.min(inputs - from);
        let mut rows = [[[0f32; LANES]; IN]; IN];
        for (row, pixels) in rows.iter_mut().zip(pixels.chunks_exact(IN)) {
            let mut d = [[0f32; LANES]; IN];
            for (d, pixel) in d.iter_mut().zip(pixels) {
                *d = load(*pixel, from, n);
            }
            *row = one(d);
        }
        for j in 0..IN {
            let mut column = [[0f32; LANES]; IN];
            for (place, row) in column.iter_mut().zip(&rows) {
                *place = row[j];
            }
            for (i, vector) in one(column).iter().enumerate() {
                // SAFETY: a point's row is whole vectors (see `Square::input`); `BF16` is the level's.
                #[allow(unsafe_code)]
                unsafe {
                    let numbers = T::round::<BF16>(vector);
                    let to = place.to.add((i * IN + j) * place.step + from);
                    to.cast::<[T; LANES]>().write_unaligned(numbers);
                }
            }
        }
    }
}

#[inline(always)]
fn output<const IN: usize, const OUT: usize>(
    sums: &Sums<'_>,
    results: &mut [f32],
    one: impl Fn([Vector; IN]) -> [Vector; OUT],
) {
    let columns = sums.columns;
    // The portable level's panels are narrower than a vector here.
    for from in (0..columns).step_by(LANES) {
        let n = LANES.min(columns - from);
        let mut rows = [[[0f32; LANES]; OUT]; IN];
        for (i, row) in rows.iter_mut().enumerate() {
            let mut m = [[0f32; LANES]; IN];
            for (j, m) in m.iter_mut().enumerate() {
                let numbers = &sums.numbers[(i * IN + j) * sums.point_step + from..][..n];
                *m = load(Some(numbers), 0, n);
            }
            *row = one(m);
        }
        for j in 0..OUT {
            let mut column = [[0f32; LANES]; IN];
            for (place, row) in column.iter_mut().zip(&rows) {
                *place = row[j];
            }
            for (i, vector) in one(column).iter().enumerate() {
                let place = &mut results[(i * OUT + j) * columns + from..][..n];
                match <&mut Vector>::try_from(&mut *place) {
                    Ok(place) => *place = *vector,
                    Err(_) => place.copy_from_slice(&vector[..n]),
                }
            }
        }
    }
}
