//! Changes while people draw.

use std::time::Instant;

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    failure::{Outcome, ensure},
    load::{Client, Load},
    pods::identities,
    run::OTHER_TAG,
    world::{World, merge},
};

/// More than one request is always on its way, over kept connections and over new ones.
const CLIENTS: [Client; 4] = [Client::Keeps, Client::Renews, Client::Keeps, Client::Renews];

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let mut spec = json!({
        "model": {"source": "bundled://emoji"},
        // So high that the load adds no pods: this is about rolling.
        "autoscaling": {"minReplicas": 2, "maxReplicas": 2, "targetCPUUtilization": 1000},
        "resources": {"requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
    });
    let url = world.serving("rolling", spec.clone()).await?;
    world.settled("rolling").await?;
    let load = Load::start(&url, &CLIENTS, 120);
    let image = world.cluster.image("server", Some(OTHER_TAG));
    let changes = [
        ("defaults.steps", json!({"defaults": {"steps": 6}}), true),
        ("service.annotations", json!({"service": {"annotations": {"example.com/team": "art"}}}), false),
        ("limits and resources", json!({"limits": {"maxSteps": 40}, "resources": {"limits": {"memory": "900Mi"}}}), true),
        ("image", json!({"image": image}), true),
        ("autoscaling", json!({"autoscaling": {"minReplicas": 3, "maxReplicas": 3}}), false),
    ];
    for (what, change, rolls) in changes {
        if let Err(failure) = roll(world, &mut spec, what, change, rolls, &load).await {
            let tally = load.end().await?;
            world.note(format!("until then: {tally:?}"));
            return Err(failure);
        }
    }
    // Pods of before still finish what they have; so do their clients.
    let tally = load.end_without_a_failure().await?;
    world.note(format!("{} pictures, {} put off for a moment, none lost", tally.pictures, tally.put_off));
    let pods = world.pods("rolling").await?;
    let image_of = |p: &k8s_openapi::api::core::v1::Pod| p.spec.as_ref().and_then(|s| s.containers[0].image.clone());
    ensure!(pods.len() == 3, "3 pods as the autoscaler's bounds say, not {}", pods.len());
    ensure!(pods.iter().all(|p| image_of(p).as_deref() == Some(&*image)), "not all pods have the new image");
    Ok(())
}

async fn roll(world: &World<'_>, spec: &mut Value, what: &str, change: Value, rolls: bool, load: &Load) -> Outcome {
    let (since, pictures) = (Instant::now(), load.pictures());
    let before = identities(&world.pods("rolling").await?);
    merge(spec, change);
    let generation = world.apply("rolling", spec.clone()).await?.metadata.generation;
    let settled = world.settled("rolling").await?;
    ensure!(settled.metadata.generation == generation, "{} changed meanwhile", settled.name_any());
    let after = identities(&world.pods("rolling").await?);
    let kept = before.iter().filter(|b| after.contains(b)).count();
    let expected = if rolls { 0 } else { before.len() };
    ensure!(kept == expected, "{what}: {kept} of {} pods are the same, not {expected}", before.len());
    let drawn = load.pictures() - pictures;
    world.note(format!("{what}: {:.1} s, {drawn} pictures meanwhile, {kept} pods kept", since.elapsed().as_secs_f64()));
    Ok(())
}
