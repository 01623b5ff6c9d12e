//! What a resource is made into, and what is left alone.

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    operator::World,
    specs::{minimal, minimal_and},
};

#[tokio::test]
async fn the_shortest_resource_becomes_the_whole_set() {
    let world = World::new("minimal").await;
    let _operator = world.operator();
    let resource = world.apply("sd", minimal()).await.unwrap();
    let deployment =
        world.until("Deployment", || async { world.api::<Deployment>().get_opt("sd").await.unwrap() }).await;
    world.condition("sd", "Progressing", "True", "Starting").await;
    let spec = world.api::<Deployment>().get("sd").await.unwrap().spec;
    assert_eq!(spec.replicas, Some(2));
    let service = world.api::<Service>().get("sd").await.unwrap().spec.unwrap();
    let port = &service.ports.unwrap()[0];
    assert_eq!((service.type_.as_deref(), port.port), (Some("LoadBalancer"), 80));
    assert_eq!(port.target_port, Some(IntOrString::String("http".into())));
    assert_eq!(service.selector, spec.selector.match_labels);
    let scaler = world.api::<HorizontalPodAutoscaler>().get("sd").await.unwrap().spec;
    assert_eq!((scaler.min_replicas, scaler.max_replicas), (Some(2), 10));
    assert_eq!(scaler.metrics.unwrap()[0].resource.as_ref().unwrap().target.average_utilization, Some(80));
    let account = world.api::<ServiceAccount>().get("sd").await.unwrap();
    assert_eq!(account.automount_service_account_token, Some(false));
    world.api::<PodDisruptionBudget>().get("sd").await.unwrap();
    world.api::<NetworkPolicy>().get("sd").await.unwrap();
    let owner = &deployment.owner_references()[0];
    assert_eq!((Some(&owner.uid), owner.controller), (resource.uid().as_ref(), Some(true)));
    assert!(resource.finalizers().is_empty(), "nothing may hold a deletion up");
}

#[tokio::test]
async fn an_edit_of_a_child_is_undone_and_what_others_added_stays() {
    let world = World::new("drift").await;
    let operator = world.operator();
    world.apply("sd", minimal()).await.unwrap();
    world.condition("sd", "Progressing", "True", "Starting").await;
    let services = world.api::<Service>();
    let edit = json!({"metadata": {"annotations": {"cloud.example/id": "7"}}, "spec": {"ports": [{"name": "http", "port": 81, "targetPort": "http"}]}});
    services.patch("sd", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    let service = world
        .until("port 80", || async {
            let service = services.get("sd").await.unwrap();
            let ports = service.spec.clone().unwrap().ports.unwrap();
            (ports.len() == 1 && ports[0].port == 80).then_some(service)
        })
        .await;
    assert_eq!(service.annotations()["cloud.example/id"], "7");
    // A deleted child comes back.
    services.delete("sd", &DeleteParams::default()).await.unwrap();
    world.until("the Service again", || async { services.get_opt("sd").await.unwrap() }).await;
    drop(operator);
}

#[tokio::test]
async fn somebody_elses_object_is_not_touched_and_said_so() {
    let world = World::new("conflict").await;
    let services = world.api::<Service>();
    let foreign = json!({"metadata": {"name": "sd"}, "spec": {"ports": [{"port": 5432}]}});
    let foreign =
        services.create(&PostParams::default(), &serde_json::from_value(foreign).unwrap()).await.unwrap();
    let _operator = world.operator();
    world.apply("sd", minimal()).await.unwrap();
    let message = world.condition("sd", "Degraded", "True", "NameConflict").await;
    assert!(message.contains("Service sd") && message.contains("delete or rename"), "{message}");
    world.condition("sd", "Ready", "False", "NameConflict").await;
    // The rest is made all the same, and the other's Service is as it was.
    world.until("Deployment", || async { world.api::<Deployment>().get_opt("sd").await.unwrap() }).await;
    assert_eq!(services.get("sd").await.unwrap().resource_version(), foreign.resource_version());
    // When it is out of the way, ours is made.
    services.delete("sd", &DeleteParams::default()).await.unwrap();
    world
        .until("our Service", || async {
            services.get_opt("sd").await.unwrap().filter(|s| !s.owner_references().is_empty())
        })
        .await;
    world.condition("sd", "Degraded", "False", "AsExpected").await;
}

#[tokio::test]
async fn what_is_no_longer_wanted_is_deleted_and_only_that() {
    let world = World::new("prune").await;
    let _operator = world.operator();
    world.apply("sd", minimal()).await.unwrap();
    world.condition("sd", "Progressing", "True", "Starting").await;
    let budget = |on: bool| {
        minimal_and(json!({"podDisruptionBudget": {"enabled": on}, "networkPolicy": {"enabled": on}}))
    };
    world.apply("sd", budget(false)).await.unwrap();
    let (budgets, policies) = (world.api::<PodDisruptionBudget>(), world.api::<NetworkPolicy>());
    world.until("no budget", || async { budgets.get_opt("sd").await.unwrap().is_none().then_some(()) }).await;
    world
        .until("no policy", || async { policies.get_opt("sd").await.unwrap().is_none().then_some(()) })
        .await;
    // One that somebody else made under that name stays.
    let foreign = json!({"metadata": {"name": "sd"}, "spec": {"maxUnavailable": 3, "selector": {}}});
    budgets.create(&PostParams::default(), &serde_json::from_value(foreign).unwrap()).await.unwrap();
    world
        .apply("sd", minimal_and(json!({"podDisruptionBudget": {"enabled": false}, "service": {"port": 81}})))
        .await
        .unwrap();
    world
        .until("port 81", || async {
            let service = world.api::<Service>().get("sd").await.unwrap();
            (service.spec.unwrap().ports.unwrap()[0].port == 81).then_some(())
        })
        .await;
    assert!(budgets.get_opt("sd").await.unwrap().is_some());
}

#[tokio::test]
async fn a_cached_model_is_downloaded_once_before_pods_start() {
    let world = World::new("cache").await;
    let _operator = world.operator();
    let spec = json!({
        "model": {"source": "hf://org/repo", "cache": {"size": "1Gi"}},
        "autoscaling": {"enabled": false}, "replicas": 3,
    });
    world.apply("sd", spec).await.unwrap();
    let jobs: Api<Job> = world.api();
    let job =
        world.until("a Job", || async { jobs.list(&Default::default()).await.unwrap().items.pop() }).await;
    let claim = world.api::<PersistentVolumeClaim>().get("sd-model").await.unwrap();
    assert_eq!(claim.owner_references().len(), 1);
    world.condition("sd", "ModelAvailable", "False", "Downloading").await;
    let deployments = world.api::<Deployment>();
    assert_eq!(deployments.get("sd").await.unwrap().spec.replicas, Some(0), "no pod before the model");
    let done = json!({"status": {
        "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:01:00Z", "succeeded": 1,
        "conditions": [
            {"type": "SuccessCriteriaMet", "status": "True", "reason": "CompletionsReached"},
            {"type": "Complete", "status": "True"}],
    }});
    jobs.patch_status(&job.name_any(), &PatchParams::default(), &Patch::Merge(done)).await.unwrap();
    world
        .until("three pods wanted", || async {
            (deployments.get("sd").await.unwrap().spec.replicas == Some(3)).then_some(())
        })
        .await;
    world.condition("sd", "ModelAvailable", "True", "Downloaded").await;
    assert_eq!(jobs.list(&Default::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_retained_claim_outlives_its_resource_and_is_found_again() {
    let world = World::new("retain").await;
    let _operator = world.operator();
    let spec = json!({"model": {"source": "hf://org/repo", "cache": {"size": "1Gi", "retain": true}}});
    world.apply("sd", spec.clone()).await.unwrap();
    let claims: Api<PersistentVolumeClaim> = world.api();
    let claim = world.until("a claim", || async { claims.get_opt("sd-model").await.unwrap() }).await;
    assert!(claim.owner_references().is_empty());
    world.condition("sd", "ModelAvailable", "False", "Downloading").await;
    // No garbage collector runs here, so the children of before are deleted by hand; the claim is nobody's child.
    world.api::<diffusion_crds::DiffusionService>().delete("sd", &DeleteParams::default()).await.unwrap();
    world.api::<Deployment>().delete("sd", &DeleteParams::default()).await.unwrap();
    for job in world.api::<Job>().list(&Default::default()).await.unwrap() {
        world.api::<Job>().delete(&job.name_any(), &DeleteParams::background()).await.unwrap();
    }
    world.api::<Service>().delete("sd", &DeleteParams::default()).await.unwrap();
    world.api::<ServiceAccount>().delete("sd", &DeleteParams::default()).await.unwrap();
    world.api::<HorizontalPodAutoscaler>().delete("sd", &DeleteParams::default()).await.unwrap();
    world.api::<PodDisruptionBudget>().delete("sd", &DeleteParams::default()).await.unwrap();
    for policy in ["sd", "sd-model"] {
        world.api::<NetworkPolicy>().delete(policy, &DeleteParams::default()).await.unwrap();
    }
    world.apply("sd", spec).await.unwrap();
    world.condition("sd", "ModelAvailable", "False", "Downloading").await;
    world.condition("sd", "Degraded", "False", "AsExpected").await;
    assert_eq!(claims.get("sd-model").await.unwrap().uid(), claim.uid());
}

#[tokio::test]
async fn a_kind_that_the_cluster_does_not_know_is_named_and_the_rest_is_made() {
    let world = World::new("monitor").await;
    let _operator = world.operator();
    world.apply("sd", minimal_and(json!({"monitoring": {"enabled": true}}))).await.unwrap();
    let message = world.condition("sd", "Degraded", "True", "ApplyFailed").await;
    assert!(message.contains("does not know the kind PodMonitor"), "{message}");
    world.until("Deployment", || async { world.api::<Deployment>().get_opt("sd").await.unwrap() }).await;
    world.apply("sd", minimal()).await.unwrap();
    world.condition("sd", "Degraded", "False", "AsExpected").await;
}
