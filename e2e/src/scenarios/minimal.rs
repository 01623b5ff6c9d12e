//! The sentence that the product is sold by.

use std::time::Instant;

use futures::try_join;
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use serde_json::json;

use crate::{
    failure::{Outcome, ensure},
    picture::{is_a_red_apple, reference},
    wait::until,
    world::World,
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let apply = world.kubectl(&["apply", "-f", "examples/minimal.yaml"]);
    let apply = async { apply.text().await };
    let children = children_of_the_moment(world);
    let (_, since) = try_join!(apply, children)?;
    world.kubectl(&["wait", "dsvc/emoji", "--for=condition=Ready", "--timeout=180s"]).text().await?;
    world.time("from the resource to Ready", since, 30.0, 120.0)?;

    let url = world.url("emoji").await?;
    world.settled("emoji").await?;
    let row = world.kubectl(&["get", "dsvc", "emoji"]).text().await?;
    ensure!(row.contains("bundled://emoji") && row.contains("2/2") && row.contains(&url), "kubectl get dsvc:\n{row}");
    let described = world.kubectl(&["describe", "dsvc", "emoji"]).text().await?;
    for word in ["Serving", "Complete", "AsExpected", "Bundled", "Events:", "Created"] {
        ensure!(described.contains(word), "kubectl describe has no {word:?}:\n{described}");
    }

    let request = json!({"prompt": "a red apple", "seed": 7, "steps": 10});
    let answer = world.draw(&url, request).await?;
    ensure!(answer.is_png(), "{answer}");
    ensure!(answer.headers.get("x-seed").is_some_and(|s| s == "7"), "no x-seed: {:?}", answer.headers);
    is_a_red_apple(&answer.body, 128)?;
    let expected = reference(world.cluster, &["a red apple", "--seed", "7", "--steps", "10"]).await?;
    ensure!(answer.body == expected, "the picture is another than `diffusion-server generate` draws");
    world.note(format!("POST {url}/generate: {} bytes, the same as diffusion-server generate draws", expected.len()));

    let other = world.draw(&url, json!({"prompt": "a green frog", "seed": 7, "steps": 10})).await?;
    ensure!(other.is_png() && other.body != answer.body, "another prompt gives the same picture");
    ensure!(is_a_red_apple(&other.body, 128).is_err(), "a green frog looks like a red apple");
    let refused = world.draw(&url, json!({"prompt": "a red apple", "stpes": 3})).await?;
    ensure!(refused.status == 422 && refused.to_string().contains("steps"), "a wrong field: {refused}");
    Ok(())
}

/// Waits for the resource, then for all of its children; gives the moment of the resource.
async fn children_of_the_moment(world: &World<'_>) -> Outcome<Instant> {
    let since = until("the resource", 30, || async {
        Ok(world.api::<diffusion_crds::DiffusionService>().get_opt("emoji").await?.map(|_| Instant::now()))
    })
    .await?;
    until("its children", 30, || async {
        let all = try_join!(
            exists::<Deployment>(world),
            exists::<Service>(world),
            exists::<HorizontalPodAutoscaler>(world),
            exists::<ServiceAccount>(world),
            exists::<PodDisruptionBudget>(world),
            exists::<NetworkPolicy>(world),
        )?;
        Ok((all == (true, true, true, true, true, true)).then_some(()))
    })
    .await?;
    world.time("from the resource to its children", since, 1.0, 10.0)?;
    Ok(since)
}

async fn exists<K>(world: &World<'_>) -> Outcome<bool>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    Ok(world.api::<K>().get_opt("emoji").await?.is_some())
}
