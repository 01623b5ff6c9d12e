use serde_json::json;

use super::{broken, mended};
use crate::{
    failure::Outcome,
    world::{World, fixed},
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let memory = |amount: &str| json!({"resources": {"requests": {"memory": amount}, "limits": {"memory": amount}}});
    world.apply("memory", fixed(1, memory("48Mi"))).await?;
    broken(world, "memory", "OOMKilled", &["spec.resources.limits.memory"]).await?;
    world.apply("memory", fixed(1, memory("1Gi"))).await?;
    mended(world, "memory").await
}
