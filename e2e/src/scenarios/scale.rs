//! The number of pods, by hand.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::json;

use crate::{
    failure::{Outcome, ensure},
    pods::ready,
    wait::until,
    world::{World, fixed},
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let url = world.serving("one", fixed(1, json!({}))).await?;
    world.kubectl(&["scale", "dsvc", "one", "--replicas=3"]).text().await?;
    pods(world, 3).await?;
    world.settled("one").await?;
    world.kubectl(&["scale", "dsvc/one", "--replicas=1"]).text().await?;
    pods(world, 1).await?;

    patch(world, json!({"suspend": true})).await?;
    world.kubectl(&["wait", "dsvc/one", "--for=condition=Ready=False", "--timeout=60s"]).text().await?;
    pods(world, 0).await?;
    let message = world.shows("one", "Ready", "False", "Suspended").await?;
    ensure!(message.contains("spec.suspend"), "{message}");
    patch(world, json!({"suspend": false})).await?;
    world.wait_ready("one").await?;
    let again = world.url("one").await?;
    ensure!(again == url, "the address was {url}, and is {again} after a pause");
    let answer = world.draw(&url, crate::load::small(1)).await?;
    ensure!(answer.is_png(), "{answer}");

    patch(world, json!({"autoscaling": {"enabled": true, "minReplicas": 1, "maxReplicas": 2}})).await?;
    until("an autoscaler", 30, || async { Ok(world.api::<HorizontalPodAutoscaler>().get_opt("one").await?) }).await?;
    let refusal = world.kubectl(&["scale", "dsvc", "one", "--replicas=5"]).refusal().await?;
    ensure!(refusal.contains("replicas can't be changed while autoscaling is on"), "{refusal}");
    world.note(refusal.trim());
    patch(world, json!({"autoscaling": {"enabled": false}})).await?;
    world.kubectl(&["scale", "dsvc", "one", "--replicas=2"]).text().await?;
    pods(world, 2).await
}

async fn patch(world: &World<'_>, spec: serde_json::Value) -> Outcome {
    let patch = json!({"spec": spec}).to_string();
    world.kubectl(&["patch", "dsvc", "one", "--type=merge", "-p", &patch]).text().await.map(|_| ())
}

/// So many pods, all of them ready, and the status says so.
async fn pods(world: &World<'_>, number: i32) -> Outcome {
    until(&format!("{number} ready pods"), 120, || async {
        let pods = world.pods("one").await?;
        let status = world.get("one").await?.status.unwrap_or_default();
        let right = pods.len() as i64 == i64::from(number)
            && pods.iter().all(ready)
            && status.ready.as_deref() == Some(&format!("{number}/{number}"));
        Ok(right.then_some(()))
    })
    .await
}
