//! What diffusers computed with the small checkpoints (`inference-server/golden`), for the tests.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use crate::Source;
use crate::checkpoint::Checkpoint;

/// The largest difference that a module may show, relative to the largest value: f32 sums in another order.
const TOLERANCE: f32 = 1e-4;

/// What our error in bf16 may be of torch's for one tensor: on few numbers chance decides, either way.
const BF16_ONE: f64 = 1.5;

pub(crate) const NAMES: [&str; 7] = ["sd1", "sd2", "odd", "mixed", "wide", "shards", "shift"];

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

pub(crate) fn folder(name: &str) -> PathBuf {
    tests().join("checkpoints").join(name)
}

pub(crate) fn checkpoint(name: &str) -> Checkpoint {
    Checkpoint::open(&Source::Directory(folder(name))).unwrap()
}

/// Tensors by name.
pub(crate) fn tensors(name: &str) -> HashMap<String, Tensor> {
    let file = tests().join("golden/models").join(format!("{name}.safetensors"));
    candle_core::safetensors::load(file, &Device::Cpu).unwrap()
}

/// What tomesd computed, by name (`merging.py`).
pub(crate) fn merging() -> HashMap<String, Tensor> {
    candle_core::safetensors::load(tests().join("golden/merging.safetensors"), &Device::Cpu).unwrap()
}

pub(crate) fn assert_close(got: &Tensor, want: &Tensor, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let largest =
        |x: &Tensor| x.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
    let error = largest(&(got - want).unwrap()) / largest(want);
    assert!(error < TOLERANCE, "{what}: relative error {error:e}");
}

/// What modules compute in bf16, by checkpoint and tensor, against the tensors: no further from them than torch in bf16.
pub(crate) fn assert_as_close_as_torch(computed: &[(&str, &str, Tensor)]) {
    let mut logs = 0.0;
    for (name, key, got) in computed {
        let manifest = std::fs::read(tests().join(format!("golden/models/{name}.json"))).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let torch = manifest["torch_bf16_error"][key].as_f64().unwrap();
        let [got, want] = [got, &tensors(name)[*key]].map(|x| x.to_dtype(DType::F64).unwrap());
        assert_eq!(got.dims(), want.dims(), "{name}: {key}");
        let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
        let ours = norm(&(&got - &want).unwrap()) / norm(&want);
        let ratio = ours / torch;
        println!("{name:6} {key:10} relative error {ours:.2e}, torch {torch:.2e}, ratio {ratio:.2}");
        assert!(ratio <= BF16_ONE, "{name}: {key}: relative error {ours:.2e}, torch {torch:.2e}");
        logs += ratio.ln();
    }
    let mean = (logs / computed.len() as f64).exp();
    println!("mean ratio {mean:.2}");
    assert!(mean <= 1.0, "{mean:.2} times torch's error");
}
