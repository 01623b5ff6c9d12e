//! Activations that no product ends with.

use std::io;

use diffusion_kernels::{Activation, Element};

use crate::suite::{Suite, numbers};

pub(crate) fn activations<T: Element>(suite: &mut Suite<'_, T>) -> io::Result<()> {
    let level = suite.level;
    for activation in [Activation::Silu, Activation::Gelu, Activation::QuickGelu] {
        for n in [1 << 16, 2 * 4096 * 320] {
            suite.pass(&format!("{activation:?} {n}"), n, || {
                let x = numbers::<T>(n, 4.0);
                move || activation.apply(level, &x)
            })?;
        }
    }
    Ok(())
}
