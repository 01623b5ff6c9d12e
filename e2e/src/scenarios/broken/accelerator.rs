use serde_json::json;

use super::{broken, mended};
use crate::{
    cluster::MARK,
    failure::Outcome,
    world::{World, fixed},
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    // Without the runtime class of NVIDIA's toolkit, which this cluster lacks as well, no pod would be made at all.
    world.create(&[json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "e2e-nvidia", "labels": {MARK: "true"}}, "handler": "runc"})]).await?;
    let gpu = json!({"accelerator": {"type": "nvidia"}, "runtimeClassName": "e2e-nvidia"});
    world.apply("accelerator", fixed(1, gpu)).await?;
    broken(world, "accelerator", "Unschedulable", &["nvidia.com/gpu"]).await?;
    world.apply("accelerator", fixed(1, json!({}))).await?;
    mended(world, "accelerator").await
}
