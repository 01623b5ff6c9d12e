//! Enlargement of a picture to twice its sides by its nearest pixels and a 3x3 convolution, in one.
//!
//! Four results that share a pixel of the input see 2 x 2 different pixels each, so that a result takes 4 products
//! instead of 9: the weights of places that see the same pixel are added up once, when they are packed.
#![allow(unsafe_code)]

use crate::element::Element;
use crate::epilogue::Epilogue;
use crate::gemm::pad;
use crate::level::Level;
use crate::output::Output;
use crate::panels::{Left, Panels};

/// The weights of a 3x3 convolution with a row of zeros on every side, for a picture that is enlarged first.
#[derive(Debug)]
pub struct PackedDoubling<T> {
    inputs: usize,
    outputs: usize,
    /// For even and odd rows, and in each for even and odd columns.
    phases: [Panels<T>; 4],
}

impl<T: Element> PackedDoubling<T> {
    /// Packs the weights `(outputs, inputs, 3, 3)`; `weight(i)` is the i-th of them.
    ///
    /// # Panics
    /// If the machine does not have the level.
    pub fn new(level: Level, outputs: usize, inputs: usize, weight: impl Fn(usize) -> T + Sync) -> Self {
        Self::read(level, outputs, inputs, |from, numbers| {
            numbers.iter_mut().enumerate().for_each(|(i, number)| *number = weight(from + i));
        })
    }

    /// As [`Self::new`], from where the weights are: `read(i, numbers)` fills `numbers` with those from the i-th on, which
    /// are of one output. Every weight is read four times, on all threads.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn read(level: Level, outputs: usize, inputs: usize, read: impl Fn(usize, &mut [T]) + Sync) -> Self {
        let phases = [0, 1, 2, 3].map(|phase| {
            Panels::pack_rows(level, outputs, [4, inputs], false, |output, some, row| {
                let mut kernels = vec![T::default(); some.len() * 9];
                read((output * inputs + some.start) * 9, &mut kernels);
                let mut sums = vec![0f32; some.len()];
                for segment in 0..4 {
                    sums.fill(0.0);
                    for place in places(phase / 2, segment / 2) {
                        for place in places(phase % 2, segment % 2).map(|column| 3 * place + column) {
                            for (sum, kernel) in sums.iter_mut().zip(kernels.as_chunks::<9>().0) {
                                *sum += kernel[place].to_f32();
                            }
                        }
                    }
                    for (number, sum) in row.iter_mut().skip(segment).step_by(4).zip(&sums) {
                        *number = T::from_f32(*sum);
                    }
                }
            })
        });
        Self { inputs, outputs, phases }
    }

    /// `x` `(batch, height, width, inputs)` to `(batch, 2 height, 2 width, outputs)`.
    ///
    /// # Panics
    /// If a slice is not as long as its shape says.
    pub fn forward(&self, x: &[T], [batch, height, width]: [usize; 3], epilogue: &Epilogue<'_, T>) -> Vec<T> {
        let Self { inputs, outputs, .. } = *self;
        assert_eq!(x.len(), batch * height * width * inputs, "every picture has all channels");
        let length = self.phases[0].row_length();
        let padded = (length != inputs).then(|| pad(x, inputs, length));
        let x = padded.as_deref().unwrap_or(x);
        let zeros = vec![T::default(); length];
        let (plane, output) = (height * width, Output::new(4 * batch * height * width * outputs));
        for (phase, panels) in self.phases.iter().enumerate() {
            let (down, right) = (phase / 2, phase % 2);
            // An even row sees the pixel before its own and its own, an odd one its own and the next.
            let source = |at: usize, i: usize, odd: usize, side: usize| {
                (at + i + odd).checked_sub(1).filter(|at| *at < side)
            };
            let place = |pixel: usize, segment: usize| {
                let (picture, row, column) = (pixel / plane, pixel / width % height, pixel % width);
                let y = source(row, segment / 2, down, height);
                match y.zip(source(column, segment % 2, right, width)) {
                    Some((y, x_at)) => &x[((picture * height + y) * width + x_at) * length..][..length],
                    None => zeros.as_slice(),
                }
            };
            let becomes = |pixel: usize| {
                let (row, column) = (pixel / width, pixel % width);
                (2 * row + down) * 2 * width + 2 * column + right
            };
            let left = Left { rows: batch * plane, picture: plane, place: &place, becomes: Some(&becomes) };
            // SAFETY: the four phases of a pixel are four different ones of the enlarged picture, which are its own.
            unsafe { panels.multiply_into(&left, epilogue, &output) };
        }
        // SAFETY: the phases of all pixels make up all of the output.
        unsafe { output.finish() }
    }
}

/// Places of the kernel that see the same pixel of the input: the first (0) or second (1) of an even or odd row.
fn places(odd: usize, segment: usize) -> std::ops::Range<usize> {
    match (odd, segment) {
        (0, 0) => 0..1,
        (0, _) => 1..3,
        (_, 0) => 0..2,
        (_, _) => 2..3,
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::testing::{Random, assert_rounded, levels, with_threads};
    use crate::{Activation, Algorithm, ConvShape, PackedConv};

    fn every_shape<T: Element>(seed: u64) {
        let mut random = Random::new(seed);
        for level in levels() {
            for i in 0..20 {
                let (outputs, inputs) = (1 + random.below(90), 1 + random.below(40));
                let sides = [1 + random.below(3), 1 + random.below(7), 1 + random.below(7)];
                let pixels = sides.iter().product::<usize>();
                let x = random.elements::<T>(pixels * inputs);
                // Few bits, so that sums of weights are exact in either type.
                let weight: Vec<f32> =
                    (0..outputs * inputs * 9).map(|_| random.below(9) as f32 / 8.0 - 0.5).collect();
                let bias = random.numbers(outputs * if i % 2 == 0 { sides[0] } else { 1 });
                let residual = random.elements::<T>(4 * pixels * outputs);
                let epilogue = Epilogue {
                    bias: (i % 3 > 0).then_some(&bias),
                    activation: Activation::ALL[i % 4],
                    residual: (i % 5 < 2).then_some(&residual),
                };
                let got = PackedDoubling::new(level, outputs, inputs, |i| T::from_f32(weight[i]));
                let got = with_threads(1 + i % 3, || got.forward(&x, sides, &epilogue));
                // The convolution of f32 has a reference of its own.
                let wide: Vec<f32> = x.iter().map(|x| x.to_f32()).collect();
                let residual: Vec<f32> = residual.iter().map(|x| x.to_f32()).collect();
                let shape = ConvShape { outputs, inputs, kernel: 3, stride: 1, before: 1, after: 1 };
                let want = PackedConv::new(level, shape, Algorithm::Direct, |i| weight[i]);
                let epilogue = Epilogue {
                    bias: epilogue.bias,
                    activation: epilogue.activation,
                    residual: epilogue.residual.map(|_| residual.as_slice()),
                };
                let want = want.enlarged(&wide, sides, [2 * sides[1], 2 * sides[2]], &epilogue);
                let what = format!("{level:?} {outputs} {inputs} {sides:?}");
                assert_rounded(&got, &want, 9 * inputs * 4, &what);
            }
        }
    }

    #[test]
    fn is_the_convolution_of_the_enlarged_picture() {
        every_shape::<f32>(31);
        every_shape::<bf16>(32);
    }
}
