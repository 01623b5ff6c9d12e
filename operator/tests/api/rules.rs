//! The definition on a real API server: accepted without a warning, and every rule refuses with its message.

use diffusion_crds::DiffusionService;
use kube::{
    Api, CustomResourceExt, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    client::Body,
    core::ApiResource,
};
use serde_json::{Value, json};

use crate::{
    operator::World,
    specs::{minimal, minimal_and},
};

#[tokio::test]
async fn the_definition_is_accepted_without_a_warning() {
    let world = World::new("definition").await;
    let crd = DiffusionService::crd();
    let path = format!(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}?fieldManager=test&force=true&fieldValidation=Strict&dryRun=All",
        crd.name_any()
    );
    let request = http::Request::patch(path)
        .header("content-type", "application/apply-patch+yaml")
        .body(Body::from(serde_json::to_vec(&crd).unwrap()))
        .unwrap();
    let response = world.client.send(request).await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    let warnings: Vec<_> = response.headers().get_all("warning").iter().collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[tokio::test]
async fn the_shortest_resource_gets_every_default() {
    let world = World::new("defaults").await;
    let kind = ApiResource::erase::<DiffusionService>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &kind);
    let body = json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "sd"}, "spec": minimal()});
    let made = api.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();
    // What the API server fills in is what the operator's own types fill in.
    let typed: DiffusionService = serde_json::from_value(
        json!({"metadata": {"name": "sd"}, "spec": minimal(), "apiVersion": kind.api_version, "kind": kind.kind}),
    )
    .unwrap();
    let served: DiffusionService = serde_json::from_value(serde_json::to_value(&made).unwrap()).unwrap();
    assert_eq!(served.spec, typed.spec);
    let defaults = &made.data["spec"];
    assert_eq!(defaults["replicas"], 2);
    assert_eq!(
        defaults["autoscaling"],
        json!({"enabled": true, "minReplicas": 2, "maxReplicas": 10, "targetCPUUtilization": 80})
    );
    assert_eq!(defaults["service"], json!({"type": "LoadBalancer", "port": 80}));
}

async fn refused(world: &World, spec: Value, with: &str) {
    let answer = world.apply("sd", spec.clone()).await;
    match answer {
        Ok(_) => panic!("this was let in: {spec}"),
        Err(error) => assert!(error.to_string().contains(with), "{spec}: {error} does not say {with:?}"),
    }
}

#[tokio::test]
async fn every_rule_refuses_with_a_message_a_person_can_act_on() {
    let world = World::new("rules").await;
    let model = |source: &str| json!({"model": {"source": source}});
    let hub = |more: Value| {
        let mut model = json!({"source": "hf://org/repo"});
        model.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "model": model })
    };
    for (spec, message) in [
        (model("s3://bucket"), "must start with bundled://, hf:// or pvc://"),
        (model("bundled://other"), "the only bundled model is bundled://emoji"),
        (model("hf://org"), "must be hf://org/repo or hf://org/repo@revision"),
        (model("pvc://models/../etc"), "must be pvc://claim or pvc://claim/folder"),
        (
            json!({"model": {"source": "bundled://emoji", "cache": {"size": "1Gi"}}}),
            "cache is for hf:// sources",
        ),
        (
            json!({"model": {"source": "bundled://emoji", "tokenSecretRef": {"name": "a", "key": "b"}}}),
            "tokenSecretRef is for hf:// sources",
        ),
        (
            json!({"model": {"source": "bundled://emoji", "endpoint": "http://hub"}}),
            "endpoint is for hf:// sources",
        ),
        (json!({"model": {"source": "bundled://emoji", "precision": "f16"}}), "f16 needs an accelerator"),
        (hub(json!({"endpoint": "ftp://hub"})), "must be an http:// or https:// URL"),
        (hub(json!({"cache": {"size": "big"}})), "must be a quantity above 0"),
        (hub(json!({"cache": {"size": "0"}})), "must be a quantity above 0"),
        (hub(json!({"tokenSecretRef": {"name": "a", "key": "no/slash"}})), "must be a key of a Secret"),
        (
            minimal_and(json!({"autoscaling": {"minReplicas": 5, "maxReplicas": 4}})),
            "minReplicas must not be above maxReplicas",
        ),
        (minimal_and(json!({"defaults": {"width": 100}})), "must be a multiple of 8"),
        (
            minimal_and(json!({"service": {"type": "ClusterIP", "loadBalancerClass": "a/b"}})),
            "are for type LoadBalancer",
        ),
        (minimal_and(json!({"service": {"loadBalancerSourceRanges": ["10.0.0.0"]}})), "CIDR notation"),
        (
            minimal_and(json!({"accelerator": {"type": "nvidia", "resourceName": "gpu"}})),
            "must be an extended resource",
        ),
        (
            minimal_and(json!({"podDisruptionBudget": {"maxUnavailable": "some"}})),
            "must be a number or a percentage",
        ),
        (minimal_and(json!({"replicas": -1})), "greater than or equal to 0"),
        (minimal_and(json!({"defaults": {"scheduler": "eular"}})), "Unsupported value"),
    ] {
        refused(&world, spec, message).await;
    }
    for name in ["Sd", "1sd", "a-", &"a".repeat(49)] {
        let error = world.apply(name, minimal()).await.unwrap_err().to_string();
        assert!(error.contains("metadata.name") || error.contains("RFC 1123"), "{name}: {error}");
    }
    world.apply(&"a".repeat(48), minimal()).await.unwrap();
}

#[tokio::test]
async fn what_can_not_change_is_refused_and_what_can_is_not() {
    let world = World::new("transitions").await;
    let cached = |source: &str, class: &str| json!({"model": {"source": source, "cache": {"size": "1Gi", "storageClassName": class}}});
    world.apply("sd", cached("hf://a/b", "fast")).await.unwrap();
    refused(&world, cached("hf://a/c", "fast"), "can't be changed while the model is cached").await;
    refused(&world, cached("hf://a/b", "slow"), "storageClassName and accessModes can't be changed").await;
    let balanced = |class: &str| minimal_and(json!({"service": {"loadBalancerClass": class}}));
    let api = world.api::<DiffusionService>();
    api.delete("sd", &Default::default()).await.unwrap();
    world.apply("sd", balanced("a.example/one")).await.unwrap();
    refused(&world, balanced("a.example/two"), "loadBalancerClass can't be changed").await;
    world.apply("sd", minimal_and(json!({"service": {"type": "ClusterIP"}}))).await.unwrap();
    world.apply("sd", balanced("a.example/two")).await.unwrap();
    let replicas = Patch::Merge(json!({"spec": {"replicas": 5}}));
    let error = api.patch("sd", &PatchParams::default(), &replicas).await.unwrap_err().to_string();
    assert!(error.contains("autoscaling.minReplicas"), "{error}");
}
