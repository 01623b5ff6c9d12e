//! Seeded Gaussian noise, bit for bit the numbers of torch's CPU generator.

mod mersenne_twister;
mod normal;

use candle_core::{Device, Result, Tensor};

use self::mersenne_twister::MersenneTwister;

/// Fewer numbers than this are drawn one by one, in double precision; more of them in blocks of this many.
const BLOCK: usize = 16;

/// `torch.Generator("cpu")`.
pub(crate) struct TorchGenerator {
    engine: MersenneTwister,
    /// The second number of a pair that was drawn one by one.
    spare: Option<f64>,
}

impl TorchGenerator {
    /// `torch.Generator("cpu").manual_seed(seed)`: torch, too, seeds with the lower 32 bits.
    pub(crate) fn new(seed: u64) -> Self {
        Self { engine: MersenneTwister::new(seed as u32), spare: None }
    }

    /// `torch.randn(shape, generator=self)`: f32 on the CPU.
    pub(crate) fn randn(&mut self, shape: &[usize]) -> Result<Tensor> {
        let size = shape.iter().product();
        let values =
            if size < BLOCK { (0..size).map(|_| self.single() as f32).collect() } else { self.blocks(size) };
        Tensor::from_vec(values, shape, &Device::Cpu)
    }

    fn blocks(&mut self, size: usize) -> Vec<f32> {
        let mut values: Vec<f32> = (0..size).map(|_| self.engine.uniform_f32()).collect();
        let (blocks, rest) = values.as_chunks_mut::<BLOCK>();
        blocks.iter_mut().for_each(normal::transform_block);
        if !rest.is_empty() {
            // torch draws the last whole block anew, over numbers that are done already.
            if let Some(last) = values.last_chunk_mut::<BLOCK>() {
                last.fill_with(|| self.engine.uniform_f32());
                normal::transform_block(last);
            }
        }
        values
    }

    /// One number by the Box-Muller transform, whose second one is kept for the next call.
    fn single(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (angle, length) = (self.engine.uniform_f64(), self.engine.uniform_f64());
        let radius = (-2.0 * (-length).ln_1p()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * angle).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Numbers that torch drew: see `inference-server/golden/noise.py`.
    #[derive(Deserialize)]
    struct Golden {
        seed: u64,
        /// Drawn one after the other from one generator.
        draws: Vec<Draw>,
    }

    #[derive(Deserialize)]
    struct Draw {
        shape: Vec<usize>,
        /// Bits of the first and the last numbers, at most 8 each.
        first: Vec<u32>,
        last: Vec<u32>,
        /// FNV-1a over the bits of all numbers, little-endian.
        hash: u64,
    }

    fn fnv(bits: &[u32]) -> u64 {
        let bytes = bits.iter().flat_map(|b| b.to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
    }

    #[test]
    fn every_bit_is_torchs() {
        let goldens: Vec<Golden> =
            serde_json::from_str(include_str!("../../tests/golden/noise.json")).unwrap();
        assert!(goldens.len() >= 12);
        for golden in goldens {
            let mut generator = TorchGenerator::new(golden.seed);
            for draw in golden.draws {
                let values =
                    generator.randn(&draw.shape).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let bits: Vec<u32> = values.into_iter().map(f32::to_bits).collect();
                let (seed, shape) = (golden.seed, &draw.shape);
                assert_eq!(bits[..draw.first.len()], draw.first, "seed {seed}, {shape:?}");
                assert_eq!(bits[bits.len() - draw.last.len()..], draw.last, "seed {seed}, {shape:?}");
                assert_eq!(fnv(&bits), draw.hash, "seed {seed}, {shape:?}");
            }
        }
    }

    #[test]
    fn nothing_is_drawn_for_no_numbers() {
        let mut generator = TorchGenerator::new(1);
        assert_eq!(generator.randn(&[3, 0]).unwrap().elem_count(), 0);
        let first = generator.randn(&[20]).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(first, TorchGenerator::new(1).randn(&[20]).unwrap().to_vec1::<f32>().unwrap());
    }
}
