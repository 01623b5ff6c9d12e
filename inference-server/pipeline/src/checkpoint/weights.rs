//! Tensors of one component, by name, with errors that say what is wrong with them.

use candle_core::{DType, Device, Tensor};

use crate::LoadError;

/// The tensors of a component under a prefix.
#[derive(Clone)]
pub struct Weights {
    prefix: String,
    dtype: DType,
    device: Device,
}

impl Weights {
    /// The same tensors below `name`: `weights.pp("down_blocks").pp(0)`.
    pub fn pp(&self, name: impl std::fmt::Display) -> Self {
        let prefix =
            if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) };
        Self { prefix, ..self.clone() }
    }

    /// The type that tensors are converted to when they are read.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where tensors are put.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        let _ = name;
        unimplemented!()
    }

    /// Reads a tensor of the shape that the config asks for.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`] or [`LoadError::TensorShape`].
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let _ = (name, shape);
        unimplemented!()
    }
}
