use serde_json::json;

use super::{broken, mended};
use crate::{
    failure::Outcome,
    world::{World, fixed},
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let image = "diffusion-operator.dev/nothing:1";
    world.apply("image", fixed(1, json!({"image": image}))).await?;
    broken(world, "image", "ImagePullBackOff", &[image, "spec.image"]).await?;
    world.apply("image", fixed(1, json!({}))).await?;
    mended(world, "image").await
}
