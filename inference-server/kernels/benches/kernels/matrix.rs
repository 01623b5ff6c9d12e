//! Products with packed matrices: the linear layers of the UNet and the text encoder.

use std::io;

use diffusion_kernels::{Activation, Element, Epilogue, PackedMatrix};

use crate::suite::{Suite, numbers};

pub(crate) fn matrices<T: Element>(suite: &mut Suite<'_, T>) -> io::Result<()> {
    let level = suite.level;
    for [rows, outputs, inputs] in [
        [8192, 320, 320],
        [8192, 2560, 320],
        [8192, 320, 1280],
        [2048, 640, 640],
        [2048, 5120, 640],
        [512, 1280, 1280],
        [512, 1280, 5120],
        [154, 640, 768],
        [77, 3072, 768],
        [2, 1280, 1280],
    ] {
        let name = format!("matrix {rows} x {inputs} -> {outputs}");
        suite.products(&name, 2 * rows * outputs * inputs, || {
            let weight = numbers::<T>(outputs * inputs, 0.5);
            let matrix = PackedMatrix::new(level, outputs, inputs, |output, k| weight[output * inputs + k]);
            let x = numbers(rows * inputs, 0.5);
            let bias = vec![0.5; outputs];
            move || {
                let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
                matrix.multiply(&x, rows, &epilogue)
            }
        })?;
    }
    Ok(())
}

/// Two products of which one gates the other.
pub(crate) fn gated<T: Element>(suite: &mut Suite<'_, T>) -> io::Result<()> {
    let level = suite.level;
    for [rows, outputs, inputs] in [[8192, 1280, 320], [2048, 2560, 640], [512, 5120, 1280]] {
        let name = format!("gated matrix {rows} x {inputs} -> {outputs}");
        suite.products(&name, 4 * rows * outputs * inputs, || {
            let weight = numbers::<T>(2 * outputs * inputs, 0.5);
            let matrix = PackedMatrix::gated(level, outputs, inputs, |output, k| weight[output * inputs + k]);
            let x = numbers(rows * inputs, 0.5);
            let bias = vec![0.5; 2 * outputs];
            move || {
                let epilogue = Epilogue { bias: Some(&bias), activation: Activation::Gelu, residual: None };
                matrix.multiply(&x, rows, &epilogue)
            }
        })?;
    }
    Ok(())
}
