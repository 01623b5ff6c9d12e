//! At rest nothing is written.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    operator::{Operator, World},
    proxy::Proxy,
    specs::minimal,
};

const RESOURCES: usize = 20;

#[tokio::test]
async fn twenty_resources_at_rest_cost_no_write() {
    let world = World::new("rest").await;
    let proxy = Proxy::start(world.client.clone()).await;
    let kubeconfig = world.plane.kubeconfig_for(&world.namespace, &proxy.url, world.plane.token());
    let _operator = Operator::start(&kubeconfig, &world.namespace, &[]);
    let names: Vec<String> = (0..RESOURCES).map(|n| format!("sd-{n}")).collect();
    for name in &names {
        world.apply(name, minimal()).await.unwrap();
    }
    let deployments = world.api::<Deployment>();
    for name in &names {
        world.condition(name, "Progressing", "True", "Starting").await;
        let deployment = deployments.get(name).await.unwrap();
        let status = json!({"status": {"observedGeneration": deployment.metadata.generation, "replicas": 2,
            "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}});
        deployments.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        world.condition(name, "Ready", "True", "Serving").await;
    }
    // The echoes of the last writes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let made = proxy.writes().len();
    assert!(made >= RESOURCES * 8, "the proxy counts: {made}");
    // Somebody else's annotation wakes a reconcile, and may cost one look by the API server each.
    for name in &names {
        let touched = json!({"metadata": {"annotations": {"somebody.example/was": "here"}}});
        world.api::<Service>().patch(name, &PatchParams::default(), &Patch::Merge(touched)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let echoed = proxy.writes().split_off(made);
    assert!(echoed.len() <= RESOURCES, "{} writes after {RESOURCES} annotations: {echoed:?}", echoed.len());
    let settled = proxy.writes().len();
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(proxy.writes().split_off(settled), Vec::<String>::new(), "at rest nothing is written");
}
