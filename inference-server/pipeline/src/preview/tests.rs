use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::PreviewDecoder;
use crate::checkpoint::Checkpoint;
use crate::{LoadError, Source, golden, ops};

/// Decoders that `inference-server/golden/preview.py` made, and the channels of their latents.
const DECODERS: [(&str, usize); 2] = [("taesd", 4), ("shifted", 16)];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/preview").join(name)
}

fn load(folder: PathBuf, channels: usize, dtype: DType) -> Result<Option<PreviewDecoder>, LoadError> {
    let checkpoint = Checkpoint::open(&Source::Directory(folder)).unwrap();
    PreviewDecoder::load(&checkpoint, channels, dtype, &Device::Cpu)
}

/// What comes out of a decoder, and what came out of diffusers' own.
fn decoded(name: &str, channels: usize, dtype: DType) -> (Tensor, Tensor) {
    let decoder = load(folder(name), channels, dtype).unwrap().unwrap();
    let golden =
        candle_core::safetensors::load(folder(name).join("decoded.safetensors"), &Device::Cpu).unwrap();
    (decoder.decode(&golden["latents"]).unwrap(), golden["decoded"].clone())
}

#[test]
fn it_decodes_as_diffusers_does() {
    for (name, channels) in DECODERS {
        let (got, want) = decoded(name, channels, DType::F32);
        golden::assert_close(&got, &want, name);
    }
}

#[test]
fn so_do_candles_operations() {
    ops::on_candle();
    for (name, channels) in DECODERS {
        let (got, want) = decoded(name, channels, DType::F32);
        golden::assert_close(&got, &want, name);
    }
}

#[test]
fn bf16_is_close_enough_for_a_look() {
    for (name, channels) in DECODERS {
        let (got, want) = decoded(name, channels, DType::BF16);
        let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let error = norm(&(&got - &want).unwrap()) / norm(&want);
        // Seven bits of precision, through a dozen layers or two.
        assert!(error < 0.02, "{name}: relative error {error:e}");
    }
}

#[test]
fn a_checkpoint_without_one_is_no_error_and_half_of_one_is() {
    assert!(load(golden::folder("sd1"), 4, DType::F32).unwrap().is_none());
    let half = tempfile::tempdir().unwrap();
    let config = folder("taesd").join("preview_decoder/config.json");
    std::fs::create_dir(half.path().join("preview_decoder")).unwrap();
    std::fs::copy(config, half.path().join("preview_decoder/config.json")).unwrap();
    let error = load(half.path().into(), 4, DType::F32).err().unwrap().to_string();
    assert!(error.starts_with("preview_decoder/diffusion_pytorch_model.safetensors is missing"), "{error}");
}

#[test]
fn what_we_cannot_do_is_an_error_that_names_field_and_value() {
    let read = |field: &str, value: Value| {
        let checkpoint = Checkpoint::open(&Source::Directory(folder("taesd"))).unwrap();
        let text = checkpoint.read("preview_decoder/config.json").unwrap().unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        config[field] = value;
        let copy = tempfile::tempdir().unwrap();
        let to = copy.path().join("preview_decoder");
        std::fs::create_dir(&to).unwrap();
        std::fs::write(to.join("config.json"), config.to_string()).unwrap();
        let weights = "diffusion_pytorch_model.safetensors";
        std::fs::copy(folder("taesd").join("preview_decoder").join(weights), to.join(weights)).unwrap();
        load(copy.path().into(), 4, DType::F32).map(|_| ())
    };
    read("latent_magnitude", json!(7)).unwrap();
    for (field, value) in [
        ("_class_name", json!("AutoencoderKL")),
        ("out_channels", json!(4)),
        ("act_fn", json!("silu")),
        ("upsample_fn", json!("bilinear")),
        ("upsampling_scaling_factor", json!(3)),
        ("latent_channels", json!(16)),
        ("decoder_block_out_channels", json!([8, 8, 8, 4])),
        ("decoder_block_out_channels", json!([])),
        ("decoder_block_out_channels", json!([0, 0, 0, 0])),
        ("num_decoder_blocks", json!([3, 3, 1])),
        ("num_decoder_blocks", json!([3, -3, 3, 1])),
        ("scaling_factor", json!(0)),
        ("a_new_option", json!(1)),
    ] {
        let error = read(field, value.clone()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(
            error.starts_with(&format!("preview_decoder/config.json: {field}")),
            "{field} = {value}: {error:?}"
        );
    }
    let error = read("num_decoder_blocks", json!([3, 3, 3, 1u64 << 60])).unwrap_err().to_string();
    assert!(error.contains("decoder.layers."), "{error}");
    let error = read("decoder_block_out_channels", json!([9, 9, 9, 9])).unwrap_err().to_string();
    assert!(error.contains("decoder.layers.0.bias has shape [8]"), "{error}");
}
