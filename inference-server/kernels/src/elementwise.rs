//! Functions of every number by itself.
#![allow(unsafe_code)]

use crate::epilogue::Activation;
use crate::level::Level;
use crate::output::Output;
use crate::parallel;
use crate::tile::{Bias, Finish, Kernels};

/// Numbers that a task takes.
const CHUNK: usize = 1 << 14;

impl Activation {
    /// The function of every number of `x`.
    ///
    /// # Panics
    /// If the machine does not have the level.
    pub fn apply(self, level: Level, x: &[f32]) -> Vec<f32> {
        let kernels = Kernels::of(level);
        let output = Output::new(x.len());
        parallel::for_each(x.len().div_ceil(CHUNK), |task| {
            let from = task * CHUNK;
            let columns = CHUNK.min(x.len() - from);
            // SAFETY: `Kernels::of` has checked the level, and the chunk lies within both and is this task's alone.
            unsafe {
                let c = output.pointer().add(from);
                c.copy_from_nonoverlapping(x.as_ptr().add(from), columns);
                (kernels.finish)(&Finish {
                    rows: 1,
                    columns,
                    c,
                    c_row: 0,
                    bias: Bias::None,
                    activation: self,
                    residual: std::ptr::null(),
                });
            }
        });
        // SAFETY: the chunks make up all of it.
        unsafe { output.finish() }
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
