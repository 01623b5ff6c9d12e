//! The HorizontalPodAutoscaler at work.

use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use crate::{
    failure::{Failure, Outcome, ensure},
    load::{Client, Load},
    wait::until,
    world::{World, holds_for},
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let mut spec = json!({
        "model": {"source": "bundled://emoji"},
        "autoscaling": {"minReplicas": 1, "maxReplicas": 2, "targetCPUUtilization": 60},
        "resources": {"requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
    });
    let url = world.serving("busy", spec.clone()).await?;
    // The first figures of a pod's start may already have added one.
    number(world, 1).await?;
    let load = Load::start(&url, &[Client::Renews, Client::Renews], 120);
    let began = Instant::now();
    number(world, 2).await?;
    world.note(format!("a second pod was wanted after {:.0} s of load", began.elapsed().as_secs_f64()));

    // The operator has reasons enough to write the Deployment in this minute.
    let began = Instant::now();
    let mut changes = 0;
    while began.elapsed().as_secs() < 60 {
        spec["service"] = json!({"annotations": {"example.com/change": changes.to_string()}});
        spec["limits"] = json!({"maxQueueSeconds": 300 + changes});
        changes += 25;
        world.apply("busy", spec.clone()).await?;
        holds_for(10, || async {
            let wanted = wanted(world).await?;
            ensure!(wanted == 2, "the autoscaler's 2 pods were reset to {wanted}");
            Ok(())
        })
        .await?;
    }
    let status = world.get("busy").await?.status.unwrap_or_default();
    ensure!(status.desired_replicas == 2, "the status says {} pods are wanted, not 2", status.desired_replicas);
    let tally = load.end_without_a_failure().await?;
    let began = Instant::now();
    number(world, 1).await?;
    world.note(format!("{} pictures; one pod again {:.0} s after the load", tally.pictures, began.elapsed().as_secs_f64()));
    world.settled("busy").await.map(|_| ())
}

async fn wanted(world: &World<'_>) -> Outcome<i32> {
    Ok(world.api::<Deployment>().get("busy").await?.spec.replicas.unwrap_or(0))
}

async fn number(world: &World<'_>, number: i32) -> Outcome {
    until(&format!("{number} pod(s) wanted"), 240, || async {
        let wanted = wanted(world).await?;
        if wanted == number { Ok(Some(())) } else { Err(Failure(format!("{wanted} are"))) }
    })
    .await
}
