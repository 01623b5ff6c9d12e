//! Two-dimensional convolution of pictures with their channels last: a product with one segment for each place of the
//! kernel, whose rows are the pixels that the place looks at.

use crate::element::Element;
use crate::epilogue::Epilogue;
use crate::gemm::pad;
use crate::level::Level;
use crate::panels::{Left, Panels};
use crate::winograd::Winograd;

/// What a convolution looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels that come out.
    pub outputs: usize,
    /// Channels that go in.
    pub inputs: usize,
    /// Sides of the kernel.
    pub kernel: usize,
    /// Pixels from one place of the kernel to the next.
    pub stride: usize,
    /// Zeros above and on the left.
    pub before: usize,
    /// Zeros below and on the right.
    pub after: usize,
}

impl ConvShape {
    /// The output's side for an input's, if the kernel fits into it.
    pub fn side(&self, side: usize) -> Option<usize> {
        Some((side + self.before + self.after).checked_sub(self.kernel)? / self.stride + 1)
    }
}

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Every product of the definition.
    Direct,
    /// 3x3 kernels with squares of 2 x 2 results: 2.25 times fewer products.
    Winograd2(Transformed),
    /// 3x3 kernels with squares of 4 x 4 results: 4 times fewer products; loses two or three bits, so that it is for f32.
    Winograd4(Transformed),
}

/// When a kernel's weights are transformed for fewer products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transformed {
    /// When they are packed: they take 1.8 times the memory for squares of 2 x 2, 4 times for those of 4 x 4.
    Once,
    /// Whenever they are used, a block at a time, in the cache: for wide layers that see few pixels.
    EachTime,
}

/// The weights of a convolution, packed.
#[derive(Debug)]
pub struct PackedConv<T> {
    shape: ConvShape,
    weights: Weights<T>,
}

#[derive(Debug)]
enum Weights<T> {
    Direct(Panels<T>),
    Winograd(Winograd<T>),
}

impl<T: Element> PackedConv<T> {
    /// Packs the weights `(outputs, inputs, kernel, kernel)`; `weight(i)` is the i-th of them. An algorithm that the shape
    /// does not allow is replaced by the direct one.
    ///
    /// # Panics
    /// If a side or the stride is 0, or the machine does not have the level.
    pub fn new(
        level: Level,
        shape: ConvShape,
        algorithm: Algorithm,
        weight: impl Fn(usize) -> T + Sync,
    ) -> Self {
        Self::read(level, shape, algorithm, |from, numbers| {
            numbers.iter_mut().enumerate().for_each(|(i, number)| *number = weight(from + i));
        })
    }

    /// As [`Self::new`], from where the weights are: `read(i, numbers)` fills `numbers` with those from the i-th on, which
    /// are of one output. Every weight is read once, on all threads.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn read(
        level: Level,
        shape: ConvShape,
        algorithm: Algorithm,
        read: impl Fn(usize, &mut [T]) + Sync,
    ) -> Self {
        assert!(shape.kernel > 0 && shape.stride > 0, "a kernel and a stride");
        let ConvShape { outputs, inputs, kernel, .. } = shape;
        let keeps_sides = ConvShape { kernel: 3, stride: 1, before: 1, after: 1, ..shape };
        let area = kernel * kernel;
        let weights = match algorithm {
            Algorithm::Winograd2(transformed) | Algorithm::Winograd4(transformed) if shape == keeps_sides => {
                let four = matches!(algorithm, Algorithm::Winograd4(_));
                Weights::Winograd(Winograd::new(level, [outputs, inputs], four, transformed, read))
            }
            _ => Weights::Direct(Panels::read(level, outputs, [area, inputs], false, read)),
        };
        Self { shape, weights }
    }

    /// What it looks like.
    pub fn shape(&self) -> ConvShape {
        self.shape
    }

    /// `x` `(batch, height, width, inputs)` to `(batch, height', width', outputs)`, the sides being
    /// [`ConvShape::side`].
    ///
    /// # Panics
    /// If a slice is not as long as its shape says, or the kernel does not fit.
    pub fn forward(&self, x: &[T], sides: [usize; 3], epilogue: &Epilogue<'_, T>) -> Vec<T> {
        let [_, height, width] = sides;
        match &self.weights {
            Weights::Winograd(weights) => weights.forward(x, sides, epilogue),
            Weights::Direct(_) => self.enlarged(x, sides, [height, width], epilogue),
        }
    }

    /// The convolution of `x` enlarged to the sides `to` by its nearest pixels, of which no copy is made.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn enlarged(
        &self,
        x: &[T],
        [batch, height, width]: [usize; 3],
        to: [usize; 2],
        epilogue: &Epilogue<'_, T>,
    ) -> Vec<T> {
        let ConvShape { inputs, kernel, stride, before, .. } = self.shape;
        assert_eq!(x.len(), batch * height * width * inputs, "every picture has all channels");
        let panels = match &self.weights {
            Weights::Direct(panels) => panels,
            Weights::Winograd(_) if to == [height, width] => {
                return self.forward(x, [batch, height, width], epilogue);
            }
            Weights::Winograd(_) => {
                let enlarged = enlarge(x, [batch, height, width], to, inputs);
                return self.forward(&enlarged, [batch, to[0], to[1]], epilogue);
            }
        };
        let sides = self.shape.side(to[0]).zip(self.shape.side(to[1]));
        assert!(sides.is_some(), "a kernel of {kernel} in a picture of {to:?}");
        let (rows, columns) = sides.unwrap_or_default();
        let length = panels.row_length();
        let padded = (length != inputs).then(|| pad(x, inputs, length));
        let x = padded.as_deref().unwrap_or(x);
        let zeros = vec![T::default(); length];
        // The pixel of the input that a place of the enlarged one shows; none outside.
        let source = |at: usize, from: usize, to: usize| {
            let at = at.checked_sub(before).filter(|at| *at < to)?;
            Some(if from == to { at } else { at * from / to })
        };
        let place = |pixel: usize, segment: usize| {
            let (picture, row, column) = (pixel / (rows * columns), pixel / columns % rows, pixel % columns);
            let y = source(row * stride + segment / kernel, height, to[0]);
            let x_at = source(column * stride + segment % kernel, width, to[1]);
            match y.zip(x_at) {
                Some((y, x_at)) => &x[((picture * height + y) * width + x_at) * length..][..length],
                None => zeros.as_slice(),
            }
        };
        let plane = rows * columns;
        panels.multiply(&Left { rows: batch * plane, picture: plane, place: &place, becomes: None }, epilogue)
    }
}

/// `x` `(batch, height, width, channels)` enlarged by its nearest pixels.
fn enlarge<T: Element>(
    x: &[T],
    [batch, height, width]: [usize; 3],
    to: [usize; 2],
    channels: usize,
) -> Vec<T> {
    let mut result = Vec::with_capacity(batch * to[0] * to[1] * channels);
    for row in (0..batch * to[0]).map(|row| row / to[0] * height + row % to[0] * height / to[0]) {
        for column in (0..to[1]).map(|column| column * width / to[1]) {
            result.extend_from_slice(&x[(row * width + column) * channels..][..channels]);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::Activation;
    use crate::testing::{Random, assert_rounded, levels, with_threads};

    /// Direct convolution of the picture enlarged to `to`.
    fn reference<T: Element>(
        x: &[T],
        weight: &[T],
        shape: ConvShape,
        [batch, height, width]: [usize; 3],
        to: [usize; 2],
        epilogue: &Epilogue<'_, T>,
    ) -> Vec<f32> {
        let ConvShape { outputs, inputs, kernel, stride, before, .. } = shape;
        let (rows, columns) = (shape.side(to[0]).unwrap(), shape.side(to[1]).unwrap());
        let pixel = |b: usize, y: usize, x_at: usize, c: usize| {
            let (y, x_at) = (y.checked_sub(before), x_at.checked_sub(before));
            match (y.filter(|y| *y < to[0]), x_at.filter(|x| *x < to[1])) {
                (Some(y), Some(x_at)) => {
                    let (y, x_at) = (y * height / to[0], x_at * width / to[1]);
                    f64::from(x[((b * height + y) * width + x_at) * inputs + c].to_f32())
                }
                _ => 0.0,
            }
        };
        let number = |at: usize| {
            let (output, place) = (at % outputs, at / outputs);
            let (b, row, column) = (place / (rows * columns), place / columns % rows, place % columns);
            let mut sum = 0f64;
            for c in 0..inputs {
                for ky in 0..kernel {
                    for kx in 0..kernel {
                        let weight = weight[((output * inputs + c) * kernel + ky) * kernel + kx];
                        sum +=
                            f64::from(weight.to_f32()) * pixel(b, row * stride + ky, column * stride + kx, c);
                    }
                }
            }
            let bias = epilogue.bias.map_or(0.0, |bias| match bias.len() == outputs {
                true => bias[output],
                false => bias[b * outputs + output],
            });
            epilogue.activation.of::<T>(sum as f32 + bias) + epilogue.residual.map_or(0.0, |r| r[at].to_f32())
        };
        (0..batch * rows * columns * outputs).map(number).collect()
    }

    fn every_shape<T: Element>(seed: u64) {
        let mut random = Random::new(seed);
        for level in levels() {
            for i in 0..60 {
                let kernel = [1, 3, 3, 2, 5][random.below(5)];
                let (before, after) = (random.below(kernel), random.below(kernel));
                let shape = ConvShape {
                    outputs: 1 + random.below(if i % 7 == 0 { 150 } else { 20 }),
                    inputs: 1 + random.below(if i % 9 == 0 { 120 } else { 12 }),
                    kernel,
                    stride: 1 + random.below(3),
                    before,
                    after,
                };
                let sides = [1 + random.below(3), kernel + random.below(9), kernel + random.below(9)];
                let enlarged = i % 3 == 0;
                let to = [1, 2].map(|i| match enlarged {
                    true => 2 * sides[i] - random.below(2),
                    false => sides[i],
                });
                let x = random.elements::<T>(sides.iter().product::<usize>() * shape.inputs);
                let weight = random.elements::<T>(shape.outputs * shape.inputs * kernel * kernel);
                let packed = PackedConv::new(level, shape, Algorithm::Direct, |i| weight[i]);
                let pixels = shape.side(to[0]).unwrap() * shape.side(to[1]).unwrap() * sides[0];
                let bias = random.numbers(shape.outputs * if i % 2 == 0 { sides[0] } else { 1 });
                let residual = random.elements::<T>(pixels * shape.outputs);
                let epilogue = Epilogue {
                    bias: (i % 5 > 0).then_some(&bias),
                    activation: Activation::ALL[i % 4],
                    residual: (i % 5 < 2).then_some(&residual),
                };
                let got = match enlarged {
                    true => packed.enlarged(&x, sides, to, &epilogue),
                    false => packed.forward(&x, sides, &epilogue),
                };
                let want = reference(&x, &weight, shape, sides, to, &epilogue);
                let terms = shape.inputs * kernel * kernel;
                assert_rounded(&got, &want, terms, &format!("{level:?} {shape:?} {sides:?} to {to:?}"));
            }
        }
    }

    #[test]
    fn every_level_convolves_any_shape_in_f32() {
        every_shape::<f32>(7);
    }

    #[test]
    fn every_level_convolves_any_shape_in_bf16() {
        every_shape::<bf16>(8);
    }

    /// Numbers of the inputs' transform are rounded to their type, which a square of four magnifies.
    fn winograd<T: Element>(seed: u64, algorithm: Algorithm, error: f32) {
        let mut random = Random::new(seed);
        for level in levels() {
            for i in 0..30 {
                let (outputs, inputs) =
                    (1 + random.below(if i % 7 == 0 { 150 } else { 20 }), 1 + random.below(70));
                let shape = ConvShape { outputs, inputs, kernel: 3, stride: 1, before: 1, after: 1 };
                let sides = [1 + random.below(3), 1 + random.below(14), 1 + random.below(14)];
                let to = [sides[1] * (1 + i % 2), sides[2] * (1 + i % 2)];
                let x = random.elements::<T>(sides.iter().product::<usize>() * inputs);
                let weight = random.elements::<T>(outputs * inputs * 9);
                let packed = PackedConv::new(level, shape, algorithm, |i| weight[i]);
                let pixels = sides[0] * to[0] * to[1];
                let bias = random.numbers(outputs * if i % 4 < 2 { sides[0] } else { 1 });
                let residual = random.elements::<T>(pixels * outputs);
                let epilogue = Epilogue {
                    bias: (i % 5 > 0).then_some(&bias),
                    activation: Activation::ALL[i % 4],
                    residual: (i % 5 < 2).then_some(&residual),
                };
                let got = packed.enlarged(&x, sides, to, &epilogue);
                let want = reference(&x, &weight, shape, sides, to, &epilogue);
                let bound = error * (inputs as f32).sqrt().max(1.0);
                for (at, (got, want)) in got.iter().zip(want).enumerate() {
                    let got = got.to_f32();
                    let what = format!("{level:?} {shape:?} {sides:?} to {to:?} at {at}");
                    assert!((got - want).abs() < bound, "{what}: {got} instead of {want}");
                }
            }
        }
    }

    #[test]
    fn fewer_products_give_the_same_convolution() {
        for transformed in [Transformed::Once, Transformed::EachTime] {
            winograd::<f32>(17, Algorithm::Winograd2(transformed), 4e-6);
            winograd::<f32>(18, Algorithm::Winograd4(transformed), 1e-5);
            winograd::<bf16>(19, Algorithm::Winograd2(transformed), 0.06);
        }
    }

    #[test]
    fn weights_are_the_same_whenever_they_are_transformed() {
        let mut random = Random::new(20);
        let shape = ConvShape { outputs: 70, inputs: 300, kernel: 3, stride: 1, before: 1, after: 1 };
        let sides = [2, 9, 11];
        let x = random.elements::<bf16>(sides.iter().product::<usize>() * shape.inputs);
        let weight = random.elements::<bf16>(shape.outputs * shape.inputs * 9);
        for level in levels() {
            let run = |transformed| {
                let packed = PackedConv::new(level, shape, Algorithm::Winograd2(transformed), |i| weight[i]);
                packed.forward(&x, sides, &Epilogue::default())
            };
            // The sums have other parts, so that one in some hundreds is rounded to the neighbour.
            let (once, each) = (run(Transformed::Once), run(Transformed::EachTime));
            for (once, each) in once.into_iter().zip(each) {
                let (once, each) = (once.to_f32(), each.to_f32());
                assert!((once - each).abs() <= once.abs() / 64.0 + 1e-3, "{level:?}: {once} and {each}");
            }
        }
    }

    #[test]
    fn threads_and_the_rest_of_the_batch_change_no_bit() {
        alone(Algorithm::Direct);
        for transformed in [Transformed::Once, Transformed::EachTime] {
            alone(Algorithm::Winograd2(transformed));
            alone(Algorithm::Winograd4(transformed));
        }
    }

    fn alone(algorithm: Algorithm) {
        let mut random = Random::new(9);
        let shape = ConvShape { outputs: 70, inputs: 64, kernel: 3, stride: 1, before: 1, after: 1 };
        let [batch, height, width] = [3, 13, 17];
        let picture = height * width;
        let x = random.elements::<bf16>(batch * picture * shape.inputs);
        let weight = random.elements::<bf16>(shape.outputs * shape.inputs * 9);
        for level in levels() {
            let packed = PackedConv::new(level, shape, algorithm, |i| weight[i]);
            let run = |x: &[bf16], batch| packed.forward(x, [batch, height, width], &Epilogue::default());
            let all = with_threads(1, || run(&x, batch));
            assert_eq!(all, with_threads(3, || run(&x, batch)), "{level:?}");
            for b in 0..batch {
                let alone = run(&x[b * picture * shape.inputs..][..picture * shape.inputs], 1);
                assert_eq!(alone, all[b * picture * shape.outputs..][..picture * shape.outputs], "{level:?}");
            }
        }
    }
}
