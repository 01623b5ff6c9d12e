//! Several operators, one writer; and an operator that is there before its definition.

use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};

use crate::{operator::World, specs::minimal};

const ELECTED: [&str; 2] = ["--leader-election", "true"];

fn with_name(name: &str) -> Vec<&str> {
    [&ELECTED[..], &["--pod-name", name]].concat()
}

async fn holder(world: &World) -> Option<String> {
    world
        .api::<Lease>()
        .get_opt("diffusion-operator")
        .await
        .unwrap()?
        .spec?
        .holder_identity
        .filter(|h| !h.is_empty())
}

#[tokio::test]
async fn one_of_two_writes_and_the_other_takes_over() {
    let world = World::new("lease").await;
    let first = world.operator_with(&with_name("first"));
    world.until("a holder", || async { holder(&world).await.filter(|h| h == "first") }).await;
    let second = world.operator_with(&with_name("second"));
    world.apply("sd", minimal()).await.unwrap();
    world.until("Deployment", || async { world.api::<Deployment>().get_opt("sd").await.unwrap() }).await;
    let (_, metrics) = world.until("metrics", || second.get("/metrics")).await;
    assert!(
        metrics.contains("diffusion_operator_leader 0")
            && metrics.contains("diffusion_operator_reconciles_total 0")
    );
    assert_eq!(second.get("/readyz").await.unwrap().0, 200, "one that waits is ready: it can take over");

    // It gives the Lease back, so the other need not wait for its end.
    assert_eq!(first.terminate(), Some(0));
    world.until("the other holds it", || async { holder(&world).await.filter(|h| h == "second") }).await;
    world.apply("other", minimal()).await.unwrap();
    world.until("Deployment", || async { world.api::<Deployment>().get_opt("other").await.unwrap() }).await;
}

#[tokio::test]
async fn one_that_was_frozen_stops_writing_when_it_wakes_up() {
    let world = World::new("frozen").await;
    let first = world.operator_with(&with_name("first"));
    world.until("a holder", || async { holder(&world).await.filter(|h| h == "first") }).await;
    let second = world.operator_with(&with_name("second"));
    world.until("it listens", || second.get("/livez")).await;
    first.signal("STOP");
    world.until("the other holds it", || async { holder(&world).await.filter(|h| h == "second") }).await;
    first.signal("CONT");
    world
        .until("it knows", || async {
            let (_, metrics) = first.get("/metrics").await?;
            metrics.contains("diffusion_operator_leader 0").then_some(())
        })
        .await;
    assert_eq!(holder(&world).await.as_deref(), Some("second"));
}
