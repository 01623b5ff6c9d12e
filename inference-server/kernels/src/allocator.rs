//! Memory for large results, which come and go thousands of times a second: they lie in one stretch of addresses in huge pages,
//! and what one gave back the next one gets, so that a step of a model that has taken one step before asks the system for
//! nothing. Allocators for all purposes give such memory back at once or after a moment, and every page that comes again
//! has to be cleared by the system first.
#![allow(unsafe_code)]

mod ranges;

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::{MmapRaw, UncheckedAdvice};

use self::ranges::Ranges;
use crate::arena::{HUGE, map};

/// From so many bytes on a block is one of ours.
const LARGE: usize = 256 << 10;

/// Blocks begin and end at multiples of this.
const GRANULE: usize = 64 << 10;

/// Bytes of the stretch. They are addresses, not memory: what nobody writes to costs nothing.
const STRETCH: usize = 64 << 30;

/// Where the stretch begins; 0 as long as there is none.
static START: AtomicUsize = AtomicUsize::new(0);

static STRETCH_OF_ALL: Mutex<State> = Mutex::new(State::Unasked);

enum State {
    Unasked,
    /// The system does not give out so many addresses: everything comes from the other allocator.
    Refused,
    Mapped(Stretch),
}

struct Stretch {
    memory: MmapRaw,
    free: Ranges,
    /// From here on nobody has written since memory was given back last.
    untouched: usize,
}

fn state() -> MutexGuard<'static, State> {
    STRETCH_OF_ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An allocator for a whole program that inference runs in: large blocks lie in the stretch, small ones are `A`'s.
///
/// ```
/// use std::alloc::System;
///
/// #[global_allocator]
/// static ALLOCATOR: diffusion_kernels::Allocator<System> = diffusion_kernels::Allocator(System);
/// ```
#[derive(Debug, Default)]
pub struct Allocator<A>(pub A);

/// Gives the memory of large blocks that nobody uses back to the system. For when there will be nothing to do for a while:
/// to get it again takes a second of processor time a GiB, or more.
pub fn give_back() {
    if let State::Mapped(stretch) = &mut *state() {
        stretch.give_back();
    }
}

impl Stretch {
    fn take(&mut self, bytes: usize) -> Option<*mut u8> {
        let start = self.free.take(bytes)?;
        self.untouched = self.untouched.max(start + bytes);
        Some(self.memory.as_mut_ptr().wrapping_add(start))
    }

    fn give_back(&mut self) {
        for (start, end) in self.free.iter() {
            // Whole huge pages: a part of one would break it up.
            let (from, until) =
                (start.next_multiple_of(HUGE), end.min(self.untouched.next_multiple_of(HUGE)) / HUGE * HUGE);
            if from < until {
                // SAFETY: the range is free.
                let given = unsafe {
                    self.memory.unchecked_advise_range(UncheckedAdvice::DontNeed, from, until - from)
                };
                // It is advice: memory that stays costs memory only.
                drop(given);
            }
        }
        self.untouched = self.free.last_used();
    }
}

/// A large block, if there is a stretch that has room for it.
fn take(layout: Layout) -> Option<*mut u8> {
    if layout.size() < LARGE || layout.align() > GRANULE {
        return None;
    }
    let mut state = state();
    if let State::Unasked = *state {
        *state = match map(STRETCH) {
            None => State::Refused,
            Some(memory) => {
                START.store(memory.as_mut_ptr().addr(), Ordering::Release);
                State::Mapped(Stretch { memory, free: Ranges::new(STRETCH), untouched: 0 })
            }
        };
    }
    match &mut *state {
        State::Mapped(stretch) => stretch.take(layout.size().checked_next_multiple_of(GRANULE)?),
        State::Unasked | State::Refused => None,
    }
}

/// Where in the stretch a block is, if it is.
fn place(block: *mut u8) -> Option<usize> {
    match START.load(Ordering::Acquire) {
        0 => None,
        start => block.addr().checked_sub(start).filter(|place| *place < STRETCH),
    }
}

// SAFETY: a block of the stretch is its owner's alone until it is given back, as `Ranges` hands out what is free only; it has
// the size of its layout or more and begins at a multiple of `GRANULE`. All others are `A`'s, from the first call to the last.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Allocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        take(layout).unwrap_or_else(|| unsafe { self.0.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match take(layout) {
            Some(block) => {
                // SAFETY: the block is ours and as long as that.
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            // SAFETY: the caller's.
            None => unsafe { self.0.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(start) = place(block) else {
            // SAFETY: the caller's; the block is `A`'s.
            return unsafe { self.0.dealloc(block, layout) };
        };
        // Not locked before: the ranges' own memory is `A`'s, and is given back while they are locked.
        if let State::Mapped(stretch) = &mut *state() {
            stretch.free.give(start, layout.size().next_multiple_of(GRANULE));
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if place(block).is_none() && size < LARGE {
            // SAFETY: the caller's; the block is `A`'s.
            return unsafe { self.0.realloc(block, layout, size) };
        }
        // SAFETY: the caller's: `size` is not 0 and does not overflow when rounded up to the alignment. The new block is
        // another one than the old one, and both are as long as what is copied.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}
