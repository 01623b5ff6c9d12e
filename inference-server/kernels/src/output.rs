//! Memory that tasks write at the same time.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::element::Element;
use crate::parallel;

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

    /// How many there will be.
    pub(crate) fn len(&self) -> usize {
        self.length
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

/// How a slice is cut: into pictures of the same length, and those into blocks, the last of which may be shorter. Tasks
/// follow it, so it must not depend on the number of threads, nor on how many pictures there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pictures: usize,
    picture: usize,
    block: usize,
}

impl Cut {
    /// `pictures` of `picture` numbers, in blocks of `block`.
    pub(crate) fn new(pictures: usize, picture: usize, block: usize) -> Self {
        Self { pictures, picture, block: block.max(1) }
    }

    /// Blocks of a picture.
    pub(crate) fn blocks(&self) -> usize {
        self.picture.div_ceil(self.block)
    }

    /// Blocks of all pictures.
    pub(crate) fn tasks(&self) -> usize {
        self.pictures * self.blocks()
    }

    /// The numbers of a task, and its picture.
    pub(crate) fn task(&self, task: usize) -> (Range<usize>, usize) {
        let (picture, block) = (task / self.blocks(), task % self.blocks());
        let (begin, end) = (block * self.block, ((block + 1) * self.block).min(self.picture));
        (picture * self.picture + begin..picture * self.picture + end, picture)
    }
}

/// As many numbers as `x`: `f(picture, from, to)` writes those of a block, blocks on all threads, the last ones first, as
/// they are still in the cache when `x` was read from its beginning.
///
/// # Safety
/// `f` writes all numbers of `to`.
///
/// # Panics
/// Unless `x` is as long as the cut says.
pub(crate) unsafe fn map<T: Element>(
    x: &[T],
    cut: Cut,
    f: impl Fn(usize, &[T], &mut [MaybeUninit<T>]) + Sync + Send,
) -> Vec<T> {
    assert_eq!(x.len(), cut.pictures * cut.picture, "all pictures");
    let output = Output::<T>::new(x.len());
    parallel::for_each(cut.tasks(), |task| {
        let (range, picture) = cut.task(cut.tasks() - 1 - task);
        // SAFETY: the ranges of the tasks are apart and within the length.
        let to = unsafe {
            std::slice::from_raw_parts_mut(
                output.pointer().add(range.start).cast::<MaybeUninit<T>>(),
                range.len(),
            )
        };
        f(picture, &x[range], to);
    });
    // SAFETY: the ranges make up the whole length, and `f` has written every one of them.
    unsafe { output.finish() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_make_up_the_whole() {
        for [pictures, picture, block] in [[0, 5, 2], [3, 0, 2], [3, 7, 2], [2, 8, 4], [1, 3, 100], [2, 2, 0]]
        {
            let cut = Cut::new(pictures, picture, block);
            let mut end = 0;
            for task in 0..cut.tasks() {
                let (range, of) = cut.task(task);
                assert!(range.start == end && range.end > end, "{cut:?} {task}");
                assert!(of * picture <= range.start && range.end <= (of + 1) * picture, "{cut:?} {task}");
                end = range.end;
            }
            assert_eq!(end, pictures * picture, "{cut:?}");
        }
    }
}
