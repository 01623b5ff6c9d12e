//! Times normalisations and activations at Stable Diffusion's shapes beside a copy of the same numbers in the same run:
//! `cargo run --release -p diffusion-kernels --example norms`, with `RAYON_NUM_THREADS` and `DIFFUSION_CPU_FEATURES`.
//!
//! GB/s count every number as read once and written once, though a group's statistics need a second reading. Page faults
//! of fresh memory would hide the rest; glibc keeps memory (for the main thread) with
//! `GLIBC_TUNABLES=glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=18446744073709551615`.

use std::time::Instant;

use diffusion_kernels::{Activation, Element, GroupNorm, LayerNorm, Level};
use half::bf16;
use rayon::prelude::*;

/// Best of so many runs: the machine may be shared.
const RUNS: usize = 15;

fn main() {
    println!("{}, {} threads", Level::current().name(), rayon::current_num_threads());
    shapes::<f32>("f32");
    shapes::<bf16>("bf16");
}

fn shapes<T: Element>(name: &str) {
    let level = Level::current();
    for (batch, pixels, channels) in [
        (2, 4096, 320),
        (2, 1024, 640),
        (2, 256, 1280),
        (2, 64, 1280),
        (2, 4096, 960),
        (1, 4096, 512),
        (1, 65_536, 256),
        (1, 262_144, 128),
    ] {
        let norm = GroupNorm::new(level, 32, 1e-5, vec![0.5; channels], vec![0.1; channels]);
        let name = format!("{name} group norm + SiLU {batch} x {pixels} x {channels}");
        let x = numbers::<T>(batch * pixels * channels);
        report(&name, &x, &|x| norm.forward(x, [batch, pixels], Activation::Silu));
    }
    for (rows, width) in [(8192, 320), (2048, 640), (512, 1280), (154, 768)] {
        let norm = LayerNorm::new(level, 1e-5, vec![0.5; width], vec![0.1; width]);
        report(&format!("{name} layer norm {rows} x {width}"), &numbers::<T>(rows * width), &|x| {
            norm.forward(x)
        });
    }
    for activation in [Activation::Silu, Activation::Gelu, Activation::QuickGelu] {
        for n in [1 << 16, 2 * 4096 * 320] {
            report(&format!("{name} {activation:?} {n}"), &numbers::<T>(n), &|x| activation.apply(level, x));
        }
    }
}

fn numbers<T: Element>(n: usize) -> Vec<T> {
    let number = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 8192.0 - 4.0;
    (0..n).map(|i| T::from_f32(number(i))).collect()
}

fn report<T: Element>(name: &str, x: &[T], f: &dyn Fn(&[T]) -> Vec<T>) {
    let chunk = x.len().div_ceil(4 * rayon::current_num_threads()).max(1);
    let mut to = vec![T::default(); x.len()];
    let copy =
        best(|| to.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(to, x)| to.copy_from_slice(x)));
    drop(to);
    let seconds = best(|| drop(std::hint::black_box(f(std::hint::black_box(x)))));
    let rate = |seconds: f64| 2e-9 * size_of_val(x) as f64 / seconds;
    println!(
        "{name:44} {:8.3} ms {:6.1} GB/s, a copy {:6.1} GB/s, {:5.2} ns a number",
        seconds * 1e3,
        rate(seconds),
        rate(copy),
        seconds * 1e9 / x.len() as f64
    );
}

fn best(mut f: impl FnMut()) -> f64 {
    let time = |_| {
        let begin = Instant::now();
        f();
        begin.elapsed().as_secs_f64()
    };
    (0..RUNS).map(time).fold(f64::INFINITY, f64::min)
}
