//! A kernel's weights as the products take them: transformed once, or a block at a time whenever they are used.

use std::marker::PhantomData;
use std::ops::Range;

use super::square::Square;
use super::{Place, apart};
use crate::conv::Transformed;
use crate::element::Element;
use crate::level::Level;
use crate::panels::Panels;

/// Bytes of transformed weights that are made at a time: they stay in the second-level cache beside the sums.
const BLOCK: usize = 256 << 10;

/// Bytes of sums that a task holds at a time: in the second-level cache too.
const SUMS: usize = 192 << 10;

/// As [`SUMS`], where many squares have to pay for the weights' transform.
const MORE_SUMS: usize = 512 << 10;

/// Places of a 3x3 kernel.
const PLACES: usize = 9;

#[derive(Debug)]
pub(super) struct Weights<T, X> {
    level: Level,
    /// A segment for each point if they are transformed, else for each place of the kernel.
    panels: Panels<T>,
    transformed: Transformed,
    square: PhantomData<X>,
}

impl<T: Element, X: Square> Weights<T, X> {
    /// Packs the weights `(outputs, inputs, 3, 3)`: `read(i, numbers)` fills `numbers` with those from the i-th on, which are
    /// of one output.
    pub(super) fn new(
        level: Level,
        [outputs, inputs]: [usize; 2],
        transformed: Transformed,
        read: impl Fn(usize, &mut [T]) + Sync,
    ) -> Self {
        let shape = [PLACES, inputs];
        let panels = match transformed {
            Transformed::EachTime => Panels::read(level, outputs, shape, false, read),
            Transformed::Once => {
                Panels::read_mapped(level, outputs, shape, read, X::POINTS, |from, to, n| {
                    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
                    // SAFETY: both have `n` numbers for each of their segments.
                    #[allow(unsafe_code)]
                    unsafe {
                        X::kernel(level, (from, n), Place { to, step: n }, n)
                    }
                })
            }
        };
        Self { level, panels, transformed, square: PhantomData }
    }

    pub(super) fn panels(&self) -> &Panels<T> {
        &self.panels
    }

    /// Squares whose sums a task holds at a time.
    pub(super) fn squares(&self) -> usize {
        let bytes = match self.transformed {
            Transformed::Once => SUMS,
            Transformed::EachTime => MORE_SUMS,
        };
        bytes / (X::POINTS * T::kernels(self.level).widest() * size_of::<f32>())
    }

    /// Terms of a sum that [`Self::block`] gives at a time, in steps.
    pub(super) fn most_steps(&self) -> usize {
        match self.transformed {
            Transformed::Once => self.panels.steps().max(1),
            Transformed::EachTime => {
                let widest = T::kernels(self.level).widest() * T::GROUP * size_of::<T>();
                (BLOCK / (X::POINTS * widest)).max(1)
            }
        }
    }

    /// Numbers that [`Self::block`] needs room for.
    pub(super) fn room(&self) -> usize {
        match self.transformed {
            Transformed::Once => 0,
            Transformed::EachTime => X::POINTS * self.step(T::kernels(self.level).widest()),
        }
    }

    /// Numbers from a point to the next in the room.
    fn step(&self, columns: usize) -> usize {
        apart::<T>(self.most_steps() * columns * T::GROUP)
    }

    /// Some steps of a panel, at most [`Self::most_steps`]: where the first point's weights are, and numbers from a point to
    /// the next.
    ///
    /// # Safety
    /// `room` is valid for [`Self::room`] numbers, and nobody else's while the block is used.
    #[allow(unsafe_code)]
    pub(super) unsafe fn block(&self, panel: usize, steps: Range<usize>, room: *mut T) -> (*const T, usize) {
        let width = self.panels.columns(panel) * T::GROUP;
        let whole = self.panels.steps() * width;
        let numbers = self.panels.segment(panel, 0)[steps.start * width..].as_ptr();
        match self.transformed {
            Transformed::Once => (numbers, whole),
            Transformed::EachTime => {
                let place = Place { to: room, step: self.step(self.panels.columns(panel)) };
                // SAFETY: the panel has these steps in each of its segments, and the room has place for them for each point.
                unsafe { X::kernel(self.level, (numbers, whole), place, steps.len() * width) };
                (room, place.step)
            }
        }
    }
}
