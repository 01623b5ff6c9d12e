//! What the tests of several kernels need.

use crate::{Element, Level};

/// Numbers that are the same in every run (Steele et al. 2014, SplitMix).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Between -1 and 1.
    pub(crate) fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }
}

pub(crate) fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| level.is_supported())
}

impl Random {
    /// Between -1 and 1, of a type.
    pub(crate) fn elements<T: Element>(&mut self, n: usize) -> Vec<T> {
        self.numbers(n).into_iter().map(T::from_f32).collect()
    }
}

/// As [`assert_close`], for results that are rounded to their type: half of the last of bf16's 8 bits, or little.
pub(crate) fn assert_rounded<T: Element>(got: &[T], want: &[f32], terms: usize, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    // Activations are rougher where a result is rounded to bf16.
    let (relative, rough) = if size_of::<T>() == 2 { (1.0 / 256.0, 6e-5) } else { (5e-6, 0.0) };
    let bound = 2e-6 * (terms as f32).sqrt().max(1.0) + rough;
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let (got, want) = (got.to_f32(), *want);
        assert!(
            (got - want).abs() <= bound + relative * want.abs(),
            "{what}: {got} instead of {want} at {i}"
        );
    }
}

/// Every number within what sums of `terms` products of numbers up to 1 may lose.
pub(crate) fn assert_close(got: &[f32], want: &[f32], terms: usize, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let bound = 1e-6 * (terms as f32).sqrt().max(1.0) * 2.0;
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= bound, "{what}: {got} instead of {want} at {i}");
    }
}

pub(crate) fn with_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// For normalised numbers: `bound` is relative to 1 (the deviation) or to the number, whichever is more.
pub(crate) fn assert_normal<T: Element>(got: &[T], want: &[f32], bound: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let bound = if size_of::<T>() == 2 { bound.max(1.0 / 256.0) } else { bound };
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let (got, want) = (got.to_f32(), *want);
        assert!((got - want).abs() <= bound * want.abs().max(1.0), "{what}: {got}, not {want} at {i}");
    }
}
