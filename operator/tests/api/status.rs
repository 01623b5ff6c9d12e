//! What is told of a resource, for what its pods do. The tests play the kubelet and the Deployment controller.

use diffusion_crds::DiffusionService;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
    events::v1::Event,
};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    operator::World,
    specs::{minimal, minimal_and},
};

/// Sets the Deployment's status: `updated` of `total` pods have its present template, `ready` are ready.
async fn deployment_says(world: &World, updated: i32, total: i32, ready: i32) {
    let api = world.api::<Deployment>();
    let deployment = world.until("Deployment", || async { api.get_opt("sd").await.unwrap() }).await;
    let status = json!({"status": {
        "observedGeneration": deployment.metadata.generation, "replicas": total, "updatedReplicas": updated,
        "readyReplicas": ready, "availableReplicas": ready,
    }});
    api.patch_status("sd", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

/// A pod of the server (or of the download), with this status.
async fn pod(world: &World, name: &str, component: &str, status: Value) {
    let api = world.api::<Pod>();
    let body = json!({
        "metadata": {"name": name, "labels": {
            "app.kubernetes.io/name": "diffusion-server", "app.kubernetes.io/instance": "sd",
            "app.kubernetes.io/managed-by": "diffusion-operator", "app.kubernetes.io/component": component}},
        "spec": {"containers": [{"name": "server", "image": "x.example/y:1"}], "automountServiceAccountToken": false,
                 "serviceAccountName": "sd"},
    });
    if api.get_opt(name).await.unwrap().is_none() {
        api.create(&PostParams::default(), &serde_json::from_value(body).unwrap()).await.unwrap();
    }
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.unwrap();
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{
        "name": "server", "image": "x.example/y:1", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}}}]})
}

async fn started(name: &str) -> (World, crate::operator::Operator) {
    let world = World::new(name).await;
    let operator = world.operator();
    world.apply("sd", minimal()).await.unwrap();
    world.condition("sd", "Progressing", "True", "Starting").await;
    (world, operator)
}

#[tokio::test]
async fn ready_is_true_only_for_the_generation_that_serves() {
    let (world, _operator) = started("ready").await;
    world.condition("sd", "Ready", "False", "Starting").await;
    deployment_says(&world, 2, 2, 2).await;
    let message = world.condition("sd", "Ready", "True", "Serving").await;
    assert!(message.contains("has not given an address yet"), "{message}");
    world.condition("sd", "Progressing", "False", "Complete").await;

    let address = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}});
    world.api::<Service>().patch_status("sd", &PatchParams::default(), &Patch::Merge(address)).await.unwrap();
    let api = world.api::<DiffusionService>();
    let resource = world
        .until("the URL", || async {
            api.get("sd")
                .await
                .ok()
                .filter(|r| r.status.as_ref().unwrap().url.as_deref() == Some("http://192.0.2.7"))
        })
        .await;
    let status = resource.status.unwrap();
    assert_eq!((status.ready.as_deref(), status.replicas, status.desired_replicas), (Some("2/2"), 2, 2));

    // A change of the pods: those of before answer, and Ready holds for the generation of before.
    world.apply("sd", minimal_and(json!({"limits": {"maxSteps": 20}}))).await.unwrap();
    world.condition("sd", "Ready", "True", "RollingOut").await;
    let generation = |r: &DiffusionService| {
        let ready =
            r.status.as_ref().unwrap().conditions.iter().find(|c| c.type_ == "Ready").cloned().unwrap();
        (ready.observed_generation, r.metadata.generation)
    };
    assert_eq!(generation(&api.get("sd").await.unwrap()), (Some(1), Some(2)));
    deployment_says(&world, 1, 3, 2).await;
    let message = world.condition("sd", "Progressing", "True", "RollingOut").await;
    assert!(message.contains("2 of before"), "{message}");
    assert_eq!(generation(&api.get("sd").await.unwrap()), (Some(1), Some(2)));
    deployment_says(&world, 2, 2, 2).await;
    world.condition("sd", "Ready", "True", "Serving").await;
    assert_eq!(generation(&api.get("sd").await.unwrap()), (Some(2), Some(2)));
}

#[tokio::test]
async fn the_worst_pod_gives_the_reason() {
    let (world, _operator) = started("worst").await;
    let degraded = |reason: &'static str| world.condition("sd", "Degraded", "True", reason);

    pod(&world, "a", "server", waiting("ErrImagePull", "no such host")).await;
    let message = degraded("ImagePullBackOff").await;
    assert!(message.contains("x.example/y:1") && message.contains("spec.image"), "{message}");
    world.condition("sd", "Ready", "False", "ImagePullBackOff").await;

    pod(&world, "a", "server", waiting("CreateContainerConfigError", "secret \"keys\" not found")).await;
    assert!(degraded("CreateContainerConfigError").await.contains("secret \"keys\" not found"));

    let killed = json!({"phase": "Running", "containerStatuses": [{
        "name": "server", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]});
    pod(&world, "a", "server", killed).await;
    assert!(degraded("OOMKilled").await.contains("resources.limits.memory"));

    let nowhere = json!({"phase": "Pending", "containerStatuses": null, "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."}]});
    pod(&world, "a", "server", nowhere).await;
    assert!(degraded("Unschedulable").await.contains("nvidia.com/gpu"));

    // Mended.
    let fine = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]});
    pod(&world, "a", "server", fine).await;
    deployment_says(&world, 2, 2, 2).await;
    world.condition("sd", "Degraded", "False", "AsExpected").await;
    world.condition("sd", "Ready", "True", "Serving").await;

    let events = world.api::<Event>().list(&Default::default()).await.unwrap();
    let reasons: Vec<_> = events.items.iter().filter_map(|e| e.reason.clone()).collect();
    for reason in ["Created", "ImagePullBackOff", "OOMKilled", "Recovered", "Ready"] {
        assert!(reasons.iter().any(|r| r == reason), "no event {reason} in {reasons:?}");
    }
}

#[tokio::test]
async fn a_download_shows_its_failure_and_its_commit() {
    let world = World::new("download").await;
    let _operator = world.operator();
    let spec =
        json!({"model": {"source": "hf://org/repo@main"}, "autoscaling": {"enabled": false}, "replicas": 1});
    world.apply("sd", spec).await.unwrap();
    world.condition("sd", "ModelAvailable", "False", "Downloading").await;
    let ended = |code: i32, report: Value| {
        json!({"phase": "Pending", "initContainerStatuses": [{
            "name": "fetch", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
            "state": {"terminated": {"exitCode": code, "message": report.to_string()}}}]})
    };
    let failed = json!({"state": "failed", "source": "hf://org/repo@main", "revision": null, "filesDone": 2, "files": 9,
        "bytesDone": 10, "bytes": 100, "error": "the hub answered 401: give a token"});
    pod(&world, "a", "server", ended(1, failed)).await;
    let message = world.condition("sd", "ModelAvailable", "False", "DownloadFailed").await;
    assert!(message.contains("the hub answered 401: give a token"), "{message}");
    world.condition("sd", "Degraded", "True", "DownloadFailed").await;
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let done = json!({"state": "done", "source": "hf://org/repo@main", "revision": commit, "filesDone": 9, "files": 9,
        "bytesDone": 100, "bytes": 100, "error": null});
    pod(&world, "a", "server", ended(0, done)).await;
    let message = world.condition("sd", "ModelAvailable", "True", "Downloaded").await;
    assert!(message.contains(commit), "{message}");
    let model = world.api::<DiffusionService>().get("sd").await.unwrap().status.unwrap().model.unwrap();
    assert_eq!((model.revision.as_deref(), model.download.unwrap().bytes_done), (Some(commit), 100));
    world.condition("sd", "Degraded", "False", "AsExpected").await;
}

#[tokio::test]
async fn a_claim_that_is_not_there_is_named() {
    let world = World::new("claim").await;
    let _operator = world.operator();
    world.apply("sd", json!({"model": {"source": "pvc://models/sd14"}})).await.unwrap();
    let message = world.condition("sd", "ModelAvailable", "False", "ClaimNotFound").await;
    assert!(message.contains("PersistentVolumeClaim models"), "{message}");
    world.condition("sd", "Degraded", "True", "ClaimNotFound").await;
}

#[tokio::test]
async fn a_deleted_resource_of_the_same_name_starts_anew() {
    let (world, _operator) = started("anew").await;
    deployment_says(&world, 2, 2, 2).await;
    world.condition("sd", "Ready", "True", "Serving").await;
    let api = world.api::<DiffusionService>();
    let first = api.get("sd").await.unwrap();
    api.delete("sd", &Default::default()).await.unwrap();
    // No garbage collector here: what the first one left belongs to another uid, and is not taken over.
    let second = world.apply("sd", minimal()).await.unwrap();
    assert_ne!(first.uid(), second.uid());
    let message = world.condition("sd", "Degraded", "True", "NameConflict").await;
    assert!(message.contains(&first.uid().unwrap()), "{message}");
}
