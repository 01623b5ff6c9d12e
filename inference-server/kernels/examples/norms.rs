//! Times normalisations and activations at Stable Diffusion's shapes beside a copy of as many numbers in the same run:
//! `cargo run --release -p diffusion-kernels --example norms`, with `RAYON_NUM_THREADS` and `DIFFUSION_CPU_FEATURES`.
//! GB/s count what is read and written once, though a group's statistics need a second reading.

use std::time::Instant;

use diffusion_kernels::{Activation, Element, Level};
use half::bf16;

/// Best of so many runs: the machine may be shared.
const RUNS: usize = 15;

fn main() {
    println!("{}, {} threads", Level::current().name(), rayon::current_num_threads());
    shapes::<f32>("f32");
    shapes::<bf16>("bf16");
}

fn shapes<T: Element>(name: &str) {
    let level = Level::current();
    for activation in [Activation::Identity, Activation::Silu, Activation::Gelu, Activation::QuickGelu] {
        let x = numbers::<T>(1 << 16);
        report(&format!("{name} {activation:?} 1 x 65536, in the cache"), &x, &|x| {
            activation.apply(level, x)
        });
    }
    for activation in [Activation::Silu, Activation::Gelu] {
        let x = numbers::<T>(2 * 4096 * 320);
        report(&format!("{name} {activation:?} 2 x 4096 x 320"), &x, &|x| activation.apply(level, x));
    }
}

fn numbers<T: Element>(n: usize) -> Vec<T> {
    let number = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 8192.0 - 4.0;
    (0..n).map(|i| T::from_f32(number(i))).collect()
}

fn report<T: Element>(name: &str, x: &[T], f: &dyn Fn(&[T]) -> Vec<T>) {
    let seconds = best(|| drop(std::hint::black_box(f(std::hint::black_box(x)))));
    let bytes = 2.0 * size_of_val(x) as f64;
    println!(
        "{name:44} {:8.3} ms {:6.1} GB/s, {:.2} ns a number",
        seconds * 1e3,
        bytes / seconds / 1e9,
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
