//! An upgrade of the operator restarts nothing.

use diffusion_crds::DiffusionService;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::{
    operator::World,
    specs::{minimal, minimal_and},
};

async fn image(world: &World) -> String {
    let deployment = world.api::<Deployment>().get("sd").await.unwrap();
    deployment.spec.template.spec.unwrap().containers[0].image.clone().unwrap()
}

#[tokio::test]
async fn pods_of_before_stay_until_something_else_changes_them() {
    let world = World::new("upgrade").await;
    let old = world.operator_with(&["--server-image", "x.example/server:1"]);
    world.apply("sd", minimal()).await.unwrap();
    world.condition("sd", "Progressing", "True", "Starting").await;
    let before = world.api::<Deployment>().get("sd").await.unwrap();
    assert_eq!(old.terminate(), Some(0));

    let _new = world.operator_with(&["--server-image", "x.example/server:2"]);
    let message = world.condition("sd", "Progressing", "False", "UpdateWaits").await;
    assert!(message.contains("x.example/server:2") && message.contains("kubectl"), "{message}");
    let after = world.api::<Deployment>().get("sd").await.unwrap();
    assert_eq!(before.spec.template, after.spec.template);
    assert_eq!(before.metadata.generation, after.metadata.generation);

    // What does not concern pods still works, and still leaves them alone.
    world
        .apply("sd", minimal_and(json!({"service": {"port": 81}, "autoscaling": {"minReplicas": 3}})))
        .await
        .unwrap();
    world
        .until("port 81", || async {
            let service = world.api::<k8s_openapi::api::core::v1::Service>().get("sd").await.unwrap();
            (service.spec.unwrap().ports.unwrap()[0].port == 81).then_some(())
        })
        .await;
    assert_eq!(image(&world).await, "x.example/server:1");

    // A person says when.
    let now = json!({"metadata": {"annotations": {"diffusion-operator.dev/update": "1"}}});
    world.api::<DiffusionService>().patch("sd", &PatchParams::default(), &Patch::Merge(now)).await.unwrap();
    world
        .until("the new image", || async { (image(&world).await == "x.example/server:2").then_some(()) })
        .await;
}
