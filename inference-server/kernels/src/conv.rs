//! Two-dimensional convolution as a matrix product (Chellapilla et al. 2006) whose right side is never in memory as a
//! whole: a block of it is packed when it is needed, in the second-level cache.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::aligned::{Aligned, with_scratch};
use crate::epilogue::Epilogue;
use crate::level::Level;
use crate::output::Output;
use crate::parallel;
use crate::tile::{Columns, Kernels, Product, Target};

/// Terms of a sum that are added up in registers, about: always whole channels.
const DEPTH: usize = 512;

/// Tiles side by side in a block.
const TILES: usize = 4;

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

    fn area(&self) -> usize {
        self.kernel * self.kernel
    }
}

/// The weights of a convolution, in panels of as many output channels as a tile has rows.
#[derive(Debug, Clone)]
pub struct PackedConv {
    level: Level,
    shape: ConvShape,
    panels: Aligned,
}

/// One call's sizes.
#[derive(Debug, Clone, Copy)]
struct Picture {
    height: usize,
    width: usize,
    out_height: usize,
    out_width: usize,
}

impl PackedConv {
    /// Packs `weight`, `(outputs, inputs, kernel, kernel)`.
    ///
    /// # Panics
    /// If the slice is not as long as that, a side or the stride is 0, or the machine does not have the level.
    pub fn new(level: Level, weight: &[f32], shape: ConvShape) -> Self {
        assert!(shape.kernel > 0 && shape.stride > 0, "a kernel and a stride");
        let depth = shape.inputs * shape.area();
        assert_eq!(weight.len(), shape.outputs * depth, "a weight for every output, input and place");
        let rows = Kernels::of(level).packed.rows;
        let mut panels = Aligned::zeros(shape.outputs.next_multiple_of(rows) * depth);
        let numbers = panels.as_mut_slice();
        for (output, row) in weight.chunks_exact(depth.max(1)).enumerate() {
            let first = output - output % rows;
            let column = numbers.iter_mut().skip(first * depth + output - first).step_by(rows);
            column.zip(row).for_each(|(place, weight)| *place = *weight);
        }
        Self { level, shape, panels }
    }

    /// What it looks like.
    pub fn shape(&self) -> ConvShape {
        self.shape
    }

    /// `x` `(batch, inputs, height, width)` to `(batch, outputs, height', width')`, the sides being
    /// [`ConvShape::side`].
    ///
    /// # Panics
    /// If a slice is not as long as its shape says, or the kernel does not fit.
    pub fn forward(
        &self,
        x: &[f32],
        [batch, height, width]: [usize; 3],
        epilogue: &Epilogue<'_>,
    ) -> Vec<f32> {
        let shape = self.shape;
        assert_eq!(x.len(), batch * shape.inputs * height * width, "every picture has all channels");
        let sides = shape.side(height).zip(shape.side(width));
        assert!(sides.is_some(), "a kernel of {} in a picture of {height} x {width}", shape.kernel);
        let (out_height, out_width) = sides.unwrap_or_default();
        let picture = Picture { height, width, out_height, out_width };
        let plane = out_height * out_width;
        epilogue.check(shape.outputs, batch * shape.outputs * plane);

        let kernels = Kernels::of(self.level);
        let pixels = batch * plane;
        let block = TILES * kernels.packed.vectors * kernels.lanes;
        let blocks = pixels.div_ceil(block);
        let panels = shape.outputs.div_ceil(kernels.packed.rows);
        // Every group packs the block for itself, so it should have some use of it.
        let groups = parallel::enough_tasks().div_ceil(blocks.max(1)).clamp(1, (panels / 2).max(1));
        let output = Output::new(batch * shape.outputs * plane);
        parallel::for_each(if panels == 0 { 0 } else { blocks * groups }, |task| {
            let first = task / groups * block;
            let pixels = first..(first + block).min(pixels);
            let panels = parallel::range(panels, task % groups, groups);
            self.block(kernels, x, picture, pixels, panels, epilogue, &output);
        });
        // SAFETY: the blocks and groups of panels make up all of the output.
        unsafe { output.finish() }
    }

    /// Some output channels of some pixels, which are counted through all pictures of the batch.
    #[expect(clippy::too_many_arguments, reason = "what a task needs to know")]
    fn block(
        &self,
        kernels: &'static Kernels,
        x: &[f32],
        picture: Picture,
        pixels: Range<usize>,
        panels: Range<usize>,
        epilogue: &Epilogue<'_>,
        output: &Output,
    ) {
        let ConvShape { outputs, inputs, .. } = self.shape;
        let (area, tile) = (self.shape.area(), kernels.packed);
        let (all, width) = (inputs * area, tile.vectors * kernels.lanes);
        let channels = (DEPTH / area).max(1);
        let tiles = pixels.len().div_ceil(width);
        let plane = picture.out_height * picture.out_width;
        with_scratch(tiles * width * channels.min(inputs) * area, |scratch| {
            let mut channel = 0;
            loop {
                let taken = channel..(channel + channels).min(inputs);
                let depth = taken.len() * area;
                self.pack(x, picture, pixels.clone(), taken.clone(), width, scratch);
                for panel in panels.clone() {
                    for (i, first) in pixels.clone().step_by(width).enumerate() {
                        let target = Target {
                            kernels,
                            a_is_packed: true,
                            rows: panel * tile.rows..((panel + 1) * tile.rows).min(outputs),
                            columns: Columns {
                                range: first..(first + width).min(pixels.end),
                                plane,
                                stride: outputs * plane,
                            },
                            output: output.pointer(),
                            row_stride: plane,
                            epilogue: (taken.end == inputs).then_some(epilogue),
                        };
                        // SAFETY: `Kernels::of` has checked the level. A panel of weights has `rows` numbers for each of
                        // `all` terms, and `scratch` has `depth` times `width` numbers for each of the tiles. The tile is
                        // one of this task alone, and was written in the first round when it is added to. `forward` has
                        // checked the epilogue.
                        unsafe {
                            target.compute(Product {
                                depth,
                                a: self
                                    .panels
                                    .as_slice()
                                    .as_ptr()
                                    .add((panel * all + taken.start * area) * tile.rows),
                                a_row: 1,
                                a_step: tile.rows,
                                b: scratch.as_ptr().add(i * depth * width),
                                b_step: width,
                                c: std::ptr::null_mut(),
                                c_row: 0,
                                accumulate: taken.start > 0,
                            });
                        }
                    }
                }
                channel = taken.end;
                if channel == inputs {
                    break;
                }
            }
        });
    }

    /// What the kernel sees at `pixels`: tile by tile, and in a tile term by term (channel, row, column of the kernel),
    /// one number for each of `width` pixels. Pixels past the end get anything.
    fn pack(
        &self,
        x: &[f32],
        picture: Picture,
        pixels: Range<usize>,
        channels: Range<usize>,
        width: usize,
        scratch: &mut [f32],
    ) {
        let ConvShape { inputs, kernel, stride, before, .. } = self.shape;
        let Picture { height, width: side, out_height, out_width } = picture;
        let (area, plane) = (self.shape.area(), height * side);
        let depth = channels.len() * area;
        let mut pixel = pixels.start;
        while pixel < pixels.end {
            // A stretch of one row of one picture and of one tile.
            let (image, y, left) =
                (pixel / (out_height * out_width), pixel / out_width % out_height, pixel % out_width);
            let (tile, column) = ((pixel - pixels.start) / width, (pixel - pixels.start) % width);
            let length = (width - column).min(out_width - left).min(pixels.end - pixel);
            pixel += length;
            for place in 0..area {
                let (kernel_y, kernel_x) = (place / kernel, place % kernel);
                let row = (y * stride + kernel_y).checked_sub(before).filter(|row| *row < height);
                // The stretch's pixels that see a pixel of the picture here, and not the zeros around it.
                let inside =
                    before.saturating_sub(kernel_x).div_ceil(stride).saturating_sub(left).min(length);
                let end = (side + before).saturating_sub(kernel_x).div_ceil(stride).saturating_sub(left);
                let seen = if row.is_some() { inside..end.clamp(inside, length) } else { 0..0 };
                let from = row.unwrap_or(0) * side + (left + seen.start) * stride + kernel_x;
                for (i, channel) in channels.clone().enumerate() {
                    let at = (tile * depth + i * area + place) * width + column;
                    let Some(to) = scratch.get_mut(at..at + length) else { return };
                    if seen.is_empty() {
                        to.fill(0.0);
                        continue;
                    }
                    let start = (image * inputs + channel) * plane + from - before;
                    let from = x.get(start..).unwrap_or_default();
                    if seen.len() < length {
                        to.fill(0.0);
                    }
                    let to = to.get_mut(seen.clone()).unwrap_or_default();
                    match stride {
                        1 => copy(to, from),
                        _ => {
                            to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, from)| *to = *from)
                        }
                    }
                }
            }
        }
    }
}

/// Copies the beginning of `from`; the usual lengths without a call.
#[inline]
fn copy(to: &mut [f32], from: &[f32]) {
    fn fixed<const N: usize>(to: &mut [f32], from: &[f32]) {
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
            *to = *from;
        }
    }
    match to.len() {
        32 => fixed::<32>(to, from),
        31 => fixed::<31>(to, from),
        16 => fixed::<16>(to, from),
        8 => fixed::<8>(to, from),
        length => to.copy_from_slice(from.get(..length).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Activation;
    use crate::testing::{Random, assert_close, levels, with_threads};

    fn reference(
        x: &[f32],
        weight: &[f32],
        s: ConvShape,
        [batch, height, width]: [usize; 3],
        epilogue: &Epilogue<'_>,
    ) -> Vec<f32> {
        let (rows, columns) = (s.side(height).unwrap(), s.side(width).unwrap());
        let mut all = Vec::new();
        for at in 0..batch * s.outputs * rows * columns {
            let (column, row) = (at % columns, at / columns % rows);
            let (output, image) = (at / columns / rows % s.outputs, at / columns / rows / s.outputs);
            let mut sum = 0f64;
            for i in 0..s.inputs * s.kernel * s.kernel {
                let (kx, ky, channel) = (i % s.kernel, i / s.kernel % s.kernel, i / s.kernel / s.kernel);
                let (y, x_) = (row * s.stride + ky, column * s.stride + kx);
                if (s.before..s.before + height).contains(&y) && (s.before..s.before + width).contains(&x_) {
                    let pixel =
                        ((image * s.inputs + channel) * height + y - s.before) * width + x_ - s.before;
                    let tap = output * s.inputs * s.kernel * s.kernel + i;
                    sum += f64::from(x[pixel]) * f64::from(weight[tap]);
                }
            }
            let sum = sum as f32 + epilogue.bias.map_or(0.0, |bias| bias[output]);
            all.push(epilogue.activation.of(sum) + epilogue.residual.map_or(0.0, |r| r[at]));
        }
        all
    }

    /// Kernel, stride, zeros before and after, as the models have them and some others.
    const KINDS: [[usize; 4]; 8] = [
        [3, 1, 1, 1],
        [1, 1, 0, 0],
        [3, 2, 1, 1],
        [3, 2, 0, 1],
        [2, 1, 0, 0],
        [5, 1, 2, 2],
        [4, 3, 1, 2],
        [1, 2, 0, 0],
    ];

    #[test]
    fn every_level_convolves_any_shape_with_any_epilogue() {
        let mut random = Random::new(3);
        for level in levels() {
            for i in 0..80 {
                let [kernel, stride, before, after] = KINDS[i % KINDS.len()];
                let (outputs, inputs) = (random.below(40), random.below(if i % 10 == 9 { 130 } else { 12 }));
                let shape = ConvShape { outputs, inputs, kernel, stride, before, after };
                let sizes = [
                    random.below(4),
                    kernel.max(1) + random.below(14),
                    kernel + random.below(if i < 40 { 8 } else { 70 }),
                ];
                let [batch, height, width] = sizes;
                let x = random.numbers(batch * inputs * height * width);
                let weight = random.numbers(outputs * inputs * kernel * kernel);
                let bias = random.numbers(outputs);
                let length = batch * outputs * shape.side(height).unwrap() * shape.side(width).unwrap();
                let residual = random.numbers(length);
                let epilogue = Epilogue {
                    bias: (i % 2 == 0).then_some(&bias),
                    activation: Activation::ALL[i % 4],
                    residual: (i % 5 < 2).then_some(&residual),
                };
                let got = PackedConv::new(level, &weight, shape).forward(&x, sizes, &epilogue);
                let want = reference(&x, &weight, shape, sizes, &epilogue);
                let what = format!("{level:?} {shape:?} {sizes:?} case {i}");
                assert_close(&got, &want, inputs * kernel * kernel, &what);
            }
        }
    }

    #[test]
    fn threads_and_other_pictures_change_no_bit() {
        let mut random = Random::new(4);
        let shape = ConvShape { outputs: 90, inputs: 70, kernel: 3, stride: 1, before: 1, after: 1 };
        let x = random.numbers(3 * 70 * 11 * 13);
        let packed = |level| PackedConv::new(level, &Random::new(5).numbers(90 * 70 * 9), shape);
        for level in levels() {
            let packed = packed(level);
            let all = with_threads(1, || packed.forward(&x, [3, 11, 13], &Epilogue::default()));
            let threaded = with_threads(3, || packed.forward(&x, [3, 11, 13], &Epilogue::default()));
            assert_eq!(all, threaded, "{level:?}");
            for (alone, together) in x.chunks(70 * 11 * 13).zip(all.chunks(90 * 11 * 13)) {
                let alone = packed.forward(alone, [1, 11, 13], &Epilogue::default());
                assert_eq!(alone, together, "{level:?}");
            }
        }
    }
}
