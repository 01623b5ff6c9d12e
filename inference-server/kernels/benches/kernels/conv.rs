//! Convolutions of the UNet and the decoder. Products are counted as the definition has them, so that algorithms with
//! fewer can pass the peak.

use std::io;

use diffusion_kernels::{Algorithm, ConvShape, Element, Epilogue, PackedConv, PackedDoubling, Transformed};

use crate::suite::{Suite, numbers};

/// Every algorithm, and how names say it: `'` where weights are transformed each time.
const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("", Algorithm::Direct),
    (" F(2,3)", Algorithm::Winograd2(Transformed::Once)),
    (" F(2,3)'", Algorithm::Winograd2(Transformed::EachTime)),
    (" F(4,3)", Algorithm::Winograd4(Transformed::Once)),
    (" F(4,3)'", Algorithm::Winograd4(Transformed::EachTime)),
];

pub(crate) fn convolutions<T: Element>(suite: &mut Suite<'_, T>) -> io::Result<()> {
    for ([batch, side, inputs, outputs], kernel, stride) in [
        ([2, 64, 4, 320], 3, 1),
        ([2, 64, 320, 320], 3, 1),
        ([2, 64, 320, 320], 3, 2),
        ([2, 64, 320, 4], 3, 1),
        ([2, 32, 640, 640], 3, 1),
        ([2, 16, 1280, 1280], 3, 1),
        ([2, 8, 1280, 1280], 3, 1),
        ([2, 64, 320, 320], 1, 1),
        ([1, 256, 256, 256], 3, 1),
        ([1, 512, 128, 128], 3, 1),
        ([1, 512, 128, 3], 3, 1),
    ] {
        let shape = ConvShape { outputs, inputs, kernel, stride, before: kernel / 2, after: kernel / 2 };
        for (how, algorithm) in ALGORITHMS {
            if algorithm == Algorithm::Direct || (kernel, stride) == (3, 1) {
                let name = format!(
                    "conv {kernel}x{kernel}/{stride}{how} {batch} x {side}x{side} x {inputs} -> {outputs}"
                );
                convolution(suite, &name, shape, algorithm, batch, side)?;
            }
        }
    }
    Ok(())
}

fn convolution<T: Element>(
    suite: &mut Suite<'_, T>,
    name: &str,
    shape: ConvShape,
    algorithm: Algorithm,
    batch: usize,
    side: usize,
) -> io::Result<()> {
    let level = suite.level;
    let out = shape.side(side).unwrap_or(0);
    let weights = shape.outputs * shape.inputs * shape.kernel * shape.kernel;
    suite.products(name, 2 * batch * out * out * weights, || {
        let weight = numbers::<T>(weights, 0.5);
        let conv = PackedConv::new(level, shape, algorithm, |i| weight[i]);
        let x = numbers(batch * shape.inputs * side * side, 0.5);
        let bias = vec![0.5; shape.outputs];
        move || {
            let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
            conv.forward(&x, [batch, side, side], &epilogue)
        }
    })
}

/// Convolutions of pictures that are enlarged to twice their sides first.
pub(crate) fn doublings<T: Element>(suite: &mut Suite<'_, T>) -> io::Result<()> {
    let level = suite.level;
    for [batch, side, channels] in [[2, 32, 640], [2, 16, 1280], [1, 128, 512], [1, 256, 256], [1, 64, 64]] {
        let name = format!("double, conv 3x3 {batch} x {side}x{side} x {channels} -> {channels}");
        suite.products(&name, 8 * batch * side * side * channels * channels * 9, || {
            let weight = numbers::<T>(channels * channels * 9, 0.5);
            let doubling = PackedDoubling::new(level, channels, channels, |i| weight[i]);
            let x = numbers(batch * channels * side * side, 0.5);
            move || doubling.forward(&x, [batch, side, side], &Epilogue::default())
        })?;
    }
    Ok(())
}
