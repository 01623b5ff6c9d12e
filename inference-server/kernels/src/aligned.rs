//! Memory that begins at a cache line, so that no vector crosses one.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::element::Element;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Numbers, the first of them at the start of a cache line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aligned<T> {
    lines: Vec<Line>,
    element: PhantomData<T>,
}

impl<T: Element> Aligned<T> {
    /// At least `length` zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let lines = vec![Line([0; 64]); (length * size_of::<T>()).div_ceil(64)];
        Self { lines, element: PhantomData }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        let length = self.lines.len() * 64 / size_of::<T>();
        // SAFETY: a line is 64 bytes without padding, more aligned than any element; every pattern of bits is an element
        // (f32, bf16), and the vector has `len` lines.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.lines.as_ptr().cast(), length)
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        let length = self.lines.len() * 64 / size_of::<T>();
        // SAFETY: as above, and the borrow is unique.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), length)
        }
    }
}

/// `f` with at least `length` numbers that are this thread's own and hold anything.
pub(crate) fn with_scratch<R>(length: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local!(static SCRATCH: RefCell<Aligned<f32>> = const { RefCell::new(Aligned { lines: Vec::new(), element: PhantomData }) });
    // Taken out meanwhile: a nested call gets memory of its own.
    let mut scratch = SCRATCH.take();
    if scratch.as_slice().len() < length {
        scratch = Aligned::zeros(length);
    }
    let result = f(scratch.as_mut_slice());
    SCRATCH.set(scratch);
    result
}
