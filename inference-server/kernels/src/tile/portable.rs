//! Plain Rust, in a shape that the compiler turns into whatever vectors the architecture always has.

use half::bf16;

use super::{Kernels, Product};
use crate::element::Element;

const FEWEST: usize = 4;
/// With two vectors of four, 8 registers of results, of 16 (x86-64 without AVX) or 32 (Arm).
const ROWS: usize = 4;

pub(super) static F32: Kernels<f32> =
    Kernels { columns: FEWEST, rows: ROWS, run: &[tile::<f32, 1, 4>, tile::<f32, 1, 8>] };
pub(super) static BF16: Kernels<bf16> =
    Kernels { columns: FEWEST, rows: ROWS, run: &[tile::<bf16, 2, 4>, tile::<bf16, 2, 8>] };

#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, the fused operation is a slow function.
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}

/// # Safety
/// See [`Kernels`].
unsafe fn tile<T: Element, const GROUP: usize, const COLUMNS: usize>(p: &Product<T>) {
    let mut panel = p.panel.cast::<[[T; GROUP]; COLUMNS]>();
    for index in 0..p.panels {
        let mut sums = [[0f32; COLUMNS]; ROWS];
        for segment in 0..p.segments {
            // SAFETY: every segment has a pointer for each row.
            let rows = unsafe { p.rows.cast::<[*const T; ROWS]>().add(segment).read() };
            for step in 0..p.steps {
                // SAFETY: the panel has a group for every column at every step, and a row one at every step. The last step
                // leaves a pointer that may be past the end, and is not read.
                let b = unsafe { panel.read() };
                panel = panel.wrapping_add(1);
                for (row, sums) in rows.iter().zip(&mut sums) {
                    // SAFETY: as above.
                    let a = unsafe { row.add(p.offset + step * GROUP).cast::<[T; GROUP]>().read() };
                    for (k, a) in a.into_iter().enumerate() {
                        for (sum, b) in sums.iter_mut().zip(&b) {
                            *sum = multiply_add(a.to_f32(), b[k].to_f32(), *sum);
                        }
                    }
                }
            }
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `sums` are valid for the tiles, and initialised if they are added to.
            unsafe {
                let place = p.sums.add(index * COLUMNS + row * p.sums_row).cast::<[f32; COLUMNS]>();
                if p.accumulate {
                    sums.iter_mut().zip(place.read()).for_each(|(sum, before)| *sum += before);
                }
                place.write(*sums);
            }
        }
    }
}
