use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use super::{broken, mended};
use crate::{
    failure::{Outcome, ensure},
    world::{World, fixed},
};

pub(super) async fn run(world: &World<'_>) -> Outcome {
    let foreign = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken", "labels": {"app": "somebody"}},
        "spec": {"selector": {"app": "somebody"}, "ports": [{"port": 1234}]},
    });
    world.create(&[foreign]).await?;
    world.apply("taken", fixed(1, json!({}))).await?;
    broken(world, "taken", "NameConflict", &["Service taken"]).await?;
    let service = world.api::<Service>().get("taken").await?;
    let port = service.spec.and_then(|s| s.ports?.first().map(|p| p.port));
    ensure!(port == Some(1234), "the foreign Service was changed: port {port:?}");
    world.kubectl(&["delete", "service", "taken"]).text().await?;
    mended(world, "taken").await
}
