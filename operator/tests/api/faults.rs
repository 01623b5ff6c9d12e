//! An API server that fails, hangs, or does not know us.

use std::time::Duration;

use diffusion_crds::DiffusionService;
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Service},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, CustomResourceExt, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use serde_json::json;

use crate::{
    operator::{Operator, World},
    plane::Plane,
    proxy::{Fault, Proxy},
    specs::{minimal, minimal_and},
};

async fn through_a_proxy(name: &str, arguments: &[&str]) -> (World, Proxy, Operator) {
    let world = World::new(name).await;
    let proxy = Proxy::start(world.client.clone()).await;
    let kubeconfig = world.plane.kubeconfig_for(&world.namespace, &proxy.url, world.plane.token());
    let operator = Operator::start(&kubeconfig, &world.namespace, arguments);
    world.until("it is ready", || async { operator.get("/readyz").await.filter(|r| r.0 == 200) }).await;
    (world, proxy, operator)
}

#[tokio::test]
async fn writes_that_fail_are_tried_again_and_counted() {
    let (world, proxy, operator) = through_a_proxy("failing", &[]).await;
    proxy.set(Fault::WritesFail);
    world.apply("sd", minimal()).await.unwrap();
    world.until("refusals", || async { (proxy.refused() > 3).then_some(()) }).await;
    assert!(world.api::<Deployment>().get_opt("sd").await.unwrap().is_none());
    let (_, metrics) = operator.get("/metrics").await.unwrap();
    assert!(metrics.contains("diffusion_operator_reconcile_failures_total"), "{metrics}");
    proxy.set(Fault::None);
    world.until("Deployment", || async { world.api::<Deployment>().get_opt("sd").await.unwrap() }).await;
    world.condition("sd", "Degraded", "False", "AsExpected").await;
}

#[tokio::test]
async fn a_status_that_can_not_be_written_does_not_stop_the_rest() {
    let (world, proxy, _operator) = through_a_proxy("status", &[]).await;
    proxy.set(Fault::StatusFails);
    world.apply("sd", minimal()).await.unwrap();
    world.until("Service", || async { world.api::<Service>().get_opt("sd").await.unwrap() }).await;
    proxy.set(Fault::None);
    world.condition("sd", "Progressing", "True", "Starting").await;
}

#[tokio::test]
async fn a_write_at_the_same_time_is_no_trouble() {
    let (world, proxy, operator) = through_a_proxy("race", &[]).await;
    proxy.set(Fault::Race);
    world.apply("sd", minimal()).await.unwrap();
    world.condition("sd", "Progressing", "True", "Starting").await;
    assert_eq!(proxy.refused(), 3, "the writes were refused");
    assert_eq!(world.api::<Deployment>().get("sd").await.unwrap().spec.replicas, Some(2));
    let (_, metrics) = operator.get("/metrics").await.unwrap();
    assert!(!metrics.contains("reconcile_failures_total{"), "{metrics}");
}

#[tokio::test]
async fn a_reconcile_that_hangs_ends_by_its_timeout() {
    let (world, proxy, operator) = through_a_proxy("hanging", &["--reconcile-timeout", "1"]).await;
    world.apply("sd", minimal()).await.unwrap();
    world.condition("sd", "Progressing", "True", "Starting").await;
    proxy.set(Fault::Hang);
    // Its watches are open already, so it hears of the change and hangs at the first read.
    world.apply("sd", minimal_and(json!({"service": {"port": 81}}))).await.unwrap();
    world
        .until("a timeout is counted", || async {
            let (_, metrics) = operator.get("/metrics").await?;
            metrics.contains("reconcile_failures_total{step=\"Timeout\"}").then_some(())
        })
        .await;
    proxy.set(Fault::None);
    world
        .until("port 81", || async {
            let service = world.api::<Service>().get("sd").await.unwrap();
            (service.spec.unwrap().ports.unwrap()[0].port == 81).then_some(())
        })
        .await;
}

#[tokio::test]
async fn killed_in_the_middle_it_goes_on_where_it_was() {
    let world = World::new("killed").await;
    for n in 0..8 {
        world.apply(&format!("sd-{n}"), minimal()).await.unwrap();
    }
    // Cut off at another point each time.
    for moment in [300, 500, 800] {
        let operator = world.operator();
        tokio::time::sleep(Duration::from_millis(moment)).await;
        drop(operator);
    }
    let _operator = world.operator();
    for n in 0..8 {
        let name = format!("sd-{n}");
        world.condition(&name, "Progressing", "True", "Starting").await;
        let deployment = world.api::<Deployment>().get(&name).await.unwrap();
        assert_eq!(deployment.spec.replicas, Some(2), "{name}");
    }
}

#[tokio::test]
async fn a_resource_that_can_not_be_read_is_told_so_and_does_not_stop_others() {
    // A definition that lets anything in, as one of another version might; other tests must not see it.
    let plane: &'static Plane = Box::leak(Box::new(Plane::start().await));
    let mut crd: CustomResourceDefinition = DiffusionService::crd();
    let anything =
        json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    crd.spec.versions[0].schema = serde_json::from_value(anything).unwrap();
    let world = World::with_definition(plane, "unreadable", crd).await;
    let kind = ApiResource::erase::<DiffusionService>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &kind);
    let body = json!({"apiVersion": "diffusion-operator.dev/v1alpha1", "kind": "DiffusionService",
        "metadata": {"name": "odd"}, "spec": {"model": {"source": "bundled://emoji"}, "suspend": "perhaps"}});
    api.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();
    let _operator = world.operator();
    let told = world
        .until("a status", || async {
            let object = api.get("odd").await.unwrap();
            object.data["status"]["conditions"].as_array().cloned()
        })
        .await;
    assert!(told.iter().all(|c| c["reason"] == "InvalidSpec"), "{told:?}");
    assert!(told[0]["message"].as_str().unwrap().contains("can't read"), "{told:?}");
    // This definition fills in no defaults either; the operator's own do.
    world.apply("sd", minimal()).await.unwrap();
    world.until("Deployment", || async { world.api::<Deployment>().get_opt("sd").await.unwrap() }).await;
}

#[tokio::test]
async fn without_its_definition_it_waits_and_says_for_what() {
    let plane = Plane::start().await;
    let operator = Operator::start(&plane.kubeconfig, "default", &[]);
    let missing = async {
        loop {
            if let Some((503, text)) = operator.get("/readyz").await.filter(|(_, t)| t.contains("missing")) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(30), missing).await.unwrap();
    assert!(text.contains("diffusion-operator crd | kubectl apply"), "{text}");
    assert_eq!(operator.get("/livez").await.unwrap().0, 200, "waiting is no reason to be restarted");
    let api: Api<CustomResourceDefinition> = Api::all(plane.client());
    let crd = DiffusionService::crd();
    api.patch(&crd.name_any(), &PatchParams::apply("test").force(), &Patch::Apply(&crd)).await.unwrap();
    let ready = async {
        while operator.get("/readyz").await.is_none_or(|r| r.0 != 200) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap();
    let _ = api.delete(&crd.name_any(), &DeleteParams::default()).await;
    assert_eq!(operator.terminate(), Some(0));
}
