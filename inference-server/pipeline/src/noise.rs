//! Seeded Gaussian noise, the same numbers as torch's CPU generator.

use candle_core::{Result, Tensor};

/// `torch.Generator("cpu")`.
pub(crate) struct TorchGenerator {}

impl TorchGenerator {
    /// `torch.Generator("cpu").manual_seed(seed)`.
    pub(crate) fn new(seed: u64) -> Self {
        let _ = seed;
        unimplemented!()
    }

    /// `torch.randn(shape, generator=self)`: f32 on the CPU.
    pub(crate) fn randn(&mut self, shape: &[usize]) -> Result<Tensor> {
        let _ = shape;
        unimplemented!()
    }
}
