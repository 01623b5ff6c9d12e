//! Memory for weights, which stay: one layer's after the other's in large pieces, so that all of it is in huge pages. In
//! mappings of their own a fifth of Stable Diffusion's weights would be in small pages, those at the ends.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};

/// Bytes of a piece. What nobody has written to takes addresses, not memory.
const PIECE: usize = 256 << 20;

/// A huge page.
pub(crate) const HUGE: usize = 2 << 20;

/// A cache line.
const LINE: usize = 64;

/// A part of a piece, which is one owner's alone.
#[derive(Debug)]
pub(crate) struct Slot {
    piece: Arc<MmapRaw>,
    start: usize,
    bytes: usize,
}

/// The piece that the next slots are in, for as long as one is.
struct Open {
    piece: Weak<MmapRaw>,
    used: usize,
}

static OPEN: Mutex<Open> = Mutex::new(Open { piece: Weak::new(), used: 0 });

impl Slot {
    /// As many zeros as were asked for or a few more, from the start of a cache line on; none if the system has no memory.
    pub(crate) fn zeros(bytes: usize) -> Option<Self> {
        let bytes = bytes.next_multiple_of(LINE);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let open_piece = open.piece.upgrade().filter(|piece| piece.len() - open.used >= bytes);
        let piece = match open_piece {
            Some(piece) => piece,
            None => {
                let piece = Arc::new(map(bytes.max(PIECE).next_multiple_of(HUGE))?);
                *open = Open { piece: Arc::downgrade(&piece), used: 0 };
                piece
            }
        };
        let start = open.used;
        open.used += bytes;
        Some(Self { piece, start, bytes })
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.piece.as_mut_ptr().wrapping_add(self.start)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Zeros in huge pages, as far as the system has some.
pub(crate) fn map(bytes: usize) -> Option<MmapRaw> {
    let piece = MmapOptions::new().len(bytes).no_reserve_swap().map_anon().ok()?;
    // It is advice: without huge pages everything works too.
    #[cfg(target_os = "linux")]
    let _ = piece.advise(Advice::HugePage);
    Some(piece.into())
}

impl Drop for Slot {
    /// The memory is given back even if other slots of the piece stay.
    fn drop(&mut self) {
        // Whole pages: the neighbours' begin where ours end.
        const PAGE: usize = 64 << 10;
        let from = self.start.next_multiple_of(PAGE);
        let until = (self.start + self.bytes) / PAGE * PAGE;
        if from < until {
            // SAFETY: nobody uses this part of the piece any more, nor ever will again.
            #[allow(unsafe_code)]
            let given =
                unsafe { self.piece.unchecked_advise_range(UncheckedAdvice::DontNeed, from, until - from) };
            // It is advice: memory that stays costs memory only.
            drop(given);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_zeros_apart_and_stay_when_others_go() {
        let slots: Vec<Slot> =
            [0, 1, 64, 65, 3 << 20, PIECE, PIECE + 1, 100 << 10].map(|n| Slot::zeros(n).unwrap()).into();
        for (i, slot) in slots.iter().enumerate() {
            assert!(slot.start().addr().is_multiple_of(LINE));
            // SAFETY: the slot is ours.
            #[allow(unsafe_code)]
            let numbers = unsafe { std::slice::from_raw_parts_mut(slot.start(), slot.bytes().min(4 << 20)) };
            assert!(numbers.iter().all(|x| *x == 0), "{i}");
            numbers.fill(i as u8 + 1);
        }
        for (i, slot) in slots.into_iter().enumerate() {
            // SAFETY: the slot is ours.
            #[allow(unsafe_code)]
            let numbers = unsafe { std::slice::from_raw_parts(slot.start(), slot.bytes().min(4 << 20)) };
            assert!(numbers.iter().all(|x| *x == i as u8 + 1), "{i}");
        }
    }
}
