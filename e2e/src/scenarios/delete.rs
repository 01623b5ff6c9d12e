//! What is left of a DiffusionService: nothing but what was to be kept.

use std::time::Instant;

use serde_json::json;

use crate::{
    failure::{Failure, Outcome, ensure},
    wait::until,
    world::{World, fixed},
};

/// Every kind that a DiffusionService can have.
const KINDS: &str = "deployments,replicasets,pods,services,endpointslices,serviceaccounts,horizontalpodautoscalers,\
                     poddisruptionbudgets,networkpolicies,persistentvolumeclaims,jobs";

pub(super) async fn run(world: &World<'_>) -> Outcome {
    with_everything(world, "full").await?;
    world.kubectl(&["delete", "dsvc", "full", "--timeout=30s"]).text().await?;
    gone(world, "full").await?;

    // The garbage collector needs no operator.
    with_everything(world, "alone").await?;
    world.cluster.scale_operator(0).await?;
    world.kubectl(&["delete", "dsvc", "alone", "--timeout=30s"]).text().await?;
    gone(world, "alone").await?;
    world.cluster.scale_operator(1).await?;

    let keep = json!({"model": {"source": "hf://nobody/nothing", "cache": {"size": "10Mi", "retain": true}}});
    world.apply("keeper", keep).await?;
    let claim = ["get", "pvc", "keeper-model", "-o", "jsonpath={.metadata.uid}"];
    let uid = until("a claim", 30, || async { Ok(world.kubectl(&claim).text().await.ok()) }).await?;
    until("a download", 60, || async { Ok(left(world, "keeper").await?.contains("job.batch/").then_some(())) }).await?;
    world.kubectl(&["delete", "dsvc", "keeper", "--timeout=30s"]).text().await?;
    until("only the claim of keeper is left", 60, || async {
        let left = left(world, "keeper").await?;
        if left.trim() == "persistentvolumeclaim/keeper-model" { Ok(Some(())) } else { Err(Failure(left)) }
    })
    .await?;
    ensure!(world.kubectl(&claim).text().await? == uid, "the claim is another one");
    Ok(())
}

async fn with_everything(world: &World<'_>, name: &str) -> Outcome {
    let autoscaling = json!({"autoscaling": {"enabled": true, "minReplicas": 1, "maxReplicas": 2}});
    world.apply(name, fixed(2, autoscaling)).await?;
    world.wait_ready(name).await?;
    let there = left(world, name).await?;
    for kind in ["deployment.apps/", "service/", "serviceaccount/", "horizontalpodautoscaler", "poddisruptionbudget", "networkpolicy", "pod/"] {
        ensure!(there.contains(kind), "{name} has no {kind} in {there}");
    }
    Ok(())
}

async fn left(world: &World<'_>, name: &str) -> Outcome<String> {
    let label = format!("app.kubernetes.io/instance={name}");
    world.kubectl(&["get", KINDS, "-l", &label, "-o", "name"]).text().await
}

async fn gone(world: &World<'_>, name: &str) -> Outcome {
    let since = Instant::now();
    until(&format!("everything of {name} is gone"), 90, || async {
        let left = left(world, name).await?;
        if left.trim().is_empty() { Ok(Some(())) } else { Err(Failure(left.replace('\n', " "))) }
    })
    .await?;
    // A pod waits 10 s before it ends, so that nobody is sent to it any more.
    world.time(&format!("everything of {name} was gone after"), since, 20.0, 60.0)
}
