//! Memory that begins at a cache line, so that no vector crosses one.

use std::cell::RefCell;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers, the first of them at the start of a cache line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aligned(Vec<Line>);

impl Aligned {
    /// At least `length` zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        Self(vec![Line([0.0; 16]); length.div_ceil(16)])
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        let length = self.0.len() * 16;
        // SAFETY: a line is 16 numbers without padding (64 bytes, alignment 64), and the vector has `len` of them.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.0.as_ptr().cast(), length)
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        let length = self.0.len() * 16;
        // SAFETY: as above, and the borrow is unique.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), length)
        }
    }
}

/// `f` with at least `length` numbers that are this thread's own and hold anything. Not to be nested.
pub(crate) fn with_scratch<R>(length: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local!(static SCRATCH: RefCell<Aligned> = RefCell::default());
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.as_slice().len() < length {
            *scratch = Aligned::zeros(length);
        }
        f(scratch.as_mut_slice())
    })
}
