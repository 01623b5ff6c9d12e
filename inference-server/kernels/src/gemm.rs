//! Products with a matrix of weights.
#![allow(unsafe_code)]

use crate::aligned::Aligned;
use crate::epilogue::Epilogue;
use crate::level::Level;
use crate::output::Output;
use crate::parallel;
use crate::tile::{Columns, Kernels, Product, Target};

/// Terms of a sum that are added up in registers: a panel of so many rows stays in the second-level cache.
const DEPTH: usize = 512;

/// Rows that a task takes: they stay in the second-level cache while all panels go by.
const ROWS: usize = 96;

/// The weights `(outputs, inputs)` of a fully connected layer.
///
/// They lie in panels of as many outputs as a tile has columns, and within a panel input by input.
#[derive(Debug, Clone)]
pub struct PackedMatrix {
    level: Level,
    outputs: usize,
    inputs: usize,
    panels: Aligned,
}

impl PackedMatrix {
    /// Packs `weight`, `(outputs, inputs)` row by row.
    ///
    /// # Panics
    /// If the slice is not as long as that, or the machine does not have the level.
    pub fn new(level: Level, weight: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weight.len(), outputs * inputs, "a weight for every output and input");
        let kernels = Kernels::of(level);
        let mut packed = Self { level, outputs, inputs, panels: Aligned::default() };
        let width = outputs.next_multiple_of(kernels.lanes);
        packed.panels = Aligned::zeros(width * inputs);
        let panel = packed.panel_width();
        let numbers = packed.panels.as_mut_slice();
        for (output, row) in weight.chunks_exact(inputs.max(1)).enumerate() {
            let first = output - output % panel;
            let step = panel.min(width - first);
            let column = numbers.iter_mut().skip(first * inputs + output - first).step_by(step);
            column.zip(row).for_each(|(place, weight)| *place = *weight);
        }
        packed
    }

    fn panel_width(&self) -> usize {
        let kernels = Kernels::of(self.level);
        kernels.direct.vectors * kernels.lanes
    }

    /// Numbers in a row of the result.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Numbers in a row that it is multiplied with.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// `x W^T`, `x` being `(rows, inputs)`; the result is `(rows, outputs)`.
    ///
    /// # Panics
    /// If a slice is not as long as its shape says.
    pub fn multiply(&self, x: &[f32], rows: usize, epilogue: &Epilogue<'_>) -> Vec<f32> {
        let Self { outputs, inputs, .. } = *self;
        assert_eq!(x.len(), rows * inputs, "every row has all inputs");
        epilogue.check(outputs, rows * outputs);
        let kernels = Kernels::of(self.level);
        let panels = outputs.div_ceil(self.panel_width());
        let bands = rows.div_ceil(ROWS);
        let groups = parallel::enough_tasks().div_ceil(bands.max(1)).clamp(1, panels.max(1));
        let output = Output::new(rows * outputs);
        parallel::for_each(if panels == 0 { 0 } else { bands * groups }, |task| {
            let band = parallel::range(rows.div_ceil(kernels.direct.rows), task / groups, bands);
            let rows = band.start * kernels.direct.rows..(band.end * kernels.direct.rows).min(rows);
            for panel in parallel::range(panels, task % groups, groups) {
                self.panel(kernels, panel, x, rows.clone(), epilogue, &output);
            }
        });
        // SAFETY: the tasks' rows and panels make up all of the output.
        unsafe { output.finish() }
    }

    /// Some rows of the outputs of one panel.
    fn panel(
        &self,
        kernels: &'static Kernels,
        panel: usize,
        x: &[f32],
        rows: std::ops::Range<usize>,
        epilogue: &Epilogue<'_>,
        output: &Output,
    ) {
        let Self { outputs, inputs, .. } = *self;
        let width = self.panel_width();
        let columns = panel * width..(panel * width + width).min(outputs);
        let step = columns.len().next_multiple_of(kernels.lanes);
        let mut k = 0;
        loop {
            let depth = DEPTH.min(inputs - k);
            for first in rows.clone().step_by(kernels.direct.rows) {
                let target = Target {
                    kernels,
                    a_is_packed: false,
                    rows: first..(first + kernels.direct.rows).min(rows.end),
                    columns: Columns { range: columns.clone(), plane: outputs, stride: 0 },
                    output: output.pointer(),
                    row_stride: outputs,
                    epilogue: (k + depth == inputs).then_some(epilogue),
                };
                // SAFETY: `Kernels::of` has checked the level. `x` has `inputs` numbers for each of the rows; the panel
                // begins at `columns.start * inputs` and has `step` numbers for each of the inputs. The tile is one of
                // this task alone, and was written in the first round when it is added to. `multiply` has checked the
                // epilogue.
                unsafe {
                    target.compute(Product {
                        depth,
                        a: x.as_ptr().add(first * inputs + k),
                        a_row: inputs,
                        a_step: 1,
                        b: self.panels.as_slice().as_ptr().add(columns.start * inputs + k * step),
                        b_step: step,
                        c: std::ptr::null_mut(),
                        c_row: 0,
                        accumulate: k > 0,
                    });
                }
            }
            k += depth;
            if k == inputs {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Activation;
    use crate::testing::{Random, assert_close, levels, with_threads};

    fn reference(x: &[f32], weight: &[f32], shape: [usize; 3], epilogue: &Epilogue<'_>) -> Vec<f32> {
        let [rows, outputs, inputs] = shape;
        let number = |at: usize| {
            let (row, output) = (at / outputs, at % outputs);
            let sum: f64 = (0..inputs)
                .map(|k| f64::from(x[row * inputs + k]) * f64::from(weight[output * inputs + k]))
                .sum();
            let sum = sum as f32 + epilogue.bias.map_or(0.0, |bias| bias[output]);
            epilogue.activation.of(sum) + epilogue.residual.map_or(0.0, |residual| residual[at])
        };
        (0..rows * outputs).map(number).collect()
    }

    #[test]
    fn every_level_multiplies_any_shape_with_any_epilogue() {
        let mut random = Random::new(1);
        for level in levels() {
            let mut shapes = vec![[0, 5, 5], [5, 0, 5], [5, 5, 0], [1, 1, 1], [200, 130, 1030], [7, 64, 512]];
            shapes.extend((0..60).map(|_| [random.below(40), random.below(150), random.below(90)]));
            for (i, shape @ [rows, outputs, inputs]) in shapes.into_iter().enumerate() {
                let (x, weight) = (random.numbers(rows * inputs), random.numbers(outputs * inputs));
                let (bias, residual) = (random.numbers(outputs), random.numbers(rows * outputs));
                let epilogue = Epilogue {
                    bias: (i % 2 == 0).then_some(&bias),
                    activation: Activation::ALL[i % 4],
                    residual: (i % 5 < 2).then_some(&residual),
                };
                let packed = PackedMatrix::new(level, &weight, outputs, inputs);
                let got = packed.multiply(&x, rows, &epilogue);
                let want = reference(&x, &weight, shape, &epilogue);
                assert_close(&got, &want, inputs, &format!("{level:?} {shape:?} {epilogue:?}"));
            }
        }
    }

    #[test]
    fn threads_and_other_rows_change_no_bit() {
        let mut random = Random::new(2);
        let (rows, outputs, inputs) = (150, 200, 1100);
        let (x, weight) = (random.numbers(rows * inputs), random.numbers(outputs * inputs));
        for level in levels() {
            let packed = PackedMatrix::new(level, &weight, outputs, inputs);
            let all = with_threads(1, || packed.multiply(&x, rows, &Epilogue::default()));
            let threaded = with_threads(3, || packed.multiply(&x, rows, &Epilogue::default()));
            assert_eq!(all, threaded, "{level:?}");
            for row in [0, 1, 77, 149] {
                let alone = packed.multiply(&x[row * inputs..][..inputs], 1, &Epilogue::default());
                assert_eq!(alone, all[row * outputs..][..outputs], "{level:?} {row}");
            }
        }
    }
}
