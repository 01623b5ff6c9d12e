//! Tensors of one component, by name, with errors that say what is wrong with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Weak};

use candle_core::{DType, Device, Tensor};
use diffusion_kernels::Format;
use safetensors::tensor::TensorInfo;
use serde::Deserialize;

use super::later::{Later, Queue};
use super::shard::Shard;
use super::stored::Stored;
use crate::LoadError;

/// `*.safetensors.index.json`: which shard holds which tensor.
#[derive(Deserialize)]
pub(super) struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    pub(super) fn parse(file: &str, text: &[u8]) -> Result<Self, LoadError> {
        serde_json::from_slice(text).map_err(|e| LoadError::Malformed {
            file: file.into(),
            problem: format!("not a shard index: {e}"),
        })
    }

    pub(super) fn files(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }
}

pub(super) struct Store {
    /// The file to name when a tensor is in none of the shards.
    file: String,
    shards: Vec<Shard>,
    /// Tensor name -> which shard has it.
    holder: HashMap<String, usize>,
    queue: Queue,
}

impl Store {
    /// What is at a place of a shard.
    pub(super) fn bytes(&self, shard: usize, place: &Range<usize>) -> &[u8] {
        self.shards.get(shard).map(|shard| shard.slice(place)).unwrap_or_default()
    }

    /// Gives back the memory of what is at a place of a shard.
    pub(super) fn forget(&self, shard: usize, place: &Range<usize>) {
        if let Some(shard) = self.shards.get(shard) {
            shard.forget(place);
        }
    }
}

/// The tensors of a component under a prefix.
#[derive(Clone)]
pub struct Weights {
    store: Arc<Store>,
    prefix: String,
    dtype: DType,
    device: Device,
    precise: bool,
    lazy: bool,
}

impl Weights {
    pub(super) fn new(file: String, shards: Vec<Shard>, dtype: DType, device: Device) -> Self {
        let mut holder = HashMap::new();
        for (index, shard) in shards.iter().enumerate() {
            holder.extend(shard.metadata.tensors().into_keys().map(|name| (name, index)));
        }
        let store = Arc::new(Store { file, shards, holder, queue: Queue::default() });
        Self { store, prefix: String::new(), dtype, device, precise: false, lazy: false }
    }

    /// The same tensors below `name`: `weights.pp("down_blocks").pp(0)`.
    pub fn pp(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: self.full(&name.to_string()), ..self.clone() }
    }

    /// The same tensors, for layers that are to round as little as they can rather than be fast.
    pub(crate) fn precisely(&self) -> Self {
        Self { precise: true, ..self.clone() }
    }

    /// Whether layers are to round as little as they can.
    pub(crate) fn is_precise(&self) -> bool {
        self.precise
    }

    /// The same tensors, for layers that may never be used: they are packed when they are.
    pub(crate) fn lazily(&self) -> Self {
        Self { lazy: true, ..self.clone() }
    }

    /// The type that tensors are converted to when they are read.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where tensors are put.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Numbers in the whole component.
    pub fn parameters(&self) -> usize {
        let shards = self.store.shards.iter();
        shards
            .flat_map(|s| s.metadata.tensors().into_values())
            .map(|t| t.shape.iter().product::<usize>())
            .sum()
    }

    fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    fn find(&self, full: &str) -> Option<(&Shard, &TensorInfo)> {
        let shard = self.store.shards.get(*self.store.holder.get(full)?)?;
        Some((shard, shard.metadata.info(full)?))
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.find(&self.full(name)).is_some()
    }

    /// Whether there is any tensor below this name.
    pub fn has_prefix(&self, name: &str) -> bool {
        let prefix = format!("{}.", self.full(name));
        self.store.holder.keys().any(|key| key.starts_with(&prefix))
    }

    /// Reads a tensor of the shape that the config asks for.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`] or [`LoadError::TensorShape`].
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let tensor = self.full(name);
        let (shard, info) = self.find_shape(&tensor, shape)?;
        shard.read(&tensor, info, self.dtype, &self.device)
    }

    /// As [`Self::tensor`], left in its file: only whether it is there and what the config asks for.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn stored(&self, name: &str, shape: &[usize]) -> Result<Stored, LoadError> {
        let tensor = self.full(name);
        let (shard, info) = self.find_shape(&tensor, shape)?;
        let format = match shard.bytes(&tensor, info)?.0 {
            DType::F64 => Format::F64,
            DType::F16 => Format::F16,
            DType::BF16 => Format::Bf16,
            _ => Format::F32,
        };
        let index = self.store.holder.get(&tensor).copied().unwrap_or_default();
        Ok(Stored { store: self.store.clone(), shard: index, place: shard.place(info), format })
    }

    /// Remembers a layer for [`Self::pack`], which begins where `stored` is; not if it is to be packed when it is used.
    pub(crate) fn later(&self, stored: &Stored, layer: Weak<dyn Later>) {
        if !self.lazy {
            self.store.queue.push((stored.shard, stored.place.start), layer);
        }
    }

    /// Packs the layers that were loaded from this component, and gives back the memory that reading took.
    ///
    /// # Errors
    /// When numbers of this type can't be packed.
    pub(crate) fn pack(&self) -> Result<(), LoadError> {
        self.store.queue.pack()?;
        self.store.shards.iter().for_each(Shard::forget_all);
        Ok(())
    }

    /// A table of which rows are read when they are asked for, from the file: most of a vocabulary never is.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn table(&self, name: &str, shape: [usize; 2]) -> Result<Table, LoadError> {
        let tensor = self.full(name);
        let (shard, info) = self.find_shape(&tensor, &shape)?;
        shard.bytes(&tensor, info)?;
        Ok(Table { weights: self.clone(), tensor, shape })
    }

    fn find_shape(&self, tensor: &str, shape: &[usize]) -> Result<(&Shard, &TensorInfo), LoadError> {
        let Some((shard, info)) = self.find(tensor) else {
            return Err(LoadError::MissingTensor {
                file: self.store.file.clone(),
                tensor: tensor.to_owned(),
                expected: shape.to_vec(),
            });
        };
        if info.shape != shape {
            return Err(LoadError::TensorShape {
                file: shard.file.clone(),
                tensor: tensor.to_owned(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
            });
        }
        Ok((shard, info))
    }
}

/// Rows of numbers that stay in the file.
#[derive(Clone)]
pub struct Table {
    weights: Weights,
    tensor: String,
    shape: [usize; 2],
}

impl Table {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.shape[0]
    }

    /// Some rows, `(indices, width)`, in the weights' type and on their device.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn select(&self, indices: &[u32]) -> candle_core::Result<Tensor> {
        let read = || -> Result<Tensor, LoadError> {
            let (shard, info) = self.weights.find_shape(&self.tensor, &self.shape)?;
            let (stored, bytes) = shard.bytes(&self.tensor, info)?;
            let width = self.shape[1] * stored.size_in_bytes();
            let mut rows = Vec::with_capacity(indices.len() * width);
            for &index in indices {
                let from = index as usize * width;
                let Some(row) = bytes.get(from..from + width) else {
                    let problem = format!("row {index} of {} rows of {}", self.shape[0], self.tensor);
                    return Err(candle_core::Error::Msg(problem).into());
                };
                rows.extend_from_slice(row);
            }
            let shape = (indices.len(), self.shape[1]);
            let rows = Tensor::from_raw_buffer(&rows, stored, &[shape.0, shape.1], &self.weights.device)?;
            Ok(rows.to_dtype(self.weights.dtype)?)
        };
        read().map_err(|error| candle_core::Error::Msg(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::safetensors::save;
    use half::bf16;

    use super::*;
    use crate::checkpoint::{Checkpoint, Source};

    fn folder_with(tensors: &[(&str, Tensor)], file: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        add(&folder, tensors, file);
        folder
    }

    fn add(folder: &tempfile::TempDir, tensors: &[(&str, Tensor)], file: &str) {
        std::fs::create_dir_all(folder.path().join("unet")).unwrap();
        let map: HashMap<_, _> = tensors.iter().cloned().collect();
        save(&map, folder.path().join("unet").join(file)).unwrap();
    }

    fn open(folder: &tempfile::TempDir) -> Result<Weights, LoadError> {
        Checkpoint::open(&Source::Directory(folder.path().into())).unwrap().weights(
            "unet",
            DType::F32,
            &Device::Cpu,
        )
    }

    fn arange(n: u32, dtype: DType) -> Tensor {
        Tensor::arange(0u32, n, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    }

    #[test]
    fn every_float_type_is_read_and_errors_name_the_tensor() {
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
            let folder =
                folder_with(&[("a.weight", arange(6, dtype))], "diffusion_pytorch_model.safetensors");
            let weights = open(&folder).unwrap();
            let read = weights.pp("a").tensor("weight", &[6]).unwrap();
            assert_eq!(read.to_vec1::<f32>().unwrap(), [0., 1., 2., 3., 4., 5.], "{dtype:?}");
            // Twice: the pages of the file come back.
            for _ in 0..2 {
                let stored = weights.stored("a.weight", &[6]).unwrap();
                let mut numbers = [bf16::ZERO; 4];
                stored.read(1, &mut numbers);
                assert_eq!(numbers, [1., 2., 3., 4.].map(bf16::from_f32), "{dtype:?}");
                stored.forget();
            }
            assert!(weights.pp("a").has("weight") && weights.has_prefix("a") && !weights.has("a"));
            assert_eq!(weights.parameters(), 6);

            let error = weights.pp("a").tensor("weight", &[2, 3]).unwrap_err().to_string();
            assert!(error.contains("a.weight has shape [6], but the config asks for [2, 3]"), "{error}");
            let error = weights.pp("a").tensor("bias", &[4]).unwrap_err().to_string();
            assert!(error.contains("tensor a.bias is missing (expected shape [4])"), "{error}");
        }
    }

    #[test]
    fn shards_are_one_set_of_tensors_and_a_lost_shard_is_named() {
        let folder = folder_with(&[("a", arange(2, DType::F32))], "one.safetensors");
        add(&folder, &[("b", arange(3, DType::F32))], "two.safetensors");
        let index = r#"{"metadata": {}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
        std::fs::write(folder.path().join("unet/diffusion_pytorch_model.safetensors.index.json"), index)
            .unwrap();
        let weights = open(&folder).unwrap();
        assert_eq!(weights.tensor("a", &[2]).unwrap().dims(), [2]);
        assert_eq!(weights.tensor("b", &[3]).unwrap().dims(), [3]);

        std::fs::remove_file(folder.path().join("unet/two.safetensors")).unwrap();
        let error = open(&folder).err().unwrap().to_string();
        assert!(error.starts_with("unet/two.safetensors is missing"), "{error}");
    }

    #[test]
    fn a_truncated_file_is_an_error_at_every_length() {
        let folder = folder_with(&[("a", arange(64, DType::F32))], "diffusion_pytorch_model.safetensors");
        let path = folder.path().join("unet/diffusion_pytorch_model.safetensors");
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 1, 7, 8, 9, 40, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = open(&folder).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains("truncated") || length == 0, "{length}: {error}");
            assert!(error.contains("diffusion_pytorch_model.safetensors"), "{length}: {error}");
        }
    }

    #[test]
    fn integers_are_not_weights() {
        let folder = folder_with(&[("a", arange(2, DType::U32))], "diffusion_pytorch_model.safetensors");
        let error = open(&folder).unwrap().tensor("a", &[2]).unwrap_err().to_string();
        assert!(error.contains("tensor a is U32"), "{error}");
    }
}
