//! Enlargement of a picture to twice its sides by its nearest pixels and a 3x3 convolution, in one.
//!
//! Four results that share a corner see 2 x 2 different pixels only, so that they take 9 products instead of 36 (see
//! `winograd/transform.rs`).

use crate::conv::Transformed;
use crate::element::Element;
use crate::epilogue::Epilogue;
use crate::level::Level;
use crate::winograd::{Doubled, Filter};

/// The weights of a 3x3 convolution with a row of zeros on every side, for a picture that is enlarged first.
#[derive(Debug)]
pub struct PackedDoubling<T>(Filter<T, Doubled>);

impl<T: Element> PackedDoubling<T> {
    /// Packs the weights `(outputs, inputs, 3, 3)`; `weight(i)` is the i-th of them. Their memory is the same whenever they
    /// are transformed.
    ///
    /// # Panics
    /// If the machine does not have the level.
    pub fn new(level: Level, outputs: usize, inputs: usize, weight: impl Fn(usize) -> T + Sync) -> Self {
        Self::read(level, outputs, inputs, |from, numbers| {
            numbers.iter_mut().enumerate().for_each(|(i, number)| *number = weight(from + i));
        })
    }

    /// As [`Self::new`], from where the weights are: `read(i, numbers)` fills `numbers` with those from the i-th on, which
    /// are of one output. Every weight is read once, on all threads.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn read(level: Level, outputs: usize, inputs: usize, read: impl Fn(usize, &mut [T]) + Sync) -> Self {
        Self(Filter::new(level, [outputs, inputs], Transformed::Once, read))
    }

    /// `x` `(batch, height, width, inputs)` to `(batch, 2 height, 2 width, outputs)`.
    ///
    /// # Panics
    /// If a slice is not as long as its shape says.
    pub fn forward(&self, x: &[T], sides: [usize; 3], epilogue: &Epilogue<'_, T>) -> Vec<T> {
        self.0.forward(x, sides, epilogue)
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::testing::{Random, levels, with_threads};
    use crate::{Activation, Algorithm, ConvShape, PackedConv};

    /// `error` of a sum of one term: differences of pixels are rounded to their type.
    fn every_shape<T: Element>(seed: u64, error: f32) {
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
                let bound = error * (inputs as f32).sqrt();
                for (at, (got, want)) in got.iter().zip(want).enumerate() {
                    let (got, bound) = (got.to_f32(), bound + want.abs() * error);
                    let what = format!("{level:?} {outputs} {inputs} {sides:?} at {at}");
                    assert!((got - want).abs() < bound, "{what}: {got} instead of {want}");
                }
            }
        }
    }

    #[test]
    fn is_the_convolution_of_the_enlarged_picture() {
        every_shape::<f32>(31, 2e-6);
        every_shape::<bf16>(32, 0.02);
    }
}
