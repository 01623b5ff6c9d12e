//! Products with a matrix of weights.

use crate::element::Element;
use crate::epilogue::Epilogue;
use crate::level::Level;
use crate::panels::{Left, Panels};

/// The weights of a fully connected layer, packed.
#[derive(Debug)]
pub struct PackedMatrix<T>(Panels<T>);

impl<T: Element> PackedMatrix<T> {
    /// Packs the weights `(outputs, inputs)`; `weight(output, input)` is one of them.
    ///
    /// # Panics
    /// If the machine does not have the level.
    pub fn new(
        level: Level,
        outputs: usize,
        inputs: usize,
        weight: impl Fn(usize, usize) -> T + Sync,
    ) -> Self {
        Self(Panels::pack(level, outputs, [1, inputs], false, |output, _, k| weight(output, k)))
    }

    /// Packs a gated layer's weights `(2 outputs, inputs)`: the second half of the rows are gates, and a result is a value
    /// times the activation of its gate (Shazeer 2020, GLU).
    ///
    /// # Panics
    /// If the machine does not have the level.
    pub fn gated(
        level: Level,
        outputs: usize,
        inputs: usize,
        weight: impl Fn(usize, usize) -> T + Sync,
    ) -> Self {
        Self(Panels::pack(level, outputs, [1, inputs], true, |sum, _, k| weight(sum, k)))
    }

    /// Packs the weights `(outputs, inputs)`, or `(2 outputs, inputs)` of a gated layer (see [`Self::gated`]), from where
    /// they are: `read(i, numbers)` fills `numbers` with those from the i-th on, which are of one row. Every weight is read
    /// once, on all threads.
    ///
    /// # Panics
    /// If the machine does not have the level.
    pub fn read(
        level: Level,
        [outputs, inputs]: [usize; 2],
        gated: bool,
        read: impl Fn(usize, &mut [T]) + Sync,
    ) -> Self {
        Self(Panels::read(level, outputs, [1, inputs], gated, read))
    }

    /// Numbers in a row of the result.
    pub fn outputs(&self) -> usize {
        self.0.outputs()
    }

    /// Numbers in a row that it is multiplied with.
    pub fn inputs(&self) -> usize {
        self.0.depth()
    }

    /// `x W^T`, `x` being `(rows, inputs)`; the result is `(rows, outputs)`. A gated layer's bias has twice as many
    /// numbers as the layer has outputs, and the activation is the gates'.
    ///
    /// # Panics
    /// If a slice is not as long as its shape says.
    pub fn multiply(&self, x: &[T], rows: usize, epilogue: &Epilogue<'_, T>) -> Vec<T> {
        let (inputs, length) = (self.inputs(), self.0.row_length());
        assert_eq!(x.len(), rows * inputs, "every row has all inputs");
        let padded = (length != inputs).then(|| pad(x, inputs, length));
        let x = padded.as_deref().unwrap_or(x);
        let place = |row: usize, _| &x[row * length..][..length];
        self.0.multiply(&Left { rows, picture: 0, place: &place, becomes: None }, epilogue)
    }
}

/// Rows of `length` numbers, the last of them zero.
pub(crate) fn pad<T: Element>(x: &[T], inputs: usize, length: usize) -> Vec<T> {
    let mut padded = vec![T::default(); x.len() / inputs.max(1) * length];
    for (to, from) in padded.chunks_exact_mut(length.max(1)).zip(x.chunks_exact(inputs.max(1))) {
        to[..inputs].copy_from_slice(from);
    }
    padded
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::Activation;
    use crate::testing::{Random, assert_rounded, levels, with_threads};

    fn reference<T: Element>(
        x: &[T],
        weight: &[T],
        [rows, outputs, inputs]: [usize; 3],
        gated: bool,
        epilogue: &Epilogue<'_, T>,
    ) -> Vec<f32> {
        let sum = |row: usize, output: usize| {
            let term = |k: usize| {
                f64::from(x[row * inputs + k].to_f32()) * f64::from(weight[output * inputs + k].to_f32())
            };
            let sum: f64 = (0..inputs).map(term).sum();
            sum as f32 + epilogue.bias.map_or(0.0, |bias| bias[output])
        };
        let number = |at: usize| {
            let (row, output) = (at / outputs, at % outputs);
            let value = match gated {
                true => sum(row, output) * epilogue.activation.of::<T>(sum(row, outputs + output)),
                false => epilogue.activation.of::<T>(sum(row, output)),
            };
            value + epilogue.residual.map_or(0.0, |residual| residual[at].to_f32())
        };
        (0..rows * outputs).map(number).collect()
    }

    fn every_shape<T: Element>(seed: u64) {
        let mut random = Random::new(seed);
        for level in levels() {
            let mut shapes = vec![
                [0, 5, 5],
                [5, 0, 5],
                [5, 5, 0],
                [1, 1, 1],
                [200, 130, 1030],
                [7, 64, 512],
                [9, 70, 4500],
            ];
            shapes.extend((0..60).map(|_| [random.below(40), random.below(150), random.below(90)]));
            for (i, shape @ [rows, outputs, inputs]) in shapes.into_iter().enumerate() {
                let gated = i % 3 == 0;
                let sums = outputs * if gated { 2 } else { 1 };
                let x = random.elements::<T>(rows * inputs);
                let weight = random.elements::<T>(sums * inputs);
                let (bias, residual) = (random.numbers(sums), random.elements::<T>(rows * outputs));
                let epilogue = Epilogue {
                    bias: (i % 2 == 0).then_some(&bias),
                    activation: Activation::ALL[i % 4],
                    residual: (i % 5 < 2).then_some(&residual),
                };
                let pack = if gated { PackedMatrix::gated } else { PackedMatrix::new };
                let packed = pack(level, outputs, inputs, |output, k| weight[output * inputs + k]);
                let got = packed.multiply(&x, rows, &epilogue);
                let want = reference(&x, &weight, shape, gated, &epilogue);
                let what = format!("{level:?} {shape:?} gated: {gated} {:?}", epilogue.activation);
                assert_rounded(&got, &want, inputs * if gated { 1000 } else { 1 }, &what);
            }
        }
    }

    #[test]
    fn every_level_multiplies_any_shape_with_any_epilogue_in_f32() {
        every_shape::<f32>(1);
    }

    #[test]
    fn every_level_multiplies_any_shape_with_any_epilogue_in_bf16() {
        every_shape::<bf16>(2);
    }

    fn alone<T: Element>(seed: u64) {
        let mut random = Random::new(seed);
        let (rows, outputs, inputs) = (150, 200, 5001);
        let (x, weight) = (random.elements::<T>(rows * inputs), random.elements::<T>(outputs * inputs));
        for level in levels() {
            let packed = PackedMatrix::new(level, outputs, inputs, |output, k| weight[output * inputs + k]);
            let all = with_threads(1, || packed.multiply(&x, rows, &Epilogue::default()));
            let threaded = with_threads(3, || packed.multiply(&x, rows, &Epilogue::default()));
            assert_eq!(all, threaded, "{level:?}");
            for row in [0, 1, 77, 149] {
                let alone = packed.multiply(&x[row * inputs..][..inputs], 1, &Epilogue::default());
                assert_eq!(alone, all[row * outputs..][..outputs], "{level:?} {row}");
            }
        }
    }

    #[test]
    fn threads_and_other_rows_change_no_bit() {
        alone::<f32>(3);
        alone::<bf16>(4);
    }
}
