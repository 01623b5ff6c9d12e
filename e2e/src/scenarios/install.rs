//! `helm install` was done as README says it; is everything there?

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;

use crate::{
    failure::{Outcome, ensure},
    wait::until,
    world::World,
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let cluster = world.cluster;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let crd = definitions.get("diffusionservices.diffusion-operator.dev").await?;
    let conditions = crd.status.and_then(|s| s.conditions).unwrap_or_default();
    for type_ in ["Established", "NamesAccepted"] {
        ensure!(conditions.iter().any(|c| c.type_ == type_ && c.status == "True"), "the definition is not {type_}");
    }
    let odd = conditions.iter().find(|c| c.type_ == "NonStructuralSchema" && c.status == "True");
    ensure!(odd.is_none(), "the schema is not structural: {odd:?}");

    // The API server tells of a type a moment after its definition is established.
    let explained = ["explain", "dsvc.spec.model.source"];
    let text =
        until("kubectl explain", 30, || async { cluster.kubectl(&explained).text().await.map(Some) }).await?;
    for word in ["FIELD: source", "bundled://", "hf://", "pvc://"] {
        ensure!(text.contains(word), "kubectl explain has no {word:?}:\n{text}");
    }
    let all = cluster.kubectl(&["explain", "dsvc.spec", "--recursive"]).text().await?;
    ensure!(all.contains("loadBalancerSourceRanges"), "kubectl explain --recursive lacks fields:\n{all}");

    // The selftest's pod is gone when it has succeeded, so its log can't be had.
    let test = cluster.helm(&["test", crate::cluster::OPERATOR, "--timeout=4m"]).text().await?;
    let phases: Vec<&str> = test.lines().filter_map(|l| l.strip_prefix("Phase:")).map(str::trim).collect();
    ensure!(!phases.is_empty() && phases.iter().all(|p| *p == "Succeeded"), "helm test:\n{test}");
    let left = cluster.kubectl(&["get", "dsvc,pods", "-A", "-o", "name"]).text().await?;
    ensure!(!left.contains("selftest"), "helm test left something: {left}");
    Ok(())
}
