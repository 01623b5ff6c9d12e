//! Functions of every number by itself.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crate::dispatch::for_every_level;
use crate::element::{Element, write_rounded};
use crate::epilogue::{Activation, Function, for_function};
use crate::level::Level;
use crate::output::{Cut, map};

/// Numbers that a task takes.
const CHUNK: usize = 1 << 14;

impl Activation {
    /// The function of every number of `x`.
    ///
    /// # Panics
    /// If the machine does not have the level.
    pub fn apply<T: Element>(self, level: Level, x: &[T]) -> Vec<T> {
        // SAFETY: all numbers are written.
        unsafe { map(x, Cut::new(1, x.len(), CHUNK), |_, x, y| activate(level, self, x, y)) }
    }
}

for_every_level! {
    fn activate<T>(activation: Activation, x: &[T], y: &mut [MaybeUninit<T>]) {
        for_function!(activation, write::<T, FMA, BF16>(x, y));
    }
}

/// Both are of the same length.
#[inline(always)]
fn write<T: Element, const FMA: bool, const BF16: bool, F: Function>(x: &[T], y: &mut [MaybeUninit<T>]) {
    write_rounded!(T, BF16, y, [x: x] => F::at::<T, FMA>(x.to_f32()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, levels};

    #[test]
    fn every_level_activates_any_length() {
        let mut random = Random::new(6);
        for level in levels() {
            for length in [0, 1, 15, 1000, CHUNK, 3 * CHUNK + 7] {
                let x: Vec<f32> = random.numbers(length).iter().map(|x| x * 10.0).collect();
                for activation in Activation::ALL {
                    let want: Vec<f32> = x.iter().map(|x| activation.of::<f32>(*x)).collect();
                    assert_close(
                        &activation.apply(level, &x),
                        &want,
                        1,
                        &format!("{level:?} {activation:?}"),
                    );
                }
            }
        }
    }
}
