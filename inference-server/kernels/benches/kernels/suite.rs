//! What all benchmarks of one type of numbers share.

use std::cell::LazyCell;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use criterion::{BatchSize, BenchmarkGroup, Throughput};
use diffusion_kernels::{Element, Level};

use crate::beside::Beside;
use crate::peak;

/// Where criterion keeps its figures, and [`Suite`] the limits beside them: `criterion` in cargo's target folder.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion")
}

/// Benchmarks of one type of numbers.
pub(crate) struct Suite<'a, T> {
    name: &'a str,
    group: BenchmarkGroup<'a, Beside>,
    beside: Beside,
    pub(crate) level: Level,
    peak: f64,
    /// Benchmarks so far, those that the command line does not want among them.
    count: usize,
    numbers: PhantomData<T>,
}

impl<'a, T: Element> Suite<'a, T> {
    /// Measures the peak. `beside` is what `group` measures with.
    pub(crate) fn new(name: &'a str, group: BenchmarkGroup<'a, Beside>, beside: Beside) -> Self {
        let level = Level::current();
        let peak = peak::multiply_adds(level, size_of::<T>() == 2);
        let threads = rayon::current_num_threads();
        eprintln!("{name}, {}, {threads} threads: multiply-adds reach {peak:.0} GFLOP/s", level.name());
        Self { name, group, beside, level, peak, count: 0, numbers: PhantomData }
    }

    /// Times the kernel that `prepare` makes, which does `flop` additions and multiplications, beside the peak.
    pub(crate) fn products<F: Fn() -> Vec<T>>(
        &mut self,
        name: &str,
        flop: usize,
        prepare: impl FnOnce() -> F,
    ) -> io::Result<()> {
        let peak = self.peak;
        self.time(name, Throughput::Elements(flop as u64), || (prepare(), peak))
    }

    /// Times the kernel that `prepare` makes, which reads and writes `n` numbers, beside a copy of as many: a rate that
    /// depends on whether they fit into a cache.
    pub(crate) fn pass<F: Fn() -> Vec<T>>(
        &mut self,
        name: &str,
        n: usize,
        prepare: impl FnOnce() -> F,
    ) -> io::Result<()> {
        let bytes = 2 * n * size_of::<T>();
        self.time(name, Throughput::Bytes(bytes as u64), || (prepare(), peak::copy::<T>(n)))
    }

    /// `prepare` makes a kernel and its limit, if the command line wants this benchmark.
    fn time<F: Fn() -> Vec<T>>(
        &mut self,
        name: &str,
        throughput: Throughput,
        prepare: impl FnOnce() -> (F, f64),
    ) -> io::Result<()> {
        let beside = &self.beside;
        // Criterion asks for each sample.
        let kernel = LazyCell::new(|| {
            let (kernel, limit) = prepare();
            beside.set(limit);
            kernel
        });
        self.group.throughput(throughput);
        self.group.bench_function(name, |bencher| {
            let kernel = &*kernel;
            // Results are dropped one by one, outside of the time, so that each takes the memory of the one before.
            bencher.iter_batched(|| (), |()| kernel(), BatchSize::PerIteration);
        });
        self.count += 1;
        match self.beside.take() {
            Some(limit) => record(self.count, &format!("{}/{name}", self.name), limit),
            None => Ok(()),
        }
    }
}

/// Keeps a limit for `scripts/kernel-table`, which sorts by `place`. Of a name that comes again the last one counts.
fn record(place: usize, name: &str, limit: f64) -> io::Result<()> {
    fs::create_dir_all(folder())?;
    let mut file = OpenOptions::new().create(true).append(true).open(folder().join("limits.tsv"))?;
    writeln!(file, "{place}\t{name}\t{limit}")
}

/// `n` numbers from `-range` to `range`.
pub(crate) fn numbers<T: Element>(n: usize, range: f32) -> Vec<T> {
    let number = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 32768.0 - 1.0;
    (0..n).map(|i| T::from_f32(range * number(i))).collect()
}
