//! What diffusers computed with the small checkpoints (`inference-server/golden`), for the tests.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use crate::Source;
use crate::checkpoint::Checkpoint;

/// The largest difference that a module may show, relative to the largest value: f32 sums in another order.
const TOLERANCE: f32 = 1e-4;

pub(crate) const NAMES: [&str; 7] = ["sd1", "sd2", "odd", "mixed", "wide", "shards", "shift"];

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

pub(crate) fn checkpoint(name: &str) -> Checkpoint {
    Checkpoint::open(&Source::Directory(tests().join("checkpoints").join(name))).unwrap()
}

/// Tensors by name.
pub(crate) fn tensors(name: &str) -> HashMap<String, Tensor> {
    let file = tests().join("golden/models").join(format!("{name}.safetensors"));
    candle_core::safetensors::load(file, &Device::Cpu).unwrap()
}

pub(crate) fn assert_close(got: &Tensor, want: &Tensor, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let largest =
        |x: &Tensor| x.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
    let error = largest(&(got - want).unwrap()) / largest(want);
    assert!(error < TOLERANCE, "{what}: relative error {error:e}");
}
