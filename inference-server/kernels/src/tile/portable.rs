//! Plain Rust, in a shape that the compiler turns into whatever vectors the architecture always has.

use super::{Finish, Kernels, Product, Size};

const LANES: usize = 4;
/// 8 vectors of results, of 16 registers (x86-64 without AVX) or 32 (Arm).
const SIZE: Size = Size { rows: 4, vectors: 2 };

pub(super) static PORTABLE: Kernels = Kernels {
    lanes: LANES,
    packed: SIZE,
    direct: SIZE,
    run_packed: run::<true>,
    run_direct: run::<false>,
    finish,
};

#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, the fused operation is a slow function.
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}

unsafe fn run<const PACKED: bool>(rows: usize, vectors: usize, p: &Product) {
    // SAFETY: the caller's.
    unsafe {
        match (rows, vectors) {
            (4, 2) => tile::<4, 8, PACKED>(p),
            (3, 2) => tile::<3, 8, PACKED>(p),
            (2, 2) => tile::<2, 8, PACKED>(p),
            (_, 2) => tile::<1, 8, PACKED>(p),
            (4, _) => tile::<4, 4, PACKED>(p),
            (3, _) => tile::<3, 4, PACKED>(p),
            (2, _) => tile::<2, 4, PACKED>(p),
            (_, _) => tile::<1, 4, PACKED>(p),
        }
    }
}

unsafe fn tile<const ROWS: usize, const COLUMNS: usize, const PACKED: bool>(p: &Product) {
    let a_row = if PACKED { 1 } else { p.a_row };
    let mut sums = [[0f32; COLUMNS]; ROWS];
    for k in 0..p.depth {
        // SAFETY: `a` and `b` are valid for the whole sum (see `Kernels`).
        unsafe {
            let b = p.b.add(k * p.b_step).cast::<[f32; COLUMNS]>().read();
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = *p.a.add(k * p.a_step + row * a_row);
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = multiply_add(a, b, *sum);
                }
            }
        }
    }
    for (row, sums) in sums.iter_mut().enumerate() {
        // SAFETY: `c` is valid for the tile, and initialised if it is added to.
        unsafe {
            let c = p.c.add(row * p.c_row).cast::<[f32; COLUMNS]>();
            if p.accumulate {
                sums.iter_mut().zip(c.read()).for_each(|(sum, c)| *sum += c);
            }
            c.write(*sums);
        }
    }
}

unsafe fn finish(f: &Finish) {
    // SAFETY: the caller's.
    unsafe { super::finish(f) }
}
