//! Latents to colours by a weighted sum: what a decoder does, as far as a straight line can follow it.
//!
//! The latents of latent diffusion are close to a small picture already. A pixel is taken from nine latents, its own and those
//! around it, and every latent makes [`SIDE`] x [`SIDE`] pixels. The weights are a least-squares fit to what the decoder makes
//! of a few made-up latents, so they can be had for any checkpoint. With the bundled model's VAE such pictures are 21 dB from
//! the decoded ones of their size; the VAE itself gives 20 dB on means of 2 x 2 latents, and 15 dB on means of 4 x 4.

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::noise::TorchGenerator;

/// Pixels a side for one latent.
const SIDE: usize = 2;
const COLOURS: usize = 3;
const OUTPUTS: usize = COLOURS * SIDE * SIDE;

/// Latents a side of those that are made up, and how many there are of them: decoding them costs a quarter of a picture of
/// 64 x 64 latents.
const MADE_UP: (usize, usize) = (16, 4);
/// How much a weight costs, in shares of the latents' variance: little, but it keeps the sums regular.
const RIDGE: f64 = 1e-3;

/// Weights of a projection from latents to colours.
pub(crate) struct Projection {
    channels: usize,
    /// For every output, `9 x channels` weights and a constant.
    weights: Vec<[f64; OUTPUTS]>,
}

impl Projection {
    /// Fits one to a decoder: from latents as the UNet has them, `(batch, channels, height, width)`, to pixels in about -1..1,
    /// `factor` times as many a side.
    pub(crate) fn fit(
        channels: usize,
        factor: usize,
        device: &Device,
        decode: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        let latents = made_up(channels)?;
        let decoded = decode(&latents.to_device(device)?)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        let decoded = decoded.clamp(-1f32, 1f32)?;
        let decoded = match factor / SIDE {
            // It does not enlarge: there is one pixel where two are drawn.
            0 => decoded.upsample_nearest2d(SIDE * MADE_UP.0, SIDE * MADE_UP.0)?,
            square => decoded.avg_pool2d(square)?,
        };
        let (mut sums, mut inputs) = (Sums::new(9 * channels + 1), Vec::new());
        for row in 0..MADE_UP.1 {
            let around = Surroundings::of(&latents.narrow(0, row, 1)?)?;
            let pixels = decoded.narrow(0, row, 1)?.squeeze(0)?.to_vec3::<f32>()?;
            for (y, x) in around.places() {
                around.read(y, x, &mut inputs);
                let pixel = |o| {
                    let (colour, dy, dx) = place(o);
                    let rows = pixels.get(colour).and_then(|rows| rows.get(SIDE * y + dy));
                    rows.and_then(|row| row.get(SIDE * x + dx)).copied().map_or(0.0, f64::from)
                };
                sums.add(&inputs, &std::array::from_fn(pixel));
            }
        }
        Ok(Self { channels, weights: sums.solve(RIDGE) })
    }

    /// Latents `(1, channels, height, width)` to pixels in about -1..1 `(1, 3, 2 x height, 2 x width)`.
    pub(crate) fn apply(&self, latents: &Tensor) -> Result<Tensor> {
        let around = Surroundings::of(latents)?;
        if around.latents.len() != self.channels {
            bail!("{} channels instead of {}", around.latents.len(), self.channels);
        }
        let (height, width) = (around.height, around.width);
        let mut pixels = vec![0f32; OUTPUTS * height * width];
        let mut inputs = Vec::new();
        for (y, x) in around.places() {
            around.read(y, x, &mut inputs);
            let mut sums = [0f64; OUTPUTS];
            for (input, weights) in inputs.iter().zip(&self.weights) {
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += input * weight);
            }
            for (o, sum) in sums.into_iter().enumerate() {
                let (colour, dy, dx) = place(o);
                pixels[(colour * SIDE * height + SIDE * y + dy) * SIDE * width + SIDE * x + dx] = sum as f32;
            }
        }
        Tensor::from_vec(pixels, (1, COLOURS, SIDE * height, SIDE * width), &Device::Cpu)
    }
}

/// Colour, row and column of an output.
fn place(output: usize) -> (usize, usize, usize) {
    (output / (SIDE * SIDE), output / SIDE % SIDE, output % SIDE)
}

/// Latents of unit variance that vary at every scale, from the whole picture to a single latent.
fn made_up(channels: usize) -> Result<Tensor> {
    let (side, batch) = MADE_UP;
    let mut noise = TorchGenerator::new(0);
    let scales = (0..).map(|power| 1 << power).take_while(|scale| *scale <= side);
    let fields =
        scales.map(|scale| noise.randn(&[batch, channels, scale, scale])?.upsample_nearest2d(side, side));
    let fields = fields.collect::<Result<Vec<_>>>()?;
    Tensor::stack(&fields, 0)?.sum(0)? / (fields.len() as f64).sqrt()
}

/// The latents of one picture, and those around each of them.
struct Surroundings {
    /// By channel, row and column.
    latents: Vec<Vec<Vec<f32>>>,
    height: usize,
    width: usize,
}

impl Surroundings {
    fn of(latents: &Tensor) -> Result<Self> {
        let (_, _, height, width) = latents.dims4()?;
        let latents = latents.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.squeeze(0)?.to_vec3()?;
        Ok(Self { latents, height, width })
    }

    fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let width = self.width;
        (0..self.height).flat_map(move |y| (0..width).map(move |x| (y, x)))
    }

    /// The nine latents of every channel, and the 1 that goes with the constant. Beyond the edge is the edge again.
    fn read(&self, y: usize, x: usize, into: &mut Vec<f64>) {
        into.clear();
        let around = |n: usize, length: usize| [n.saturating_sub(1), n, (n + 1).min(length - 1)];
        for rows in &self.latents {
            for row in around(y, self.height) {
                into.extend(around(x, self.width).map(|column| f64::from(rows[row][column])));
            }
        }
        into.push(1.0);
    }
}

/// What a least-squares fit needs of its samples.
struct Sums {
    samples: f64,
    /// Products of two inputs, by rows; the lower triangle is filled.
    squares: Vec<Vec<f64>>,
    /// Products of inputs and outputs.
    products: Vec<[f64; OUTPUTS]>,
}

impl Sums {
    fn new(inputs: usize) -> Self {
        Self {
            samples: 0.0,
            squares: (1..=inputs).map(|row| vec![0.0; row]).collect(),
            products: vec![[0.0; OUTPUTS]; inputs],
        }
    }

    fn add(&mut self, inputs: &[f64], outputs: &[f64; OUTPUTS]) {
        self.samples += 1.0;
        for ((input, squares), products) in inputs.iter().zip(&mut self.squares).zip(&mut self.products) {
            squares.iter_mut().zip(inputs).for_each(|(sum, other)| *sum += input * other);
            products.iter_mut().zip(outputs).for_each(|(sum, output)| *sum += input * output);
        }
    }

    /// The weights of the inputs, by Cholesky's decomposition. `ridge` is added to the mean squares of all inputs but the last.
    fn solve(mut self, ridge: f64) -> Vec<[f64; OUTPUTS]> {
        let n = self.squares.len();
        for (i, row) in self.squares.iter_mut().enumerate().take(n.saturating_sub(1)) {
            row[i] += ridge * self.samples;
        }
        // Row by row, in place: squares = L L^T, and products become those that L makes of them.
        let mut solved: Vec<[f64; OUTPUTS]> = Vec::with_capacity(n);
        for i in 0..n {
            for j in 0..=i {
                let sum: f64 = (0..j).map(|k| self.squares[i][k] * self.squares[j][k]).sum();
                let left = self.squares[i][j] - sum;
                self.squares[i][j] = if i == j { left.sqrt() } else { left / self.squares[j][j] };
            }
            let mut row = self.products[i];
            for (j, before) in solved.iter().enumerate() {
                row.iter_mut().zip(before).for_each(|(value, before)| *value -= self.squares[i][j] * before);
            }
            solved.push(row.map(|value| value / self.squares[i][i]));
        }
        // And from the end: what L^T makes of the weights.
        for i in (0..n).rev() {
            for j in i + 1..n {
                let after = solved[j];
                solved[i]
                    .iter_mut()
                    .zip(after)
                    .for_each(|(value, after)| *value -= self.squares[j][i] * after);
            }
            let diagonal = self.squares[i][i];
            solved[i].iter_mut().for_each(|value| *value /= diagonal);
        }
        solved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decoder that a projection can be: each colour of a latent's four pixels is a weighted sum of that latent and the next.
    fn decode(latents: &Tensor) -> Result<Tensor> {
        let next = latents.narrow(3, 1, latents.dim(3)? - 1)?.pad_with_same(3, 0, 1)?;
        let colour = |c, a, b| ((latents.narrow(1, c, 1)? * a)? + (next.narrow(1, 1, 1)? * b)?)? + 0.02;
        let small = Tensor::cat(&[colour(0, 0.1, 0.0)?, colour(1, -0.2, 0.05)?, colour(0, 0.05, 0.1)?], 1)?;
        let (_, _, height, width) = small.dims4()?;
        small.upsample_nearest2d(4 * height, 4 * width)
    }

    #[test]
    fn what_is_linear_is_found() {
        let projection = Projection::fit(2, 4, &Device::Cpu, decode).unwrap();
        let latents = TorchGenerator::new(3).randn(&[1, 2, 5, 9]).unwrap();
        let want = decode(&latents).unwrap().avg_pool2d(2).unwrap();
        let got = projection.apply(&latents).unwrap();
        assert_eq!(got.dims(), [1, 3, 10, 18]);
        let error = (got - want).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        // The ridge's doing.
        assert!(error < 3e-3, "{error}");
        assert!(projection.apply(&latents.narrow(1, 0, 1).unwrap()).is_err());
    }

    #[test]
    fn made_up_latents_have_unit_variance() {
        let latents = made_up(8).unwrap();
        let variance = latents.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
        assert!((0.8..1.25).contains(&variance), "{variance}");
    }

    #[test]
    fn a_decoder_that_does_not_enlarge_is_followed_too() {
        let decode = |latents: &Tensor| latents.narrow(1, 0, 3)? * 0.2;
        let projection = Projection::fit(4, 1, &Device::Cpu, decode).unwrap();
        let latents = TorchGenerator::new(3).randn(&[1, 4, 3, 1]).unwrap();
        let got = projection.apply(&latents).unwrap();
        let want = decode(&latents).unwrap().upsample_nearest2d(6, 2).unwrap();
        let error = (got - want).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(error < 3e-3, "{error}");
    }
}
