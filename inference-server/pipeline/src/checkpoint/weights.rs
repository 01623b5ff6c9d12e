//! Tensors of one component, by name, with errors that say what is wrong with them.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use diffusion_kernels::Element;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use memmap2::{Mmap, UncheckedAdvice};
use rayon::prelude::*;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::LoadError;

/// One safetensors file.
pub(super) struct Shard {
    file: String,
    data: Data,
    /// Where the tensors begin.
    start: usize,
    metadata: Metadata,
}

enum Data {
    Mapped(Mmap),
    Embedded(&'static [u8]),
}

impl Data {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(bytes) => bytes,
        }
    }

    /// Gives back the memory of bytes that have been read; they would be read from the file again.
    fn forget(&self, from: usize, length: usize) {
        let Self::Mapped(map) = self else { return };
        // SAFETY: the map is of a file and read-only, so that the same bytes come back when they are asked for.
        #[allow(unsafe_code)]
        let forgotten = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, from, length) };
        // It is advice: memory that stays costs memory only.
        drop(forgotten);
    }
}

impl Shard {
    pub(super) fn embedded(file: &str, bytes: &'static [u8]) -> Result<Self, LoadError> {
        Self::new(file, Data::Embedded(bytes))
    }

    pub(super) fn map(file: &str, path: &Path) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io { path: path.into(), source };
        let opened = File::open(path).map_err(io)?;
        // SAFETY: the map is read-only and private to this process. As with every memory-mapped file, somebody who
        // truncates it while it is read makes the process fail; checkpoints are written once and then renamed in place.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&opened) }.map_err(io)?;
        Self::new(file, Data::Mapped(map))
    }

    fn new(file: &str, data: Data) -> Result<Self, LoadError> {
        let malformed = |problem: String| LoadError::Malformed { file: file.into(), problem };
        let bytes = data.bytes();
        let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| {
            let length = bytes.len();
            malformed(format!("truncated or not a safetensors file ({e}; {length} bytes); download it again"))
        })?;
        let start = header + size_of::<u64>();
        Ok(Self { file: file.into(), data, start, metadata })
    }

    fn read(
        &self,
        name: &str,
        info: &TensorInfo,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, LoadError> {
        let (stored, bytes) = self.bytes(name, info)?;
        Ok(Tensor::from_raw_buffer(bytes, stored, &info.shape, device)?.to_dtype(dtype)?)
    }

    /// As numbers of a type of the kernels', after which the file's pages are not this process' memory any more.
    fn numbers<T: Element>(
        &self,
        name: &str,
        info: &TensorInfo,
        numbers: &mut Vec<T>,
    ) -> Result<(), LoadError> {
        let (stored, bytes) = self.bytes(name, info)?;
        convert(stored, bytes, numbers);
        self.data.forget(self.start + info.data_offsets.0, bytes.len());
        Ok(())
    }

    fn bytes(&self, name: &str, info: &TensorInfo) -> Result<(DType, &[u8]), LoadError> {
        let stored = match info.dtype {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => {
                return Err(LoadError::Malformed {
                    file: self.file.clone(),
                    problem: format!("tensor {name} is {other:?}; weights must be f64, f32, f16 or bf16"),
                });
            }
        };
        let (from, to) = info.data_offsets;
        Ok((stored, self.data.bytes().get(self.start + from..self.start + to).unwrap_or_default()))
    }
}

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

struct Store {
    /// The file to name when a tensor is in none of the shards.
    file: String,
    shards: Vec<Shard>,
    /// Tensor name -> which shard has it.
    holder: HashMap<String, usize>,
    spare: Spare,
}

/// The tensors of a component under a prefix.
#[derive(Clone)]
pub struct Weights {
    store: Arc<Store>,
    prefix: String,
    dtype: DType,
    device: Device,
    precise: bool,
}

impl Weights {
    pub(super) fn new(file: String, shards: Vec<Shard>, dtype: DType, device: Device) -> Self {
        let mut holder = HashMap::new();
        for (index, shard) in shards.iter().enumerate() {
            holder.extend(shard.metadata.tensors().into_keys().map(|name| (name, index)));
        }
        let store = Arc::new(Store { file, shards, holder, spare: Spare::default() });
        Self { store, prefix: String::new(), dtype, device, precise: false }
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

    /// As [`Self::tensor`], as numbers of a type, for kernels that pack them.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn numbers<T: Element>(&self, name: &str, shape: &[usize]) -> Result<Numbers<T>, LoadError> {
        let tensor = self.full(name);
        let (shard, info) = self.find_shape(&tensor, shape)?;
        let mut numbers = self.store.spare.take();
        shard.numbers(&tensor, info, &mut numbers)?;
        Ok(Numbers { numbers, store: self.store.clone() })
    }

    /// Gives back the memory that reading kept for the next tensor.
    pub(crate) fn done(&self) {
        self.store.spare.clear();
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

/// Little-endian numbers as numbers of another type, on all threads.
fn convert<T: Element>(stored: DType, bytes: &[u8], numbers: &mut Vec<T>) {
    const CHUNK: usize = 1 << 12;
    let size = stored.size_in_bytes();
    numbers.resize(bytes.len() / size, T::default());
    numbers.par_chunks_mut(CHUNK).zip(bytes.par_chunks(CHUNK * size)).for_each(|(numbers, bytes)| {
        let mut singles = [0f32; CHUNK];
        let singles = &mut singles[..numbers.len()];
        match stored {
            DType::F16 => {
                let mut halves = [f16::ZERO; CHUNK];
                let halves = &mut halves[..numbers.len()];
                for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
                    *half = f16::from_le_bytes(*bytes);
                }
                halves.convert_to_f32_slice(singles);
            }
            DType::BF16 => {
                for (single, bytes) in singles.iter_mut().zip(bytes.as_chunks().0) {
                    *single = Element::to_f32(bf16::from_le_bytes(*bytes));
                }
            }
            DType::F64 => {
                for (single, bytes) in singles.iter_mut().zip(bytes.as_chunks().0) {
                    *single = f64::from_le_bytes(*bytes) as f32;
                }
            }
            _ => {
                for (single, bytes) in singles.iter_mut().zip(bytes.as_chunks().0) {
                    *single = f32::from_le_bytes(*bytes);
                }
            }
        }
        numbers.iter_mut().zip(singles).for_each(|(number, single)| *number = T::from_f32(*single));
    });
}

/// The numbers of a tensor. Their memory is the next tensor's: pages that are new take longer to get than to fill.
pub struct Numbers<T: Element> {
    numbers: Vec<T>,
    store: Arc<Store>,
}

impl<T: Element> std::ops::Deref for Numbers<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.numbers
    }
}

impl<T: Element> Drop for Numbers<T> {
    fn drop(&mut self) {
        self.store.spare.put(std::mem::take(&mut self.numbers));
    }
}

/// Memory of tensors that have been packed.
#[derive(Default)]
struct Spare(Mutex<Vec<Box<dyn Any + Send>>>);

impl Spare {
    fn take<T: Element>(&self) -> Vec<T> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().and_then(|vec| vec.downcast().ok()).map(|vec| *vec).unwrap_or_default()
    }

    fn put<T: Element>(&self, vec: Vec<T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(vec));
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use candle_core::safetensors::save;

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
                let numbers = weights.numbers::<bf16>("a.weight", &[6]).unwrap();
                assert_eq!(*numbers, [0., 1., 2., 3., 4., 5.].map(bf16::from_f32), "{dtype:?}");
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
