//! Normalisations. Every number counts as read once and written once, though a group's statistics need a second reading.

use std::io;

use diffusion_kernels::{Activation, Element, GroupNorm, LayerNorm};

use crate::suite::{Suite, numbers};

pub(crate) fn group_norms<T: Element>(suite: &mut Suite<'_, T>) -> io::Result<()> {
    let level = suite.level;
    for [batch, pixels, channels] in [
        [2, 4096, 320],
        [2, 1024, 640],
        [2, 256, 1280],
        [2, 64, 1280],
        [2, 4096, 960],
        [1, 4096, 512],
        [1, 65_536, 256],
        [1, 262_144, 128],
    ] {
        let n = batch * pixels * channels;
        suite.pass(&format!("group norm + SiLU {batch} x {pixels} x {channels}"), n, || {
            let norm = GroupNorm::new(level, 32, 1e-5, vec![0.5; channels], vec![0.1; channels]);
            let x = numbers::<T>(n, 4.0);
            move || norm.forward(&x, [batch, pixels], Activation::Silu)
        })?;
    }
    Ok(())
}

pub(crate) fn layer_norms<T: Element>(suite: &mut Suite<'_, T>) -> io::Result<()> {
    let level = suite.level;
    for [rows, width] in [[8192, 320], [2048, 640], [512, 1280], [154, 768]] {
        suite.pass(&format!("layer norm {rows} x {width}"), rows * width, || {
            let norm = LayerNorm::new(level, 1e-5, vec![0.5; width], vec![0.1; width]);
            let x = numbers::<T>(rows * width, 4.0);
            move || norm.forward(&x)
        })?;
    }
    Ok(())
}
