//! A file of tensors, in memory as far as it is read.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use memmap2::{Mmap, UncheckedAdvice};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};

use crate::LoadError;

/// One safetensors file.
pub(super) struct Shard {
    pub(super) file: String,
    data: Data,
    /// Where the tensors begin.
    start: usize,
    pub(super) metadata: Metadata,
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

    /// A tensor, converted.
    pub(super) fn read(
        &self,
        name: &str,
        info: &TensorInfo,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, LoadError> {
        let (stored, bytes) = self.bytes(name, info)?;
        Ok(Tensor::from_raw_buffer(bytes, stored, &info.shape, device)?.to_dtype(dtype)?)
    }

    /// The type of a tensor's numbers, and its bytes.
    pub(super) fn bytes(&self, name: &str, info: &TensorInfo) -> Result<(DType, &[u8]), LoadError> {
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
        Ok((stored, self.slice(&self.place(info))))
    }

    /// As [`Self::bytes`], of a tensor that is known to be there.
    pub(super) fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.data.bytes().get(range.clone()).unwrap_or_default()
    }

    /// Where in the file a tensor is.
    pub(super) fn place(&self, info: &TensorInfo) -> Range<usize> {
        let (from, to) = info.data_offsets;
        self.start + from..self.start + to
    }

    /// Gives back the memory of bytes that have been read.
    pub(super) fn forget(&self, range: &Range<usize>) {
        self.data.forget(range.start, range.len());
    }

    /// As [`Self::forget`], of the whole file.
    pub(super) fn forget_all(&self) {
        self.data.forget(0, self.data.bytes().len());
    }
}
