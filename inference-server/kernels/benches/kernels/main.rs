//! Times every kernel at Stable Diffusion's shapes beside what this machine reaches in the same run: products beside
//! multiply-adds of registers, passes over memory beside a copy of the same numbers.
//!
//! `cargo bench -p diffusion-kernels -- 'bf16.*attention'`, with `RAYON_NUM_THREADS` and `DIFFUSION_CPU_FEATURES`;
//! `scripts/kernel-table` makes tables of what the last runs measured.

mod activation;
mod attention;
mod beside;
mod conv;
mod matrix;
mod normalise;
mod peak;
mod suite;

use std::io;
use std::time::Duration;

use criterion::Criterion;
use diffusion_kernels::{Allocator, Element};
use half::bf16;
use mimalloc::MiMalloc;

use beside::Beside;
use suite::Suite;

/// As the server has it. glibc's gives large results back to the system, and the page faults of the next ones would be
/// timed with the kernels.
#[global_allocator]
static ALLOCATOR: Allocator<MiMalloc> = Allocator(MiMalloc);

fn main() -> io::Result<()> {
    every_kernel::<bf16>("bf16")?;
    every_kernel::<f32>("f32")
}

fn every_kernel<T: Element>(name: &str) -> io::Result<()> {
    let beside = Beside::default();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .nresamples(10_000)
        .without_plots()
        .output_directory(&suite::folder())
        .configure_from_args()
        .with_measurement(beside.clone());
    let mut suite = Suite::<T>::new(name, criterion.benchmark_group(name), beside);
    matrix::matrices(&mut suite)?;
    matrix::gated(&mut suite)?;
    conv::convolutions(&mut suite)?;
    conv::doublings(&mut suite)?;
    attention::attentions(&mut suite)?;
    normalise::group_norms(&mut suite)?;
    normalise::layer_norms(&mut suite)?;
    activation::activations(&mut suite)
}
