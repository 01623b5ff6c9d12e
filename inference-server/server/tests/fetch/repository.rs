//! Repositories that are not, or not only, what they should be.

use std::fs;
use std::path::Path;

use crate::harness::{REPO, UNET, World};

async fn refused(files: impl FnOnce(&Path), words: &str) -> World {
    let world = World::with(|_| {}, files).await;
    world.refused(REPO, &[], words).await;
    assert!(world.files().is_empty(), "{:?}", world.files());
    world
}

#[tokio::test]
async fn a_model_of_another_kind_is_refused_before_it_is_downloaded() {
    let index = "model_index.json";
    let change = |from: &'static str, to: &'static str| {
        move |repo: &Path| {
            let text = fs::read_to_string(repo.join(index)).unwrap();
            fs::write(repo.join(index), text.replace(from, to)).unwrap();
        }
    };
    let world = refused(change("StableDiffusionPipeline", "FluxPipeline"), "FluxPipeline").await;
    assert!(world.hub.seen().iter().all(|seen| !seen.cdn));
    refused(|repo| fs::remove_file(repo.join(index)).unwrap(), "not a model in diffusers layout").await;
    refused(|repo| fs::remove_file(repo.join("vae/config.json")).unwrap(), "vae/config.json is missing")
        .await;
    refused(|repo| fs::remove_file(repo.join("tokenizer/vocab.json")).unwrap(), "no tokenizer").await;
}

#[tokio::test]
async fn pickled_weights_are_not_fetched() {
    let pickle = |repo: &Path| {
        fs::rename(repo.join(UNET), repo.join("unet/diffusion_pytorch_model.bin")).unwrap();
    };
    let world = refused(pickle, "only pickled weights (unet/diffusion_pytorch_model.bin)").await;
    assert!(world.hub.seen().iter().all(|seen| !seen.cdn));
    refused(|repo| fs::remove_file(repo.join(UNET)).unwrap(), "unet has no safetensors weights").await;
}

#[tokio::test]
async fn what_is_not_needed_stays_there() {
    let others = |repo: &Path| {
        for path in [
            "README.md",
            "sd-v1-4.ckpt",
            "sd-v1-4.safetensors",
            "safety_checker/model.safetensors",
            "safety_checker/config.json",
            "feature_extractor/preprocessor_config.json",
            "unet/diffusion_pytorch_model.bin",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "unet/diffusion_flax_model.msgpack",
            "unet/model.onnx",
            "text_encoder/pytorch_model.bin",
        ] {
            fs::create_dir_all(repo.join(path).parent().unwrap()).unwrap();
            fs::write(repo.join(path), "not needed").unwrap();
        }
    };
    let world = World::with(|_| {}, others).await;
    let done = world.fetched(REPO, &[]).await;
    assert_eq!(done.report["files"], 12);
    world.same_as("org/tiny");
}

#[tokio::test]
async fn a_path_that_leads_out_is_refused() {
    let world = World::new().await;
    for path in ["../../etc/cron.d/x", "/etc/passwd", "unet/../../x", "C:\\x"] {
        world.hub.faults().listed = Some(path.into());
        world.refused(REPO, &[], "is not a path inside it").await;
        assert!(world.files().is_empty() && world.leftovers().is_empty());
    }
}

#[tokio::test]
async fn an_index_that_leads_out_is_refused() {
    let index = "diffusion_pytorch_model.safetensors.index.json";
    let put = |text: &'static str| {
        move |repo: &Path| {
            fs::remove_file(repo.join(UNET)).unwrap();
            fs::write(repo.join("unet").join(index), text).unwrap();
        }
    };
    refused(put(r#"{"weight_map": {"a": "../vae/x.safetensors"}}"#), "not a safetensors file beside it")
        .await;
    refused(put(r#"{"weight_map": {"a": "lost.safetensors"}}"#), "unet/lost.safetensors is missing").await;
    refused(put("[]"), "not a shard index").await;
}
