//! Memory that begins at a cache line, so that no vector crosses one.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use memmap2::{Advice, MmapMut};
use rayon::prelude::*;

use crate::arena::Slot;
use crate::element::Element;

/// From so many bytes on, memory comes from the system in huge pages, if it has some: every processor looks up fewer
/// addresses then, and the first writing takes a fraction of the time.
const HUGE: usize = 2 << 20;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Numbers, the first of them at the start of a cache line.
#[derive(Debug)]
pub(crate) struct Aligned<T> {
    memory: Memory,
    element: PhantomData<T>,
}

#[derive(Debug)]
enum Memory {
    Lines(Vec<Line>),
    Mapped(MmapMut),
    Slot(Slot),
}

impl<T: Element> Default for Aligned<T> {
    fn default() -> Self {
        Self { memory: Memory::Lines(Vec::new()), element: PhantomData }
    }
}

impl<T: Element> Aligned<T> {
    /// At least `length` zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let bytes = (length * size_of::<T>()).next_multiple_of(64);
        let mapped = (bytes >= HUGE).then(|| MmapMut::map_anon(bytes)).and_then(Result::ok);
        let memory = match mapped {
            None => Memory::Lines(vec![Line([0; 64]); bytes / 64]),
            Some(mapped) => {
                // It is advice: without huge pages everything works too.
                #[cfg(target_os = "linux")]
                let _ = mapped.advise(Advice::HugePage);
                Memory::Mapped(mapped)
            }
        };
        Self { memory, element: PhantomData }
    }

    /// `length` numbers in chunks of `chunk`, each of which is zeros for `f(index, chunk)` to write to, in any order. For
    /// what lives as long as a call: memory that the allocator has kept need not be cleared by the system.
    pub(crate) fn chunks(length: usize, chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Self {
        let lines = (length * size_of::<T>()).div_ceil(size_of::<Line>());
        let mut memory = Vec::<Line>::with_capacity(lines);
        let pointer = memory.as_mut_ptr();
        // SAFETY: the capacity has this many numbers, which are as aligned as a line at least.
        #[allow(unsafe_code)]
        let numbers = unsafe {
            let all = lines * size_of::<Line>() / size_of::<T>();
            std::slice::from_raw_parts_mut(pointer.cast::<MaybeUninit<T>>(), all)
        };
        let (numbers, rest) = numbers.split_at_mut(length);
        rest.fill(MaybeUninit::new(T::default()));
        numbers.par_chunks_mut(chunk.max(1)).with_max_len(1).enumerate().for_each(|(index, chunk)| {
            chunk.fill(MaybeUninit::new(T::default()));
            // SAFETY: all of it has just been written.
            #[allow(unsafe_code)]
            f(index, unsafe { &mut *(std::ptr::from_mut(chunk) as *mut [T]) });
        });
        // SAFETY: all numbers of all lines have been written.
        #[allow(unsafe_code)]
        unsafe {
            memory.set_len(lines);
        }
        Self { memory: Memory::Lines(memory), element: PhantomData }
    }

    /// As [`Self::zeros`], for weights: memory that is not given back soon.
    pub(crate) fn lasting(length: usize) -> Self {
        match Slot::zeros(length * size_of::<T>()) {
            Some(slot) => Self { memory: Memory::Slot(slot), element: PhantomData },
            None => Self::zeros(length),
        }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        let (start, bytes) = match &self.memory {
            Memory::Lines(lines) => (lines.as_ptr().cast(), lines.len() * 64),
            Memory::Mapped(mapped) => (mapped.as_ptr(), mapped.len()),
            Memory::Slot(slot) => (slot.start().cast_const(), slot.bytes()),
        };
        // SAFETY: lines are 64 bytes without padding, and they, pages and slots are more aligned than any element; a slot is
        // its owner's alone; every pattern of bits is an element (f32, bf16).
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(start.cast(), bytes / size_of::<T>())
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        let (start, bytes) = match &mut self.memory {
            Memory::Lines(lines) => (lines.as_mut_ptr().cast(), lines.len() * 64),
            Memory::Mapped(mapped) => (mapped.as_mut_ptr(), mapped.len()),
            Memory::Slot(slot) => (slot.start(), slot.bytes()),
        };
        // SAFETY: as above, and the borrow is unique.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(start.cast(), bytes / size_of::<T>())
        }
    }
}

/// `f` with at least `length` numbers that are this thread's own and hold anything.
pub(crate) fn with_scratch<R>(length: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local!(static SCRATCH: RefCell<Aligned<f32>> = RefCell::default());
    // Taken out meanwhile: a nested call gets memory of its own.
    let mut scratch = SCRATCH.take();
    if scratch.as_slice().len() < length {
        scratch = Aligned::zeros(length);
    }
    let result = f(scratch.as_mut_slice());
    SCRATCH.set(scratch);
    result
}
