use candle_core::{DType, Device, Tensor};

use super::Vae;
use crate::checkpoint::{Checkpoint, ConfigFile};
use crate::{Source, golden};

fn load(name: &str, dtype: DType) -> Vae {
    let checkpoint = golden::checkpoint(name);
    let weights = checkpoint.weights("vae", dtype, &Device::Cpu).unwrap();
    Vae::load(checkpoint.config("vae/config.json").unwrap(), &weights).unwrap()
}

#[test]
fn both_directions_are_diffusers_own_for_every_architecture() {
    for name in golden::NAMES {
        let (vae, want) = (load(name, DType::F32), golden::tensors(name));
        golden::assert_close(&vae.decode(&want["z"]).unwrap(), &want["decoded"], name);
        let posterior = vae.encode(&want["pixels"]).unwrap();
        golden::assert_close(&posterior.mean, &want["mean"], name);
        golden::assert_close(&posterior.log_variance, &want["logvar"], name);
    }
}

#[test]
fn both_directions_in_bf16_are_as_close_as_torchs_in_bf16() {
    let (mut decoded, mut encoded) = (Vec::new(), Vec::new());
    for name in golden::NAMES {
        let (vae, want) = (load(name, DType::BF16), golden::tensors(name));
        decoded.push((name, "decoded", vae.decode(&want["z"]).unwrap()));
        encoded.push((name, "mean", vae.encode(&want["pixels"]).unwrap().mean));
    }
    golden::assert_as_close_as_torch(&decoded);
    golden::assert_as_close_as_torch(&encoded);
}

#[test]
fn scaling_and_shift_undo_each_other() {
    let vae = load("shift", DType::F32);
    let z = Tensor::new(&[0f32, 1.0, -2.0], &Device::Cpu).unwrap();
    let unscaled = vae.unscale(&z).unwrap();
    assert_eq!(unscaled.to_vec1::<f32>().unwrap(), [0.25, 2.25, -3.75]);
    assert_eq!(vae.scale(&unscaled).unwrap().to_vec1::<f32>().unwrap(), [0.0, 1.0, -2.0]);
}

#[test]
fn what_we_cannot_do_is_an_error_that_names_field_and_value() {
    for (field, value) in [
        ("_class_name", r#""AutoencoderTiny""#),
        ("down_block_types", r#"["AttnDownEncoderBlock2D"]"#),
        ("up_block_types", r#"["UpDecoderBlock2D"]"#),
        ("norm_num_groups", "3"),
        ("latents_mean", "[0.0, 0.1]"),
        ("scaling_factor", "0"),
        ("latent_channels", "0"),
        ("in_channels", "4"),
        ("a_new_option", "1"),
    ] {
        let checkpoint = golden::checkpoint("sd1");
        let text = checkpoint.read("vae/config.json").unwrap().unwrap();
        let mut json: serde_json::Map<_, _> = serde_json::from_slice(&text).unwrap();
        json.insert(field.into(), serde_json::from_str(value).unwrap());
        let config = ConfigFile::parse("vae/config.json", &serde_json::to_vec(&json).unwrap()).unwrap();
        let weights = checkpoint.weights("vae", DType::F32, &Device::Cpu).unwrap();
        let error = Vae::load(config, &weights).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(
            error.starts_with("vae/config.json: ") && error.contains(field),
            "{field} = {value}: {error:?}"
        );
    }
}

#[test]
fn what_is_wrong_with_the_encoder_is_found_at_load_though_it_is_packed_when_it_is_used() {
    let file = "vae/diffusion_pytorch_model.safetensors";
    let bytes = golden::checkpoint("sd1").read(file).unwrap().unwrap();
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    let other = |shape: &[usize], dtype| Some(Tensor::zeros(shape, dtype, &Device::Cpu).unwrap());
    let (conv, quant) = ("encoder.conv_out.weight", "quant_conv.weight");
    for (name, replaced, message) in [
        (conv, None, "tensor encoder.conv_out.weight is missing (expected shape [8, 16, 3, 3])"),
        (conv, other(&[8, 16, 3, 1], DType::F32), "encoder.conv_out.weight has shape [8, 16, 3, 1]"),
        (conv, other(&[8, 16, 3, 3], DType::U32), "tensor encoder.conv_out.weight is U32"),
        (quant, None, "tensor quant_conv.weight is missing"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut tensors = tensors.clone();
        tensors.remove(name);
        tensors.extend(replaced.map(|tensor| (name.to_owned(), tensor)));
        std::fs::create_dir(folder.path().join("vae")).unwrap();
        candle_core::safetensors::save(&tensors, folder.path().join(file)).unwrap();
        let checkpoint = Checkpoint::open(&Source::Directory(folder.path().into())).unwrap();
        let weights = checkpoint.weights("vae", DType::F32, &Device::Cpu).unwrap();
        let config = golden::checkpoint("sd1").config("vae/config.json").unwrap();
        let error = Vae::load(config, &weights).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(message), "{error:?}");
    }
}
