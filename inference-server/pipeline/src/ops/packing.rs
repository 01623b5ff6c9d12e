//! Weights that are packed after the whole model has been found to be there: many layers at once, or when they are used.

use std::fmt;
use std::sync::{Arc, OnceLock};

use candle_core::Result;

use super::cpu::Packed;
use crate::LoadError;
use crate::checkpoint::{Later, Stored, Weights};

type Loaded<T> = std::result::Result<T, LoadError>;
type Pack = dyn Fn(&[Stored]) -> Loaded<Arc<dyn Packed>> + Send + Sync;

/// What a layer multiplies with.
pub(super) struct Packing {
    packed: OnceLock<Arc<dyn Packed>>,
    /// What it is packed from.
    parts: Vec<Stored>,
    pack: Box<Pack>,
}

impl Packing {
    /// Of `parts`, when the model that `weights` are of is packed.
    pub(super) fn new(
        weights: &Weights,
        parts: Vec<Stored>,
        pack: impl Fn(&[Stored]) -> Loaded<Arc<dyn Packed>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let packing = Arc::new(Self { packed: OnceLock::new(), parts, pack: Box::new(pack) });
        if let Some(first) = packing.parts.first() {
            let later = Arc::downgrade(&packing);
            weights.later(first, later);
        }
        packing
    }

    /// The packed weights.
    pub(super) fn get(&self) -> Result<&dyn Packed> {
        let packed = self.loaded().map_err(|error| candle_core::Error::Msg(error.to_string()))?;
        Ok(packed.as_ref())
    }

    fn loaded(&self) -> Loaded<&Arc<dyn Packed>> {
        if let Some(packed) = self.packed.get() {
            return Ok(packed);
        }
        // Outside of the cell, which nobody waits for: a waiting thread might take up work that waits for this one.
        let packed = (self.pack)(&self.parts)?;
        self.parts.iter().for_each(Stored::forget);
        Ok(self.packed.get_or_init(|| packed))
    }
}

impl Later for Packing {
    fn pack(&self) -> Loaded<()> {
        self.loaded().map(drop)
    }
}

impl fmt::Debug for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Packing").field(&self.packed.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::golden;
    use crate::ops::cpu::Call;

    #[derive(Debug)]
    struct Nothing;

    impl Packed for Nothing {
        fn forward(&self, x: &Tensor, _: &Call<'_>) -> Result<Tensor> {
            Ok(x.clone())
        }
    }

    #[test]
    fn a_layer_is_packed_once_with_its_model_or_when_it_is_used() {
        let weights = golden::checkpoint("sd1").weights("vae", DType::F32, &Device::Cpu).unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let layer = |weights: &Weights| {
            let parts = vec![weights.stored("quant_conv.weight", &[8, 8, 1, 1]).unwrap()];
            let count = count.clone();
            Packing::new(weights, parts, move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                Ok(Arc::new(Nothing))
            })
        };
        let layers = [layer(&weights), layer(&weights), layer(&weights)];
        let lazy = layer(&weights.lazily());
        drop(layer(&weights));
        assert_eq!(count.load(Ordering::Relaxed), 0);
        for _ in 0..2 {
            weights.pack().unwrap();
            assert_eq!(count.load(Ordering::Relaxed), 3);
            assert!(layers.iter().all(|layer| layer.packed.get().is_some()) && lazy.packed.get().is_none());
        }
        for _ in 0..2 {
            lazy.get().unwrap();
            layers[0].get().unwrap();
            assert_eq!(count.load(Ordering::Relaxed), 4);
        }
    }
}
