//! As many threads as the container may use CPUs.

use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::{
    failure::{Outcome, ensure, fail},
    world::{World, fixed},
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let limited = json!({"service": {"type": "ClusterIP"}, "resources": {"limits": {"cpu": "1"}}});
    world.apply("limited", fixed(1, limited)).await?;
    world.apply("free", fixed(1, json!({"service": {"type": "ClusterIP"}}))).await?;
    for name in ["limited", "free"] {
        world.wait_ready(name).await?;
    }
    let pod = world.only_pod("free").await?;
    let Some(node) = pod.spec.as_ref().and_then(|s| s.node_name.clone()) else { fail!("the pod has no node") };
    let node = Api::<Node>::all(world.cluster.client.clone()).get(&node).await?;
    let cpus = node.status.and_then(|s| s.capacity).and_then(|c| c.get("cpu").map(|q| q.0.clone())).unwrap_or_default();
    for (name, expected) in [("limited", "1"), ("free", &*cpus)] {
        let pod = world.only_pod(name).await?.name_any();
        let threads = threads(world, &pod).await?;
        ensure!(threads == expected, "{name} draws with {threads} threads, not {expected}");
    }
    let status: Value = serde_json::from_slice(&world.admin(&pod.name_any(), "/status").await?.body)?;
    ensure!(status["precision"] == "f32", "/status: {status}");
    world.note(format!("limits.cpu 1: 1 thread; none: {cpus}"));
    Ok(())
}

async fn threads(world: &World<'_>, pod: &str) -> Outcome<String> {
    let metrics = world.admin(pod, "/metrics").await?;
    let text = String::from_utf8_lossy(&metrics.body);
    match text.lines().find_map(|l| l.strip_prefix("diffusion_threads ")) {
        Some(number) => Ok(number.trim().to_owned()),
        None => fail!("{pod} has no diffusion_threads in its metrics"),
    }
}
