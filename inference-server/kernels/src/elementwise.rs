//! Functions of every number by itself.

use rayon::prelude::*;

use crate::dispatch::for_every_level;
use crate::element::Element;
use crate::epilogue::Activation;
use crate::level::Level;

/// Numbers that a task takes.
const CHUNK: usize = 1 << 14;

impl Activation {
    /// The function of every number of `x`.
    ///
    /// # Panics
    /// If the machine does not have the level.
    pub fn apply<T: Element>(self, level: Level, x: &[T]) -> Vec<T> {
        let mut y = x.to_vec();
        y.par_chunks_mut(CHUNK).for_each(|chunk| activate(level, self, chunk));
        y
    }
}

for_every_level! {
    fn activate<T>(activation: Activation, x: &mut [T]) {
        match activation {
            Activation::Identity => {}
            Activation::Silu => x.iter_mut().for_each(|x| *x = T::from_f32(Activation::Silu.of(x.to_f32()))),
            Activation::Gelu => x.iter_mut().for_each(|x| *x = T::from_f32(Activation::Gelu.of(x.to_f32()))),
            Activation::QuickGelu => {
                x.iter_mut().for_each(|x| *x = T::from_f32(Activation::QuickGelu.of(x.to_f32())));
            }
        }
    }
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
                    let want: Vec<f32> = x.iter().map(|x| activation.of(*x)).collect();
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
