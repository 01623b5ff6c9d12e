//! Who says how many pods there are.

use diffusion_crds::DiffusionService;
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    operator::World,
    specs::{minimal, minimal_and},
};

async fn replicas(world: &World) -> Option<i32> {
    world.api::<Deployment>().get_opt("sd").await.unwrap().and_then(|d| d.spec.replicas)
}

/// Sets the number as the autoscaler does: by the scale subresource.
async fn autoscaler_sets(world: &World, number: i32) {
    let params =
        PatchParams { field_manager: Some("kube-controller-manager".into()), ..PatchParams::default() };
    let scale = json!({"spec": {"replicas": number}});
    world.api::<Deployment>().patch_scale("sd", &params, &Patch::Merge(scale)).await.unwrap();
}

async fn until_replicas(world: &World, number: i32) {
    world
        .until(&format!("{number} replicas"), || async {
            (replicas(world).await == Some(number)).then_some(())
        })
        .await;
}

/// Waits until the operator has looked at the present generation.
async fn seen(world: &World) {
    world
        .until("the generation seen", || async {
            let resource = world.api::<DiffusionService>().get("sd").await.unwrap();
            let seen = resource.status.as_ref().and_then(|s| s.observed_generation);
            (seen == resource.metadata.generation).then_some(())
        })
        .await;
}

#[tokio::test]
async fn the_autoscalers_number_is_never_reset() {
    let world = World::new("hpa").await;
    let _operator = world.operator();
    world.apply("sd", minimal()).await.unwrap();
    until_replicas(&world, 2).await;
    seen(&world).await;
    autoscaler_sets(&world, 7).await;
    // Everything that makes the operator write the Deployment again.
    for (at, limits) in [150, 120, 100].into_iter().enumerate() {
        world.apply("sd", minimal_and(json!({"limits": {"maxSteps": limits}}))).await.unwrap();
        seen(&world).await;
        assert_eq!(replicas(&world).await, Some(7), "after change {at}");
    }
}

#[tokio::test]
async fn the_number_changes_hands_both_ways() {
    let world = World::new("hands").await;
    let _operator = world.operator();
    let fixed = |n: i32| minimal_and(json!({"autoscaling": {"enabled": false}, "replicas": n}));
    world.apply("sd", fixed(3)).await.unwrap();
    until_replicas(&world, 3).await;
    // On: what there is stays, the autoscaler goes on from there.
    world.apply("sd", minimal_and(json!({"replicas": 3}))).await.unwrap();
    world
        .until("an autoscaler", || async {
            world.api::<HorizontalPodAutoscaler>().get_opt("sd").await.unwrap()
        })
        .await;
    seen(&world).await;
    assert_eq!(replicas(&world).await, Some(3));
    autoscaler_sets(&world, 6).await;
    // Off: the spec has the word again, and the autoscaler is gone.
    world.apply("sd", fixed(3)).await.unwrap();
    until_replicas(&world, 3).await;
    world
        .until("no autoscaler", || async {
            world.api::<HorizontalPodAutoscaler>().get_opt("sd").await.unwrap().is_none().then_some(())
        })
        .await;
}

#[tokio::test]
async fn suspend_stops_all_pods_and_lets_them_come_back() {
    let world = World::new("suspend").await;
    let _operator = world.operator();
    world.apply("sd", minimal()).await.unwrap();
    until_replicas(&world, 2).await;
    autoscaler_sets(&world, 5).await;
    world.apply("sd", minimal_and(json!({"suspend": true}))).await.unwrap();
    until_replicas(&world, 0).await;
    world.condition("sd", "Ready", "False", "Suspended").await;
    assert!(world.api::<HorizontalPodAutoscaler>().get_opt("sd").await.unwrap().is_none());
    world.apply("sd", minimal()).await.unwrap();
    until_replicas(&world, 2).await;
    assert!(world.api::<HorizontalPodAutoscaler>().get_opt("sd").await.unwrap().is_some());
}

#[tokio::test]
async fn kubectl_scale_works_without_autoscaling_and_is_refused_with_it() {
    let world = World::new("scale").await;
    let _operator = world.operator();
    world.apply("sd", minimal_and(json!({"autoscaling": {"enabled": false}}))).await.unwrap();
    until_replicas(&world, 2).await;
    let api = world.api::<DiffusionService>();
    let to = |n: i32| Patch::Merge(json!({"spec": {"replicas": n}}));
    let scale = api.patch_scale("sd", &PatchParams::default(), &to(4)).await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(4));
    until_replicas(&world, 4).await;
    let selector = world
        .until("a selector", || async { api.get_scale("sd").await.unwrap().status.and_then(|s| s.selector) })
        .await;
    assert!(selector.contains("app.kubernetes.io/instance=sd"), "{selector}");
    world.apply("other", minimal()).await.unwrap();
    let error = api.patch_scale("other", &PatchParams::default(), &to(4)).await.unwrap_err().to_string();
    assert!(error.contains("replicas can't be changed while autoscaling is on"), "{error}");
}
