//! Memory that tasks write at the same time.
#![allow(unsafe_code)]

/// Numbers that are not written yet. Tasks on several threads write through [`Self::pointer`], no number by two of them.
pub(crate) struct Output<T> {
    numbers: Vec<T>,
    length: usize,
    pointer: *mut T,
}

// SAFETY: sharing it shares a pointer only; whoever writes through it answers for where (see `pointer`).
unsafe impl<T: Send> Sync for Output<T> {}

impl<T: Copy> Output<T> {
    pub(crate) fn new(length: usize) -> Self {
        let mut numbers = Vec::with_capacity(length);
        let pointer = numbers.as_mut_ptr();
        Self { numbers, length, pointer }
    }

    /// Where the numbers are: valid for writes of `length` numbers while `self` lives.
    pub(crate) fn pointer(&self) -> *mut T {
        self.pointer
    }

    /// # Safety
    /// Every number has been written.
    pub(crate) unsafe fn finish(mut self) -> Vec<T> {
        // SAFETY: the capacity is at least `length`, and the caller says that all of it is initialised.
        unsafe { self.numbers.set_len(self.length) };
        self.numbers
    }
}
