use candle_core::{DType, Device, Tensor};

use super::{Prompt, UNet};
use crate::checkpoint::ConfigFile;
use crate::golden;

fn loaded(name: &str, dtype: DType) -> UNet {
    let checkpoint = golden::checkpoint(name);
    let weights = checkpoint.weights("unet", dtype, &Device::Cpu).unwrap();
    UNet::load(checkpoint.config("unet/config.json").unwrap(), &weights).unwrap()
}

fn bits(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn an_evaluation_is_diffusers_own_for_every_architecture() {
    for name in golden::NAMES {
        let unet = loaded(name, DType::F32);
        let want = golden::tensors(name);
        let (latents, context) = (&want["latents"], &want["context"]);
        let prompt = unet.look_at(context).unwrap();
        let got = unet.forward(latents, &[1.0, 1.0], &prompt, 0.0, false).unwrap().0;
        golden::assert_close(&got, &want["unet_1"], name);
        let got = unet.forward(latents, &[981.0, 333.5], &prompt, 0.0, false).unwrap().0;
        golden::assert_close(&got, &want["unet_mixed"], name);

        // A row alone is bit for bit the row in a batch.
        let row = |x: &Tensor, i| x.narrow(0, i, 1).unwrap();
        let seen = unet.look_at(&row(context, 1)).unwrap();
        let alone = unet.forward(&row(latents, 1), &[333.5], &seen, 0.0, false).unwrap().0;
        assert_eq!(bits(&alone), bits(&row(&got, 1)), "{name}");
    }
}

#[test]
fn rows_that_differ_in_their_prompt_alone_are_computed_once_and_come_out_the_same() {
    for name in golden::NAMES {
        let unet = loaded(name, DType::F32);
        let golden = golden::tensors(name);
        let (latents, context) = (&golden["latents"], &golden["context"]);
        let row = |x: &Tensor, i| x.narrow(0, i, 1).unwrap();
        // A guided job, and one that is not.
        let guided = unet.look_at(context).unwrap();
        let prompt = Prompt::join(&[guided.clone(), guided.last(1).unwrap()]).unwrap();
        let each = Tensor::cat(&[row(latents, 0), row(latents, 0), row(latents, 1)], 0).unwrap();
        for merging in [0.0, 0.5] {
            let times = [981.0, 333.5];
            let (once, kept) = unet.forward(latents, &times, &prompt, merging, true).unwrap();
            let (want, _) = unet.forward(&each, &[981.0, 981.0, 333.5], &prompt, merging, false).unwrap();
            assert_eq!(bits(&once), bits(&want), "{name}, {merging}");
            let again = unet.forward_reusing(latents, &times, &prompt, merging, kept.unwrap()).unwrap();
            assert_eq!(bits(&again), bits(&want), "{name}, {merging}");
        }
        let wrong = unet.forward(&Tensor::cat(&[&each, latents], 0).unwrap(), &[1.0; 5], &prompt, 0.0, false);
        let wrong = wrong.map(|_| ()).unwrap_err().to_string();
        assert!(wrong.contains("5 rows of latents and [2, 1] of prompts"), "{wrong}");
    }
}

#[test]
fn an_evaluation_with_merged_tokens_is_tomesds_own() {
    let want = golden::merging();
    let mut compared = 0;
    for name in golden::NAMES {
        let unet = loaded(name, DType::F32);
        let golden = golden::tensors(name);
        let (latents, context) = (&golden["latents"], &golden["context"]);
        let prompt = unet.look_at(context).unwrap();
        for ratio in [0.25, 0.5, 0.75] {
            let Some(want) = want.get(&format!("unet-{name}-{ratio}")) else { continue };
            let (got, _) = unet.forward(latents, &[981.0, 333.5], &prompt, ratio, false).unwrap();
            golden::assert_close(&got, want, &format!("{name}, {ratio}"));
            compared += 1;
        }
        // A part of the tokens that is less than one.
        let (got, _) = unet.forward(latents, &[981.0, 333.5], &prompt, 1e-9, false).unwrap();
        let (without, _) = unet.forward(latents, &[981.0, 333.5], &prompt, 0.0, false).unwrap();
        assert_eq!(bits(&got), bits(&without), "{name}");
    }
    assert_eq!(compared, 18);
}

#[test]
fn an_evaluation_in_bf16_is_as_close_as_torchs_in_bf16() {
    let mut computed = Vec::new();
    for name in golden::NAMES {
        let unet = loaded(name, DType::BF16);
        let want = golden::tensors(name);
        let prompt = unet.look_at(&want["context"].to_dtype(DType::BF16).unwrap()).unwrap();
        for (key, timesteps) in [("unet_1", [1.0, 1.0]), ("unet_mixed", [981.0, 333.5])] {
            computed.push((
                name,
                key,
                unet.forward(&want["latents"], &timesteps, &prompt, 0.0, false).unwrap().0,
            ));
        }
    }
    golden::assert_as_close_as_torch(&computed);
}

#[test]
fn an_evaluation_that_reuses_its_own_map_is_the_same_and_with_another_timestep_close() {
    for name in golden::NAMES {
        let unet = loaded(name, DType::F32);
        let golden = golden::tensors(name);
        let (latents, context) = (&golden["latents"], &golden["context"]);
        let prompt = unet.look_at(context).unwrap();

        let (whole, kept) = unet.forward(latents, &[981.0, 333.5], &prompt, 0.0, true).unwrap();
        let kept = kept.unwrap();
        let again = unet.forward_reusing(latents, &[981.0, 333.5], &prompt, 0.0, kept.clone()).unwrap();
        assert_eq!(bits(&again), bits(&whole), "{name}");
        let later = unet.forward_reusing(latents, &[961.0, 313.5], &prompt, 0.0, kept.clone()).unwrap();
        assert_ne!(bits(&later), bits(&whole), "{name}: the outermost layers know the time");

        // The positive row alone.
        let row = |x: &Tensor, i| x.narrow(0, i, 1).unwrap();
        let positive = kept.rows(1, 1).unwrap();
        let alone = unet
            .forward_reusing(&row(latents, 1), &[313.5], &prompt.last(1).unwrap(), 0.0, positive)
            .unwrap();
        assert_eq!(bits(&alone), bits(&row(&later, 1)), "{name}");
        // A map of other rows is refused, not a panic.
        assert!(unet.forward_reusing(&row(latents, 1), &[1.0], &prompt.last(1).unwrap(), 0.0, kept).is_err());
    }
}

fn load(change: impl Fn(&mut serde_json::Map<String, serde_json::Value>)) -> Result<UNet, crate::LoadError> {
    let checkpoint = golden::checkpoint("sd1");
    let text = checkpoint.read("unet/config.json").unwrap().unwrap();
    let mut json = serde_json::from_slice(&text).unwrap();
    change(&mut json);
    let config = ConfigFile::parse("unet/config.json", &serde_json::to_vec(&json).unwrap()).unwrap();
    UNet::load(config, &checkpoint.weights("unet", DType::F32, &Device::Cpu).unwrap())
}

#[test]
fn what_we_cannot_do_is_an_error_that_names_field_and_value() {
    load(|_| ()).unwrap();
    for (field, value) in [
        ("_class_name", r#""UNet2DModel""#),
        ("down_block_types", r#"["AttnDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"]"#),
        ("up_block_types", r#"["UpBlock2D"]"#),
        ("mid_block_type", r#""UNetMidBlock2D""#),
        ("num_class_embeds", "7"),
        ("class_embed_type", r#""timestep""#),
        ("addition_embed_type", r#""text_time""#),
        ("encoder_hid_dim", "1024"),
        ("time_cond_proj_dim", "256"),
        ("act_fn", r#""mish""#),
        ("attention_head_dim", "3"),
        ("attention_head_dim", "0"),
        ("attention_head_dim", "[1, 2]"),
        ("norm_num_groups", "5"),
        ("block_out_channels", "[]"),
        ("layers_per_block", "0"),
        ("cross_attention_dim", "[1, 2, 3, 4]"),
        ("conv_in_kernel", "2"),
        ("resnet_time_scale_shift", r#""scale_shift""#),
        ("dual_cross_attention", "true"),
        ("in_channels", r#""four""#),
        ("a_new_option", "true"),
    ] {
        let error = load(|json| {
            json.insert(field.into(), serde_json::from_str(value).unwrap());
        });
        let error = error.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(
            error.starts_with("unet/config.json: ") && error.contains(field),
            "{field} = {value}: {error:?}"
        );
    }
}

#[test]
fn a_config_that_does_not_fit_the_weights_names_the_tensor_and_both_shapes() {
    let error = load(|json| {
        json.insert("in_channels".into(), 9.into());
    });
    let error = error.err().map(|e| e.to_string()).unwrap_or_default();
    let want = "tensor conv_in.weight has shape [8, 4, 3, 3], but the config asks for [8, 9, 3, 3]";
    assert!(error.contains(want), "{error}");
}
